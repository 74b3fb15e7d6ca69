//! Whether a commit may be acknowledged.

use super::names::{Method, Rule, parse};
use super::server::SenderState;
use pgbaton_core::model::{Lsn, NodeId};
use pgbaton_core::ports::Names;
use std::collections::{BTreeMap, BTreeSet};

/// `synchronous_commit`: how far a commit has to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncCommit {
    /// Not even flushed here.
    Off,
    Local,
    /// Handed to the standby's kernel: it survives the death of processes there, not a loss of power.
    RemoteWrite,
    On,
    RemoteApply,
}

/// `synchronous_standby_names` as the backends work under it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncNames(Option<Rule>);

impl SyncNames {
    pub fn read(text: &str) -> Result<SyncNames, String> {
        parse(text).map(SyncNames)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many nodes must have confirmed a commit at the least, and which of them count. Any other standby that is listed
    /// may stand for one of them.
    pub fn parts(&self) -> (usize, BTreeSet<NodeId>) {
        let Some(rule) = &self.0 else { return (0, BTreeSet::new()) };
        let is_other = |name: &&String| NodeId::from_standby_name(name).is_none() && *name != Names::NOBODY;
        let others = rule.names.iter().filter(is_other).count();
        let k = if rule.names.iter().any(|name| name == "*") { 0 } else { rule.count.saturating_sub(others) };
        (k, rule.names.iter().filter_map(|name| NodeId::from_standby_name(name)).collect())
    }

    /// The place of an application in the list, when it has one.
    pub fn rank(&self, application: &str) -> Option<usize> {
        let names = &self.0.as_ref()?.names;
        names.iter().position(|name| name == "*" || name.eq_ignore_ascii_case(application))
    }

    /// Only listed standbys that stream count; one that still catches up doesn't, whatever it has flushed. Each
    /// connection counts for itself, also of two with the same name.
    pub fn satisfied(&self, level: SyncCommit, lsn: Lsn, senders: &BTreeMap<u64, SenderState>) -> bool {
        let (Some(rule), true) = (&self.0, level >= SyncCommit::RemoteWrite) else {
            return true;
        };
        let has = |s: &SenderState| match level {
            SyncCommit::RemoteWrite => s.written >= lsn,
            SyncCommit::RemoteApply => s.applied >= lsn,
            _ => s.flushed >= lsn,
        };
        let streaming = senders.values().filter(|s| s.streaming && s.flushed > Lsn::ZERO);
        let candidates = streaming.filter_map(|s| Some((s.rank?, s)));
        match rule.method {
            Method::Any => candidates.filter(|(_, s)| has(s)).count() >= rule.count,
            Method::First => {
                let mut best: Vec<(usize, &SenderState)> = candidates.collect();
                best.sort_by_key(|(rank, _)| *rank);
                best.len() >= rule.count && best[..rule.count].iter().all(|(_, s)| has(s))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_the_group_must_confirm_at_the_least() {
        let parts = |text: &str| SyncNames::read(text).unwrap().parts();
        assert_eq!(parts(""), (0, [].into()));
        assert_eq!(parts("ANY 1 (pgbaton_standby_2, pgbaton_standby_3)"), (1, [NodeId(2), NodeId(3)].into()));
        assert_eq!(parts(&Names::of_nobody().0), (1, [].into()), "it waits for ever");
        assert_eq!(parts("ANY 2 (pgbaton_standby_2, pgbaton_standby_3, other)"), (1, [NodeId(2), NodeId(3)].into()));
        assert_eq!(parts("ANY 2 (*)"), (0, [].into()));
    }
}
