//! What the monitor stores of a group.

use crate::model::assignment::Assignment;
use crate::model::contract::{Contract, ContractId, InForce};
use crate::model::ids::{Epoch, GroupKey, NodeId};
use crate::model::report::{Kept, Seal};
use crate::model::state::NodeState;
use crate::model::wal::{History, Lsn, Position};
use crate::wire::Register;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Every node keeps a slot for every other, and Postgres is set up for a dozen and a half senders.
pub const MOST_NODES: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    pub key: GroupKey,
    pub epoch: Epoch,
    pub in_force: InForce,
    /// The primary shows what it has inherited up to here, acknowledged or not, and it isn't known yet that enough members of
    /// its contract hold that: whoever takes over from it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Position>,
    pub next_contract: u64,
    /// Commits may be acknowledged by the primary alone, since then.
    pub degraded: Option<Degraded>,
    pub transfer: Option<Transfer>,
    /// The primary that was closed and told to open again, until it has.
    #[serde(default)]
    pub reopening: Option<NodeId>,
    /// The history that an operator has chosen, until the next promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<History>,
    /// The lineage of the node that was opened last.
    pub history: Option<History>,
    /// The highest timeline number that a promotion of this group was given; none is given twice.
    #[serde(default)]
    pub last_timeline: u32,
    /// WAL before this is needed by no node.
    #[serde(default)]
    pub wal_floor: Option<Lsn>,
    /// The nodes have lived through more than this record knows: it was restored from a copy, or begun anew. Nobody is
    /// promoted before the primary has been heard.
    #[serde(default)]
    pub in_doubt: bool,
    /// Every node of a group carries the same system identifier.
    pub system_id: Option<u64>,
    pub nodes: BTreeMap<NodeId, NodeRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub id: NodeId,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub candidate_priority: u8,
    pub replication_quorum: bool,
    /// The keeper's session, and the number of its moves then, that the reported state is from; what is older is
    /// not listened to.
    pub session: u64,
    pub moves: u64,
    /// The state it reported last.
    pub reported: NodeState,
    pub position: Option<Position>,
    /// What it has promised last: in that epoch it receives nothing more.
    #[serde(default)]
    pub seal: Option<Seal>,
    /// The lease under which it is known to acknowledge alone, by its own report: it closes when that has ended.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// What it said last that it kept of WAL that is not on the lineage: told once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// The group is in doubt and this node has not told yet what it is.
    #[serde(default)]
    pub doubted: bool,
    /// What it said first when it was doubted: what it is told after that says nothing of what it was.
    #[serde(default)]
    pub word: Option<Word>,
    /// It is being dropped and nobody waits for its own keeper.
    #[serde(default)]
    pub forced: bool,
    pub assignment: Assignment,
}

/// The account of a node of which the monitor knew less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub epoch: Epoch,
    /// The last epoch in which it was given the role.
    #[serde(default)]
    pub led_in: Epoch,
    /// Under a lease: whoever was silent for as long may have been replaced without a vote of its members.
    #[serde(default)]
    pub leased: bool,
    /// The contract it was to lead under then, unless it was told since that another leads.
    pub contract: Option<Contract>,
}

/// Commits were possible without a standby, from this point of the log on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    pub epoch: Epoch,
    pub from: Option<Position>,
}

/// The role is on its way from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub kind: TransferKind,
    pub old: NodeId,
    /// Nobody yet: the votes are being sealed.
    pub candidate: Option<NodeId>,
    /// Start of the old primary's shutdown checkpoint, once it has stopped in order.
    pub drained: Option<Lsn>,
    /// From whom the candidate fetches the WAL it lacks, and up to where.
    #[serde(default)]
    pub fetch: Option<(NodeId, Lsn)>,
    /// Named by the operator: wins whatever its priority.
    #[serde(default)]
    pub preferred: Option<NodeId>,
    /// Candidates of this transfer that could not make it.
    #[serde(default)]
    pub passed_over: BTreeSet<NodeId>,
    /// Voters that came back while it went on without their votes, and for whom it began anew.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub asked_again: BTreeSet<NodeId>,
    /// Nodes on their way to maintenance whose votes were needed all the same; they go on afterwards.
    #[serde(default)]
    pub put_off: BTreeSet<NodeId>,
    /// Who takes the blame when a candidate opens although no proof says that it holds everything.
    #[serde(default)]
    pub waiver: Option<Waiver>,
    /// An operator gave up what the old primary holds while its keeper was heard: that it is there is no reason to wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gives_up_old: bool,
    #[serde(default)]
    pub afterwards: Afterwards,
}

