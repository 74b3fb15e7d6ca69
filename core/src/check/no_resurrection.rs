//! S5: a branch of the log that the group has left behind is never opened again by a server that could acknowledge a
//! write there, nothing grows out of it, and nobody who knows of its successor takes WAL from it. A branch is left once a
//! write that began after it was acknowledged on another; a promotion that died before that binds nobody. What a hand
//! has opened is not the group's, until the group wants it open. Where somebody answers for what the new primary lacks, a
//! whole branch may be given up with it.

use super::reach::Reach;
use super::rogues::Rogues;
use super::roles::Role;
use super::trace::{Kind, Trace};
use super::unfenced::{Frozen, Unfenced};
use crate::model::{Epoch, Moment, Timeline};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Tree<'a> {
    born: BTreeMap<Timeline, Moment>,
    /// Begun by a hand.
    wild: BTreeSet<Timeline>,
    /// The timeline each open server writes on.
    on: BTreeMap<&'a str, Timeline>,
    left: BTreeSet<Timeline>,
    epochs: BTreeMap<&'a str, Epoch>,
    /// That of the server which acknowledged last on a branch that was not left.
    latest: Option<Epoch>,
    /// Opened on a branch that was left, by when they could acknowledge nothing there.
    mute: BTreeSet<&'a str>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut tree = Tree::default();
    let mut rogues = Rogues::default();
    let mut reach = Reach::default();
    let mut unfenced = Unfenced::of(trace);
    let mut frozen = Frozen::of(trace);
    let mut role = Role::default();
    let mut answered_for = None;
    for event in &trace.events {
        unfenced.follow(event);
        frozen.follow(event.at, &event.kind);
        if let Some(moved) = role.follow(event.at, &event.kind) {
            answered_for = moved.waiver.map(|_| moved.to);
        }
        rogues.follow(&event.kind);
        reach.follow(&event.kind);
        let (node, from) = match &event.kind {
            Kind::Opened { node, tli } => {
                tree.born.entry(*tli).or_insert(event.at);
                tree.on.insert(node, *tli);
                tree.mute.remove(node.as_str());
                if tree.left.contains(tli) && !reach.can_acknowledge(node, &[]) {
                    tree.mute.insert(node);
                    continue;
                }
                (node, *tli)
            }
            Kind::Branched { node, tli, parent, .. } => {
                tree.branches(*tli, event.at, rogues.has(node));
                if answered_for == Some(node) {
                    continue;
                }
                (node, *parent)
            }
            Kind::Closed { node } => {
                tree.on.remove(node.as_str());
                continue;
            }
            Kind::Stored { node, epoch, .. } => {
                tree.epochs.insert(node, *epoch);
                continue;
            }
            Kind::Received { node, from } if tree.has_heard(node) && !rogues.has(from) => match tree.on.get(&**from) {
                // One that stood still answers what it was asked before.
                Some(tli) if !unfenced.has(from, event.at) && !frozen.has_just_woken(from, event.at) => (node, *tli),
                _ => continue,
            },
            Kind::Acked { node, sent, warning: false, .. } if !rogues.has(node) && !unfenced.has(node, *sent) => {
                tree.uses(node, *sent);
                match tree.on.get(node.as_str()) {
                    Some(tli) if tree.mute.contains(node.as_str()) => (node, *tli),
                    _ => continue,
                }
            }
            _ => continue,
        };
        if tree.left.contains(&from) && !rogues.has(node) && !unfenced.has(node, event.at) {
            let at = event.at.seconds();
            return Err(format!("{node} goes on at {at:.3} s from timeline {from}, which the group has left behind"));
        }
    }
    Ok(())
}

