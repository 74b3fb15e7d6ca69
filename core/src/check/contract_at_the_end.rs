//! L2, S9: a primary that has come to rest asks its standbys for every commit again, unless the formation is to lose some:
//! nothing on record lets it acknowledge alone, and its server waits for those of one contract and nobody else.

use super::contracts;
use super::trace::{Answered, Kind, Trace};
use crate::model::{Moment, NodeState};
use crate::scenario::expect::AFTERMATH;

pub fn check(trace: &Trace) -> Result<(), String> {
    if is_asynchronous(trace) {
        return Ok(());
    }
    let at_rest = |kind: &Kind| {
        matches!(kind, Kind::Ended { node, reported: NodeState::Primary, goal: NodeState::Primary, runs: true, .. }
            if trace.terms.must_settle(node))
    };
    let mut ends = trace.events.iter().filter(|e| at_rest(&e.kind));
    let (Some((Kind::Ended { node: primary, .. }, ended)), None) = (ends.next().map(|e| (&e.kind, e.at)), ends.next())
    else {
        return Ok(());
    };
    let (recorded, since) = recorded_last(trace).unwrap_or(("", Moment::ZERO));
    let contracts = contracts::read(recorded)?;
    // A story may end while the newest of them is confirmed.
    let is_rising = contracts.len() > 1 && ended.since(since) < AFTERMATH;
    if contracts.iter().any(|c| c.k == 0) && !is_rising {
        return Err(format!("{primary} ends as primary, and may acknowledge alone by \"{recorded}\""));
    }
    let names = trace.events.iter().find_map(|e| match &e.kind {
        Kind::Configured { node, names, .. } if node == primary => Some(names),
        _ => None,
    });
    // While one replaces another the server may be under either.
    match names.filter(|names| !contracts.iter().any(|contract| contract.members == **names)) {
        Some(names) => Err(format!("{primary} ends as primary and waits for {names:?}, on record is \"{recorded}\"")),
        None => Ok(()),
    }
}

/// The contracts that were on record last, and since when.
fn recorded_last(trace: &Trace) -> Option<(&str, Moment)> {
    let mut newest: Option<(&str, Moment)> = None;
    for event in &trace.events {
        if let Kind::Node { in_force, .. } = &event.kind
            && newest.is_none_or(|(known, _)| known != in_force)
        {
            newest = Some((in_force, event.at));
        }
    }
    newest
}

/// By the scenario, or by the last order that was accepted.
fn is_asynchronous(trace: &Trace) -> bool {
    let ordered = trace.events.iter().rev().find_map(|e| match &e.kind {
        Kind::Told { order, answer: Answered::Accepted } => order.split_once("durability: Some(").map(|(_, name)| name),
        _ => None,
    });
    ordered.map_or(trace.terms.may_lose, |name| name.starts_with("Async"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::Lsn;
    use crate::model::NodeState::*;

    fn ends(in_force: &str, names: &[&str], more: Vec<(u64, Kind)>) -> Result<(), String> {
        let configured = Kind::Configured {
            node: "a".into(),
            id: id("a"),
            system_id: 7,
            names: names.iter().map(|n| id(n)).collect(),
            slots: [].into(),
            follows: None,
            keeps_from: None,
            end: Lsn::ZERO,
        };
        let run = [(0, under("a", Primary, Primary, 1, in_force))].into_iter().chain(more);
        check(&trace(run.chain([(10_009, configured), (10_009, ended("a", Primary, Primary))]).collect()))
    }

    #[test]
    fn a_primary_at_rest_may_not_acknowledge_alone_and_waits_for_its_members() {
        assert_eq!(ends("any 1 of (2)", &["b"], vec![]), Ok(()));
        assert!(ends("none", &[], vec![]).unwrap_err().contains("may acknowledge alone"));
        assert!(ends("none; any 1 of (2)", &["b"], vec![]).is_err());
        assert!(ends("any 1 of (2, 3)", &["b"], vec![]).unwrap_err().contains("waits for"));
        assert!(ends("any 1 of (2)", &["b", "c"], vec![]).is_err());
        assert_eq!(ends("any 1 of (2); any 1 of (2, 3)", &["b"], vec![]), Ok(()), "it is being told");
        assert!(ends("any 1 of (2); any 1 of (2, 3)", &["c"], vec![]).unwrap_err().contains("waits for"));
        let lately = |in_force: &str| vec![(9_000, under("a", Primary, Primary, 1, in_force))];
        assert_eq!(ends("none", &["b"], lately("none; any 1 of (2)")), Ok(()), "it is being confirmed");
        assert!(ends("none", &["c"], lately("none; any 1 of (2)")).unwrap_err().contains("waits for"));
        assert!(ends("none", &["b"], lately("none")).is_err());
    }

    #[test]
    fn one_that_is_to_lose_commits_may_and_one_that_is_not_at_rest_is_not_judged() {
        let order = |durability: &str| {
            let order = format!("SetFormation {{ change: FormationChange {{ durability: Some({durability}) }} }}");
            (2, Kind::Told { order, answer: Answered::Accepted })
        };
        assert_eq!(ends("none", &[], vec![order("Async")]), Ok(()));
        assert!(ends("none", &[], vec![order("Async"), order("Strict")]).is_err());
        let under_way = vec![
            (0, under("a", WaitPrimary, WaitPrimary, 1, "none")),
            (9, ended("a", WaitPrimary, WaitPrimary)),
            (9, ended("b", Secondary, Secondary)),
        ];
        assert_eq!(check(&trace(under_way)), Ok(()));
    }
}
