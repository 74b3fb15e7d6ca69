//! L7: a group that doesn't settle says why, in one of the ways the monitor knows, and the world agrees with it.

use super::convergence::settled;
use super::trace::{Answered, Fault, Kind, Trace};
use crate::model::NodeState;
use crate::monitor::stall::{NO_PRIORITY, OLDER};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    match settled(trace) {
        Ok(()) => Ok(()),
        Err(how) => reason(trace).map(|_| ()).map_err(|why| format!("{how}; {why}")),
    }
}

/// What the nodes were said to wait for at the end.
pub fn reasons(trace: &Trace) -> impl Iterator<Item = &str> {
    trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Ended { pending, .. } => pending.as_deref(),
        _ => None,
    })
}

/// The lawful reason for which the group waits; an error says why there is none.
pub fn reason(trace: &Trace) -> Result<&str, String> {
    let facts = Facts::of(trace);
    let mut refused = Vec::new();
    for text in reasons(trace) {
        match facts.agree_with(text) {
            Ok(()) => return Ok(text),
            Err(why) => refused.push(format!("\"{text}\": {why}")),
        }
    }
    Err(if refused.is_empty() { "no reason is published".into() } else { refused.join("; ") })
}

struct Facts<'a> {
    /// Members at the end, and whether their keeper runs, isn't frozen and has its data, as far as is known.
    runs: BTreeMap<&'a str, bool>,
    /// The monitor was given another store.
    knows_less: bool,
    /// Somebody has wanted a node that never leads.
    priority_zero: bool,
}

impl<'a> Facts<'a> {
    fn of(trace: &'a Trace) -> Facts<'a> {
        let mut facts = Facts { runs: BTreeMap::new(), knows_less: false, priority_zero: trace.terms.priority_zero };
        let mut frozen: BTreeSet<&str> = BTreeSet::new();
        let mut hurt: BTreeSet<&str> = BTreeSet::new();
        for event in &trace.events {
            match &event.kind {
                Kind::Fault { fault: Fault::Pause, nodes } => frozen.extend(nodes.iter().map(String::as_str)),
                Kind::Fault { fault: Fault::Mend, nodes } => nodes.iter().for_each(|n| {
                    frozen.remove(n.as_str());
                }),
                Kind::Fault { fault, nodes } => {
                    facts.knows_less |= *fault == Fault::MonitorStore;
                    // What a drawn story breaks it has mended, but for a history that a hand has made.
                    if *fault == Fault::Rogue || (*fault == Fault::Other && !trace.terms.drawn) {
                        hurt.extend(nodes.iter().map(String::as_str));
                    }
                }
                Kind::Told { order, answer: Answered::Accepted } => {
                    facts.priority_zero |= order.contains("candidate_priority: Some(0)");
                }
                // The group has it again.
                Kind::Node { node, reported, goal, .. }
                    if reported == goal && matches!(goal, NodeState::Secondary | NodeState::Primary) =>
                {
                    hurt.remove(node.as_str());
                }
                Kind::Ended { node, runs, .. } => {
                    let name = node.as_str();
                    facts.runs.insert(name, *runs && !frozen.contains(name) && !hurt.contains(name));
                }
                _ => {}
            }
        }
        facts
    }

    fn agree_with(&self, text: &str) -> Result<(), String> {
        let Some((kind, what)) = text.split_once(": ") else { return Err("it is none of the known reasons".into()) };
        let named: Vec<&str> = words(what).filter(|w| self.runs.contains_key(w)).collect();
        let is_down = |node: &&str| !self.runs[*node];
        match kind {
            "waits for the operator" if what.starts_with(OLDER) && self.knows_less => Ok(()),
            "waits for the operator" if what.starts_with(NO_PRIORITY) && self.priority_zero => Ok(()),
            "waits for the operator" => Err("nothing was done that only an operator could mend".into()),
            // Of those that are missing one may be enough.
            "waits for nodes" if named.iter().any(is_down) => Ok(()),
            "waits for nodes" if named.is_empty() && self.runs.keys().any(is_down) => Ok(()),
            "waits for nodes" => Err("it names no member that is down".into()),
            "waits for WAL" if named.iter().any(is_down) => Ok(()),
            "waits for WAL" => Err("it names no member that is down".into()),
            "commits wait" if self.runs.keys().any(is_down) => Ok(()),
            "commits wait" => Err("every member runs".into()),
            _ => Err("it is none of the known reasons".into()),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    fn ends(pending: Option<&str>, a_runs: bool, more: Vec<(u64, Kind)>) -> Result<(), String> {
        let a = Kind::Ended { node: "a".into(), reported: Primary, goal: Draining, pending: None, runs: a_runs };
        let end = [(9, a), (9, waiting("b", ReportLsn, ReportLsn, pending))];
        check(&trace(more.into_iter().chain(end).collect()))
    }

    #[test]
    fn a_reason_counts_only_when_the_world_agrees() {
        assert_eq!(ends(Some("waits for nodes: a"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for nodes: a"), true, vec![]).unwrap_err().contains("no member that is down"));
        assert_eq!(ends(Some("waits for nodes: one of a, b must come back"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for nodes: b"), false, vec![]).is_err());
        assert_eq!(ends(Some("waits for nodes: the primary tells"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for nodes: the primary tells"), true, vec![]).is_err());
        assert_eq!(ends(Some("waits for WAL: up to 0/10, held by a"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for WAL: up to 0/10, held by a"), true, vec![]).is_err());
        assert_eq!(ends(Some("commits wait: 0 of 1"), false, vec![]), Ok(()));
        assert!(ends(Some("commits wait: 0 of 1"), true, vec![]).is_err());
        assert!(ends(Some("thinks it over"), false, vec![]).is_err());
        assert!(ends(None, false, vec![]).unwrap_err().contains("no reason is published"));
    }

    #[test]
    fn an_operator_is_waited_for_only_where_something_needs_one() {
        let older = Some("waits for the operator: what the monitor knows is older than what they report");
        assert!(ends(older, true, vec![(1, fault(Fault::Machine, &["a"]))]).is_err());
        assert_eq!(ends(older, true, vec![(1, fault(Fault::MonitorStore, &[]))]), Ok(()));
        let nobody = Some("waits for the operator: every candidate priority is 0; perform promotion chooses one");
        assert!(ends(nobody, true, vec![(1, fault(Fault::MonitorStore, &[]))]).is_err());
        let order = "SetNode { change: NodeChange { candidate_priority: Some(0) } }";
        let told = |answer| vec![(1, Kind::Told { order: order.into(), answer })];
        assert_eq!(ends(nobody, true, told(Answered::Accepted)), Ok(()));
        assert!(ends(nobody, true, told(Answered::Refused { why: "no".into() })).is_err());
        assert!(ends(Some("waits for the operator: lineages differ"), true, told(Answered::Accepted)).is_err());
    }

    #[test]
    fn the_frozen_and_the_hurt_count_as_down_until_they_are_back() {
        let waits = |more| ends(Some("waits for nodes: a"), true, more);
        let frozen = || (1, fault(Fault::Pause, &["a"]));
        assert_eq!(waits(vec![frozen()]), Ok(()));
        assert!(waits(vec![frozen(), (2, fault(Fault::Mend, &["a"]))]).is_err());
        let hurt = || (1, fault(Fault::Rogue, &["a"]));
        assert_eq!(waits(vec![hurt(), (2, node("a", Catchingup, Secondary, 1))]), Ok(()));
        assert!(waits(vec![hurt(), (2, node("a", Secondary, Secondary, 1))]).is_err());
    }
}
