//! S14: what the group keeps and repeats is bounded: slots at the end and the WAL they keep, the rows of the event log in
//! any minute, and in any ten seconds the steps that a keeper tries in vain.

use super::trace::{Event, Kind, Trace};
use super::unfenced::Frozen;
use crate::model::wal::SEGMENT;
use crate::model::{Lsn, Moment};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
/// Rows per node in a window, without any cause. A node that fails, comes back and catches up leaves about fifteen.
const ROWS_MAX: usize = 120;
/// Rows more per node for each fault and order in it.
const ROWS_PER_CAUSE: usize = 15;

/// Slots may keep so much at the end beyond what every member holds: they are moved in steps of a segment, and what was
/// written last is on its way.
const KEPT_MAX: u64 = 4 * SEGMENT;

const TRIES_WINDOW: Duration = Duration::from_secs(10);
/// More for each fault and order than the pauses between them allow.
const TRIES_PER_CAUSE: usize = 3;

pub fn check(trace: &Trace) -> Result<(), String> {
    let nodes = trace.nodes.len().max(1);
    let (mut rows, mut causes) = (Recent::over(WINDOW), Recent::over(WINDOW));
    let mut tries = Tries::pausing(trace.terms.step_pause);
    for event in &trace.events {
        tries.follow(event)?;
        match &event.kind {
            Kind::Node { .. } => {
                let count = rows.and(event.at);
                if count > nodes * (ROWS_MAX + ROWS_PER_CAUSE * causes.until(event.at)) {
                    return Err(format!("{count} events in the minute before {:.3} s", event.at.seconds()));
                }
            }
            Kind::Fault { .. } => {
                causes.and(event.at);
            }
            Kind::Configured { node, slots, .. } if slots.len() >= nodes => {
                return Err(format!("{node} keeps {} slots in a group of {nodes}", slots.len()));
            }
            _ => {}
        }
    }
    wal_kept(trace)
}

/// A slot keeps what somebody may still ask for. When all members are at rest and hold as much, that is next to nothing.
fn wal_kept(trace: &Trace) -> Result<(), String> {
    let mut frozen = Frozen::of(trace);
    let mut ends = Vec::new();
    for event in &trace.events {
        frozen.follow(event.at, &event.kind);
        match &event.kind {
            Kind::Ended { node, runs, reported, goal, .. } if !runs || reported != goal || frozen.is_still(node) => {
                return Ok(());
            }
            Kind::Configured { node, keeps_from, end, .. } => ends.push((node, *keeps_from, *end)),
            _ => {}
        }
    }
    let held_by_all = ends.iter().map(|(_, _, end)| *end).min().unwrap_or(Lsn::ZERO);
    if ends.len() < trace.nodes.len() {
        return Ok(());
    }
    for (node, keeps_from, _) in ends {
        let kept = keeps_from.map_or(0, |from| held_by_all.bytes_past(from));
        if kept > KEPT_MAX {
            return Err(format!("the slots of {node} keep {} MB of WAL that every member holds", kept >> 20));
        }
    }
    Ok(())
}

/// What keepers tried in vain lately.
struct Tries<'a> {
    /// As many as the pauses between them allow, and what was on its way.
    most: usize,
    causes: Recent,
    failed: BTreeMap<&'a str, Recent>,
    /// Each new goal is gone for at once.
    told: BTreeMap<&'a str, Recent>,
}

