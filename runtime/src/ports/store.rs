use crate::disk;
use pgbaton_core::ports::{Change, Snapshot, Store, StoreError};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Raised when the tables change their meaning.
const FORMAT: u64 = 1;

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The embedded store: one redb file, whose commits are atomic and durable. One process at a time.
///
/// Operations run one after the other, also when their caller gives up on one: the next begins when it is done.
#[derive(Clone)]
pub struct RedbStore {
    path: PathBuf,
    /// None after an I/O error: redb refuses everything from then on, so the file is opened anew.
    db: Arc<Mutex<Option<Database>>>,
}

impl RedbStore {
    /// Opens the file, or makes it. Its directory must exist.
    pub fn open(path: &Path) -> Result<RedbStore, StoreError> {
        let db = open_file(path)?;
        Ok(RedbStore { path: path.to_path_buf(), db: Arc::new(Mutex::new(Some(db))) })
    }

    /// redb waits for the disk, which must not hold up timers and connections.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut db = Arc::clone(&self.db).lock_owned().await;
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let open = match db.take() {
                Some(open) => open,
                None => open_file(&path)?,
            };
            let result = work(&open);
            if !matches!(result, Err(StoreError::Io(_))) {
                *db = Some(open);
            }
            result
        });
        match done.await {
            Ok(result) => result,
            Err(e) => Err(StoreError::Io(format!("the writing thread ended: {e}"))),
        }
    }
}

fn open_file(path: &Path) -> Result<Database, StoreError> {
    let mut options = OpenOptions::new();
    let file = disk::open(path, options.read(true).write(true).create(true).truncate(false))
        .map_err(|e| StoreError::Io(format!("{}: {e}", path.display())))?;
    let backend = FileBackend::new(file).map_err(|e| cannot_open(path, e))?;
    let db = Database::builder().create_with_backend(backend).map_err(|e| cannot_open(path, e))?;
    check_format(&db, path)?;
    Ok(db)
}

fn check_format(db: &Database, path: &Path) -> Result<(), StoreError> {
    let write = db.begin_write().map_err(io)?;
    {
        let mut meta = write.open_table(META).map_err(io)?;
        let found = meta.get("format").map_err(io)?.map(|v| v.value());
        match found {
            Some(FORMAT) => return Ok(()),
            None => {
                meta.insert("format", FORMAT).map_err(io)?;
                meta.insert("version", 0).map_err(io)?;
            }
            Some(other) => {
                return Err(StoreError::Damaged(format!(
                    "{} has format {other}, this program reads and writes format {FORMAT}; run the version of \
                     pgbaton that wrote it, or move the file away and register anew",
                    path.display()
                )));
            }
        }
        write.open_table(RECORDS).map_err(io)?;
    }
    write.commit().map_err(io)
}

fn read(db: &Database) -> Result<Snapshot, StoreError> {
    let read = db.begin_read().map_err(io)?;
    let meta = read.open_table(META).map_err(io)?;
    let version = meta.get("version").map_err(io)?.map_or(0, |v| v.value());
    let mut records = BTreeMap::new();
    for row in read.open_table(RECORDS).map_err(io)?.iter().map_err(io)? {
        let (key, value) = row.map_err(io)?;
        records.insert(key.value().to_string(), value.value().to_vec());
    }
    Ok(Snapshot { version, records })
}

fn write(db: &Database, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
    let mut write = db.begin_write().map_err(io)?;
    write.set_durability(Durability::Immediate).map_err(io)?;
    let next = expected + 1;
    {
        let mut meta = write.open_table(META).map_err(io)?;
        let found = meta.get("version").map_err(io)?.map_or(0, |v| v.value());
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        meta.insert("version", next).map_err(io)?;
        let mut records = write.open_table(RECORDS).map_err(io)?;
        for change in changes {
            match change {
                Change::Put(key, value) => records.insert(key.as_str(), value.as_slice()).map_err(io)?,
                Change::Remove(key) => records.remove(key.as_str()).map_err(io)?,
            };
        }
    }
    write.commit().map_err(io)?;
    Ok(next)
}

impl Store for RedbStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.run(read).await
    }

    async fn commit(&self, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
        self.run(move |db| write(db, expected, changes)).await
    }
}

fn io(e: impl Display) -> StoreError {
    StoreError::Io(e.to_string())
}

fn cannot_open(path: &Path, e: DatabaseError) -> StoreError {
    let path: PathBuf = path.to_path_buf();
    let path = path.display();
    match e {
        DatabaseError::DatabaseAlreadyOpen => {
            StoreError::Io(format!("{path} is in use by another process of pgbaton; stop that one first"))
        }
        DatabaseError::UpgradeRequired(version) => StoreError::Damaged(format!(
            "{path} has redb file format {version}; run the version of pgbaton that wrote it"
        )),
        DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() != std::io::ErrorKind::InvalidData => {
            StoreError::Io(format!("{path}: {e}"))
        }
        e => StoreError::Damaged(format!(
            "{path}: {e}; restore the file from a backup, or move it away and register anew"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::Put(key.into(), value.into())
    }

    #[tokio::test]
    async fn commits_survive_reopening_and_stale_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.load().await, Ok(Snapshot::default()));
        assert_eq!(store.commit(0, vec![put("a", "1"), put("b", "2")]).await, Ok(1));
        assert_eq!(store.commit(1, vec![put("a", "3"), Change::Remove("b".into())]).await, Ok(2));
        let stale = store.commit(1, vec![put("a", "lost")]).await;
        assert_eq!(stale, Err(StoreError::Conflict { expected: 1, found: 2 }));
        let failing = store.run(|_| Err::<(), _>(StoreError::Io("the disk is full".into()))).await;
        assert!(failing.is_err());
        assert_eq!(store.load().await.map(|s| s.version), Ok(2), "after an error it is opened anew");
        drop(store);
        let again = RedbStore::open(&path).unwrap().load().await.unwrap();
        assert_eq!(again.version, 2);
        assert_eq!(again.records, BTreeMap::from([("a".to_string(), b"3".to_vec())]));
    }

    #[test]
    fn a_file_in_use_of_another_format_or_of_no_format_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = RedbStore::open(&path).unwrap();
        let refused = RedbStore::open(&path).map(drop).unwrap_err();
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        let db = store.db.try_lock().unwrap().take().unwrap();
        let write = db.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", 99).unwrap();
        write.commit().unwrap();
        drop(db);
        let refused = RedbStore::open(&path).map(drop).unwrap_err();
        assert!(matches!(&refused, StoreError::Damaged(t) if t.contains("format 99")), "{refused}");
        std::fs::write(&path, "this was never a redb file, it is just text").unwrap();
        let refused = RedbStore::open(&path).map(drop).unwrap_err();
        assert!(matches!(&refused, StoreError::Damaged(t) if t.contains("restore")), "{refused}");
    }
}
