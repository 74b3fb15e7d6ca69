//! Rows of the display commands. Field names are those of pg_auto_failover's JSON.

use crate::model::{GroupKey, History, Lsn, NodeState, Position, Timeline};
use serde::{Deserialize, Serialize};

/// A row of `show state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRow {
    pub formation_kind: String,
    pub formation: String,
    pub nodename: String,
    pub nodehost: String,
    pub nodeport: u16,
    pub group_id: u32,
    pub node_id: u32,
    pub current_group_state: NodeState,
    pub assigned_group_state: NodeState,
    pub candidate_priority: u8,
    pub replication_quorum: bool,
    pub reported_tli: Timeline,
    pub reported_lsn: Lsn,
    /// 1: well, 0: lost or not answering, -1: not heard of since the monitor started.
    pub health: i8,
    /// Milliseconds since the last report; absent when none came since the monitor started.
    pub report_age_ms: Option<u64>,
    /// What the node or its group waits for, if anything.
    pub pending: Option<String>,
}

impl StateRow {
    pub fn key(&self) -> GroupKey {
        GroupKey { formation: self.formation.clone(), group: self.group_id }
    }
}

/// A row of `show events`; also one notification. That of a formation without nodes has 0 as its node, and states that
/// say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    pub eventid: u64,
    /// Milliseconds since 1970, UTC, on the monitor's wall clock.
    pub eventtime: u64,
    pub formationid: String,
    pub groupid: u32,
    pub nodeid: u32,
    pub nodename: String,
    pub nodehost: String,
    pub nodeport: u16,
    pub reportedstate: NodeState,
    pub goalstate: NodeState,
    pub reportedtli: Timeline,
    pub reportedlsn: Lsn,
    pub candidatepriority: u8,
    pub replicationquorum: bool,
    pub epoch: u64,
    /// The contracts that may be in force, oldest first.
    #[serde(default)]
    pub in_force: String,
    pub description: String,
    /// Number of the rule that fired; absent for reports and operator calls.
    pub rule_pos: Option<u16>,
    pub rule_section: Option<String>,
}

impl EventRow {
    /// Of a node, with what that is at the moment.
    pub fn is_of_a_node(&self) -> bool {
        self.nodeid > 0
    }

    pub fn key(&self) -> GroupKey {
        GroupKey { formation: self.formationid.clone(), group: self.groupid }
    }

    /// By every contract that may be in force after this event a commit waits for a standby.
    pub fn waits_for_standbys(&self) -> bool {
        !self.in_force.is_empty() && self.in_force.split("; ").all(|contract| contract != "none")
    }
}

/// A row of `show settings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRow {
    pub context: String,
    pub group_id: Option<u32>,
    pub node_id: Option<u32>,
    pub nodename: Option<String>,
    pub setting: String,
    pub value: String,
}

/// A row of `show uri`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UriRow {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub uri: String,
}

/// What `show timeline` shows of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timelines {
    /// The lineage every node is compared with; absent before a primary was opened.
    pub reference: Option<History>,
    pub nodes: Vec<NodeTimeline>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTimeline {
    pub node_id: u32,
    pub nodename: String,
    pub position: Option<Position>,
    pub history: Option<History>,
    /// Its WAL is part of the reference lineage; absent when it isn't known.
    pub on_lineage: Option<bool>,
}
