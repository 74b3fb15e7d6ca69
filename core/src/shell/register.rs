//! A node's first contact with the monitor.

use crate::model::KeeperRecord;
use crate::ports::{Link, LinkError, Store, StoreError};
use crate::wire::Register;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{reason}: {remedy}")]
    Refused { reason: String, remedy: String },
    #[error("{0}")]
    Protocol(String),
}

/// What a node got at registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub record: KeeperRecord,
    pub replication_password: String,
}

/// Registers with the monitor and stores the record, unless the store has one already: asking again
/// after an interruption gives the same node (the monitor knows it by host and port).
pub async fn ensure_registered<L: Link, S: Store>(
    _link: &L,
    _store: &S,
    _ask: Register,
) -> Result<Registered, RegisterError> {
    unreachable!("being written")
}
