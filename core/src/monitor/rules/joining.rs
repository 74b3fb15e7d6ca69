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

/// The primary is ready to be cloned: it runs, with a checkpoint on its timeline. Closed, it may wait for this very node.
pub fn clone(v: &View) -> Option<Verdict> {
    let primary = v.followable_primary()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ControlState, Durability, InForce, Timeline};
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;
    use crate::wire::Answer;

    /// The primary says that it runs under what it was told last.
    fn confirms(p: &mut Pair, node: crate::model::NodeId) {
        let (state, applied) = (p.goal(node), p.record().contract().map(|c| c.id));
        p.tells(node, state, primary_with(None), |r| r.applied = applied);
    }

    /// Node a is alone in its group: b was dropped.
    fn alone() -> Pair {
        let mut p = Pair::settled();
        p.ordered_drop("b", false);
        p.says(B, Dropped, stopped(ControlState::ShutDownInRecovery));
        confirms(&mut p, A);
        p.says(A, Single, primary_with(None));
        p
    }

    /// A new node c has registered with such a group.
    fn with_newcomer() -> Pair {
        let mut p = alone();
        let answer = p.feed(Input::Register(joins("c", 5003))).answer;
        assert!(matches!(answer, Some(Answer::Registered { node: C, .. })), "{answer:?}");
        p
    }

    #[test]
    fn a_dropped_node_is_forgotten_when_no_contract_counts_on_it_and_it_has_stopped_or_cannot() {
        type Ends = fn(&mut Pair);
        let ends: [(&str, Ends); 3] = [
            ("its keeper says that it has stopped", |p| {
                p.says(B, Dropped, stopped(ControlState::ShutDownInRecovery));
            }),
            ("it is dead", |p| p.dies(B)),
            ("the operator doesn't wait for its keeper", |p| {
                p.ordered_drop("b", true);
            }),
        ];
        for (how, ends) in ends {
            let mut p = Pair::settled();
            p.ordered_drop("b", false);
            ends(&mut p);
            assert_eq!(p.goal(B), Dropped, "{how}, but the primary may still wait for it");
            confirms(&mut p, A);
            assert!(!p.record().nodes.contains_key(&B), "{how}");
            let mut p = Pair::settled();
            p.ordered_drop("b", false);
            confirms(&mut p, A);
            assert_eq!(p.goal(B), Dropped, "it still runs");
            ends(&mut p);
            assert!(!p.record().nodes.contains_key(&B), "{how}");
        }
    }

    #[test]
    fn a_primary_that_is_dropped_is_forgotten_after_its_successor_is_open() {
        let mut p = Pair::settled();
        p.ordered_drop("a", false);
        p.says(B, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.sealed(1000);
        assert_eq!(p.goals(), (Dropped, WaitPrimary));
        p.says(A, Dropped, stopped(ControlState::ShutDown));
        assert!(p.record().nodes.contains_key(&A), "the role may yet go back to it");
        p.says(B, WaitPrimary, primary_with(None));
        assert!(!p.record().nodes.contains_key(&A));
    }

    #[test]
    fn the_last_node_is_single_once_it_waits_for_nobody() {
        let mut p = Pair::settled();
        p.ordered_drop("b", true);
        p.says(A, WaitPrimary, primary_with(None));
        assert_eq!((p.goal(A), p.record().nodes.len()), (WaitPrimary, 2), "it has not confirmed that b is out");
        confirms(&mut p, A);
        assert_eq!((p.goal(A), p.record().nodes.len()), (Single, 1));
        assert!(p.record().degraded.is_none(), "nobody is missing");
    }

    #[test]
    fn room_is_made_for_a_new_standby_that_waits_and_only_by_an_open_primary() {
        let mut p = with_newcomer();
        p.says(A, Single, primary_with(None));
        assert_eq!(p.goal(A), Single, "c has registered and said nothing yet");
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        p.says(C, WaitStandby, no_directory());
        assert_eq!(p.goal(A), Single, "nobody could connect");
        p.says(A, Single, primary_with(None));
        assert_eq!((p.goal(A), p.goal(C)), (WaitPrimary, WaitStandby));
    }

    #[test]
    fn a_new_standby_clones_a_primary_whose_checkpoint_is_on_the_lineage_of_the_group() {
        let mut p = with_newcomer();
        p.says(C, WaitStandby, no_directory());
        p.says(A, Single, primary_with(None));
        assert_eq!(p.goal(C), WaitStandby, "the primary has made no room yet");
        p.says(A, WaitPrimary, with(primary_with(None), |r| r.checkpoint_tli = Timeline(0)));
        assert_eq!(p.goal(C), WaitStandby, "a clone would begin on the timeline before");
        p.says(A, WaitPrimary, primary_with(None));
        assert_eq!(p.goal(C), Catchingup);
    }

    /// A strict primary that is back waits for its member, which is gone for good; a new one is to take its place.
    #[test]
    fn a_closed_primary_is_cloned_too_for_it_may_wait_for_the_clone() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Strict);
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force = InForce::only(Contract::any(id, 1, [B].into()));
        let c = p.record_mut().nodes.get_mut(&C).unwrap();
        (c.reported, c.assignment.goal) = (WaitStandby, WaitStandby);
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        p.dies(B);
        p.says(C, WaitStandby, no_directory());
        assert_eq!(p.goal(C), WaitStandby, "nothing runs there");
        p.says(A, DemoteTimeout, with(standby(), |r| r.receiver = None));
        assert_eq!(p.goal(C), Catchingup, "{:?}", p.stall());
    }
}
