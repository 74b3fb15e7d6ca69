//! S2: two nodes never acknowledge writes side by side, in the real time of the clients. Once a node that
//! was told to open is seen open, or has acknowledged its first write, no other acknowledges one that was sent after it.
//! Whatever the monitor knows of it, one that another has followed doesn't go on without having opened anew.

use super::rogues::Rogues;
use super::roles::Role;
use super::trace::{Kind, Sense, Trace};
use super::unfenced::Frozen;
use crate::model::Moment;
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let mut first_ack: Option<Moment> = None;
    let mut rogues = Rogues::default();
    let mut frozen = Frozen::of(trace);
    let mut turns = Turns::default();
    for event in &trace.events {
        let before = role.holder;
        role.follow(event.at, &event.kind);
        if role.holder != before {
            first_ack = None;
        }
        rogues.follow(&event.kind);
        frozen.follow(event.at, &event.kind);
        if let Kind::Opened { node, .. } = &event.kind {
            turns.opened(node);
            if role.holder == Some(node) {
                first_ack.get_or_insert(event.at);
            }
        }
        // A session that forgoes the wait for standbys is told of success by whoever is open.
        let Kind::Acked { node, id, sent, warning: false, .. } = &event.kind else { continue };
        // Where commits wait for nobody, nothing keeps one that a hand has opened, or that wakes, from acknowledging.
        if trace.terms.may_lose && (rogues.has(node) || frozen.has_just_woken(node, event.at)) {
            continue;
        }
        let at = event.at.seconds();
        let passed = turns.acked(node, *sent, event.at).filter(|_| trace.sees.contains(&Sense::Servers));
        if let Some(other) = passed {
            return Err(format!("{node} acknowledged write {id} at {at:.3} s, after {other} had taken its place"));
        }
        let Some(holder) = role.holder else { continue };
        if holder == node {
            first_ack.get_or_insert(event.at);
        } else if let Some(first) = first_ack.filter(|first| sent > first) {
            let late = sent.since(first).as_secs_f64();
            return Err(format!(
                "{node} acknowledged write {id} at {at:.3} s, sent {late:.3} s after {holder} was open"
            ));
        }
    }
    Ok(())
}

/// Who has acknowledged after whom, by the clients' time.
#[derive(Default)]
struct Turns<'a>(BTreeMap<&'a str, Turn<'a>>);

/// Of one node, since it opened.
struct Turn<'a> {
    /// When it acknowledged first.
    first: Moment,
    /// Who has acknowledged a write that was sent after that, and when.
    passed: Option<(&'a str, Moment)>,
}

impl<'a> Turns<'a> {
    fn opened(&mut self, node: &str) {
        self.0.remove(node);
    }

    /// Gives who had acknowledged something in between.
    fn acked(&mut self, node: &'a str, sent: Moment, at: Moment) -> Option<&'a str> {
        let others = self.0.iter_mut().filter(|(other, turn)| **other != node && sent > turn.first);
        others.for_each(|(_, turn)| _ = turn.passed.get_or_insert((node, at)));
        let turn = self.0.entry(node).or_insert(Turn { first: at, passed: None });
        turn.passed.filter(|(_, then)| sent > *then).map(|(other, _)| other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn the_old_primary_may_finish_what_was_sent_before_and_nothing_else() {
        let start = || {
            vec![
                (0, node("a", Single, Single, 1)),
                (1, acked(1, "a", 0)),
                (5, node("b", StopReplication, WaitPrimary, 2)),
            ]
        };
        let run = |more: Vec<_>| check(&trace(start().into_iter().chain(more).collect()));
        assert_eq!(run(vec![(6, acked(2, "a", 4)), (7, acked(3, "b", 6))]), Ok(()));
        assert_eq!(run(vec![(7, acked(3, "b", 6)), (8, acked(4, "a", 6))]), Ok(()), "sent before b's first");
        assert!(run(vec![(7, acked(3, "b", 6)), (9, acked(4, "a", 8))]).is_err());
        assert_eq!(
            run(vec![(7, acked(3, "b", 6)), (8, node("a", Demoted, Primary, 3)), (9, acked(4, "a", 8))]),
            Ok(()),
            "the role went back"
        );
    }

    #[test]
    fn nobody_takes_turns_without_opening_anew() {
        let turns = |sees: bool, between: Vec<(u64, Kind)>| {
            let doubt = [(0, fault(crate::check::Fault::MonitorStore, &[]))];
            let acks = [(2, acked(1, "b", 1)), (4, acked(2, "a", 3)), (7, acked(3, "b", 6))];
            let mut trace = trace(doubt.into_iter().chain(acks).chain(between).collect());
            trace.sees.extend(sees.then_some(Sense::Servers));
            trace.sort();
            check(&trace)
        };
        assert!(turns(true, vec![]).unwrap_err().contains("b acknowledged write 3 at 0.007 s, after a had"));
        assert_eq!(turns(true, vec![(5, opened("b", 2))]), Ok(()));
        assert_eq!(turns(false, vec![]), Ok(()), "it may have opened anew unseen");
        let overlaps = |more: (u64, Kind)| {
            let mut trace = trace(vec![(2, acked(1, "b", 1)), (4, acked(2, "a", 1)), more]);
            trace.sees = [Sense::Servers].into();
            check(&trace)
        };
        assert_eq!(overlaps((7, acked(3, "b", 6))), Ok(()), "a's was sent before");
    }

    fn step(text: &str) -> Kind {
        Kind::Step { text: text.into() }
    }

    #[test]
    fn an_asynchronous_formation_can_hold_neither_a_hand_nor_a_machine_that_wakes() {
        let run = |may_lose: bool, before: Option<Kind>, acked_at: u64| {
            let opened = [(1, node("a", Single, Single, 1)), (5, node("b", StopReplication, WaitPrimary, 2))];
            let mut events = vec![(2, step("suspend a"))];
            events.extend(opened);
            events.push((6, node("a", DemoteTimeout, Demoted, 2)));
            events.push((7, acked(3, "b", 6)));
            events.extend(before.map(|kind| (8, kind)));
            events.push((acked_at, acked(4, "a", acked_at - 1)));
            let mut trace = trace(events);
            trace.terms.may_lose = may_lose;
            check(&trace)
        };
        let wakes = || Some(step("resume a"));
        assert_eq!(run(true, wakes(), 900), Ok(()));
        assert!(run(true, wakes(), 1100).is_err(), "by then it must have closed");
        assert!(run(false, wakes(), 900).is_err(), "where commits wait, nobody vouches for it");
        assert!(run(true, None, 900).is_err());
        let mended = Some(fault(crate::check::Fault::Mend, &["a"]));
        assert!(run(true, mended, 900).is_err(), "another mend wakes nobody");
        assert_eq!(run(true, Some(fault(crate::check::Fault::Rogue, &["a"])), 2000), Ok(()));
    }
}
