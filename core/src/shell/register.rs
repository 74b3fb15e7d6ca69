//! A node's first contact with the monitor.

use super::commit::Ledger;
use super::keeper::{load, save};
use crate::model::{FormationSettings, KeeperRecord};
use crate::ports::{Link, LinkError, Store, StoreError};
use crate::wire::{self, Again, Answer, Register, Request};
use std::time::Duration;

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

/// How long the monitor may take to answer a registration.
const PATIENCE: Duration = Duration::from_secs(5);

/// Registers with the monitor and stores the record, unless the store has one already: asking again
/// after an interruption gives the same node (the monitor knows it by host and port).
pub async fn ensure_registered<L: Link, S: Store>(
    link: &L,
    store: &S,
    ask: Register,
) -> Result<Registered, RegisterError> {
    let bytes = link.call(wire::encode(&Request::Register(ask.clone())), PATIENCE).await?;
    let answer: Answer = wire::decode(&bytes).map_err(|e| RegisterError::Protocol(e.to_string()))?;
    let (node, key, name, monitor, session, replication_password) = match answer {
        Answer::Registered { node, key, name, monitor, session, replication_password, .. } => {
            (node, key, name, monitor, session, replication_password)
        }
        Answer::Refused { reason, remedy } => return Err(RegisterError::Refused { reason, remedy }),
        Answer::Unavailable { reason } => {
            return Err(RegisterError::Refused { reason, remedy: "try again when the monitor is well".into() });
        }
        other => {
            return Err(RegisterError::Protocol(format!("unexpected answer to a registration: {other:?}")));
        }
    };
    let snapshot = store.load().await?;
    if snapshot.records.is_empty() {
        let new = KeeperRecord::new(key, node, name.clone());
        let password = replication_password.clone();
        let again = Some(Again {
            node,
            state: new.state,
            epoch: new.epoch,
            replication_password: password,
            formation: FormationSettings::default(),
        });
        let registration = Some(Register { name, again, ..ask });
        let record = KeeperRecord { monitor, session, registration, ..new };
        save(store, &mut Ledger::at(snapshot.version), &record).await?;
        return Ok(Registered { record, replication_password });
    }
    let (_, record) = load(store).await?;
    if record.node != node || record.group != key {
        let reason = format!(
            "this directory is node {} of group {}, the monitor says node {node} of {key}",
            record.node, record.group
        );
        let remedy = "is it another monitor? drop the node there, or start from an empty directory".into();
        return Err(RegisterError::Refused { reason, remedy });
    }
    Ok(Registered { record, replication_password })
}
