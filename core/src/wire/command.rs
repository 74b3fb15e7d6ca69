//! What operators ask of the monitor. Each call is refused with a reason, or taken; asking twice does nothing twice.

use crate::model::{Durability, FormationSettings, GroupKey, NodeId, Timeline};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Moves the role to another node of the group: the best, or the one named.
    Failover {
        key: GroupKey,
        to: Option<String>,
        /// The primary as the caller has seen it. Another that leads by now is what was asked for: a caller who lost the
        /// answer can ask again.
        #[serde(default)]
        from: Option<NodeId>,
        /// The operator consents to lose what no proof covers; recorded with the range given up.
        allow_data_loss: bool,
    },
    /// As `Failover` to the node named, whatever its group.
    Promote {
        formation: String,
        name: String,
        allow_data_loss: bool,
    },
    /// Puts a node into the operator's hands, or takes it back.
    Maintenance {
        formation: String,
        name: String,
        on: bool,
        /// The node may be the primary: the role moves first.
        allow_failover: bool,
    },
    /// Forgets a node; the primary hands its role over first.
    Drop {
        formation: String,
        name: String,
        /// The node of that name, as the caller has seen it: one that has gone is what was asked for.
        #[serde(default)]
        node: Option<NodeId>,
        /// Nobody waits for the node's own keeper.
        force: bool,
    },
    SetNode {
        formation: String,
        name: String,
        /// The node of that name, as the caller has seen it: it may have its new name already.
        #[serde(default)]
        node: Option<NodeId>,
        change: NodeChange,
    },
    SetFormation {
        formation: String,
        change: FormationChange,
    },
    CreateFormation {
        formation: String,
        settings: FormationSettings,
    },
    DropFormation {
        formation: String,
    },
    /// Makes a timeline that a node of the group is on the one all are compared with.
    AcceptTimeline {
        key: GroupKey,
        tli: Timeline,
        reason: String,
    },
}

/// What an operator changes about a node; absent members stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeChange {
    pub candidate_priority: Option<u8>,
    pub replication_quorum: Option<bool>,
    pub name: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
}

/// What an operator changes about a formation; absent members stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FormationChange {
    pub number_sync_standbys: Option<u32>,
    pub durability: Option<Durability>,
    pub secondary: Option<bool>,
}
