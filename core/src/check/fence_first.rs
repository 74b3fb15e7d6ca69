//! S13: before a server opens, every other that is open can gather no acknowledgement any more: too few of those
//! its backends wait for are neither sealed nor the new one itself. One that itself can gather none harms nobody: its
//! members had vouched for it while it was closed, and have gone to another since. One that is told to open again is as
//! dangerous as any; one that nobody could fence was answered for. At the end no server is open that has come to rest as another's standby, and one at most besides.

use super::reach::Reach;
use super::rogues::Rogues;
use super::trace::{Kind, Trace};
use super::unfenced::Unfenced;
use crate::model::Moment;
use crate::monitor::doubt::REGISTERS_AGAIN;
use std::collections::BTreeSet;

struct World<'a> {
    open: BTreeSet<&'a str>,
    /// Open, and denied by a sealed set once: its members have gone on to newer epochs since. Until it is told to open.
    fenced: BTreeSet<&'a str>,
    reach: Reach<'a>,
    unfenced: Unfenced<'a>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut world = World {
        open: BTreeSet::new(),
        fenced: BTreeSet::new(),
        reach: Reach::default(),
        unfenced: Unfenced::of(trace),
    };
    let mut rogues = Rogues::default();
    for event in &trace.events {
        rogues.follow(&event.kind);
        world.reach.follow(&event.kind);
        world.unfenced.follow(event);
        match &event.kind {
            Kind::Closed { node } => {
                world.open.remove(node.as_str());
                world.fenced.remove(node.as_str());
            }
            Kind::Node { node, goal, description, .. }
                if goal.is_writable() && !description.contains(REGISTERS_AGAIN) =>
            {
                world.fenced.remove(node.as_str());
            }
            // Nobody could fence it, nor wait for it: a hand has opened it, or it was opening when it froze.
            Kind::Opened { node, .. } if rogues.has(node) || world.unfenced.wakes(node, event.at) => {
                world.open.insert(node);
                world.fenced.insert(node);
            }
            // The members of a new primary are sealed as well, and are about to follow it.
            Kind::Opened { node, .. } if !rogues.is_told(node) && !world.reach.can_acknowledge(node, &[]) => {
                world.open.insert(node);
                world.fenced.insert(node);
            }
            Kind::Opened { node, .. } => {
                if let Some(other) = world.could_acknowledge_beside(node, event.at) {
                    let at = event.at.seconds();
                    return Err(format!("{node} opened at {at:.3} s while {other} could acknowledge writes"));
                }
                world.fenced.extend(world.open.iter().filter(|other| *other != node));
                world.open.insert(node);
            }
            _ => {}
        }
    }
    world.ends(trace)
}

