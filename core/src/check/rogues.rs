//! Servers that run behind their keepers' backs: somebody has promoted or started them by hand. What such a server
//! does until it closes is not the group's doing; what clients were told by it is judged all the same.

use super::trace::{Fault, Kind};
use crate::model::NodeState;
use crate::scenario::words::{PASSED_OVER, RESTART_BY_HAND, ROGUE_PROMOTE, ROGUE_START};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Rogues<'a> {
    nodes: BTreeSet<&'a str>,
    /// Told to be open: a hand that starts one of these does no more than its keeper would, if it knows.
    told: BTreeSet<&'a str>,
    /// Whether what a keeper has stored last is to be open.
    knows: BTreeMap<&'a str, bool>,
    /// Is about to close and open again by the same hand.
    restarted: BTreeSet<&'a str>,
    open: BTreeSet<&'a str>,
    /// A hand promotes it: whether or not it receives until then, it will open.
    opening: BTreeSet<&'a str>,
    /// By the latest step, which may turn out to have come to nothing.
    newest: Vec<&'a str>,
}

impl<'a> Rogues<'a> {
    pub fn follow(&mut self, kind: &'a Kind) {
        match kind {
            Kind::Fault { fault: Fault::Rogue, nodes } => {
                let news = |node: &&str| !self.does_as_told(node) && !self.nodes.contains(node);
                self.newest = nodes.iter().map(String::as_str).filter(news).collect();
                self.nodes.extend(&self.newest);
            }
            Kind::Node { node, goal, .. } if goal.is_writable() => {
                self.told.insert(node);
                self.joins_in(node);
            }
            Kind::Stored { node, goal, .. } => {
                self.knows.insert(node, goal.is_some_and(NodeState::is_writable));
                self.joins_in(node);
            }
            Kind::Node { node, .. } => {
                self.told.remove(node.as_str());
            }
            Kind::Step { text } => self.step(text),
            Kind::Opened { node, .. } => {
                self.open.insert(node);
                self.opening.remove(node.as_str());
            }
            // A hand that starts a standby has made no primary.
            Kind::Received { node, .. }
                if !self.open.contains(node.as_str()) && !self.opening.contains(node.as_str()) =>
            {
                self.nodes.remove(node.as_str());
            }
            Kind::Closed { node } => {
                self.open.remove(node.as_str());
                self.opening.remove(node.as_str());
                if !self.restarted.remove(node.as_str()) {
                    self.nodes.remove(node.as_str());
                }
            }
            _ => {}
        }
    }

    fn does_as_told(&self, node: &str) -> bool {
        self.told.contains(node) && self.knows.get(node).is_none_or(|knows| *knows)
    }

    fn joins_in(&mut self, node: &str) {
        if self.does_as_told(node) {
            self.nodes.remove(node);
        }
    }

    fn step(&mut self, text: &'a str) {
        let newest = std::mem::take(&mut self.newest);
        if text.starts_with(PASSED_OVER) {
            let in_vain =
                |node: &&&str| [ROGUE_PROMOTE, ROGUE_START].iter().any(|by| text.contains(&format!("{by} {node}")));
            for node in newest.iter().filter(in_vain) {
                self.nodes.remove(*node);
                self.opening.remove(*node);
            }
            self.restarted.retain(|node| !text.contains(&format!("{RESTART_BY_HAND} {node}")));
        }
        self.opening.extend(text.strip_prefix(ROGUE_PROMOTE).map(str::trim_start));
        self.restarted.extend(text.strip_prefix(RESTART_BY_HAND).map(str::trim_start));
    }

    /// Whether the monitor wants this server open.
    pub fn is_told(&self, node: &str) -> bool {
        self.told.contains(node)
    }

    pub fn has(&self, node: &str) -> bool {
        self.nodes.contains(node)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_server_is_a_rogue_until_it_closes_or_the_group_wants_it_open() {
        let rogue = |kinds: &[Kind]| {
            let mut rogues = Rogues::default();
            kinds.iter().for_each(|kind| rogues.follow(kind));
            rogues.has("b")
        };
        let hand = || fault(Fault::Rogue, &["b"]);
        assert!(rogue(&[node("b", Secondary, Secondary, 1), hand(), opened("b", 2)]));
        assert!(!rogue(&[hand(), opened("b", 2), closed("b")]));
        let again = || Kind::Step { text: format!("{RESTART_BY_HAND} b") };
        assert!(rogue(&[hand(), opened("b", 2), again(), closed("b"), opened("b", 2)]));
        assert!(!rogue(&[hand(), node("b", StopReplication, WaitPrimary, 2)]));
        assert!(!rogue(&[node("b", Primary, Primary, 1), hand()]));
        let told = || node("b", StopReplication, WaitPrimary, 2);
        assert!(rogue(&[stored("b", 2, StopReplication, None), told(), hand()]), "its keeper hasn't heard of it");
        assert!(!rogue(&[stored("b", 2, StopReplication, None), hand(), told(), stored("b", 2, WaitPrimary, None)]));
    }

    #[test]
    fn a_hand_that_did_nothing_leaves_no_rogue() {
        let rogue = |kinds: &[Kind]| {
            let mut rogues = Rogues::default();
            kinds.iter().for_each(|kind| rogues.follow(kind));
            rogues.has("b")
        };
        let hand = || fault(Fault::Rogue, &["b"]);
        let step = |text: &str| Kind::Step { text: text.into() };
        let in_vain = || step("passed over: start by hand the server of b: it runs already");
        assert!(!rogue(&[hand(), in_vain()]));
        assert!(
            rogue(&[hand(), opened("b", 2), step("start by hand the server of b"), hand(), in_vain()]),
            "the first"
        );
        assert!(rogue(&[hand(), step("kill the keeper of a"), in_vain()]), "another step");
        assert!(rogue(&[hand(), step("passed over: @primary names no node at this moment")]), "another that was");
        let receives = || Kind::Received { node: "b".into(), from: "a".into() };
        assert!(!rogue(&[hand(), receives()]));
        assert!(rogue(&[step("promote by hand b"), hand(), receives(), opened("b", 2)]), "it was about to open");
        let promoted_in_vain =
            || vec![step("promote by hand b"), hand(), step("passed over: promote by hand b: it is down")];
        assert!(!rogue(&[promoted_in_vain(), vec![hand(), receives()]].concat()));
        assert!(rogue(&[hand(), opened("b", 2), receives()]));
        let again = || step(&format!("{RESTART_BY_HAND} b"));
        let not_again = step(&format!("passed over: {RESTART_BY_HAND} b: it is down"));
        assert!(!rogue(&[hand(), opened("b", 2), again(), not_again, closed("b")]));
    }
}
