//! What happened in a run, in order of time. Both worlds write it, every checker reads it.

use super::groups::Beside;
use crate::model::{Epoch, Lsn, Moment, NodeId, NodeState, Position, Seal, Timeline};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trace {
    /// Names of the nodes, in the order of the scenario; those of all formations.
    pub nodes: Vec<String>,
    /// What the world that wrote this can see at all: where it is blind, a missing event proves nothing.
    #[serde(default)]
    pub sees: BTreeSet<Sense>,
    #[serde(default)]
    pub terms: Terms,
    /// The second formation, if there is one: some of the nodes are its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    pub events: Vec<Event>,
}

/// What a world can see, beyond the monitor's log and what clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// Which servers are open and what their backends work under: `Opened`, `Closed`, `Names`.
    Servers,
    /// What becomes of the log: `Branched`, `Received`, `KeptAside`, `Rebuilt`.
    Wal,
    /// What keepers store, and what they fail at: `Stored`, `Failed`.
    Keepers,
    /// The contracts that may be in force, in every `Node`.
    Contracts,
    /// What a client reads back: `Read`.
    Reads,
    /// What was done to the world: `Fault`.
    Faults,
    /// What operators asked, and the answers: `Asked`, `Told`.
    Orders,
    /// The end of all faults, and who still runs: `Healed`, and all of `Ended`.
    Ends,
    /// How Postgres is configured at the end: `Configured`.
    Configuration,
    /// What an operator's screen shows of each node meanwhile: `Shown`.
    Screen,
}

impl Sense {
    /// What is seen of a world that is an open book.
    pub const ALL: [Sense; 10] = {
        use Sense::*;
        [Servers, Wal, Keepers, Contracts, Reads, Faults, Orders, Ends, Configuration, Screen]
    };
}

/// What the scenario lays down for its run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The formation prefers to lose commits over waiting for them.
    pub may_lose: bool,
    /// And no more than so many bytes of what is known to have been written.
    #[serde(default)]
    pub async_loss_bytes: u64,
    /// The run must end waiting, with a reason that contains this.
    pub stalled: Option<String>,
    /// The longest outage of writes that the scenario allows, where that is more than usual.
    pub outage: Option<Duration>,
    /// Nobody wrote the story: all that it broke is mended at the end, but for nodes outside of the core.
    #[serde(default)]
    pub drawn: bool,
    /// And what a fault costs that struck alone is judged: where no other work on the machine makes it late.
    #[serde(default)]
    pub priced: bool,
    /// Those that must settle; all when nobody is named.
    #[serde(default)]
    pub core: BTreeSet<String>,
    /// Of those that must settle too few are asked to acknowledge commits: the primary ends as one that is alone.
    #[serde(default)]
    pub alone: bool,
    /// Things went wrong at points in the code, of which the trace doesn't tell.
    #[serde(default)]
    pub fault_points: bool,
    /// After this long without a word from anybody a keeper closes by itself.
    #[serde(default)]
    pub closes_alone: Duration,
    /// A keeper waits for so long before it tries again what failed.
    #[serde(default)]
    pub step_pause: Duration,
    /// Those that begin as nodes that never lead.
    #[serde(default)]
    pub never_lead: BTreeSet<String>,
    /// So many standbys are to acknowledge a commit when all is well, to begin with; 0 when nobody knows.
    #[serde(default)]
    pub acknowledgements: u32,
    /// Those that begin as nodes that are asked for no commit.
    #[serde(default)]
    pub not_asked: BTreeSet<String>,
    /// Some client keeps its session whatever becomes of the server behind it, and may write nothing for ever.
    #[serde(default)]
    pub sticky: bool,
}

impl Terms {
    pub fn must_settle(&self, node: &str) -> bool {
        self.core.is_empty() || self.core.contains(node)
    }
}

