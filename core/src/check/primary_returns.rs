//! L1: soon after the last fault is gone one node is the primary, says so, and nobody else does; and clients that still
//! write are told again that their writes are kept. That a node is open is no proof of it. Where a closed primary waits
//! for a member that is copied, the time counts from the end of the copy: it lasts as long as there is data.

use super::stall;
use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that is down is judged lost after seconds, sealed and opened in one; a crash recovery may come on top.
const BOUND: Duration = Duration::from_secs(30);

/// For so long at most a client holds on to a write and then to a host that doesn't answer, and looks for another.
const SEEKS: Duration = Duration::from_secs(5);

pub fn check(trace: &Trace) -> Result<(), String> {
    // Those that are to lead, and those of them that do.
    let (mut chosen, mut primaries) = (BTreeSet::<&str>::new(), BTreeSet::<&str>::new());
    let mut without: Option<Moment> = None;
    let (mut healed, mut writes) = (false, Writes::default());
    for event in &trace.events {
        match &event.kind {
            Kind::Node { node, reported, goal, .. } => {
                put(&mut chosen, node, goal.is_writable());
                put(&mut primaries, node, goal.is_writable() && reported.is_writable());
            }
            Kind::Rebuilt { .. } => {
                if !chosen.is_empty() {
                    without = without.map(|_| event.at);
                }
                continue;
            }
            Kind::Healed => healed = true,
            kind => {
                writes.follow(event.at, kind);
                continue;
            }
        }
        let is_served = healed && primaries.len() == 1;
        if let Some(since) = without.filter(|since| is_served && event.at.since(*since) > BOUND) {
            return late(trace, since);
        }
        without = (healed && !is_served).then(|| without.unwrap_or(event.at));
        writes.served = is_served.then(|| writes.served.unwrap_or(event.at));
    }
    let end = trace.events.last().map_or(Moment(0), |e| e.at);
    if let Some(since) = without.filter(|since| end.since(*since) > BOUND) {
        return late(trace, since);
    }
    match writes.missed() {
        Some(since) if !trace.terms.sticky && stall::reason(trace).is_err() => Err(format!(
            "all is mended, there is one primary, and from {:.3} s on it acknowledged no write until the clients stopped",
            since.seconds()
        )),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Writes {
    /// Since when, with all mended, there is one primary.
    served: Option<Moment>,
    acked: Option<Moment>,
    stopped: Option<Moment>,
}

impl Writes {
    fn follow(&mut self, at: Moment, kind: &Kind) {
        match kind {
            Kind::Acked { warning: false, .. } => self.acked = Some(at),
            Kind::ClientsStopped => self.stopped = Some(at),
            _ => {}
        }
    }

    /// Since when clients that were served before waited in vain at the end.
    fn missed(&self) -> Option<Moment> {
        let since = self.served?.max(self.acked?);
        (self.stopped?.since(since) > SEEKS).then_some(since)
    }
}

fn put<'a>(set: &mut BTreeSet<&'a str>, node: &'a str, is_in: bool) {
    match is_in {
        true => set.insert(node),
        false => set.remove(node),
    };
}

fn late(trace: &Trace, since: Moment) -> Result<(), String> {
    // A group that waits for a lawful reason may have none.
    if stall::reason(trace).is_ok() {
        return Ok(());
    }
    Err(format!("from {:.3} s on there was no single primary for {BOUND:?}", since.seconds()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_primary_that_comes_late_or_never_is_found() {
        let comes = |at| {
            check(&trace(vec![
                (0, node("a", Primary, Draining, 1)),
                (1000, Kind::Healed),
                (at, node("b", WaitPrimary, WaitPrimary, 2)),
                (90_000, Kind::ClientsStopped),
            ]))
        };
        assert_eq!(comes(30_000), Ok(()));
        assert!(comes(32_000).is_err());
        let two = vec![
            (0, node("a", Primary, Primary, 1)),
            (0, node("b", Primary, Primary, 1)),
            (1, Kind::Healed),
            (40_000, Kind::ClientsStopped),
        ];
        assert!(check(&trace(two)).unwrap_err().contains("from 0.001 s on there was no single primary"));
    }

    #[test]
    fn a_closed_primary_waits_for_a_copy_as_long_as_it_lasts() {
        let run = |goal, copied| {
            let mut events = vec![
                (0, node("a", StopReplication, goal, 1)),
                (1000, Kind::Healed),
                (copied, Kind::Rebuilt { node: "b".into(), gone: [].into() }),
                (110_000, node("a", WaitPrimary, WaitPrimary, 1)),
                (120_000, Kind::ClientsStopped),
            ];
            events.sort_by_key(|(at, _)| *at);
            check(&trace(events))
        };
        assert_eq!(run(WaitPrimary, 100_000), Ok(()));
        assert!(run(WaitPrimary, 70_000).is_err(), "and then it isn't late");
        assert!(run(WaitPrimary, 115_000).is_err(), "what is copied later kept nobody waiting");
        assert!(run(StopReplication, 100_000).is_err(), "nobody was to lead");
    }

    #[test]
    fn a_primary_that_acknowledges_nothing_is_none_to_its_clients() {
        let run = |warning, more: Vec<(u64, Kind)>| {
            let mut last = acked(2, "a", 10_000);
            if let Kind::Acked { warning: with, .. } = &mut last {
                *with = warning;
            }
            let begin = [(0, node("a", Primary, Primary, 1)), (1, acked(1, "a", 0)), (9000, Kind::Healed)];
            let end = [(10_001, last), (15_001, Kind::ClientsStopped)];
            check(&trace(begin.into_iter().chain(end).chain(more).collect()))
        };
        assert_eq!(run(false, vec![]), Ok(()));
        assert!(run(true, vec![]).unwrap_err().contains("from 9.000 s on it acknowledged no write"));
        let mut held = trace(vec![(0, node("a", Primary, Primary, 1)), (1, acked(1, "a", 0)), (9000, Kind::Healed)]);
        held.push(Moment(90_000_000), Kind::ClientsStopped);
        assert!(check(&held).is_err());
        held.terms.sticky = true;
        assert_eq!(check(&held), Ok(()), "its client may hold on to a session that is dead");
        let wait = "commits wait: on a any 1 of b must acknowledge and the formation is strict";
        let down = Kind::Ended { node: "b".into(), reported: Secondary, goal: Secondary, pending: None, runs: false };
        let waits = vec![(16_000, waiting("a", Primary, Primary, Some(wait))), (16_000, down)];
        assert_eq!(run(true, waits), Ok(()), "it waits for b");
        let opened_late = vec![(15_000, node("a", Primary, Primary, 1))];
        assert!(run(true, opened_late).is_err(), "it was the primary before");
    }
}