impl<'a> Tries<'a> {
    fn pausing(pause: Duration) -> Tries<'a> {
        let most = TRIES_WINDOW.as_millis() / pause.as_millis().max(1) + 3;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Tries { most, causes: Recent::over(TRIES_WINDOW), failed: BTreeMap::new(), told: BTreeMap::new() }
    }

    fn follow(&mut self, event: &'a Event) -> Result<(), String> {
        let of = |all: &mut BTreeMap<&'a str, Recent>, node: &'a str| {
            all.entry(node).or_insert_with(|| Recent::over(TRIES_WINDOW)).and(event.at)
        };
        match &event.kind {
            Kind::Fault { .. } => _ = self.causes.and(event.at),
            Kind::Node { node, .. } => _ = of(&mut self.told, node),
            Kind::Failed { node, step } => {
                let count = of(&mut self.failed, node);
                let told = self.told.get_mut(node.as_str()).map_or(0, |told| told.until(event.at));
                if count > self.most + TRIES_PER_CAUSE * self.causes.until(event.at) + told {
                    let at = event.at.seconds();
                    return Err(format!(
                        "{node} failed {count} times in the ten seconds before {at:.3} s, at last: {step}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What came lately.
struct Recent {
    window: Duration,
    moments: VecDeque<Moment>,
}

impl Recent {
    fn over(window: Duration) -> Recent {
        Recent { window, moments: VecDeque::new() }
    }

    fn and(&mut self, at: Moment) -> usize {
        self.moments.push_back(at);
        self.until(at)
    }

    fn until(&mut self, at: Moment) -> usize {
        while self.moments.front().is_some_and(|first| at.since(*first) > self.window) {
            self.moments.pop_front();
        }
        self.moments.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_flood_of_events_and_a_slot_too_many_are_found() {
        let rows = |pause: u64| check(&trace((0..300).map(|i| (i * pause, node("a", Primary, Primary, 1))).collect()));
        assert_eq!(rows(1000), Ok(()));
        assert!(rows(100).unwrap_err().contains("events in the minute before"));
        let caused = |causes: u64| {
            let faults = (0..causes).map(|i| (i, fault(super::super::trace::Fault::Order, &[])));
            check(&trace(faults.chain((0..300).map(|i| (100 + i, node("a", Primary, Primary, 1)))).collect()))
        };
        assert!(caused(1).is_err());
        assert_eq!(caused(2), Ok(()), "many orders make many rows");
        let failed =
            |pause: u64| (0..30).map(move |i| (i * pause, Kind::Failed { node: "a".into(), step: "start".into() }));
        let pausing = |events| {
            let mut trace = trace(events);
            trace.terms.step_pause = Duration::from_millis(500);
            trace.sort();
            check(&trace)
        };
        assert_eq!(pausing(failed(500).collect()), Ok(()));
        assert!(pausing(failed(350).collect()).unwrap_err().contains("a failed 24 times"));
        let orders = (0..2).map(|_| (5000, fault(super::super::trace::Fault::Order, &[])));
        assert_eq!(pausing(orders.chain(failed(350)).collect()), Ok(()), "two orders in that time");
        let goals = (0..8).map(|_| (5000, node("a", Secondary, Catchingup, 1)));
        assert_eq!(pausing(goals.chain(failed(350)).collect()), Ok(()), "eight goals in that time");
        let slots = |slots: &[&str]| Kind::Configured {
            node: "a".into(),
            id: id("a"),
            system_id: 7,
            names: [].into(),
            slots: slots.iter().map(|n| id(n)).collect(),
            follows: None,
            keeps_from: None,
            end: Lsn::ZERO,
        };
        assert_eq!(check(&trace(vec![(0, slots(&["b"]))])), Ok(()));
        assert!(check(&trace(vec![(0, slots(&["b", "c"]))])).is_err());
    }

    #[test]
    fn wal_that_every_member_holds_and_a_slot_keeps_is_found() {
        let member = |name: &str, keeps_from: u64, end: u64| Kind::Configured {
            node: name.into(),
            id: id(name),
            system_id: 7,
            names: [].into(),
            slots: [].into(),
            follows: None,
            keeps_from: Some(Lsn(keeps_from * SEGMENT)),
            end: Lsn(end * SEGMENT),
        };
        let run = |of_a: u64, of_b: u64, b| {
            let ended = [(0, ended("a", Primary, Primary)), (0, ended("b", b, Secondary))];
            check(&trace(ended.into_iter().chain([(0, member("a", of_a, 20)), (0, member("b", of_b, 19))]).collect()))
        };
        assert_eq!(run(18, 15, Secondary), Ok(()));
        assert!(run(18, 14, Secondary).unwrap_err().contains("the slots of b keep 80 MB of WAL"));
        assert_eq!(run(18, 14, Catchingup), Ok(()), "nobody has said yet how far it is");
        assert!(run(2, 19, Secondary).is_err());
    }
}
