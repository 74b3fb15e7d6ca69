//! One local Postgres: its data directory and its server. Each method is one thing Postgres or one
//! of its tools can do; what to do when is decided by `keeper::plan`.

use crate::model::{Facts, Lsn, NodeId, Peer, Position, Timeline, Upstream};
use std::future::Future;

/// Split by what the keeper can do about it. Whatever a method has done before it failed, after `Retry` and `Operator`
/// the directory is whole: as it was, or as it was to become.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PgError {
    /// May well work at the next try.
    #[error("{0}")]
    Retry(String),
    /// The directory can't be used as it is, or nobody knows whether it can; only a fresh clone helps.
    #[error("{0}")]
    Condemned(String),
    /// Needs a person: a missing program, a wrong permission, a foreign directory.
    #[error("{0}")]
    Operator(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAs {
    /// With `standby.signal`: in recovery, read-only, following what was configured.
    Standby,
    /// Without it: crash recovery if need be, then open on the same timeline.
    Primary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends sessions, writes the shutdown checkpoint, ships it to connected standbys.
    Fast,
    /// Nothing is acknowledged any more when this ends: all are killed, and what is stuck in the kernel may be there for
    /// longer. A fast stop that has come so far that no session is left is seen through.
    Immediate,
}

/// Where a rewind or a clone takes its data from.
pub type Source = Upstream;

/// A value for `synchronous_standby_names`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub String);

impl Names {
    /// No standby bears this name.
    pub const NOBODY: &str = "pgbaton_nobody";

    /// While this is in force every commit waits.
    pub fn of_nobody() -> Names {
        Names(format!("ANY 1 ({})", Names::NOBODY))
    }
}

pub trait Postgres: Send + Sync + 'static {
    /// Looks at directory and server. Takes bounded time; what can't be seen is said in the facts.
    fn look(&self) -> impl Future<Output = Facts> + Send;

    /// Ends when something happened that is worth a look: above all the exit of the postmaster, at
    /// once and without polling. Events between two calls are not lost.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Makes a new cluster in an absent directory, ready for replication, and leaves it stopped with
    /// `standby.signal` in place.
    fn create(&self) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Crash recovery of a stopped server that was open, on its timeline, while nobody can connect: it ends stopped in
    /// order, with a checkpoint on that timeline. `standby.signal` is in place again however this ends.
    fn recover(&self) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Starts the server and ends when it takes connections. Already running is success. In either
    /// role `standby.signal` is in place again when this ends.
    fn start(&self, role: StartAs) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Ends when no process of the server is left that does anything (a zombie is gone). Not running is success, as soon as
    /// what a dead postmaster has left is ended. `standby.signal` is put in place.
    fn stop(&self, mode: StopMode) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Writes where to stream from, or nowhere, as the node `me`; a running server is told to reload, a stopped one
    /// starts with it. The receiver of a running server may live on for a while.
    fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> impl Future<Output = Result<(), PgError>> + Send;

    /// After `follow(None)`: ends when the receiver is proven gone for good and all WAL held is
    /// replayed; gives the end of it.
    fn seal(&self) -> impl Future<Output = Result<Position, PgError>> + Send;

    /// Ends when a standby holds WAL up to `lsn`, received or replayed; it may have to be followed up first.
    fn holds(&self, lsn: Lsn) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Moves the slots of the other nodes on a standby up to `lsn`, never back: a follower that comes after a
    /// promotion finds its WAL, and WAL that nobody needs is let go.
    fn advance_slots(&self, lsn: Lsn) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Ends when replay is past `lsn`.
    fn replayed_past(&self, lsn: Lsn) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Writes the names and tells a running server to reload.
    fn set_names(&self, names: &Names) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Ends when new sessions of the running server show the names written last. A reload that found its configuration
    /// broken is lost: then it never ends.
    fn names_shown(&self) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Once they are shown: ends when every process works under them. The checkpointer may be amid a checkpoint that takes
    /// minutes.
    fn names_in_force(&self) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Ends recovery and returns when the server is open on its new timeline, whose number is at least `timeline`;
    /// `standby.signal` is back in place. A server that dies in between is started by `start` alone: by anything else
    /// it would open on its old timeline, which others may have WAL on.
    fn promote(&self, timeline: Timeline) -> impl Future<Output = Result<(), PgError>> + Send;

    fn checkpoint(&self) -> impl Future<Output = Result<(), PgError>> + Send;

    /// Makes the physical replication slots exactly those of these peers and lets them connect.
    fn admit(&self, peers: &[Peer]) -> impl Future<Output = Result<(), PgError>> + Send;

    /// The end of local WAL on `fork`'s timeline when there is a record past `fork`; stopped server only.
    fn wal_past(&self, fork: Position) -> impl Future<Output = Result<Option<Lsn>, PgError>> + Send;

    /// Copies all WAL from `fork` on, of this timeline and of those after it, to a place that survives a rewind or
    /// clone; gives that place, which is named after the fork and `end`.
    fn keep_aside(&self, fork: Position, end: Lsn) -> impl Future<Output = Result<String, PgError>> + Send;

    /// pg_rewind against a running source. Stopped server only. Once it may have begun to write, any failure is
    /// `Condemned`, the loss of the tool among them; so is a rewind that had nothing to do after the recovery of a crashed
    /// directory, which writes a record of its own. A source of another system never is: what is here may be the last
    /// copy.
    fn rewind(&self, source: &Source) -> impl Future<Output = Result<(), PgError>> + Send;

    /// pg_basebackup from a running source into a staging directory, which then replaces the data
    /// directory. Stopped server only. Ends with `standby.signal` in place.
    fn clone_from(&self, me: NodeId, source: &Source) -> impl Future<Output = Result<(), PgError>> + Send;
}