impl World<'_> {
    fn could_acknowledge_beside(&self, node: &str, at: Moment) -> Option<&str> {
        let could = |other: &&&str| {
            let is_fenced = self.fenced.contains(**other) || self.unfenced.has(other, at);
            **other != node && !is_fenced && self.reach.can_acknowledge(other, &[node])
        };
        self.open.iter().find(could).copied()
    }

    /// One that is on its way, or whose keeper is down, may be open until it gets there.
    fn ends(&self, trace: &Trace) -> Result<(), String> {
        let mut at_rest = self.open.clone();
        for event in &trace.events {
            let Kind::Ended { node, reported, goal, runs, .. } = &event.kind else { continue };
            if reported != goal || !runs {
                at_rest.remove(node.as_str());
            } else if !goal.is_writable() && at_rest.contains(node.as_str()) {
                return Err(format!("at the end {node} is open, and {goal}"));
            }
        }
        match at_rest.len() > 1 {
            true => Err(format!("at the end {at_rest:?} are all open")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
    use super::*;
    use crate::model::NodeState::*;

    fn opens(names_of_a: Kind, more: Vec<(u64, Kind)>) -> Result<(), String> {
        let start = vec![
            (0, node("a", Primary, Primary, 1)),
            (0, node("b", Secondary, Secondary, 1)),
            (0, node("c", Secondary, Secondary, 1)),
            (1, names_of_a),
            (1, opened("a", 1)),
        ];
        check(&trace(start.into_iter().chain(more).chain([(9, opened("b", 2)), (10, closed("a"))]).collect()))
    }

    #[test]
    fn the_old_server_must_be_closed_or_without_voters() {
        assert_eq!(opens(names("a", 1, &["b"]), vec![]), Ok(()), "b won't acknowledge for a any more");
        assert!(opens(names("a", 1, &["b", "c"]), vec![]).unwrap_err().contains("while a could acknowledge"));
        let sealed = (2, stored("c", 2, ReportLsn, Some(100)));
        assert_eq!(opens(names("a", 1, &["b", "c"]), vec![sealed]), Ok(()));
        assert!(opens(names("a", 0, &[]), vec![]).is_err());
        assert_eq!(opens(names("a", 0, &[]), vec![(2, fault(Fault::Rogue, &["b"]))]), Ok(()));
        assert_eq!(opens(names("a", 0, &[]), vec![(2, closed("a"))]), Ok(()));
        let mute = vec![(2, names("b", 1, &["c"])), (3, stored("c", 2, ReportLsn, Some(100)))];
        assert_eq!(opens(names("a", 0, &[]), mute.clone()), Ok(()), "b itself can acknowledge nothing");
        let told = [(4, node("b", StopReplication, WaitPrimary, 2))];
        let told = mute.into_iter().chain(told).collect();
        assert!(opens(names("a", 0, &[]), told).is_err(), "c is about to follow it");
    }

    /// It started its server when it froze, and is replaced meanwhile; what it was about to do it does when it wakes.
    #[test]
    fn one_that_froze_while_it_opened_is_out_of_reach_for_a_moment_when_it_wakes() {
        let wakes = |freezes: bool, waiver, at: u64| {
            let step = |at: u64, text: &str| freezes.then(|| (at, Kind::Step { text: text.into() }));
            let begin = [(0, node("a", Primary, Primary, 1)), (2, names("a", 0, &[]))];
            let moved = [(3, given_up("b", 2, waiver)), (4, names("b", 0, &[])), (4, opened("b", 2))];
            let end = [(at, opened("a", 1)), (at + 1, closed("a"))];
            let events = begin.into_iter().chain(step(1, "suspend a")).chain(moved).chain(step(100, "resume a"));
            let mut run = trace(events.chain(end).collect());
            run.terms.may_lose = true;
            run.sort();
            check(&run)
        };
        let policy = Some(crate::model::Waiver::Policy);
        assert_eq!(wakes(true, policy, 200), Ok(()));
        for (freezes, waiver, at) in [(false, policy, 200), (true, None, 200), (true, policy, 9000)] {
            assert!(wakes(freezes, waiver, at).unwrap_err().contains("while b could acknowledge"));
        }
    }

    #[test]
    fn one_that_was_denied_once_is_judged_again_when_it_is_told_to_open() {
        let handed = |back: Vec<(u64, Kind)>| {
            let start = vec![
                (0, node("a", Primary, Primary, 1)),
                (0, node("b", Secondary, Secondary, 1)),
                (0, node("c", Secondary, Secondary, 1)),
                (1, names("a", 1, &["b"])),
                (1, opened("a", 1)),
                (2, opened("b", 2)),
                (3, closed("b")),
            ];
            check(&trace(start.into_iter().chain(back).chain([(8, opened("c", 3)), (9, closed("a"))]).collect()))
        };
        assert_eq!(handed(vec![]), Ok(()), "b has said no to it");
        assert!(handed(vec![(4, node("a", Primary, Primary, 3))]).unwrap_err().contains("c opened"));
        assert!(handed(vec![(4, node("a", Primary, Demoted, 3))]).is_ok());
    }

    #[test]
    fn who_voted_for_an_open_server_lets_it_acknowledge() {
        let moves = |second: Vec<(u64, Kind)>| {
            let first = vec![
                (0, node("a", Primary, Primary, 1)),
                (0, node("b", Secondary, Secondary, 1)),
                (0, node("c", Secondary, Secondary, 1)),
                (1, names("a", 1, &["b", "c"])),
                (1, opened("a", 1)),
                (2, stored("b", 2, ReportLsn, Some(100))),
                (2, stored("c", 2, ReportLsn, Some(90))),
                (3, closed("a")),
                (4, node("b", StopReplication, WaitPrimary, 2)),
                (5, names("b", 1, &["a", "c"])),
                (5, opened("b", 2)),
                (6, stored("c", 2, Secondary, Some(90))),
            ];
            let opens = [(8, node("a", StopReplication, WaitPrimary, 3)), (9, opened("a", 3)), (10, closed("b"))];
            check(&trace(first.into_iter().chain(second).chain(opens).collect()))
        };
        assert!(moves(vec![]).unwrap_err().contains("a opened at 0.009 s while b could acknowledge"));
        assert_eq!(moves(vec![(7, stored("c", 3, ReportLsn, Some(120)))]), Ok(()), "c has promised anew");
    }

    #[test]
    fn two_open_servers_at_the_end_are_found() {
        let both = vec![
            (0, node("b", Secondary, Secondary, 1)),
            (1, names("a", 1, &["b"])),
            (1, opened("a", 1)),
            (2, opened("b", 2)),
        ];
        assert!(check(&trace(both.clone())).unwrap_err().contains("are all open"));
        let ends = |reported, goal, runs| {
            let a = Kind::Ended { node: "a".into(), reported, goal, pending: None, runs };
            let others = [(9, ended("b", Primary, Primary)), (9, ended("c", Catchingup, Secondary))];
            check(&trace(both.iter().cloned().chain(others).chain([(9, a)]).collect()))
        };
        assert!(ends(Primary, Primary, true).unwrap_err().contains("are all open"), "whatever c does");
        assert!(ends(Secondary, Secondary, true).unwrap_err().contains("a is open, and secondary"));
        assert_eq!(ends(Primary, Demoted, true), Ok(()), "it is about to close");
        assert_eq!(ends(Secondary, Secondary, false), Ok(()), "nobody is there to close it");
    }
}
