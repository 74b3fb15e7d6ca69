//! A store that keeps a readable copy of its records beside it. redb locks its file while a keeper runs;
//! `show file` and `status` read the copy. Nothing is ever decided by it, so a copy that can't be written is only logged,
//! nobody waits for one whose disk stalls, and no step until it is on disk: it is written anew with every start.

use crate::disk;
use pgbaton_core::model::KeeperRecord;
use pgbaton_core::ports::{Change, Snapshot, Store, StoreError};
use pgbaton_core::stored;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How each record is logged once it is on disk, for who wants to follow them all: the copy shows only the last.
pub const STORED: &str = "stored ";

pub struct MirroredStore<S>(Arc<Inner<S>>);

struct Inner<S> {
    store: S,
    path: PathBuf,
    copy: watch::Sender<Snapshot>,
    /// One after the other, each what is there by then.
    writing: Mutex<()>,
}

/// In that time a disk that is well takes it, and who reads the copy next finds what was stored.
const PATIENCE: Duration = Duration::from_millis(50);

impl<S> Clone for MirroredStore<S> {
    fn clone(&self) -> MirroredStore<S> {
        MirroredStore(Arc::clone(&self.0))
    }
}

impl<S: Store> MirroredStore<S> {
    pub async fn new(store: S, path: PathBuf) -> Result<MirroredStore<S>, StoreError> {
        let copy = watch::Sender::new(store.load().await?);
        let mirrored = MirroredStore(Arc::new(Inner { store, path, copy, writing: Mutex::default() }));
        mirrored.write().await;
        Ok(mirrored)
    }

    /// Ends when the stored record of the keeper is as wanted, now or after one of the next commits.
    pub async fn until(&self, wanted: impl Fn(&KeeperRecord) -> bool) {
        let mut copy = self.0.copy.subscribe();
        let seen = copy.wait_for(|snapshot| keeper_record(snapshot).is_some_and(|r| wanted(&r)));
        // The sender lives as long as this store does, so the wait can't be cut short.
        let _snapshot = seen.await;
    }

    /// Whether the stored record of the keeper is so.
    pub fn holds(&self, wanted: impl Fn(&KeeperRecord) -> bool) -> bool {
        keeper_record(&self.0.copy.borrow()).is_some_and(|r| wanted(&r))
    }

    async fn write(&self) {
        let inner = self.0.clone();
        let written = tokio::task::spawn_blocking(move || inner.write());
        let _later_at_worst = tokio::time::timeout(PATIENCE, written).await;
    }
}

impl<S> Inner<S> {
    fn write(&self) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string_pretty(&readable(&self.copy.borrow())).expect("JSON of JSON");
        if let Err(e) = disk::replace_for_now(&self.path, text.as_bytes(), 0o600) {
            tracing::warn!("can't write the readable copy of the state, {}: {e}", self.path.display());
        }
    }
}

impl<S: Store> Store for MirroredStore<S> {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.0.store.load().await
    }

    async fn commit(&self, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
        let version = self.0.store.commit(expected, changes.clone()).await?;
        self.0.copy.send_modify(|copy| {
            for change in changes {
                match change {
                    Change::Put(key, value) => copy.records.insert(key, value),
                    Change::Remove(key) => copy.records.remove(&key),
                };
            }
            copy.version = version;
        });
        self.write().await;
        if let Some(record) = keeper_record(&self.0.copy.borrow()) {
            tracing::debug!("{STORED}{}", serde_json::to_string(&record).expect("a record is JSON"));
        }
        Ok(version)
    }
}

/// What a keeper knows of itself; `None` before it is registered.
pub fn keeper_record(snapshot: &Snapshot) -> Option<KeeperRecord> {
    stored::decode(snapshot.records.get("keeper")?).ok()
}

/// Records as JSON: `{"version": 3, "records": {"keeper": {...}}}`.
pub fn readable(snapshot: &Snapshot) -> Value {
    let body = |bytes: &[u8]| match serde_json::from_slice::<Value>(bytes) {
        Ok(mut envelope) => envelope.get_mut("body").map_or(Value::Null, Value::take),
        Err(e) => Value::String(format!("unreadable: {e}")),
    };
    let records: Map<String, Value> = snapshot.records.iter().map(|(k, v)| (k.clone(), body(v))).collect();
    json!({ "version": snapshot.version, "records": records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::stored::encode;
    #[derive(Default)]
    struct Memory(Mutex<Snapshot>);

    impl Store for Memory {
        async fn load(&self) -> Result<Snapshot, StoreError> {
            Ok(self.0.lock().unwrap().clone())
        }

        async fn commit(&self, expected: u64, _: Vec<Change>) -> Result<u64, StoreError> {
            let mut inner = self.0.lock().unwrap();
            if inner.version != expected {
                let found = inner.version;
                return Err(StoreError::Conflict { expected, found });
            }
            inner.version += 1;
            Ok(inner.version)
        }
    }

    #[tokio::test]
    async fn the_copy_shows_what_was_committed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let store = MirroredStore::new(Memory::default(), path.clone()).await.unwrap();
        let put = |text: &str| vec![Change::Put("keeper".into(), encode(&json!({ "state": text })))];
        store.commit(0, put("single")).await.unwrap();
        assert!(store.commit(0, put("primary")).await.is_err());
        let copy: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(copy, json!({ "version": 1, "records": { "keeper": { "state": "single" } } }));
    }
}
