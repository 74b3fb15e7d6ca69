//! L7 while the story lasts: who looks at the group during a long outage of writes is told what it waits for.

use super::outage::{Gap, gaps};
use super::roles::Role;
use super::trace::{Fault, Kind, Trace};
use crate::model::Moment;
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Silence takes its timeout before anybody can know of it; a move of the role takes the rest.
const PATIENCE: Duration = Duration::from_secs(15);

/// A client that hangs on a server that has closed gives its write up after so long at the latest.
const LEAVES: Duration = Duration::from_secs(5);

/// What a monitor has said comes so long after its death at the latest.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub fn check(trace: &Trace) -> Result<(), String> {
    let has_a_reason =
        |gap: &Gap| is_excused(trace, gap) || is_told(trace, gap) || gap.length() - misled(trace, gap) <= PATIENCE;
    match gaps(trace, PATIENCE).into_iter().find(|gap| !has_a_reason(gap)) {
        Some(gap) => Err(format!(
            "writes were out for {:.3} s from {:.3} s on, and no node was shown to wait for anything",
            gap.length().as_secs_f64(),
            gap.from.seconds()
        )),
        None => Ok(()),
    }
}

/// The monitor couldn't know: it was down or cut off itself, or what was done is seen by clients only. What lasts begins long
/// before.
fn is_excused(trace: &Trace, gap: &Gap) -> bool {
    let mut blind: BTreeMap<&str, Moment> = BTreeMap::new();
    let mut text = "";
    for event in trace.events.iter().take_while(|e| e.at <= gap.to) {
        match &event.kind {
            Kind::Step { text: t } => text = t,
            Kind::Fault { fault: Fault::Monitor | Fault::MonitorStore, .. } => {
                let comes = [words::START_MONITOR, words::SAVE_MONITOR].iter().any(|comes| text.starts_with(comes));
                let last_words = if comes { Duration::ZERO } else { LAST_WORDS };
                blind.insert("monitor", event.at + last_words);
            }
            Kind::Fault { fault: Fault::Other | Fault::Rogue, .. } => return true,
            Kind::Fault { fault: Fault::Link, nodes } if nodes.iter().any(|n| n == "monitor" || n == "clients") => {
                blind.insert("link", gap.to);
            }
            Kind::Fault { fault: Fault::Mend, nodes } if nodes.is_empty() && event.at < gap.from => {
                blind.remove("link");
            }
            // It is there, and shows what it knows.
            Kind::Shown { .. } if event.at < gap.from => blind.retain(|_, until| event.at <= *until),
            _ => {}
        }
    }
    !blind.is_empty()
}

/// For how long of the gap a new primary was open beside the old one, which answers clients first: the group waits for
/// nothing, they have yet to find out that nothing is acknowledged there. That one closes by itself, and whoever has found the
/// new one stays there.
fn misled(trace: &Trace, gap: &Gap) -> Duration {
    let (mut role, mut open): (Role, BTreeSet<&str>) = (Role::default(), BTreeSet::new());
    let (mut both_since, mut sum): (Option<Moment>, _) = (None, Duration::ZERO);
    let mut found: Option<&str> = None;
    let lasts = |since: Moment, until: Moment| {
        let within = |at: Moment| at.max(gap.from).min(gap.to);
        within(until.min(since + trace.terms.closes_alone + LEAVES)).since(within(since))
    };
    for event in trace.events.iter().take_while(|e| e.at <= gap.to) {
        role.follow(event.at, &event.kind);
        match &event.kind {
            Kind::Opened { node, .. } => _ = open.insert(node),
            Kind::Closed { node } => _ = open.remove(node.as_str()),
            Kind::Acked { node, warning: false, .. } => found = Some(node),
            _ => {}
        }
        let is_open = role.holder.is_some_and(|holder| open.contains(holder) && found != Some(holder));
        let both = is_open && open.len() > 1;
        both_since = match both_since {
            Some(since) if !both => {
                sum += lasts(since, event.at);
                None
            }
            since => since.or(both.then_some(event.at)),
        };
    }
    sum + both_since.map_or(Duration::ZERO, |since| lasts(since, gap.to))
}

