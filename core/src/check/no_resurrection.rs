//! S5: a branch of the log that the group has left behind is never opened again by a server that could acknowledge a
//! write there, and nothing grows out of it. A
//! branch is left once a write was acknowledged on another; a promotion that died before that binds nobody. What a hand
//! has opened is not the group's, until the group wants it open.

use super::reach::Reach;
use super::rogues::Rogues;
use super::trace::{Kind, Trace};
use super::unfenced::Unfenced;
use crate::model::Timeline;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Tree<'a> {
    parents: BTreeMap<Timeline, Option<Timeline>>,
    /// The timeline each open server writes on.
    on: BTreeMap<&'a str, Timeline>,
    used: BTreeSet<Timeline>,
    left: BTreeSet<Timeline>,
    /// Opened on a branch that was left, by when they could acknowledge nothing there.
    mute: BTreeSet<&'a str>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut tree = Tree::default();
    let mut rogues = Rogues::default();
    let mut reach = Reach::default();
    let mut unfenced = Unfenced::default();
    for event in &trace.events {
        unfenced.follow(event);
        rogues.follow(&event.kind);
        reach.follow(&event.kind);
        let (node, from) = match &event.kind {
            Kind::Opened { node, tli } => {
                tree.parents.entry(*tli).or_default();
                tree.on.insert(node, *tli);
                tree.mute.remove(node.as_str());
                if tree.left.contains(tli) && !reach.can_acknowledge(node, &[]) {
                    tree.mute.insert(node);
                    continue;
                }
                (node, *tli)
            }
            Kind::Branched { node, tli, parent, .. } => {
                // A number that a hand had given to a branch since rewound may be given again.
                if tree.parents.insert(*tli, Some(*parent)).is_some() {
                    tree.left.remove(tli);
                    tree.used.remove(tli);
                }
                (node, *parent)
            }
            Kind::Acked { node, warning: false, .. } if !rogues.has(node) && !unfenced.has(node, event.at) => {
                tree.uses(node);
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
    /// An acknowledged write makes this branch the group's, and everything beside or before it a fork.
    fn uses(&mut self, node: &str) {
        let Some(tli) = self.on.get(node).copied() else { return };
        if !self.left.contains(&tli) && self.used.insert(tli) {
            self.left.extend(self.parents.keys().filter(|t| **t != tli));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

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
}
