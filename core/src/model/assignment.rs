//! What the monitor tells a keeper to be.

use crate::model::contract::Contract;
use crate::model::ids::{Epoch, NodeId};
use crate::model::settings::FormationSettings;
use crate::model::state::NodeState;
use crate::model::wal::{History, Lsn, Timeline};
use serde::{Deserialize, Serialize};

/// A goal with everything needed to reach it. It can't be built without an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Rises with every change for this node.
    pub serial: u64,
    pub epoch: Epoch,
    pub goal: NodeState,
    /// For a goal that writes: what commits must wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// For a goal that writes: the epoch in which the role was given to this node, or confirmed. A monitor in doubt tells a
    /// newer epoch, and gives nothing with it.
    #[serde(default)]
    pub led_in: Epoch,
    /// For a standby: whom to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// For the candidate of a planned handover: where the old primary's shutdown checkpoint starts.
    /// Once replay is past it the old primary has nothing the candidate lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Lsn>,
    /// For the winner of an election that lacks WAL: how far to fetch it from `upstream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Lsn>,
    /// For a promotion: the least number the new timeline may have. No two promotions of a group are given the
    /// same one, so no number ever stands for two histories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// For a primary that acknowledges alone by policy: how long it may go on without the monitor, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// The history that an operator has chosen: who has begun it by hand counts as any other node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<History>,
    /// WAL before this is needed by no node of the group; slots on standbys are moved up to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_floor: Option<Lsn>,
    /// What the formation asks for: the node brings it to a monitor that has never heard of the formation.
    #[serde(default)]
    pub formation: FormationSettings,
    /// What is set of the node itself, for the same purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<NodeSettings>,
    /// The other nodes of the group: they get a slot each and may connect.
    #[serde(default)]
    pub peers: Vec<Peer>,
}

impl Assignment {
    /// A bare goal; what it needs is filled in where it is derived.
    pub fn new(epoch: Epoch, goal: NodeState) -> Assignment {
        Assignment {
            serial: 0,
            epoch,
            goal,
            contract: None,
            led_in: Epoch::default(),
            upstream: None,
            drained: None,
            fetch: None,
            timeline: None,
            lease_ms: None,
            accepted: None,
            wal_floor: None,
            formation: FormationSettings::default(),
            own: None,
            peers: vec![],
        }
    }

    /// Whether steps planned for this one are of no use for `newer`.
    pub fn asks_for_other(&self, newer: &Assignment) -> bool {
        let matters = |a: &Assignment| (a.epoch, a.goal, a.drained, a.fetch, a.contract.clone(), a.upstream.clone());
        matters(self) != matters(newer)
    }
}

/// What operators set of a node, in the beginning or since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub candidate_priority: u8,
    pub replication_quorum: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub node: NodeId,
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    pub node: NodeId,
    pub host: String,
    pub port: u16,
    /// The upstream's lineage, against which the follower compares its own.
    pub history: History,
    /// It was told to open and hasn't said on which timeline it is: a newer one than those of `history` is no fork.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opening: bool,
}
