//! The record set on redb, on a simulated disk. Tables, transactions and the meaning of errors are those of production
//! (`runtime/src/ports/store.rs`), but for the number of the format, which is in no file that lives as short as these.

use crate::disk::Disk;
use crate::world::machine::KeeperState;
use crate::world::points::{Effect, Gate, Harm};
use crate::world::{Chronicle, Fate};
use pgbaton_core::check::Kind;
use pgbaton_core::model::{Epoch, KeeperRecord, NodeState, Seal};
use pgbaton_core::ports::{Change, Snapshot, Store, StoreError};
use pgbaton_core::shell::keeper::KEEPER;
use pgbaton_core::wire;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

#[derive(Debug)]
pub struct SimStore {
    fate: Fate,
    disk: Disk,
    /// None after an I/O error: redb refuses everything from then on, so the file is opened anew.
    db: Mutex<Option<Database>>,
    witness: Option<Witness>,
    gate: Option<Gate>,
}

/// Tells what a keeper's record says, as soon as it is on disk.
#[derive(Debug)]
struct Witness {
    node: String,
    chronicle: Chronicle,
    keeper: Arc<KeeperState>,
    told: Mutex<Option<Gist>>,
}

/// What the checkers want to know of a keeper's record.
type Gist = (Epoch, NodeState, Option<NodeState>, Option<Seal>, Option<u64>);

impl Witness {
    fn look(&self, changes: &[Change]) {
        for change in changes {
            let Change::Put(key, bytes) = change else { continue };
            let Ok(record) = wire::decode::<KeeperRecord>(bytes) else { continue };
            let gist = (record.epoch, record.state, record.goal(), record.seal, record.system_id);
            if key == KEEPER {
                self.keeper.rests(record.is_at_rest());
            }
            if key != KEEPER || self.told.lock().unwrap().replace(gist) == Some(gist) {
                continue;
            }
            let (node, (epoch, state, goal, seal, system_id)) = (self.node.clone(), gist);
            self.chronicle.note(Kind::Stored { node, epoch, state, goal, seal, system_id });
        }
    }
}

fn io(e: impl std::fmt::Display) -> StoreError {
    StoreError::Io(e.to_string())
}

fn damaged(e: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(e.to_string())
}

/// Opens the file, repairing what a dead process left half done.
pub fn open_database(disk: &Disk) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(1 << 20);
    builder.create_with_backend(disk.open()).map_err(|e| match e {
        DatabaseError::Storage(StorageError::Io(e)) => io(e),
        other => damaged(other),
    })
}

