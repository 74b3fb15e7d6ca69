//! How nodes come and go.

use super::Verdict;
use crate::model::NodeState::*;
use crate::model::{Contract, NodeRecord};
use crate::monitor::edit::{Edit, Terms};
use crate::monitor::health::Life;
use crate::monitor::view::View;
use crate::mutant;

/// A standby is there, new or known before: its primary must hold a slot and let it connect first.
pub fn make_room(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[Single])?;
    let ready = |n: &&NodeRecord| n.id != primary.id && n.reported == n.goal() && n.goal() != Dropped;
    let other = v.record.nodes.values().find(ready)?;
    let why = format!("{} makes room for the standby {}", primary.name, other.name);
    Some((vec![Edit::Assign(primary.id, WaitPrimary)], why))
}

/// The primary is ready to be cloned: open, with a checkpoint on its timeline.
pub fn clone(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[WaitPrimary, Primary])?;
    let new = v.record.nodes.values().find(|n| n.settled_in(WaitStandby))?;
    let clone = || (vec![Edit::Assign(new.id, Catchingup)], format!("{} clones {}", new.name, primary.name));
    v.can_be_source(primary.id).then(clone)
}

/// A dropped node is forgotten when it has stopped, or can't, and no contract counts on it.
pub fn forget_dropped(v: &View) -> Option<Verdict> {
    let node = v.record.nodes.values().find(|n| {
        let stopped = n.forced || n.reported == Dropped || matches!(v.life(n.id), Life::Lost(_));
        let moving = v.record.transfer.as_ref().is_some_and(|t| t.old == n.id || t.candidate == Some(n.id));
        let counted = v.record.in_force.iter().any(|c| c.members.contains(&n.id));
        n.goal() == Dropped && stopped && !moving && (!counted || mutant!(DropLeavesContract))
    })?;
    Some((vec![Edit::Forget(node.id)], format!("{} is no longer part of the group", node.name)))
}

/// The last node of a group has nothing to replicate to.
pub fn left_alone(v: &View) -> Option<Verdict> {
    let node = v.record.nodes.values().next().filter(|_| v.record.nodes.len() == 1)?;
    let alone = node.settled_in(WaitPrimary) && v.record.contract().is_some_and(Contract::is_none);
    if !(alone && v.record.transfer.is_none() && v.record.in_force.is_settled()) {
        return None;
    }
    let edits = vec![Edit::Enforce(Terms::None), Edit::Restore, Edit::Assign(node.id, Single)];
    Some((edits, format!("{} is alone in its group", node.name)))
}
