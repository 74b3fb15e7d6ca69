//! What happened in a run, in order of time. Both worlds write it, every checker reads it.

use crate::model::{Epoch, Moment, NodeState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trace {
    /// Names of the nodes, in the order of the scenario.
    pub nodes: Vec<String>,
    pub events: Vec<Event>,
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
        reported: NodeState,
        goal: NodeState,
        epoch: Epoch,
        rule: Option<u16>,
        description: String,
    },
    /// Postgres on this node began to accept writes, as far as the world can see it.
    Opened {
        node: String,
    },
    Closed {
        node: String,
    },
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
        sent: Moment,
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
    },
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
