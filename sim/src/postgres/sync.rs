//! `synchronous_standby_names`: whether a commit may be acknowledged.

use super::host::SenderState;
use pgbaton_core::model::{Lsn, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// `ANY k (nodes)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncNames {
    k: usize,
    nodes: BTreeSet<NodeId>,
}

impl SyncNames {
    /// # Panics
    /// On what Postgres would refuse to load: pgbaton writes nothing but this form.
    pub fn read(text: &str) -> SyncNames {
        if text.is_empty() {
            return SyncNames::default();
        }
        let parts = text.strip_prefix("ANY ").and_then(|rest| rest.strip_suffix(')')?.split_once(" ("));
        let (k, names) = parts.unwrap_or_else(|| panic!("synchronous_standby_names can't be {text:?}"));
        SyncNames {
            k: k.parse().expect("ANY is followed by a number"),
            nodes: names.split(", ").filter_map(|n| NodeId::from_standby_name(n.trim_matches('"'))).collect(),
        }
    }

    /// How many must have flushed, and who counts.
    pub fn parts(&self) -> (usize, BTreeSet<NodeId>) {
        (self.k, self.nodes.clone())
    }

    /// Only standbys that stream count; one that still catches up doesn't, whatever it has flushed.
    pub fn satisfied(&self, lsn: Lsn, senders: &BTreeMap<u64, SenderState>) -> bool {
        if self.k == 0 {
            return true;
        }
        let flushed = senders.values().filter(|s| s.streaming && s.flushed >= lsn && self.nodes.contains(&s.node));
        flushed.map(|s| s.node).collect::<BTreeSet<_>>().len() >= self.k
    }
}
