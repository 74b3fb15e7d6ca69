//! S12: nodes move along the edges of the shared table only, and every goal has a way along them from where its
//! node is. A keeper begins to write by nobody's leave but the monitor's.

use super::roles::is_reset;
use super::trace::{Fault, Kind, Sense, Trace};
use crate::model::NodeState;
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut last: BTreeMap<&str, NodeState> = BTreeMap::new();
    let mut walked: BTreeMap<&str, NodeState> = BTreeMap::new();
    let sees_keepers = trace.sees.contains(&Sense::Keepers);
    // What another store says of a node is what it was, until the node has reported a change.
    let mut doubted: BTreeSet<&str> = BTreeSet::new();
    let mut reach: BTreeMap<NodeState, BTreeSet<NodeState>> = BTreeMap::new();
    for event in &trace.events {
        if is_reset(&event.kind) {
            last.clear();
            doubted = trace.nodes.iter().map(String::as_str).collect();
        }
        if let Kind::Fault { fault: Fault::Disk, nodes } = &event.kind {
            doubted.extend(nodes.iter().map(String::as_str));
            nodes.iter().for_each(|node| {
                walked.remove(node.as_str());
            });
        }
        // Its own record tells each of its moves; the monitor misses some when it dies, or the keeper.
        if let Kind::Stored { node, state, goal, .. } = &event.kind {
            let from = walked.insert(node, *state).unwrap_or(*state);
            if state.is_writable() && !from.is_writable() && goal.is_none_or(|goal| !goal.is_writable()) {
                let at = event.at.seconds();
                return Err(format!("the keeper of {node} made it {state} at {at:.3} s, as it was not told"));
            }
            if from != *state && !from.may_become(*state) {
                return Err(format!("the keeper of {node} went from {from} to {state} at {:.3} s", event.at.seconds()));
            }
        }
        let Kind::Node { node, reported, goal, .. } = &event.kind else {
            continue;
        };
        if !reach.entry(*reported).or_insert_with(|| reachable(*reported)).contains(goal) {
            return Err(format!("{node} is {reported} at {:.3} s and can't become {goal}", event.at.seconds()));
        }
        let from = last.insert(node, *reported).unwrap_or(*reported);
        if !sees_keepers && from != *reported && !doubted.remove(node.as_str()) && !from.may_become(*reported) {
            return Err(format!("{node} went from {from} to {reported} at {:.3} s", event.at.seconds()));
        }
    }
    Ok(())
}

fn reachable(from: NodeState) -> BTreeSet<NodeState> {
    let mut reached = BTreeSet::from([from]);
    let mut queue = vec![from];
    while let Some(at) = queue.pop() {
        queue.extend(NodeState::ALL.iter().filter(|to| at.may_become(**to) && reached.insert(**to)));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
    use super::*;
    use crate::model::Epoch;
    use crate::model::NodeState::*;

    #[test]
    fn a_move_outside_the_table_is_found() {
        let went = |to| check(&trace(vec![(0, node("a", Secondary, to, 1)), (1, node("a", to, to, 1))]));
        assert_eq!(went(PreparePromotion), Ok(()));
        assert!(went(Primary).unwrap_err().contains("a went from secondary to primary"));
    }

    #[test]
    fn where_it_is_seen_what_keepers_store_is_the_way_that_counts() {
        let told = |state| node("a", state, state, 1);
        let went = |more: Vec<Kind>| {
            let events = [told(ReportLsn), stored("a", 1, ReportLsn, None)].into_iter().chain(more);
            let mut trace = trace(events.map(|kind| (0, kind)).collect());
            trace.sees = [Sense::Keepers].into();
            check(&trace)
        };
        let step = |state| stored("a", 1, state, None);
        let untold = vec![step(PreparePromotion), step(StopReplication), told(StopReplication)];
        assert_eq!(went(untold), Ok(()), "it died before it told of the first");
        assert!(went(vec![step(WaitPrimary)]).unwrap_err().contains("a went from report_lsn to wait_primary"));
        let itself = Kind::Stored {
            node: "a".into(),
            epoch: Epoch(1),
            state: WaitPrimary,
            goal: Some(StopReplication),
            seal: None,
            system_id: None,
        };
        let by_itself = went(vec![step(PreparePromotion), step(StopReplication), itself]);
        assert!(by_itself.unwrap_err().contains("wait_primary at 0.000 s, as it was not told"));
    }

    #[test]
    fn another_store_of_the_monitor_knows_other_states() {
        let went = |more: Vec<(u64, Kind)>| {
            let (before, after) = ((0, node("a", Primary, Primary, 1)), (9, node("a", ReportLsn, ReportLsn, 1)));
            check(&trace([before].into_iter().chain(more).chain([after]).collect()))
        };
        assert!(went(vec![]).is_err());
        let restored = (1, fault(Fault::MonitorStore, &[]));
        let belief = |state| (2, node("a", state, state, 1));
        assert_eq!(went(vec![restored.clone()]), Ok(()));
        assert_eq!(went(vec![restored.clone(), belief(Primary)]), Ok(()));
        let twice = vec![restored, belief(Secondary), (3, node("a", Primary, Primary, 1))];
        assert!(went(twice).is_err(), "the second change is one of the node");
    }

    #[test]
    fn a_goal_without_a_way_is_found() {
        let told = |goal| check(&trace(vec![(0, node("a", Dropped, goal, 1))]));
        assert_eq!(told(Dropped), Ok(()));
        assert!(told(Secondary).unwrap_err().contains("can't become secondary"));
    }
}
