//! What the primary enforces: entering a contract, changing it, confirming it, and going on without it.

use super::Verdict;
use super::give_back::can_keep_the_role;
use crate::model::NodeState::*;
use crate::model::{Durability, NodeRecord};
use crate::monitor::durability::Wanted;
use crate::monitor::edit::{Edit, Terms};
use crate::monitor::view::View;

/// Contracts that may be in force at one time, at most. A primary that confirms none gets no more, but for the one to
/// go on alone.
const MOST_IN_FORCE: usize = 4;

/// Every process of the primary runs under the newest contract: the older ones let nothing through
/// any more.
pub fn confirmed(v: &View) -> Option<Verdict> {
    let primary = v.record.primary().filter(|p| p.goal().is_writable() && v.is_heard(p.id))?;
    let report = v.report(primary.id)?;
    let contract = v.record.contract()?;
    if report.applied != Some(contract.id) || report.epoch != v.record.epoch || primary.reported != primary.goal() {
        return None;
    }
    let closes_gap = !contract.is_none() && v.record.degraded.is_some();
    if v.record.in_force.is_settled() && v.record.shown.is_none() && !closes_gap {
        return None;
    }
    let mut edits = vec![Edit::Confirm(contract.id)];
    let mut why = format!("{} enforces {contract} everywhere", primary.name);
    if closes_gap {
        edits.push(Edit::Restore);
        if let (Some(from), Some(to)) = (v.record.degraded.and_then(|d| d.from), v.running(primary.id)) {
            why += &format!("; what it acknowledged alone, {} to {}, is on its standby", from.lsn, to.position.lsn);
        }
    }
    Some((edits, why))
}

/// The primary whose contract can be changed now: open, or closed and waiting to be told. One that has lost its data
/// opens under none, and its standbys stay bound to what they hold.
fn changeable<'a>(v: &View<'a>) -> Option<&'a NodeRecord> {
    let primary = v.record.primary().filter(|p| p.goal().is_writable() && v.is_heard(p.id))?;
    // It may be on its way from one to the other: the members it waits for may be lost, or others may have come.
    let open = v.open_primary(&[Single]).or(v.open_primary(&[WaitPrimary, Primary])).is_some();
    let closed = primary.reported.has_closed() && can_keep_the_role(v, primary);
    (v.record.transfer.is_none() && (open || closed)).then_some(primary)
}

/// Standbys enter the contract that have caught up, and leave it that can't be counted on. One that enters counts for
/// elections only once the primary has confirmed: until then the contract without it may be in force as well.
pub fn synchronous(v: &View) -> Option<Verdict> {
    let has_room = v.record.in_force.iter().count() < MOST_IN_FORCE;
    let primary = changeable(v).filter(|p| has_room && matches!(p.goal(), WaitPrimary | Primary))?;
    let Wanted { terms: Terms::Any(k, members), missing } = v.wanted_contract(primary)? else { return None };
    let names: Vec<String> = members.iter().map(|m| v.name(*m)).collect();
    let mut edits = vec![Edit::Enforce(Terms::Any(k, members)), Edit::Assign(primary.id, Primary)];
    edits.extend(catch_up_again(v));
    let without = if missing.is_empty() { String::new() } else { format!(", without {}", v.reasons(&missing)) };
    Some((edits, format!("{} is to commit with any {k} of {}{without}", primary.name, names.join(", "))))
}

/// Too few members are left to acknowledge, and the formation prefers to go on: recorded first, so
/// that no standby can be promoted any more, told to the primary after.
pub fn degrade(v: &View) -> Option<Verdict> {
    let primary = changeable(v).filter(|p| !p.reported.has_closed())?;
    let wanted = v.wanted_contract(primary).filter(|w| w.terms == Terms::None)?;
    if v.durability() == Durability::Async {
        let edits = vec![Edit::Enforce(Terms::None), Edit::Restore];
        return Some((edits, format!("{} is to commit without waiting, as its group is async", primary.name)));
    }
    let why = v.reasons(&wanted.missing);
    Some((alone(v, primary), format!("{} goes on without a synchronous standby: {why}", primary.name)))
}

/// The primary came back closed after a crash, closed by itself, or was given the role back; nobody can take over or
/// acknowledge.
pub fn reopen_alone(v: &View) -> Option<Verdict> {
    let primary = changeable(v).filter(|p| p.reported.has_closed())?;
    let wanted = v.wanted_contract(primary).filter(|w| w.terms == Terms::None)?;
    let why = v.reasons(&wanted.missing);
    Some((alone(v, primary), format!("{} opens again, alone: {why}", primary.name)))
}

/// A new primary under a contract, whose members have come over to it.
pub fn kept(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[WaitPrimary]).filter(|_| v.record.transfer.is_none())?;
    let contract = v.record.contract().filter(|c| !c.is_none() && v.record.in_force.is_settled())?;
    if v.report(primary.id)?.applied != Some(contract.id) {
        return None;
    }
    Some((vec![Edit::Assign(primary.id, Primary)], format!("{} keeps {contract}", primary.name)))
}