impl Tree<'_> {
    fn branches(&mut self, tli: Timeline, at: Moment, by_hand: bool) {
        let again = self.born.insert(tli, at).is_some();
        // A number that a hand gives, or had given to a branch since rewound, may be given twice.
        if again && (by_hand || self.wild.contains(&tli)) {
            self.left.remove(&tli);
        }
        match by_hand {
            true => self.wild.insert(tli),
            false => self.wild.remove(&tli),
        };
    }

    /// An acknowledged write makes this branch the group's, and everything beside it that was there before it a fork.
    fn uses(&mut self, node: &str, sent: Moment) {
        let Some(tli) = self.on.get(node).copied().filter(|tli| !self.left.contains(tli)) else { return };
        self.left.extend(self.born.iter().filter(|(t, born)| **t != tli && **born < sent).map(|(t, _)| *t));
        self.latest = self.latest.max(self.epochs.get(node).copied());
    }

    /// Who has not may go on following an old primary, which can't acknowledge anything.
    fn has_heard(&self, node: &str) -> bool {
        self.epochs.get(node).copied() >= self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    #[test]
    fn a_branch_left_behind_stays_closed() {
        let start = || vec![(0, opened("a", 1)), (1, branched("b", 2, 1, 100)), (1, opened("b", 2))];
        let then = |more: Vec<_>| check(&trace(start().into_iter().chain(more).collect()));
        let used = || (2, acked(1, "b", 1));
        assert_eq!(then(vec![used(), (3, branched("a", 3, 2, 150))]), Ok(()));
        assert_eq!(then(vec![used(), (3, opened("b", 2))]), Ok(()), "it was only restarted");
        let old = then(vec![used(), (3, opened("a", 1))]);
        assert!(old.unwrap_err().contains("timeline 1, which the group has left behind"));
        assert!(then(vec![used(), (3, branched("a", 3, 1, 90))]).is_err());
        let chosen = |waiver| {
            let moves = [(3, node("b", Primary, Primary, 2)), (4, given_up("a", 3, waiver))];
            then([used()].into_iter().chain(moves).chain([(5, branched("a", 3, 1, 90))]).collect())
        };
        assert_eq!(chosen(Some(Waiver::Policy)), Ok(()));
        assert!(chosen(None).is_err());
        let mute = || [(3, node("c", Secondary, ReportLsn, 1)), (3, stored("c", 2, ReportLsn, Some(90)))];
        let opens_mute = || mute().into_iter().chain([(4, names("a", 1, &["c"])), (5, opened("a", 1))]);
        let after = |more: Vec<_>| then([used()].into_iter().chain(opens_mute()).chain(more).collect());
        assert_eq!(after(vec![]), Ok(()), "its only member follows another");
        assert!(after(vec![(6, acked(2, "a", 5))]).is_err(), "and yet it acknowledges");
        assert!(after(vec![(6, branched("a", 3, 1, 90))]).is_err());
        let by_hand = || (3, fault(super::super::trace::Fault::Rogue, &["a"]));
        assert_eq!(then(vec![used(), by_hand(), (4, branched("a", 3, 1, 90))]), Ok(()));
        assert!(then(vec![used(), by_hand(), (4, closed("a")), (5, opened("a", 1))]).is_err());
    }

    #[test]
    fn a_promotion_that_died_unused_is_the_fork_itself() {
        let start = || vec![(0, opened("a", 1)), (1, branched("b", 2, 1, 100)), (1, opened("b", 2))];
        let next = || [(2, branched("c", 3, 1, 100)), (2, opened("c", 3)), (3, acked(1, "c", 2))];
        let then = |more: Vec<_>| check(&trace(start().into_iter().chain(next()).chain(more).collect()));
        assert_eq!(then(vec![]), Ok(()));
        assert!(then(vec![(4, opened("b", 2))]).is_err());
    }

    #[test]
    fn a_branch_that_is_begun_and_passed_over_by_later_writes_is_left_too() {
        let start = || vec![(0, opened("a", 1)), (1, acked(1, "a", 0)), (2, branched("b", 2, 1, 100))];
        let then = |sent, more: Vec<_>| {
            check(&trace(start().into_iter().chain([(9, acked(2, "a", sent))]).chain(more).collect()))
        };
        assert!(then(5, vec![(10, opened("b", 2))]).unwrap_err().contains("timeline 2"));
        assert_eq!(then(1, vec![(10, opened("b", 2))]), Ok(()), "it was sent before");
    }

    #[test]
    fn a_number_is_given_twice_only_where_a_hand_has_given_it() {
        let twice = |by_hand: bool| {
            let hand = by_hand.then(|| (1, fault(super::super::trace::Fault::Rogue, &["c"])));
            let events = [(0, opened("a", 1))].into_iter().chain(hand).chain([
                (2, branched("c", 2, 1, 90)),
                (3, acked(1, "a", 3)),
                (4, branched("b", 2, 1, 100)),
                (5, opened("b", 2)),
            ]);
            check(&trace(events.collect()))
        };
        assert_eq!(twice(true), Ok(()));
        assert!(twice(false).is_err());
    }

    #[test]
    fn nobody_who_has_heard_of_the_new_primary_takes_wal_of_an_old_branch() {
        let takes = |epoch, more: Vec<(u64, Kind)>| {
            let start = vec![
                (0, opened("a", 1)),
                (1, branched("b", 2, 1, 100)),
                (1, stored("b", 2, Primary, None)),
                (1, opened("b", 2)),
                (3, acked(1, "b", 2)),
                (4, stored("c", epoch, Secondary, None)),
            ];
            let received = (9, Kind::Received { node: "c".into(), from: "a".into() });
            check(&trace(start.into_iter().chain(more).chain([received]).collect()))
        };
        assert!(takes(2, vec![]).unwrap_err().contains("c goes on at 0.009 s from timeline 1"));
        assert_eq!(takes(1, vec![]), Ok(()), "it has not heard");
        assert_eq!(takes(2, vec![(5, closed("a"))]), Ok(()), "a stands by");
        assert_eq!(takes(2, vec![(5, fault(super::super::trace::Fault::Rogue, &["a"]))]), Ok(()), "by hand");
    }
}