/// Leave to promote without proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiver {
    /// An operator's recorded consent.
    Operator,
    /// The formation is `async`: a bounded loss is its choice.
    Policy,
}

/// What becomes of the old primary once the new one has been told to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    #[default]
    Rejoin,
    Maintenance,
    Drop,
}

impl Transfer {
    pub fn new(kind: TransferKind, old: NodeId, candidate: Option<NodeId>) -> Transfer {
        Transfer {
            kind,
            old,
            candidate,
            drained: None,
            fetch: None,
            preferred: None,
            passed_over: BTreeSet::new(),
            asked_again: BTreeSet::new(),
            put_off: BTreeSet::new(),
            waiver: None,
            gives_up_old: false,
            afterwards: Afterwards::Rejoin,
        }
    }

    /// How the old primary closes.
    pub fn closing(&self) -> NodeState {
        match self.afterwards {
            Afterwards::Maintenance => NodeState::PrepareMaintenance,
            Afterwards::Rejoin | Afterwards::Drop => NodeState::Draining,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    /// The old primary is alive and stops first.
    Switchover,
    /// The old primary is lost.
    Failover,
}

impl NodeRecord {
    /// A node as it registers.
    pub fn registered(id: NodeId, ask: &Register, assignment: Assignment) -> NodeRecord {
        NodeRecord {
            id,
            name: if ask.name.is_empty() { format!("node_{id}") } else { ask.name.clone() },
            host: ask.host.clone(),
            port: ask.port,
            candidate_priority: ask.candidate_priority,
            replication_quorum: ask.replication_quorum,
            session: 0,
            moves: 0,
            reported: NodeState::Init,
            position: None,
            seal: None,
            lease_ms: None,
            kept: None,
            doubted: false,
            word: None,
            forced: false,
            assignment,
        }
    }

    pub fn goal(&self) -> NodeState {
        self.assignment.goal
    }

    /// Reported and assigned agree on `state`.
    pub fn settled_in(&self, state: NodeState) -> bool {
        self.reported == state && self.goal() == state
    }
}

impl GroupRecord {
    pub fn new(key: GroupKey) -> GroupRecord {
        GroupRecord {
            key,
            epoch: Epoch::ZERO,
            in_force: InForce::default(),
            shown: None,
            next_contract: 1,
            degraded: None,
            transfer: None,
            reopening: None,
            accepted: None,
            history: None,
            last_timeline: 0,
            wal_floor: None,
            in_doubt: false,
            system_id: None,
            nodes: BTreeMap::new(),
        }
    }

    /// The node that holds the role, or held it last and is to give it up; while the role moves that
    /// is the old one until the candidate is told to open.
    pub fn primary(&self) -> Option<&NodeRecord> {
        let writable = self.nodes.values().find(|n| n.goal().is_writable());
        writable.or_else(|| self.transfer.as_ref().and_then(|t| self.nodes.get(&t.old)))
    }

    pub fn standbys(&self) -> impl Iterator<Item = &NodeRecord> {
        let primary = self.primary().map(|p| p.id);
        self.nodes.values().filter(move |n| Some(n.id) != primary && n.goal() != NodeState::Dropped)
    }

    /// How many nodes take part in the quorum, the primary among them.
    pub fn quorum(&self) -> usize {
        self.nodes.values().filter(|n| n.replication_quorum && n.goal() != NodeState::Dropped).count()
    }

    pub fn new_contract_id(&mut self) -> ContractId {
        let id = ContractId(self.next_contract);
        self.next_contract += 1;
        id
    }

    /// What the primary is to enforce at the moment.
    pub fn contract(&self) -> Option<&Contract> {
        self.in_force.latest()
    }
}
