//! The keeper's loop.

use crate::model::KeeperSettings;
use crate::ports::{Clock, Link, Postgres, Store};
use std::future::Future;

#[derive(Debug)]
pub struct KeeperPorts<C, L, S, P> {
    pub clock: C,
    pub link: L,
    pub store: S,
    pub postgres: P,
}

/// Why a keeper is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// SIGTERM: hand the role over (or leave the contract) first, then stop Postgres.
    HandOver,
    /// SIGINT: stop Postgres at once.
    Fast,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperExit {
    /// As asked; Postgres is stopped.
    Stopped,
    /// The node was dropped; Postgres is stopped.
    Dropped,
    /// Nothing more can be done without a person.
    Fatal(String),
}

/// Runs until asked to stop. `stop` ends when it is asked.
pub async fn run_keeper<C: Clock, L: Link, S: Store, P: Postgres>(
    _ports: KeeperPorts<C, L, S, P>,
    _settings: KeeperSettings,
    _stop: impl Future<Output = StopRequest> + Send,
) -> KeeperExit {
    unreachable!("being written")
}