/// A reason was on show at some moment of the gap.
fn is_told(trace: &Trace, gap: &Gap) -> bool {
    let mut shown: BTreeMap<&str, bool> = BTreeMap::new();
    let mut told = false;
    let mut look = |at: Moment, shown: &BTreeMap<&str, bool>| {
        told |= at >= gap.from && at <= gap.to && shown.values().any(|waits| *waits);
    };
    for event in trace.events.iter().take_while(|e| e.at <= gap.to) {
        let Kind::Shown { node, pending, .. } = &event.kind else { continue };
        // What was on show until now, and was so within the gap.
        look(event.at, &shown);
        let waits = pending.as_ref().is_some_and(|p| p.starts_with("waits for") || p.starts_with("commits wait"));
        shown.insert(node, waits);
        look(event.at, &shown);
    }
    look(gap.to, &shown);
    told
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Position;

    fn shown(pending: Option<&str>) -> Kind {
        let pending = pending.map(str::to_string);
        Kind::Shown { node: "a".into(), position: Position::new(1, 100), health: 1, pending }
    }

    fn out(between: Vec<(u64, Kind)>) -> Trace {
        let ends = [(1000, acked(1, "a", 999)), (20_000, acked(2, "a", 1001))];
        let mut trace = trace(ends.into_iter().chain(between).collect());
        trace.sort();
        trace
    }

    #[test]
    fn a_long_outage_has_a_reason_on_show() {
        let reason = || shown(Some("waits for nodes: b"));
        assert!(check(&out(vec![])).unwrap_err().contains("from 1.000 s on"));
        assert!(check(&out(vec![(2000, shown(Some("on its way from a to b")))])).is_err());
        assert_eq!(check(&out(vec![(9000, reason())])), Ok(()));
        assert_eq!(check(&out(vec![(500, reason())])), Ok(()), "it was on show all the time");
        assert!(check(&out(vec![(500, reason()), (800, shown(None))])).is_err(), "of another outage");
        assert!(check(&out(vec![(25_000, reason())])).is_err());
    }

    #[test]
    fn clients_that_hang_on_the_old_primary_wait_for_nothing_that_the_group_could_tell() {
        let run = |from: u64, to: u64, closes_alone: u64| {
            let begun = [(90, node("a", Primary, Primary, 1)), (100, opened("a", 1)), (to, closed("a"))];
            let moved = [(from - 10, node("b", StopReplication, WaitPrimary, 2)), (from, opened("b", 2))];
            let mut trace = out(begun.into_iter().chain(moved).collect());
            trace.terms.closes_alone = Duration::from_secs(closes_alone);
            trace
        };
        let side_by_side = |from, to| check(&run(from, to, 20));
        assert_eq!(side_by_side(4000, 19_000), Ok(()));
        assert!(side_by_side(4000, 7000).is_err(), "the old one was closed for long");
        assert!(side_by_side(17_000, 19_000).is_err(), "the new one wasn't there for long");
        assert!(side_by_side(500, 900).is_err(), "before it");
        // Whoever closes is closed by then.
        assert_eq!(check(&run(2000, 30_000, 0)), Ok(()));
        let mut late = run(2000, 60_000, 0);
        late.events.iter_mut().find(|e| matches!(e.kind, Kind::Acked { id: 2, .. })).unwrap().at = Moment(40_000_000);
        late.sort();
        assert!(check(&late).is_err());
        let mut back = run(500, 30_000, 20);
        let rogue = back.events.iter_mut().find(|e| matches!(&e.kind, Kind::Node { node, .. } if node == "b")).unwrap();
        rogue.kind = opened("c", 3);
        assert!(check(&back).is_err(), "the primary is the one that it was, and clients had found it");
    }

    #[test]
    fn what_the_monitor_cannot_know_is_excused() {
        let with = |kind, nodes: &[&str]| check(&out(vec![(500, fault(kind, nodes))]));
        assert_eq!(with(Fault::Monitor, &[]), Ok(()));
        let shows = |at: u64| {
            let acks = [(3000, acked(1, "a", 2999)), (30_000, acked(2, "a", 3001))];
            let told = [(500, fault(Fault::Monitor, &[])), (at, shown(None))];
            check(&trace(told.into_iter().chain(acks).collect()))
        };
        assert!(shows(1600).is_err(), "it is there again");
        assert_eq!(shows(520), Ok(()), "its last words");
        assert_eq!(with(Fault::Link, &["clients", "a"]), Ok(()));
        let mended = vec![(500, fault(Fault::Link, &["clients", "a"])), (800, fault(Fault::Mend, &[]))];
        assert!(check(&out(mended)).is_err());
        assert!(with(Fault::Link, &["a", "b"]).is_err());
        assert!(with(Fault::Machine, &["a"]).is_err());
    }
}
