//! Servers that nobody could fence before another opened, as somebody has answered for: by an operator's consent the old
//! primary, until it has heard of it. In an async formation, whoever answers, only one that was frozen, until it has looked
//! at its clock: its lease is waited for.

use super::roles::Role;
use super::trace::{Event, Fault, Kind, Trace};
use crate::model::{Epoch, Moment, Waiver};
use crate::scenario::point::SLOW_STEP;
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a machine that was frozen may do before its keeper has looked at the clock, where commits wait for nobody.
const WAKES: Duration = Duration::from_secs(1);

/// What is under way while a keeper that has just heard of its replacement stops its server.
const CLOSES: Duration = Duration::from_millis(100);

pub struct Unfenced<'a> {
    leased: bool,
    role: Role<'a>,
    frozen: Frozen<'a>,
    /// Old primaries that somebody has answered for.
    left: BTreeMap<&'a str, Left>,
}

struct Left {
    /// Only its lease was waited for.
    had_a_lease: bool,
    /// In which it was replaced.
    epoch: Epoch,
    /// When it had closed, or should have after it heard. What it said before is on its way still.
    until: Option<Moment>,
}

impl<'a> Unfenced<'a> {
    pub fn of(trace: &Trace) -> Unfenced<'a> {
        Unfenced {
            leased: trace.terms.may_lose,
            role: Role::default(),
            frozen: Frozen::of(trace),
            left: BTreeMap::new(),
        }
    }

    pub fn follow(&mut self, event: &'a Event) {
        self.frozen.follow(event.at, &event.kind);
        if let Some(moved) = self.role.follow(event.at, &event.kind) {
            self.left.remove(moved.to);
            let had_a_lease = |waiver| self.leased || waiver == Waiver::Policy;
            let left = |waiver| Left { had_a_lease: had_a_lease(waiver), epoch: moved.epoch, until: None };
            self.left.extend(moved.waiver.map(|waiver| (moved.from, left(waiver))));
        }
        let (node, heard, until) = match &event.kind {
            Kind::Closed { node } => (node, None, event.at),
            Kind::Stored { node, epoch, .. } => (node, Some(*epoch), event.at + CLOSES + self.frozen.slow),
            _ => return,
        };
        let left = self.left.get_mut(node.as_str());
        if let Some(left) = left.filter(|left| heard.is_none_or(|epoch| left.epoch <= epoch)) {
            left.until = Some(left.until.map_or(until, |known| known.min(until)));
        }
    }

    /// Whether it does what it was about to do when its machine froze, before its keeper has looked at the clock.
    pub fn wakes(&self, node: &str, at: Moment) -> bool {
        self.left.contains_key(node) && self.frozen.has_just_woken(node, at)
    }

    /// Whether nobody could keep it from what it did, or was asked to do, at that moment.
    pub fn has(&self, node: &str, at: Moment) -> bool {
        let was_frozen = || self.frozen.is_still(node) || self.frozen.has_just_woken(node, at);
        let beyond = |left: &Left| left.until.is_none_or(|until| at < until) && (!left.had_a_lease || was_frozen());
        self.left.get(node).is_some_and(beyond)
    }
}

/// Machines that stood still, and when they went on, by the step that woke them: another mend wakes nobody.
pub struct Frozen<'a> {
    still: BTreeSet<&'a str>,
    woke: BTreeMap<&'a str, Moment>,
    /// How much longer than usual a keeper may take to close its server.
    slow: Duration,
}

