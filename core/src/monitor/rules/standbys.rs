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
    let primary = v.followable_primary()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ControlState, Durability, NodeId, NodeState, Position, Timeline};
    use crate::monitor::rules::testing::*;

    fn is_to_be(p: &mut Pair, node: NodeId, goal: NodeState) {
        p.record_mut().nodes.get_mut(&node).unwrap().assignment.goal = goal;
    }

    /// Node b is on its way to being a secondary again, from `state`, and no contract counts on it.
    fn returning(state: NodeState) -> Pair {
        let mut p = Pair::settled();
        p.dies(B);
        p.says(A, WaitPrimary, primary_with(None));
        is_to_be(&mut p, B, state);
        p
    }

    #[test]
    fn who_stands_between_its_last_steps_is_demoted_when_another_holds_the_role() {
        for goal in [Draining, DemoteTimeout] {
            let mut p = Pair::of(3, 1);
            is_to_be(&mut p, B, goal);
            p.says(A, Primary, primary_of(&[C]));
            assert_eq!(p.goal(B), Demoted, "from {goal}");
        }
        let mut p = Pair::settled();
        p.dies(A);
        p.says(B, PreparePromotion, standby());
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication), "nobody holds the role yet");
    }

    #[test]
    fn a_demoted_node_follows_once_the_primary_can_be_the_source_of_a_rewind() {
        let closed = || stopped(ControlState::ShutDown);
        let mut p = returning(Demoted);
        p.says(B, DemoteTimeout, closed());
        assert_eq!(p.goal(B), Demoted, "it is not demoted yet");
        p.tells(B, Demoted, closed(), |r| r.leaving = true);
        assert_eq!(p.goal(B), Demoted, "its service is being stopped");
        p.says(A, WaitPrimary, with(primary_with(None), |r| r.checkpoint_tli = Timeline(0)));
        p.says(B, Demoted, closed());
        assert_eq!(p.goal(B), Demoted, "a rewind would find nothing to do");
        p.hangs_up(B);
        p.says(A, WaitPrimary, primary_with(None));
        assert_eq!(p.goal(B), Demoted, "nobody hears it");
        p.says(B, Demoted, closed());
        assert_eq!(p.goal(B), Catchingup);
    }

    #[test]
    fn a_standby_has_caught_up_when_both_sides_say_so() {
        let far = |p: &Pair| Lsn(1001 + p.monitor.settings.catchup_bytes);
        let receives = |p: &mut Pair| drop(p.says(B, Catchingup, standby()));
        let sends = |p: &mut Pair| drop(p.says(A, WaitPrimary, primary_with(Some(B))));
        let mut p = returning(Catchingup);
        receives(&mut p);
        assert_eq!(p.goal(B), Catchingup, "the primary doesn't list it");
        p.says(A, WaitPrimary, with(primary_with(Some(B)), |r| r.position.lsn = far(&p)));
        assert_eq!(p.goal(B), Catchingup, "it is far behind");
        p.says(B, Catchingup, cut_off_standby());
        sends(&mut p);
        assert_eq!(p.goal(B), Catchingup, "it receives nothing");
        p.says(B, Catchingup, with(standby(), |r| r.position = Position::new(9, 1000)));
        assert_eq!(p.goal(B), Catchingup, "it has WAL of its own");
        p.tells(B, Catchingup, standby(), |r| r.leaving = true);
        assert_eq!(p.goal(B), Catchingup, "its service is being stopped");
        receives(&mut p);
        assert_eq!(p.goal(B), Secondary);
    }

    #[test]
    fn a_secondary_that_is_away_catches_up_again_unless_a_contract_counts_on_it() {
        let mut p = Pair::of(4, 1);
        p.set_durability(Durability::Strict);
        p.record_mut().nodes.get_mut(&D).unwrap().replication_quorum = false;
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force = crate::model::InForce::only(crate::model::Contract::any(id, 1, [B].into()));
        p.record_mut().nodes.remove(&C);
        p.dies(B);
        p.dies(D);
        assert_eq!((p.goal(B), p.goal(D)), (Secondary, Catchingup), "what the primary waits for may be on b alone");
    }

    #[test]
    fn a_secondary_that_comes_too_late_for_its_wal_is_cloned_even_if_it_is_counted_on() {
        for (stranded, timeline, goal, why) in [
            (Some(Stranded::WalRemoved), 1, Catchingup, "nothing else brings it back"),
            (Some(Stranded::WalRemoved), 9, Secondary, "it may hold what the primary doesn't"),
            (Some(Stranded::Forked), 1, Secondary, "nothing is gone"),
            (None, 1, Secondary, "it is well"),
        ] {
            let mut p = Pair::of(3, 1);
            p.says(B, Secondary, with(standby(), |r| (r.stranded, r.position.tli) = (stranded, Timeline(timeline))));
            assert_eq!(p.goal(B), goal, "{why}");
        }
    }

    #[test]
    fn a_vote_or_a_candidacy_left_over_ends_with_the_transfer() {
        for goal in [ReportLsn, PreparePromotion, StopReplication, FastForward] {
            let mut p = Pair::of(3, 1);
            is_to_be(&mut p, B, goal);
            p.says(A, Primary, primary_of(&[B, C]));
            assert_eq!(p.goal(B), Catchingup, "from {goal}");
        }
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.votes(B, 1000);
        assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, ReportLsn), "the election goes on");
    }

    #[test]
    fn a_standby_is_let_go_to_maintenance_once_the_primary_does_not_wait_for_it() {
        let mut p = Pair::settled();
        p.ordered_maintenance("b", true, false);
        p.says(B, WaitMaintenance, standby());
        assert_eq!(p.goals(), (WaitPrimary, WaitMaintenance), "the primary has not confirmed");
        let applied = p.record().contract().map(|c| c.id);
        p.tells(A, WaitPrimary, primary_with(Some(B)), |r| r.applied = applied);
        assert_eq!(p.goals(), (WaitPrimary, Maintenance));
    }

    #[test]
    fn wal_is_let_go_of_in_segments_that_every_node_is_past() {
        let floor = |p: &Pair| p.record().wal_floor.map(|lsn| lsn.0 / SEGMENT);
        let at = |facts, segment: u64| with(facts, |r| r.position.lsn = Lsn(segment * SEGMENT + 7));
        let mut p = Pair::of(3, 1);
        p.says(A, Primary, at(primary_of(&[B, C]), 5));
        p.says(B, Secondary, at(standby(), 4));
        assert_eq!(floor(&p), None, "c is where it was");
        p.says(C, Secondary, at(standby(), 3));
        assert_eq!(floor(&p), Some(3));
        p.says(C, Secondary, at(standby(), 2));
        assert_eq!(floor(&p), Some(3), "a clone of c needs nothing older than its primary has");
        is_to_be(&mut p, C, Dropped);
        p.says(B, Secondary, at(standby(), 4));
        assert_eq!(floor(&p), Some(4), "nobody waits for who is dropped");
        let mut p = Pair::of(2, 1);
        p.record_mut().nodes.remove(&B);
        p.says(A, Primary, at(primary_of(&[]), 5));
        assert_eq!(floor(&p), None, "there is nobody to keep WAL for");
    }
}
