//! L2: at the end one node is primary (or alone and single), the others are secondary, and nobody is on
//! its way elsewhere; or the group waits, for a lawful reason, where the story wants that. Whom the reason doesn't concern
//! has no excuse.

use super::roles::is_reset;
use super::stall::{self, Excuse};
use super::trace::{Kind, Terms, Trace};
use crate::model::NodeState;
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let Some(text) = &trace.terms.stalled else {
        // A lawful wait is an end as well; whether the story wanted one is for its player to say.
        return settled(trace).or_else(|how| excused(trace, how));
    };
    if settled(trace).is_ok() {
        return Err(format!("it settled, and was to wait with \"{text}\""));
    }
    let reasons: Vec<&str> = stall::reasons(trace).collect();
    match reasons.iter().any(|r| r.contains(text.as_str())) {
        true => Ok(()),
        false => Err(format!("it was to wait with \"{text}\", and says {reasons:?}")),
    }
}

/// Everybody follows whom no lawful reason keeps from it, or is in the operator's hands.
fn excused(trace: &Trace, how: String) -> Result<(), String> {
    let excuse = Excuse::of(trace);
    if excuse.is_none() || vanished(trace).is_some_and(|node| !excuse.covers(node)) {
        return Err(how);
    }
    let is_at_rest = |reported: NodeState, goal: NodeState| {
        reported == goal && matches!(goal, NodeState::Secondary | NodeState::Maintenance)
    };
    let left = trace.events.iter().find_map(|e| match &e.kind {
        Kind::Ended { node, reported, goal, .. }
            if trace.terms.must_settle(node) && !excuse.covers(node) && !is_at_rest(*reported, *goal) =>
        {
            Some(format!("{node} is {reported} and to be {goal}, which has nothing to do with why commits wait"))
        }
        _ => None,
    });
    left.map_or(Ok(()), Err)
}

/// How the group is not settled, if it isn't.
pub fn settled(trace: &Trace) -> Result<(), String> {
    if let Some(node) = vanished(trace) {
        return Err(format!("{node} was a member, nobody dropped it, and it isn't one at the end"));
    }
    let ends = trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Ended { node, reported, goal, .. } => Some((node.as_str(), *reported, *goal)),
        _ => None,
    });
    are_settled(ends, &trace.terms)
}

/// A member of the group, by what this monitor has decided of it, that it knows no more.
fn vanished(trace: &Trace) -> Option<&str> {
    let mut members: BTreeMap<&str, bool> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            kind if is_reset(kind) => members.clear(),
            Kind::Node { node, goal, .. } => _ = members.insert(node, *goal != NodeState::Dropped),
            Kind::Ended { node, .. } => _ = members.remove(node.as_str()),
            _ => {}
        }
    }
    members.into_iter().find(|(node, is_member)| *is_member && trace.terms.must_settle(node)).map(|(node, _)| node)
}

/// The same of every node with what it reports and what it is to be.
pub fn are_settled<'a>(
    all: impl Iterator<Item = (&'a str, NodeState, NodeState)>,
    terms: &Terms,
) -> Result<(), String> {
    let (ends, others): (Vec<_>, Vec<_>) = all.partition(|(node, ..)| terms.must_settle(node));
    if let Some((node, reported, goal)) = ends.iter().find(|(_, reported, goal)| reported != goal) {
        return Err(format!("{node} is {reported} and to be {goal}"));
    }
    // With nobody to follow it, a primary is alone, for good or until those that are away come back.
    let holds = |state: NodeState| match state {
        NodeState::Single => ends.len() == 1 && others.is_empty(),
        NodeState::WaitPrimary => (terms.alone || ends.len() == 1) && !others.is_empty(),
        other => other == NodeState::Primary,
    };
    let primaries = ends.iter().filter(|(_, state, _)| holds(*state)).count();
    let secondaries = ends.iter().filter(|(_, state, _)| *state == NodeState::Secondary).count();
    if primaries == 1 && secondaries + 1 == ends.len() {
        return Ok(());
    }
    let list: Vec<String> = ends.iter().map(|(node, state, _)| format!("{node} is {state}")).collect();
    Err(if list.is_empty() { "nobody told how it ended".into() } else { list.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn only_one_primary_with_secondaries_is_settled() {
        let end = |a, b| check(&trace(vec![(0, ended("a", a, a)), (0, ended("b", b, b))]));
        assert_eq!(end(Primary, Secondary), Ok(()));
        for (a, b) in [
            (Single, Secondary),
            (WaitPrimary, Secondary),
            (Primary, Catchingup),
            (Primary, Primary),
            (Secondary, Secondary),
        ] {
            assert!(end(a, b).is_err(), "{a} {b}");
        }
        assert!(
            check(&trace(vec![(0, ended("a", Primary, Primary)), (0, ended("b", Catchingup, Secondary))])).is_err()
        );
        assert!(check(&trace(vec![])).is_err());
    }

    #[test]
    fn a_member_that_is_gone_at_the_end_was_dropped_or_is_missed() {
        let ends = |rows: Vec<Kind>| {
            let rows = rows.into_iter().map(|row| (0, row));
            let end = [(9, ended("a", Primary, Primary)), (9, ended("b", Secondary, Secondary))];
            check(&trace(rows.chain(end).collect()))
        };
        let c = |goal| node("c", Secondary, goal, 1);
        assert_eq!(ends(vec![node("a", Primary, Primary, 1)]), Ok(()));
        assert!(ends(vec![c(Secondary)]).unwrap_err().contains("c was a member"));
        assert_eq!(ends(vec![c(Secondary), c(Dropped)]), Ok(()));
        let replaced = fault(super::super::trace::Fault::MonitorStore, &[]);
        assert_eq!(ends(vec![c(Secondary), replaced]), Ok(()), "it has not registered with the new one");
    }

    #[test]
    fn commits_that_wait_excuse_nobody_they_do_not_wait_for() {
        let ends = |c: NodeState, goal: NodeState| {
            let wait = "commits wait: on a any 1 of b must acknowledge and the formation is strict";
            let b = Kind::Ended { node: "b".into(), reported: Secondary, goal: Catchingup, pending: None, runs: false };
            check(&trace(vec![(0, waiting("a", Primary, Primary, Some(wait))), (0, b), (0, ended("c", c, goal))]))
        };
        assert_eq!(ends(Secondary, Secondary), Ok(()));
        assert_eq!(ends(Maintenance, Maintenance), Ok(()));
        for (c, goal) in [(Catchingup, Secondary), (Catchingup, Catchingup), (Primary, Primary)] {
            assert!(ends(c, goal).unwrap_err().starts_with(&format!("c is {c} and to be {goal}, which has nothing")));
        }
    }

    #[test]
    fn a_story_that_is_to_stall_must_stall_with_its_reason() {
        let stalled = |events| {
            let terms = Terms { stalled: Some("waits for nodes: a".into()), ..Terms::default() };
            check(&Trace { terms, ..trace(events) })
        };
        let b = |pending| (0, waiting("b", ReportLsn, ReportLsn, pending));
        assert_eq!(stalled(vec![b(Some("waits for nodes: a"))]), Ok(()));
        assert!(stalled(vec![b(Some("waits for nodes: c"))]).is_err());
        assert!(stalled(vec![b(None)]).is_err());
        let settled = vec![(0, ended("a", Primary, Primary)), (0, ended("b", Secondary, Secondary))];
        assert!(stalled(settled).unwrap_err().contains("it settled"));
    }
}
