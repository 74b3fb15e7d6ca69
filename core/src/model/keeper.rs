//! What a keeper stores before it acts.

use crate::model::assignment::Assignment;
use crate::model::contract::Contract;
use crate::model::ids::{Epoch, GroupKey, NodeId};
use crate::model::report::{ControlState, Kept, Seal};
use crate::model::state::NodeState;
use crate::model::wal::Position;
use crate::wire::Register;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperRecord {
    pub group: GroupKey,
    pub node: NodeId,
    pub name: String,
    /// Identity of the monitor it registered with.
    pub monitor: u64,
    pub state: NodeState,
    /// How often this node's keeper has started.
    pub session: u64,
    /// Never lowered; an assignment of a lower epoch is refused.
    pub epoch: Epoch,
    pub assignment: Option<Assignment>,
    /// The last contract this node's server was told to enforce as a primary. After a crash it tells
    /// whether the node may open by itself.
    pub contract: Option<Contract>,
    /// The last epoch in which this node was given the role.
    #[serde(default)]
    pub led_in: Epoch,
    pub seal: Option<Seal>,
    /// Stands while a rewind or a clone runs: a directory with this mark is never started.
    pub rebuild: Option<Rebuild>,
    /// It went to maintenance as a standby: whoever finds it opened since then knows that nobody had told it to.
    #[serde(default)]
    pub standby_in_maintenance: bool,
    /// It went there as an old primary, and this is what its control file said: if that of an open server says anything else,
    /// somebody has opened it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_closed: Option<(ControlState, Position)>,
    /// What was kept last of WAL that is not on the lineage, for the monitor to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// How it registered: what it says to a monitor that has never heard of it.
    #[serde(default)]
    pub registration: Option<Register>,
    /// The data directory this node id is bound to.
    pub system_id: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rebuild {
    Rewind,
    Clone,
}

impl Rebuild {
    /// For the operator: it takes as long as there is data.
    pub fn describe(self) -> &'static str {
        match self {
            Rebuild::Rewind => "its data directory is being rewound",
            Rebuild::Clone => "its data directory is being copied",
        }
    }
}

impl KeeperRecord {
    pub fn new(group: GroupKey, node: NodeId, name: String) -> KeeperRecord {
        KeeperRecord {
            group,
            node,
            name,
            monitor: 0,
            state: NodeState::Init,
            session: 0,
            epoch: Epoch::ZERO,
            assignment: None,
            contract: None,
            led_in: Epoch::default(),
            seal: None,
            rebuild: None,
            standby_in_maintenance: false,
            left_closed: None,
            kept: None,
            registration: None,
            system_id: None,
        }
    }

    /// It has reached its goal, and no copy is half made. One that is cut short must start over, so what can wait, as the
    /// reading of another configuration, waits for this.
    pub fn is_at_rest(&self) -> bool {
        self.rebuild.is_none() && self.goal().is_none_or(|goal| goal == self.state)
    }

    pub fn goal(&self) -> Option<NodeState> {
        self.assignment.as_ref().map(|a| a.goal)
    }
}
