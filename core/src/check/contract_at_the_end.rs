//! L2, S9: a primary that has come to rest asks its standbys for every commit again, unless the formation is to lose some:
//! nothing on record lets it acknowledge alone, its server waits for those of one contract and nobody else, and the newest
//! contract asks for as much as the formation's settings do, of everybody who could acknowledge.

use super::contracts::{self, Demand};
use super::orders;
use super::roles::is_reset;
use super::trace::{Answered, Kind, Trace};
use crate::model::{Moment, NodeId, NodeState};
use crate::monitor::commands::NUMBER_BECOMES;
use crate::scenario::expect::AFTERMATH;
use std::collections::BTreeMap;

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
    if let Some(newest) = contracts.last().filter(|_| !is_rising) {
        demands_enough(trace, newest)
            .map_err(|how| format!("{primary} ends as primary under \"{recorded}\": {how}"))?;
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

/// Whoever follows at the end, well, and takes part in the quorum is a member; and of members, as many must acknowledge as
/// the settings say, or all of those when they are fewer. Members that are away may be asked as well.
fn demands_enough(trace: &Trace, newest: &Demand) -> Result<(), String> {
    let Some(asked) = asked(trace) else { return Ok(()) };
    let able = able(trace);
    if let Some((name, _)) = able.iter().find(|(_, id)| !newest.members.contains(id)) {
        return Err(format!("{name} follows, takes part in the quorum, and isn't asked"));
    }
    let least = asked.min(able.len());
    if !(least..=asked).contains(&newest.k) {
        return Err(format!("the settings ask for {asked}, and {} could acknowledge", able.len()));
    }
    Ok(())
}

/// How many standbys are to acknowledge, by the scenario, by the orders that were accepted, and as the monitor tells of
/// nodes that join or are dropped; unless another store may know other settings, or nobody knows whether an order was heard.
fn asked(trace: &Trace) -> Option<usize> {
    let mut asked = Some(trace.terms.acknowledgements).filter(|k| *k > 0)?;
    for event in &trace.events {
        match &event.kind {
            kind if is_reset(kind) => return None,
            Kind::Node { description, .. } => {
                let Some((_, rest)) = description.split_once(NUMBER_BECOMES) else { continue };
                let number = rest.split(|c: char| !c.is_ascii_digit()).next()?;
                asked = number.parse::<u32>().ok()?.max(1);
            }
            Kind::Told { order, answer } => match (ordered(order, "number_sync_standbys"), answer) {
                (Some(number), Answered::Accepted) => asked = number.parse::<u32>().ok()?.max(1),
                (Some(_), Answered::Lost { .. }) => return None,
                _ => {}
            },
            _ => {}
        }
    }
    Some(asked as usize)
}

/// Those that surely could acknowledge at the end.
fn able(trace: &Trace) -> BTreeMap<&str, NodeId> {
    let mut able = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Node { node, id, .. } => _ = ids.insert(node.as_str(), *id),
            Kind::Ended { node, reported: NodeState::Secondary, goal: NodeState::Secondary, runs: true, .. }
                if trace.terms.must_settle(node) && !trace.terms.not_asked.contains(node) =>
            {
                able.extend(ids.get(node.as_str()).map(|id| (node.as_str(), *id)));
            }
            _ => {}
        }
    }
    for event in &trace.events {
        match &event.kind {
            // Once taken out it may be so still.
            Kind::Told { order, answer: Answered::Accepted | Answered::Lost { .. } }
                if ordered(order, "replication_quorum") == Some("false") =>
            {
                able.retain(|node, _| !orders::names(order, node));
            }
            _ => {}
        }
    }
    able
}

/// What an order sets this to, if it does.
fn ordered<'a>(order: &'a str, what: &str) -> Option<&'a str> {
    let (_, rest) = order.split_once(&format!("{what}: Some("))?;
    rest.split_once(')').map(|(value, _)| value)
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

