//! What the monitor tells a keeper to be.

use crate::model::contract::Contract;
use crate::model::ids::{Epoch, NodeId};
use crate::model::state::NodeState;
use crate::model::wal::{History, Lsn};
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
    /// For a standby: whom to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// For the candidate of a planned handover: where the old primary's shutdown checkpoint starts.
    /// Once replay is past it the old primary has nothing the candidate lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Lsn>,
    /// The other nodes of the group: they get a slot each and may connect.
    #[serde(default)]
    pub peers: Vec<Peer>,
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
}
