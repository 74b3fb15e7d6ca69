//! How a standby becomes fit for promotion, and loses that.

use super::Verdict;
use crate::model::NodeState::*;
use crate::model::wal::SEGMENT;
use crate::model::{Lsn, NodeRecord, Stranded};
use crate::monitor::edit::Edit;
use crate::monitor::health::Life;
use crate::monitor::view::View;
use crate::mutant;

/// A node that holds the role no more and stands still between its two last steps.
pub fn demote(v: &View) -> Option<Verdict> {
    let open = v.record.nodes.values().find(|n| n.goal().is_writable())?;
    let gives_up = |n: &&NodeRecord| n.id != open.id && matches!(n.goal(), Draining | DemoteTimeout);
    let old = v.record.nodes.values().find(gives_up)?;
    Some((vec![Edit::Assign(old.id, Demoted)], format!("{} holds the role, {} is demoted", open.name, old.name)))
}

/// The old primary comes back as a standby, once the new one can serve as the source of a rewind.
pub fn rejoin(v: &View) -> Option<Verdict> {
    let primary = v.followable_primary()?;
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

/// A secondary that no contract counts on and that can't be counted on has to catch up again; so has one that comes too
/// late, counted on or not: all it holds is on the primary, and nothing but a clone brings it back.
pub fn fell_behind(v: &View) -> Option<Verdict> {
    let primary = v.record.primary().filter(|p| p.goal().is_writable())?;
    let counted = |id| v.record.in_force.latest().is_some_and(|c| c.members.contains(&id));
    let too_late = |id| v.running(id).is_some_and(|r| r.stranded == Some(Stranded::WalRemoved)) && v.is_on_lineage(id);
    let why = |n: &NodeRecord| match too_late(n.id) {
        true => Some("WAL that it needs is gone from the primary"),
        false => v.away(n.id).filter(|_| !counted(n.id)),
    };
    let secondaries = v.record.nodes.values().filter(|n| n.id != primary.id && n.goal() == Secondary);
    let (node, why) = secondaries.filter_map(|n| Some((n, why(n)?))).next()?;
    Some((vec![Edit::Assign(node.id, Catchingup)], format!("{} must catch up again: {why}", node.name)))
}

/// A node of an earlier transfer or election that stands where nobody needs it any more.
pub fn left_over(v: &View) -> Option<Verdict> {
    if v.record.transfer.is_some() {
        return None;
    }
    let primary = v.record.primary().filter(|p| p.goal().is_writable())?;
    let stands = |n: &&NodeRecord| n.id != primary.id && (n.goal().is_being_promoted() || n.goal() == ReportLsn);
    let node = v.record.nodes.values().find(stands)?;
    Some((vec![Edit::Assign(node.id, Catchingup)], format!("{} follows {}", node.name, primary.name)))
}

/// A standby that goes to maintenance is let go once no contract counts on it.
pub fn maintain(v: &View) -> Option<Verdict> {
    let node = v.record.nodes.values().find(|n| {
        let counted = v.record.in_force.iter().any(|c| c.members.contains(&n.id));
        n.settled_in(WaitMaintenance) && (!counted || mutant!(MaintenanceCounts))
    })?;
    let why = format!("nothing counts on {} any more: it is in the operator's hands", node.name);
    Some((vec![Edit::Assign(node.id, Maintenance)], why))
}

/// WAL that every node holds needn't be kept; told in steps of a segment.
pub fn let_go_of_wal(v: &View) -> Option<Verdict> {
    let at = |n: &NodeRecord| v.report(n.id).and_then(|r| r.facts.position()).or(n.position);
    let nodes = v.record.nodes.values().filter(|n| n.goal() != Dropped);
    let lowest = nodes.map(|n| at(n).map_or(Lsn::ZERO, |p| p.lsn)).min()?;
    let floor = Lsn(lowest.0 / SEGMENT * SEGMENT);
    let rises = v.record.nodes.len() > 1 && floor > v.record.wal_floor.unwrap_or(Lsn(SEGMENT));
    rises.then(|| (vec![Edit::Floor(floor)], String::new()))
}