/// An asynchronous group is as it should be when it has a standby at all.
pub fn asynchronous(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[WaitPrimary, Primary]).filter(|_| v.record.transfer.is_none())?;
    if v.durability() != Durability::Async || !v.record.contract()?.is_none() {
        return None;
    }
    let followed = v.record.standbys().any(|n| n.settled_in(Secondary));
    let (state, why) = match followed {
        true => (Primary, "has a standby and does not wait for it"),
        false => (WaitPrimary, "has no standby"),
    };
    // It may have been told meanwhile to wait for standbys, and none was there.
    let is_new = primary.goal() != state || v.record.degraded.is_some();
    is_new.then(|| (vec![Edit::Assign(primary.id, state), Edit::Restore], format!("{} {why}", primary.name)))
}

fn alone(v: &View, primary: &NodeRecord) -> Vec<Edit> {
    let mut edits = vec![Edit::Enforce(Terms::None), Edit::Degrade, Edit::Assign(primary.id, WaitPrimary)];
    edits.extend(catch_up_again(v));
    edits
}

/// Secondaries that can't be counted on have to earn their place again.
fn catch_up_again(v: &View) -> Vec<Edit> {
    let counted_on = |n: &&NodeRecord| n.goal() == Secondary && n.replication_quorum && v.missing(n.id).is_some();
    v.record.standbys().filter(counted_on).map(|n| Edit::Assign(n.id, Catchingup)).collect()
}

#[cfg(test)]
mod tests {
    use crate::model::NodeState::*;
    use crate::model::{Contract, ControlState, Durability, FormationSettings, InForce};
    use crate::monitor::rules::testing::*;
    use std::time::Duration;

    #[test]
    fn a_lost_standby_is_made_unpromotable_before_the_primary_goes_on() {
        let mut p = Pair::settled();
        let effects = {
            p.feed(crate::monitor::state::Input::Hangup(p.record().key.clone(), B));
            p.feed(crate::monitor::state::Input::Probed(p.record().key.clone(), B, crate::ports::Probe::Refused))
        };
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
        let stored = &effects.groups[0];
        assert!(stored.in_force.may_acknowledge_alone() && stored.degraded.is_some(), "one record, one decision");
        assert_eq!(p.record().in_force.iter().count(), 2, "the old contract stays until the primary confirms");
        p.tells(A, WaitPrimary, primary_with(None), |r| r.applied = p_contract(&stored.in_force));
        assert!(p.record().in_force.is_settled());
    }

    fn p_contract(in_force: &crate::model::InForce) -> Option<crate::model::ContractId> {
        in_force.latest().map(|c| c.id)
    }

    #[test]
    fn a_standby_that_lives_but_doesnt_stream_gets_its_time() {
        let mut p = Pair::settled();
        for second in 0..4 {
            p.says(A, Primary, primary_with(None));
            p.says(B, Secondary, cut_off_standby());
            let expected = if second < 2 { (Primary, Secondary) } else { (WaitPrimary, Catchingup) };
            assert_eq!(p.goals(), expected, "after {second} s");
            p.passes(Duration::from_secs(1));
        }
    }

    #[test]
    fn with_number_sync_standbys_set_commits_wait_instead() {
        let mut p = Pair::settled();
        let strict = FormationSettings { number_sync_standbys: 1, ..FormationSettings::default() };
        p.monitor.record.formations.insert("default".into(), strict);
        p.dies(B);
        p.passes(Duration::from_secs(60));
        assert_eq!(p.goals().0, Primary);
    }

    /// The standby was lost, the primary went on alone, and the standby has caught up.
    fn caught_up_again() -> Pair {
        let mut p = Pair::settled();
        p.dies(B);
        let alone = p_contract(&p.record().in_force);
        p.tells(A, WaitPrimary, primary_with(None), |r| r.applied = alone);
        p.says(B, Catchingup, standby());
        p.says(A, WaitPrimary, primary_with(Some(B)));
        p
    }

    #[test]
    fn a_standby_counts_again_only_after_the_primary_has_confirmed() {
        let mut p = caught_up_again();
        assert_eq!(p.goals(), (WaitPrimary, Secondary));
        p.says(B, Secondary, standby());
        assert_eq!(p.goals(), (Primary, Secondary));
        assert!(p.record().in_force.may_acknowledge_alone());
        p.dies(A);
        assert_eq!(p.goals(), (Primary, Secondary), "the primary may have acknowledged commits alone");
        p.says(A, Primary, primary_with(Some(B)));
        assert!(!p.record().in_force.may_acknowledge_alone() && p.record().degraded.is_none());
        p.dies(A);
        assert_eq!(p.goals(), (Draining, PreparePromotion));
    }

