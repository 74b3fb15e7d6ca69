//! Servers that run behind their keepers' backs: somebody has promoted or started them by hand. What such a server
//! does until it closes is not the group's doing; what clients were told by it is judged all the same.

use super::trace::{Fault, Kind};
use std::collections::BTreeSet;

/// The step by which somebody restarts a server; the node follows.
const RESTART: &str = "restart by hand the server of ";

#[derive(Debug, Default)]
pub struct Rogues<'a> {
    nodes: BTreeSet<&'a str>,
    /// Told to be open: a hand that starts one of these does no more than its keeper would.
    told: BTreeSet<&'a str>,
    /// Is about to close and open again by the same hand.
    restarted: BTreeSet<String>,
}

impl<'a> Rogues<'a> {
    pub fn follow(&mut self, kind: &'a Kind) {
        match kind {
            Kind::Fault { fault: Fault::Rogue, nodes } => {
                self.nodes.extend(nodes.iter().map(String::as_str).filter(|node| !self.told.contains(node)));
            }
            Kind::Node { node, goal, .. } if goal.is_writable() => {
                self.told.insert(node);
                self.nodes.remove(node.as_str());
            }
            Kind::Node { node, .. } => {
                self.told.remove(node.as_str());
            }
            Kind::Step { text } => {
                self.restarted.extend(text.strip_prefix(RESTART).map(str::to_string));
            }
            Kind::Closed { node } if self.restarted.remove(node) => {}
            Kind::Closed { node } => {
                self.nodes.remove(node.as_str());
            }
            _ => {}
        }
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
        let again = || Kind::Step { text: format!("{RESTART}b") };
        assert!(rogue(&[hand(), opened("b", 2), again(), closed("b"), opened("b", 2)]));
        assert!(!rogue(&[hand(), node("b", StopReplication, WaitPrimary, 2)]));
        assert!(!rogue(&[node("b", Primary, Primary, 1), hand()]));
    }
}
