//! What a keeper sees of its Postgres, and what it tells the monitor.

use crate::model::contract::{Contract, ContractId};
use crate::model::ids::{Epoch, NodeId};
use crate::model::keeper::Rebuild;
use crate::model::state::NodeState;
use crate::model::wal::{History, Lsn, Position, Timeline};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One look at a node: its data directory and its server are different things, a kill destroys the
/// second only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub directory: Directory,
    pub server: Server,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directory {
    /// Missing or empty.
    Absent,
    /// A data directory of Postgres.
    Present(Control),
    /// Something that must not be touched or can't be read, and why.
    Unusable { reason: String },
}

/// What `pg_control` and the history files say. A server that runs may be ahead of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub system_id: u64,
    pub state: ControlState,
    /// Where the latest checkpoint record starts.
    pub checkpoint: Position,
    /// The timeline of the end of local WAL with its ancestors.
    pub history: History,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlState {
    /// Stopped in order, as a primary.
    ShutDown,
    /// Stopped in order, as a standby.
    ShutDownInRecovery,
    /// Running, or crashed while running, as a primary.
    InProduction,
    /// Running, or crashed while running, in recovery.
    InRecovery,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// No postmaster.
    Down,
    /// A postmaster that doesn't take connections yet.
    Starting,
    /// Answers queries.
    Up(Running),
    /// There is a postmaster, it takes connections, and doesn't answer in time.
    Stuck { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub in_recovery: bool,
    /// Primary: end of flushed WAL. Standby: end of the WAL it holds, received or replayed,
    /// whichever is further.
    pub position: Position,
    /// Standby: end of replayed WAL. Primary: as `position`.
    pub replayed: Lsn,
    /// Timeline in the control file: until the first checkpoint after a promotion it is the old one,
    /// and a rewind from here would find nothing to do.
    pub checkpoint_tli: Timeline,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Receiver>,
    /// Standby: what its upstream answered last when it was asked for WAL, if that was a refusal for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stranded: Option<Stranded>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<Sender>,
    /// Somebody has asked it to stop once its sessions have ended: it takes no new ones, neither from clients nor from
    /// standbys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

/// The WAL receiver of a standby.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    pub streaming: bool,
    pub tli: Timeline,
    /// Since the last message of the sender arrived.
    pub last_message: Duration,
}

/// Why the upstream can't serve this node any more, however often it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stranded {
    /// The WAL it needs next has been removed there: only a clone helps.
    WalRemoved,
    /// Its WAL goes past the point where the upstream's timeline branched off.
    Forked,
}

/// A WAL sender that serves a node of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    pub node: NodeId,
    /// Caught up once; while it isn't, it takes no part in synchronous replication.
    pub streaming: bool,
    pub flushed: Lsn,
}

/// A standby's promise: in this epoch it receives nothing more, and this is all it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub epoch: Epoch,
    pub position: Position,
}

/// What a keeper tells the monitor. It goes out at once when something changed, and on a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub node: NodeId,
    /// Number of the start of this keeper; with `seq` it orders reports, also against those of a keeper that is
    /// dead and whose last words were long on the way.
    pub session: u64,
    pub seq: u64,
    /// The epoch the keeper has stored.
    pub epoch: Epoch,
    pub state: NodeState,
    /// Moves from state to state in this session.
    #[serde(default)]
    pub moves: u64,
    /// States walked through since the last answered report, oldest first, `state` not included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<NodeState>,
    /// Serial of the assignment the keeper has stored; the answer is held while it is current.
    pub serial: u64,
    pub facts: Facts,
    /// The newest contract that every process of the server runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<ContractId>,
    /// The contract that it leads under, was told to, or would if it had not closed: what a monitor goes by that knows less
    /// than its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// The last epoch in which it was given the role.
    #[serde(default)]
    pub led_in: Epoch,
    /// What it leads, or has led, under has a lease: policy may have replaced it since that ended.
    #[serde(default)]
    pub leased: bool,
    /// A rewind or a clone has begun on its data directory, and isn't done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// The keeper was asked to stop and would like to hand over first.
    #[serde(default)]
    pub leaving: bool,
    /// The keeper needs an answer before it goes on, even if it is the assignment it knows.
    #[serde(default)]
    pub asks: bool,
    /// What it kept last of WAL that is not on the lineage of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// What it took to reach `state`, step by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<Spent>,
    /// The step that fails at the moment and why; shown to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// WAL that a rewind or a clone takes away, and a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where it left the lineage of the group.
    pub fork: Position,
    pub end: Lsn,
    pub place: String,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Kept { fork, end, place } = self;
        write!(f, "WAL from {} to {end} on timeline {} {KEPT_IN}{place}", fork.lsn, fork.tli)
    }
}

/// What stands before the place, in the log of a keeper and in the events; whoever reads those looks for this.
pub const KEPT_IN: &str = "is not on the lineage of the group; it is kept in ";

/// Time one step of a plan took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub step: String,
    pub micros: u64,
}

impl Facts {
    /// Nothing has been seen yet.
    pub fn unknown() -> Facts {
        Facts { directory: Directory::Absent, server: Server::Down }
    }

    pub fn running(&self) -> Option<&Running> {
        match &self.server {
            Server::Up(running) => Some(running),
            _ => None,
        }
    }

    pub fn control(&self) -> Option<&Control> {
        match &self.directory {
            Directory::Present(control) => Some(control),
            _ => None,
        }
    }

    /// Out of recovery and answering.
    pub fn is_open(&self) -> bool {
        self.running().is_some_and(|r| !r.in_recovery)
    }

    /// Where its WAL ends if that was known to be at `known` before: of a server that is down the control file tells where
    /// its last checkpoint is, and the WAL goes on past that.
    pub fn end_of_wal(&self, known: Option<Position>) -> Option<Position> {
        let goes_on = |p: &Position| known.is_some_and(|known| (p.tli, p.lsn) < (known.tli, known.lsn));
        match self.running() {
            Some(running) => Some(running.position),
            None => self.position().filter(|p| !goes_on(p)).or(known),
        }
    }

    /// The best known position: the server's, or what the control file can vouch for.
    pub fn position(&self) -> Option<Position> {
        match (&self.server, &self.directory) {
            (Server::Up(r), _) => Some(r.position),
            (_, Directory::Present(c)) => Some(c.checkpoint),
            _ => None,
        }
    }
}

impl Running {
    pub fn sender(&self, node: NodeId) -> Option<&Sender> {
        self.senders.iter().find(|s| s.node == node)
    }
}
