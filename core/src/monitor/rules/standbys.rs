//! How a standby becomes fit for promotion, and loses that.

use super::Verdict;
use crate::model::NodeState::*;
use crate::monitor::edit::Edit;
use crate::monitor::health::Life;
use crate::monitor::view::View;

/// A node that holds the role no more and stands still between its two last steps.
pub fn demote(v: &View) -> Option<Verdict> {
    let open = v.record.nodes.values().find(|n| n.goal().is_writable())?;
    let old = v.record.nodes.values().find(|n| n.id != open.id && matches!(n.goal(), Draining | DemoteTimeout))?;
    Some((vec![Edit::Assign(old.id, Demoted)], format!("{} holds the role, {} is demoted", open.name, old.name)))
}

/// The old primary comes back as a standby, once the new one can serve as the source of a rewind.
pub fn rejoin(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[WaitPrimary, Primary])?;
    let node = v.record.nodes.values().find(|n| n.settled_in(Demoted) && v.is_heard(n.id) && !v.is_leaving(n.id))?;
    let follow = || (vec![Edit::Assign(node.id, Catchingup)], format!("{} follows {}", node.name, primary.name));
    v.can_be_source(primary.id).then(follow)
}

/// Both sides say that it streams and is close.
pub fn caught_up(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[WaitPrimary, Primary])?;
    let node = v.record.nodes.values().find(|n| {
        n.settled_in(Catchingup)
            && v.life(n.id) == Life::Alive
            && !v.is_leaving(n.id)
            && v.streams(primary.id, n.id)
            && v.receives(n.id)
            && v.is_on_lineage(n.id)
    })?;
    Some((vec![Edit::Assign(node.id, Secondary)], format!("{} has caught up with {}", node.name, primary.name)))
}

/// A secondary that no contract counts on and that can't be counted on: it has to catch up again.
pub fn fell_behind(v: &View) -> Option<Verdict> {
    let primary = v.record.primary().filter(|p| p.goal().is_writable())?;
    let counted = |id| v.record.in_force.latest().is_some_and(|c| c.members.contains(&id));
    let mut standbys =
        v.record.nodes.values().filter(|n| n.id != primary.id && n.goal() == Secondary && !counted(n.id));
    let (node, why) = standbys.find_map(|n| Some((n, v.missing(n.id)?)))?;
    Some((vec![Edit::Assign(node.id, Catchingup)], format!("{} must catch up again: {why}", node.name)))
}
