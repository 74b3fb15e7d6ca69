//! A checker holds when nothing was seen, so a run must have seen what can't have been missing: a log whose wording has
//! changed, say, would otherwise pass for a run without a fault.

use pgbaton_core::check::{Kind, Trace};
use pgbaton_core::model::NodeState;
use std::collections::BTreeSet;

#[derive(Default)]
struct Sights<'a> {
    opened: BTreeSet<&'a str>,
    under_names: BTreeSet<&'a str>,
    stored: BTreeSet<&'a str>,
    received: BTreeSet<&'a str>,
    configured: BTreeSet<&'a str>,
    shown: BTreeSet<&'a str>,
}

/// What should have been seen and was not.
pub fn spots(trace: &Trace) -> Vec<String> {
    let mut saw = Sights::default();
    let mut ended = Vec::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Opened { node, .. } => _ = saw.opened.insert(node),
            Kind::Names { node, .. } => _ = saw.under_names.insert(node),
            Kind::Stored { node, .. } => _ = saw.stored.insert(node),
            Kind::Received { node, .. } => _ = saw.received.insert(node),
            Kind::Configured { node, .. } => _ = saw.configured.insert(node),
            Kind::Shown { node, .. } => _ = saw.shown.insert(node),
            Kind::Ended { node, reported, .. } => ended.push((node.as_str(), *reported)),
            _ => {}
        }
    }
    ended.iter().flat_map(|(node, state)| saw.lacks(node, *state)).collect()
}

impl Sights<'_> {
    fn lacks(&self, node: &str, state: NodeState) -> Vec<String> {
        let (open, follows) = (state.is_writable(), state == NodeState::Secondary);
        let lacks = [
            (open && !self.opened.contains(node), "to open"),
            (open && !self.under_names.contains(node), "to work under any names"),
            (!self.stored.contains(node), "to store a record"),
            (!self.shown.contains(node), "on any screen"),
            (follows && !self.received.contains(node), "to receive WAL"),
            ((open || follows) && !self.configured.contains(node), "to be configured at all"),
        ];
        lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, what)| format!("{node} was never seen {what}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{Epoch, Moment, Position, Timeline};

    #[test]
    fn what_a_node_must_have_done_to_end_like_this_is_missed() {
        let mut trace = Trace::default();
        let ended = |node: &str, state| Kind::Ended {
            node: node.into(),
            reported: state,
            goal: state,
            pending: None,
            runs: true,
        };
        let stored = |node: &str| Kind::Stored {
            node: node.into(),
            epoch: Epoch(1),
            state: NodeState::Primary,
            goal: None,
            seal: None,
            system_id: None,
        };
        let shown =
            |node: &str| Kind::Shown { node: node.into(), position: Position::new(1, 100), health: 1, pending: None };
        for kind in [stored("a"), shown("a"), ended("a", NodeState::Primary), ended("b", NodeState::Maintenance)] {
            trace.push(Moment::ZERO, kind);
        }
        let all = spots(&trace);
        assert!(all.contains(&"a was never seen to open".to_string()), "{all:?}");
        assert!(all.contains(&"b was never seen to store a record".to_string()) && all.len() == 5, "{all:?}");
        assert!(all.contains(&"b was never seen on any screen".to_string()), "{all:?}");
        trace.push(Moment::ZERO, Kind::Opened { node: "a".into(), tli: Timeline(1) });
        assert_eq!(spots(&trace).len(), 4);
    }
}