    #[test]
    fn a_member_that_is_lost_before_the_primary_has_confirmed_it_is_not_waited_for() {
        let mut p = caught_up_again();
        p.says(B, Secondary, standby());
        assert_eq!(p.goals(), (Primary, Secondary));
        p.dies(B);
        p.says(A, WaitPrimary, primary_with(None));
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
    }

    #[test]
    fn another_standby_can_join_while_the_primary_waits_for_a_member() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Strict);
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force.add(Contract::any(id, 1, [B].into()));
        p.record_mut().nodes.get_mut(&C).unwrap().assignment.goal = Demoted;
        p.dies(B);
        p.says(C, Demoted, stopped(ControlState::InRecovery));
        p.tells(A, WaitPrimary, primary_of(&[]), |r| r.applied = None);
        assert_eq!((p.goal(A), p.goal(C)), (Primary, Catchingup));
        p.says(C, Catchingup, standby());
        p.tells(A, WaitPrimary, primary_of(&[C]), |r| r.applied = None);
        p.says(C, Secondary, standby());
        p.tells(A, WaitPrimary, primary_of(&[C]), |r| r.applied = None);
        assert_eq!(p.record().contract().unwrap().members, [C].into(), "{:?}", p.record());
    }

    /// It would wait for b for ever, with another there that holds all it holds.
    #[test]
    fn a_standby_that_has_caught_up_with_a_closed_primary_is_counted_on() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Strict);
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force = InForce::only(Contract::any(id, 1, [B].into()));
        let c = p.record_mut().nodes.get_mut(&C).unwrap();
        (c.reported, c.assignment.goal) = (Catchingup, Catchingup);
        p.dies(B);
        let closed = || {
            let senders = primary_of(&[C]).running().unwrap().senders.clone();
            with(standby(), |r| (r.receiver, r.senders) = (None, senders.clone()))
        };
        p.says(C, Catchingup, standby());
        p.says(A, DemoteTimeout, closed());
        p.says(C, Secondary, standby());
        assert_eq!(p.goal(C), Secondary, "{:?}", p.stall());
        assert_eq!(p.record().contract().unwrap().members, [C].into(), "{:?}", p.record());
        assert!(p.goal(A).is_writable());
    }

    #[test]
    fn a_primary_back_from_a_crash_without_its_standby_opens_alone_after_it_is_recorded() {
        let mut p = Pair::settled();
        p.dies(A);
        p.dies(B);
        assert_eq!(p.goals(), (Draining, PreparePromotion), "the candidate died after it was chosen");
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
        assert!(p.record().in_force.may_acknowledge_alone());
    }

    #[test]
    fn a_primary_that_has_closed_for_a_candidate_that_is_lost_opens_alone() {
        for state in [Draining, DemoteTimeout] {
            let mut p = Pair::settled();
            p.ordered_failover(None, false);
            p.says(B, PreparePromotion, standby());
            p.says(A, state, stopped(ControlState::ShutDown));
            p.dies(B);
            p.says(A, state, stopped(ControlState::ShutDown));
            assert_eq!(p.goals(), (WaitPrimary, Catchingup), "{state}");
            assert!(p.record().in_force.may_acknowledge_alone() && p.record().degraded.is_some(), "{state}");
        }
    }

    #[test]
    fn a_strict_primary_whose_members_are_dropped_names_those_that_stay() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Strict);
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force = InForce::only(Contract::any(id, 1, [B].into()));
        p.record_mut().nodes.get_mut(&C).unwrap().assignment.goal = Catchingup;
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        p.says(C, Catchingup, cut_off_standby());
        assert_eq!(p.record().contract().unwrap().members, [B].into(), "b may yet come");
        p.record_mut().nodes.get_mut(&B).unwrap().assignment.goal = Dropped;
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.record().contract().unwrap().members, [C].into(), "closed, it would wait for b for ever");
        assert_eq!(p.record().in_force.iter().count(), 2, "whoever had to be asked must still be asked");
    }

    #[test]
    fn a_primary_without_its_data_opens_under_no_contract() {
        let mut p = Pair::settled();
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 0;
        p.says(A, DemoteTimeout, no_directory());
        p.dies(B);
        assert_eq!(p.goals(), (Primary, Secondary), "b holds every acknowledged commit, and counts on");
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 50;
        p.says(B, Secondary, cut_off_standby());
        assert_eq!(p.goals().1, PreparePromotion);
    }

    /// Its keeper can't store what it is told, so nothing is ever confirmed.
    #[test]
    fn however_many_contracts_are_unconfirmed_there_is_room_to_go_on_alone() {
        let mut p = Pair::settled();
        while p.record().in_force.iter().count() < super::MOST_IN_FORCE {
            let id = p.record_mut().new_contract_id();
            p.record_mut().in_force.add(Contract::any(id, 1, [B].into()));
        }
        p.dies(B);
        assert!(p.record().degraded.is_some() && p.record().contract().unwrap().is_none());
    }
}