/// By the scenario, or by the last order that was accepted; another store may know it as it was at any time before.
fn is_asynchronous(trace: &Trace) -> bool {
    let (mut is, mut ever) = (trace.terms.may_lose, trace.terms.may_lose);
    for event in &trace.events {
        match &event.kind {
            kind if is_reset(kind) => is = ever,
            Kind::Told { order, answer: Answered::Accepted } => {
                is = ordered(order, "durability").map_or(is, |name| name == "Async");
                ever |= is;
            }
            _ => {}
        }
    }
    is
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
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

    /// A group of which two are asked, whose b, c and d have the roles they report at the end.
    fn asks(in_force: &str, ends: [NodeState; 3], more: Vec<(u64, Kind)>) -> Result<(), String> {
        let standbys = || ["b", "c", "d"].into_iter().zip(ends);
        let rows = standbys().map(|(name, state)| (0, under(name, state, state, 1, in_force)));
        let end = standbys().map(|(name, state)| (10_009, ended(name, state, state)));
        let primary =
            [(0, under("a", Primary, Primary, 1, in_force)), (10_009, ended("a", Primary, Primary))].into_iter();
        let mut run = trace(rows.chain(primary).chain(end).chain(more).collect());
        run.sort();
        (run.terms.acknowledgements, run.terms.not_asked) = (2, ["d".to_string()].into());
        check(&run)
    }

    #[test]
    fn the_newest_contract_asks_for_as_much_as_the_settings_do() {
        let all = [Secondary; 3];
        assert_eq!(asks("any 2 of (2, 3)", all, vec![]), Ok(()));
        assert!(asks("any 1 of (2, 3)", all, vec![]).unwrap_err().contains("ask for 2, and 2 could acknowledge"));
        assert!(asks("any 3 of (2, 3, 4)", all, vec![]).is_err(), "more than is asked for");
        assert!(asks("any 1 of (2)", all, vec![]).unwrap_err().contains("c follows"));
        assert!(asks("any 2 of (2, 4)", all, vec![]).is_err());
        let two_are_left = [Secondary, Maintenance, Secondary];
        assert_eq!(asks("any 1 of (2)", two_are_left, vec![]), Ok(()));
        assert_eq!(asks("any 2 of (2, 3)", two_are_left, vec![]), Ok(()), "commits may wait for one that is away");
        let replaced = vec![(1, fault(Fault::MonitorStore, &[]))];
        assert_eq!(asks("any 1 of (2, 3)", all, replaced), Ok(()), "it may know of other settings");
    }

    #[test]
    fn orders_change_what_is_asked_for() {
        let told = |what: &str, answer| vec![(5, Kind::Told { order: format!("Set.. {what} }}"), answer })];
        let set = |what, in_force| asks(in_force, [Secondary; 3], told(what, Answered::Accepted));
        assert_eq!(set("number_sync_standbys: Some(0)", "any 1 of (2, 3)"), Ok(()));
        assert!(set("number_sync_standbys: Some(0)", "any 2 of (2, 3)").is_err());
        let dropped =
            saying(format!("e is dropped; {NUMBER_BECOMES}1"), under("e", Secondary, Dropped, 1, "any 1 of (2, 3)"));
        assert_eq!(asks("any 1 of (2, 3)", [Secondary; 3], vec![(0, dropped)]), Ok(()));
        let out = "name: \"c\", replication_quorum: Some(false)";
        assert_eq!(set(out, "any 1 of (2)"), Ok(()));
        assert!(set(&out.replace("false", "true"), "any 1 of (2)").is_err());
        let lost = || Answered::Lost { why: "silent".into() };
        for what in ["number_sync_standbys: Some(1)", out] {
            assert_eq!(
                asks("any 1 of (2)", [Secondary; 3], told(what, lost())),
                Ok(()),
                "it may have been heard: {what}"
            );
        }
        assert_eq!(asks("any 2 of (2, 3)", [Secondary; 3], told(out, lost())), Ok(()), "or not");
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

    #[test]
    fn another_store_may_know_the_formation_as_asynchronous() {
        let set = |at, durability: &str| {
            let order = format!("SetFormation {{ change: FormationChange {{ durability: Some({durability}) }} }}");
            (at, Kind::Told { order, answer: Answered::Accepted })
        };
        let restored = || (7, fault(Fault::MonitorStore, &[]));
        let alone = |more| ends("none", &[], more);
        assert_eq!(alone(vec![set(5, "Async"), set(6, "Strict"), restored()]), Ok(()));
        assert!(alone(vec![set(5, "Async"), set(6, "Strict")]).is_err());
        assert!(alone(vec![set(6, "Strict"), restored()]).is_err(), "it never was");
        assert!(alone(vec![set(5, "Async"), restored(), set(8, "Strict")]).is_err(), "it was told since");
    }
}