/// What was done to the world, by what it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The monitor is killed or started.
    Monitor,
    /// The monitor is given another store, an older one or none: it knows what that one knows, and learns the rest
    /// from its nodes.
    MonitorStore,
    Keeper,
    Postgres,
    Machine,
    /// A machine is lost with all its disks: what comes back knows nothing of what it was.
    Disk,
    Pause,
    /// A service is stopped in order.
    Service,
    Link,
    /// Something stopped, frozen or cut is back.
    Mend,
    /// An operator's order.
    Order,
    /// Somebody promoted or started a server behind its keeper's back.
    Rogue,
    /// Anything else: it may cost anything.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    Accepted,
    Refused {
        why: String,
    },
    /// No answer came, or none that can be read.
    Lost {
        why: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Since the run began.
    pub at: Moment,
    #[serde(flatten)]
    pub kind: Kind,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Kind {
    /// A step of the scenario was carried out.
    Step {
        text: String,
    },
    /// A row of the monitor's event log.
    Node {
        node: String,
        id: NodeId,
        reported: NodeState,
        goal: NodeState,
        epoch: Epoch,
        /// The contracts that may be in force, as they are shown.
        #[serde(default)]
        in_force: String,
        rule: Option<u16>,
        description: String,
    },
    /// Postgres on this node began to accept writes, as far as the world can see it, on this timeline.
    Opened {
        node: String,
        tli: Timeline,
    },
    Closed {
        node: String,
    },
    /// What the backends of an open server work under: at least `k` of these must have flushed a commit. Of fewer than `k`
    /// it waits for ever.
    Names {
        node: String,
        k: usize,
        of: BTreeSet<NodeId>,
    },
    /// A server was promoted: its new timeline leaves `parent` at `fork`.
    Branched {
        node: String,
        tli: Timeline,
        parent: Timeline,
        fork: Lsn,
    },
    /// WAL came over a new connection from another node, or came after a seal.
    Received {
        node: String,
        from: String,
    },
    /// The WAL of these writes was copied to a place that a rewind or a clone doesn't touch.
    KeptAside {
        node: String,
        ids: BTreeSet<u64>,
    },
    /// A rewind or a clone replaced a directory; these writes were in it and are not in its successor.
    Rebuilt {
        node: String,
        gone: BTreeSet<u64>,
    },
    /// A step of a keeper failed; it will try again.
    Failed {
        node: String,
        step: String,
    },
    /// A keeper's record, as it reached the disk.
    Stored {
        node: String,
        epoch: Epoch,
        state: NodeState,
        goal: Option<NodeState>,
        seal: Option<Seal>,
        system_id: Option<u64>,
    },
    /// What the step did to the world, and to whom.
    Fault {
        fault: Fault,
        nodes: Vec<String>,
    },
    /// An operator's order, and its answer.
    Asked {
        order: String,
    },
    Told {
        order: String,
        answer: Answered,
    },
    /// The story is over: nothing goes wrong from here on.
    Healed,
    /// The clients begin to write, and are told to stop: writes count as out from one to the other.
    ClientsBegan,
    ClientsStopped,
    /// A client was told that its write is committed. `sent` is when it began.
    Acked {
        client: u32,
        id: u64,
        node: String,
        sent: Moment,
        warning: bool,
    },
    /// A client was told that its write failed, or can't know.
    NotAcked {
        client: u32,
        id: u64,
        known_failed: bool,
        /// Its session forgoes the wait for standbys: it may be shown and lost.
        #[serde(default)]
        unpromised: bool,
        sent: Moment,
    },
    /// The latest writes a client saw when it read them back from a node that took its session for writes.
    Read {
        node: String,
        ids: BTreeSet<u64>,
    },
    /// The latest writes a client saw on a node that takes none: whether they stay is nobody's promise.
    StandbyRead {
        node: String,
        ids: BTreeSet<u64>,
    },
    /// All write ids found on a node that holds the primary role at the end.
    Found {
        node: String,
        ids: BTreeSet<u64>,
    },
    /// What each node reported when the run ended.
    Ended {
        node: String,
        reported: NodeState,
        goal: NodeState,
        /// What the monitor says it waits for.
        pending: Option<String>,
        /// Whether its keeper runs.
        runs: bool,
    },
    /// What the monitor shows of a node beside its states, where it changed.
    Shown {
        node: String,
        position: Position,
        /// 1: well, 0: lost or not answering, -1: not heard of since the monitor started.
        health: i8,
        pending: Option<String>,
    },
    /// How the Postgres of a member is configured when the run ends.
    Configured {
        node: String,
        id: NodeId,
        system_id: u64,
        /// Whom `synchronous_standby_names` lists.
        names: BTreeSet<NodeId>,
        /// For whom it keeps a slot.
        slots: BTreeSet<NodeId>,
        /// Whom `primary_conninfo` names.
        follows: Option<String>,
        /// The oldest WAL that a slot keeps, where one keeps any.
        keeps_from: Option<Lsn>,
        /// The end of the WAL it has.
        end: Lsn,
    },
}

impl Kind {
    /// Whose record this is, and the promise of it that holds in its epoch.
    pub fn promise(&self) -> Option<(&str, Option<Seal>)> {
        let Kind::Stored { node, epoch, seal, .. } = self else { return None };
        Some((node, seal.filter(|seal| seal.epoch == *epoch)))
    }
}

impl Trace {
    pub fn push(&mut self, at: Moment, kind: Kind) {
        self.events.push(Event { at, kind });
    }

    /// Puts events in the order of time; those of one instant keep the order in which they came.
    pub fn sort(&mut self) {
        self.events.sort_by_key(|e| e.at);
    }

    pub fn end(&self) -> Moment {
        self.events.last().map_or(Moment::ZERO, |e| e.at)
    }
}
