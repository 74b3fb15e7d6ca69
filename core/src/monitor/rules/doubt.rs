//! Who leads a group of which the monitor knows less than its nodes.

use super::Verdict;
use crate::model::NodeState::*;
use crate::model::{NodeId, NodeRecord};
use crate::monitor::edit::Edit;
use crate::monitor::view::View;

/// Of the nodes that are open, the one of the highest epoch is the primary; another that is open was replaced by it.
pub fn adopt(v: &View) -> Option<Verdict> {
    if !v.record.in_doubt {
        return None;
    }
    let told = |n: &&NodeRecord| !n.doubted && n.reported.is_writable() && v.is_heard(n.id) && v.is_open(n.id);
    let epoch = |id: NodeId| v.report(id).map(|r| r.epoch);
    let primary = v.record.nodes.values().filter(told).max_by_key(|n| (epoch(n.id), std::cmp::Reverse(n.id)))?;
    let mut edits = vec![Edit::Adopt(primary.id)];
    for node in v.record.nodes.values().filter(|n| n.id != primary.id) {
        let goal = match node.goal() {
            goal if goal.is_writable() => Demoted,
            DemoteTimeout => Demoted,
            ReportLsn => Catchingup,
            goal => goal,
        };
        edits.push(Edit::Assign(node.id, goal));
    }
    Some((edits, format!("{} is open and of the highest epoch: it is the primary", primary.name)))
}