impl<'a> Frozen<'a> {
    pub fn of(trace: &Trace) -> Frozen<'a> {
        let slow = if trace.terms.fault_points { SLOW_STEP } else { Duration::ZERO };
        Frozen { still: BTreeSet::new(), woke: BTreeMap::new(), slow }
    }

    pub fn follow(&mut self, at: Moment, kind: &'a Kind) {
        match kind {
            Kind::Fault { fault: Fault::Pause, nodes } => self.still.extend(nodes.iter().map(String::as_str)),
            Kind::Step { text } => match text.split_once(' ') {
                Some((words::SUSPEND, node)) => _ = self.still.insert(node),
                Some((words::RESUME, node)) if self.still.remove(node) => _ = self.woke.insert(node, at),
                _ => {}
            },
            _ => {}
        }
    }

    pub fn is_still(&self, node: &str) -> bool {
        self.still.contains(node)
    }

    pub fn has_just_woken(&self, node: &str, at: Moment) -> bool {
        self.woke.get(node).is_some_and(|woke| at.since(*woke) <= WAKES + self.slow)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    fn has(leased: bool, waiver: Option<Waiver>, more: Vec<(u64, Kind)>, at: u64) -> bool {
        let step = |text: &str| Kind::Step { text: text.into() };
        let begin = [(0, node("a", Primary, Primary, 1)), (1, step("suspend a")), (2, given_up("b", 2, waiver))];
        let mut trace = trace(begin.into_iter().chain(more).collect());
        trace.terms.may_lose = leased;
        let mut unfenced = Unfenced::of(&trace);
        trace.events.iter().for_each(|event| unfenced.follow(event));
        unfenced.has("a", Moment(at * 1000))
    }

    #[test]
    fn whom_an_operator_gave_up_is_beyond_reach_until_it_closes_or_has_heard() {
        let consents = Some(Waiver::Operator);
        let of = |more: Vec<Kind>| has(false, consents, more.into_iter().map(|kind| (3, kind)).collect(), 9000);
        assert!(of(vec![]));
        assert!(of(vec![stored("a", 1, Primary, None)]));
        assert!(!of(vec![stored("a", 2, Demoted, None)]));
        assert!(!of(vec![closed("a")]));
        assert!(!of(vec![given_up("a", 3, None)]));
        assert!(!has(false, None, vec![], 9000), "nobody answers for it");
    }

    #[test]
    fn under_a_lease_it_is_beyond_reach_while_it_is_frozen_and_a_second_longer() {
        let wakes = || vec![(5, Kind::Step { text: "resume a".into() })];
        for waiver in [Waiver::Policy, Waiver::Operator].map(Some) {
            assert!(has(true, waiver, vec![], 9000));
            assert!(has(true, waiver, wakes(), 1005));
            assert!(!has(true, waiver, wakes(), 1006));
            let paused = [wakes(), vec![(6, fault(Fault::Pause, &["a"])), (7, fault(Fault::Mend, &["a"]))]].concat();
            assert!(has(true, waiver, paused, 9000), "once more");
        }
        assert!(!has(true, None, vec![], 9000));
    }

    #[test]
    fn where_steps_may_be_slow_a_stop_is_given_the_time() {
        let wakes = vec![(5, Kind::Step { text: "resume a".into() }), (6, stored("a", 2, Demoted, None))];
        let at = |fault_points, at: u64| {
            let begin = [(0, node("a", Primary, Primary, 1)), (1, Kind::Step { text: "suspend a".into() })];
            let moved = (2, given_up("b", 2, Some(Waiver::Policy)));
            let mut trace = trace(begin.into_iter().chain([moved]).chain(wakes.clone()).collect());
            (trace.terms.may_lose, trace.terms.fault_points) = (true, fault_points);
            let mut unfenced = Unfenced::of(&trace);
            trace.events.iter().for_each(|event| unfenced.follow(event));
            unfenced.has("a", Moment(at * 1000))
        };
        assert_eq!((at(false, 90), at(false, 2000)), (true, false));
        assert_eq!((at(true, 2000), at(true, 4000)), (true, false));
    }

    #[test]
    fn what_was_sent_before_it_closed_may_be_answered_after() {
        let closes = vec![(5, Kind::Step { text: "resume a".into() }), (8, closed("a"))];
        assert!(has(true, Some(Waiver::Policy), closes.clone(), 7));
        assert!(!has(true, Some(Waiver::Policy), closes, 8));
    }
}
