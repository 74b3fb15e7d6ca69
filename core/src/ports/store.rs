//! A small versioned set of records, changed all or nothing.

use std::collections::BTreeMap;
use std::future::Future;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the records since they were loaded.
    #[error("the store is at version {found}, not at {expected}: another process has written to it")]
    Conflict { expected: u64, found: u64 },
    /// Worth another try (disk full, I/O error). Either nothing was written or, when only the sync failed, everything.
    #[error("the store could not be written: {0}")]
    Io(String),
    /// The store can't be read.
    #[error("the store is damaged or of another version: {0}")]
    Damaged(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Rises by one with each commit; 0 for an empty store.
    pub version: u64,
    pub records: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(String, Vec<u8>),
    Remove(String),
}

pub trait Store: Send + Sync + 'static {
    fn load(&self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Applies all changes or none, durable when it returns; gives the new version.
    fn commit(&self, expected: u64, changes: Vec<Change>) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