pub fn load_from(db: &Database) -> Result<Snapshot, StoreError> {
    let read = db.begin_read().map_err(io)?;
    let version = match read.open_table(META) {
        Ok(meta) => meta.get("version").map_err(io)?.map_or(0, |v| v.value()),
        Err(TableError::TableDoesNotExist(_)) => 0,
        Err(e) => return Err(io(e)),
    };
    let mut records = BTreeMap::new();
    match read.open_table(RECORDS) {
        Ok(table) => {
            for row in table.iter().map_err(io)? {
                let (key, value) = row.map_err(io)?;
                records.insert(key.value().to_string(), value.value().to_vec());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(e) => return Err(io(e)),
    }
    Ok(Snapshot { version, records })
}

pub fn commit_to(db: &Database, expected: u64, changes: &[Change]) -> Result<u64, StoreError> {
    let write = db.begin_write().map_err(io)?;
    {
        let mut meta = write.open_table(META).map_err(io)?;
        let found = meta.get("version").map_err(io)?.map_or(0, |v| v.value());
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        meta.insert("version", expected + 1).map_err(io)?;
        let mut records = write.open_table(RECORDS).map_err(io)?;
        for change in changes {
            match change {
                Change::Put(key, value) => records.insert(key.as_str(), value.as_slice()).map_err(io)?,
                Change::Remove(key) => records.remove(key.as_str()).map_err(io)?,
            };
        }
    }
    write.commit().map_err(io)?;
    Ok(expected + 1)
}

impl SimStore {
    /// The file itself is opened by the first who needs it.
    pub fn open(fate: &Fate, disk: &Disk) -> SimStore {
        SimStore { fate: fate.clone(), disk: disk.clone(), db: Mutex::default(), witness: None, gate: None }
    }

    /// Its commits are points of the run.
    pub fn through(mut self, gate: Gate) -> SimStore {
        self.gate = Some(gate);
        self
    }

    async fn cross(&self, effect: Effect) -> Option<Harm> {
        match &self.gate {
            Some(gate) => gate.cross(|| effect).await,
            None => None,
        }
    }

    /// What a keeper stores goes into the chronicle.
    pub fn witnessed(mut self, node: &str, chronicle: &Chronicle, keeper: &Arc<KeeperState>) -> SimStore {
        let (node, chronicle, keeper) = (node.to_string(), chronicle.clone(), keeper.clone());
        self.witness = Some(Witness { node, chronicle, keeper, told: Mutex::default() });
        self
    }

    fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut db = self.db.lock().unwrap();
        let open = match db.take() {
            Some(open) => open,
            None => open_database(&self.disk)?,
        };
        let result = work(&open);
        if !matches!(result, Err(StoreError::Io(_))) {
            *db = Some(open);
        }
        result
    }
}

impl Store for SimStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.disk.until_it_moves().await;
        self.run(load_from)
    }

    async fn commit(&self, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
        // A process may die before the write reaches the disk, or after it and before it knows.
        self.fate.sleep(self.fate.draw_ms(1..2)).await;
        self.disk.until_it_moves().await;
        self.cross(Effect::Stores).await;
        let version = self.run(|db| commit_to(db, expected, &changes))?;
        if let Some(witness) = &self.witness {
            witness.look(&changes);
        }
        if self.cross(Effect::Stored).await == Some(Harm::LoseReply) {
            // As a sync does that fails after the blocks have reached the medium.
            self.db.lock().unwrap().take();
            return Err(StoreError::Io("the disk gave an error for what it had written".into()));
        }
        self.fate.sleep(self.fate.draw_ms(1..2)).await;
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Condition;
    use crate::world::on_fresh_thread;

    fn put(key: &str, value: u8) -> Vec<Change> {
        vec![Change::Put(key.to_string(), vec![value; 3000])]
    }

    #[test]
    fn a_commit_at_another_version_is_refused() {
        let db = open_database(&Disk::default()).unwrap();
        assert_eq!(load_from(&db).unwrap(), Snapshot::default());
        assert_eq!(commit_to(&db, 0, &put("a", 1)), Ok(1));
        let conflict = StoreError::Conflict { expected: 0, found: 1 };
        assert_eq!(commit_to(&db, 0, &put("a", 2)), Err(conflict));
        assert_eq!(commit_to(&db, 1, &[Change::Remove("a".into())]), Ok(2));
        assert!(load_from(&db).unwrap().records.is_empty());
    }

    #[test]
    fn a_killed_process_leaves_what_it_committed() {
        let disk = Disk::default();
        let db = open_database(&disk).unwrap();
        commit_to(&db, 0, &put("a", 1)).unwrap();
        disk.detach();
        drop(db);
        assert_eq!(load_from(&open_database(&disk).unwrap()).unwrap().version, 1);
    }

    #[test]
    fn a_full_disk_refuses_commits_and_a_free_one_takes_them_again() {
        let run = on_fresh_thread(1, || async {
            let disk = Disk::default();
            let store = SimStore::open(&Fate::current(), &disk);
            let write = |expected, value| store.commit(expected, put("a", value));
            assert_eq!(write(0, 1).await, Ok(1));
            disk.set(Condition::Full);
            for _ in 0..2 {
                assert!(matches!(write(1, 2).await, Err(StoreError::Io(_))));
            }
            disk.set(Condition::Fine);
            assert_eq!(write(1, 3).await, Ok(2));
            assert_eq!(store.load().await.unwrap().records["a"][0], 3);
        });
        assert_eq!(run, Ok(()));
    }

    /// Power is lost after each possible number of disk operations, with several fates for what was
    /// not synced: the store opens again and holds the old or the new version, whole.
    #[test]
    fn power_lost_at_any_point_of_a_commit_leaves_one_version_whole() {
        let (mut old, mut new) = (0, 0);
        for ops in 0..40 {
            for fate in 0..8u64 {
                let disk = Disk::default();
                let db = open_database(&disk).unwrap();
                commit_to(&db, 0, &put("a", 1)).unwrap();
                disk.fail_after(ops);
                let acknowledged = commit_to(&db, 1, &put("a", 2)).is_ok();
                let mut turn = fate;
                disk.crash(|| {
                    turn = turn.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    turn >> 33
                });
                drop(db);
                let found = load_from(&open_database(&disk).unwrap()).unwrap();
                let value = found.records["a"][0];
                assert_eq!(u64::from(value), found.version, "ops {ops} fate {fate}");
                assert!(found.version == 2 || !acknowledged, "ops {ops} fate {fate}: lost");
                *(if found.version == 1 { &mut old } else { &mut new }) += 1;
            }
        }
        assert!(old > 0 && new > 0, "both outcomes happen: {old} old, {new} new");
    }
}
