//! The link carries encoded messages: keepers and commands call, the monitor answers.

use std::future::Future;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing listens there: the monitor's process is down.
    #[error("connection refused by {0}")]
    Refused(String),
    /// The connection broke before an answer came; the call may or may not have been received.
    #[error("connection to {0} lost before an answer came")]
    Lost(String),
    /// No answer in time; the call may or may not have been received.
    #[error("no answer from {0} in time")]
    Silent(String),
    /// No secure connection came about, so the call was not received: the other side's certificate has expired or
    /// isn't trusted.
    #[error("{0}")]
    Untrusted(String),
    /// The other side answered that it can't take this call.
    #[error("{0}")]
    Rejected(String),
}

/// The caller's side. One target, the monitor.
pub trait Link: Clone + Send + Sync + 'static {
    /// Sends an encoded message and waits for the encoded answer, at most `patience`. Dropping the
    /// future gives the call up; the monitor may still act on it.
    fn call(&self, message: Vec<u8>, patience: Duration) -> impl Future<Output = Result<Vec<u8>, LinkError>> + Send;
}

/// Number of a call at the door, unique for the life of the monitor's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorEvent {
    Call {
        id: CallId,
        message: Vec<u8>,
    },
    /// The connection of this call has ended, and no other call came over it since. For a keeper it is a sign that its
    /// process is gone, whether the call was answered or not.
    Hangup {
        id: CallId,
    },
}

/// The monitor's side.
pub trait Door: Send + 'static {
    fn next(&mut self) -> impl Future<Output = DoorEvent> + Send;

    /// Answers a call; silently nothing when the caller has gone.
    fn answer(&mut self, id: CallId, message: Vec<u8>);

    /// Asks once whether a Postgres server answers at this address, without logging in.
    fn probe(&self, host: &str, port: u16, patience: Duration) -> impl Future<Output = Probe> + Send + 'static;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// A postmaster answered.
    Answers,
    /// The machine answered that nothing listens there.
    Refused,
    /// No answer in time.
    Silent,
}
