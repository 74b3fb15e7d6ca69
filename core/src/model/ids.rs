//! Names of things: nodes, groups, epochs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of a node, given by the monitor at registration and never used again on that monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl NodeId {
    /// Stands for a node that nobody remembers; no node is given this number.
    pub const UNKNOWN: NodeId = NodeId(0);

    /// The `application_name` with which this node's WAL receiver presents itself, and the name of
    /// the replication slot kept for it. It is also what `synchronous_standby_names` lists.
    pub fn standby_name(self) -> String {
        format!("pgbaton_standby_{}", self.0)
    }

    /// The inverse of [`NodeId::standby_name`]; `None` for any other application.
    pub fn from_standby_name(name: &str) -> Option<NodeId> {
        name.strip_prefix("pgbaton_standby_")?.parse().ok().map(NodeId)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The monitor's fencing number of a group. Every decision about who may write raises it, a keeper
/// stores it before acting on it and refuses anything lower.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    pub const ZERO: Epoch = Epoch(0);

    pub fn next(self) -> Epoch {
        Epoch(self.0.checked_add(1).expect("an epoch never overflows"))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A replication group: one primary and its standbys, within a formation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    pub formation: String,
    pub group: u32,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.formation, self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standby_names_round_trip_and_foreign_names_do_not() {
        assert_eq!(NodeId::from_standby_name(&NodeId(10).standby_name()), Some(NodeId(10)));
        for foreign in ["", "psql", "pgbaton_standby_", "pgbaton_standby_x", "xpgbaton_standby_1"] {
            assert_eq!(NodeId::from_standby_name(foreign), None, "{foreign}");
        }
    }
}
