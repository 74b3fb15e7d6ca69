//! What the primary enforces: entering a contract, confirming it, and going on without it.

use super::Verdict;
use crate::model::NodeState::*;
use crate::model::{Contract, NodeId, NodeRecord};
use crate::monitor::edit::{Edit, Terms};
use crate::monitor::health::Life;
use crate::monitor::view::View;

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
    if v.record.in_force.is_settled() && !closes_gap {
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

/// A standby that streams and has caught up enters the contract. It counts for elections only once the
/// primary has confirmed: until then the contract without it may be in force as well.
pub fn synchronous(v: &View) -> Option<Verdict> {
    let primary = v.open_primary(&[WaitPrimary])?;
    let fit = |n: &&NodeRecord| {
        n.settled_in(Secondary)
            && n.replication_quorum
            && v.life(n.id) == Life::Alive
            && v.missing(n.id).is_none()
            && v.streams(primary.id, n.id)
    };
    let members: Vec<NodeId> = v.record.standbys().filter(fit).map(|n| n.id).collect();
    let k = v.formation.number_sync_standbys.max(1);
    if v.record.transfer.is_some() || members.len() < k as usize {
        return None;
    }
    let edits = vec![Edit::Enforce(Terms::Any(k, members)), Edit::Assign(primary.id, Primary)];
    Some((edits, format!("{} is to be synchronous with its standby", primary.name)))
}

/// Too few members are left to acknowledge, and the formation prefers to go on: recorded first, so
/// that no standby can be promoted any more, told to the primary after.
pub fn degrade(v: &View) -> Option<Verdict> {
    let primary = v.record.primary().filter(|p| p.goal() == Primary && v.is_heard(p.id) && v.is_open(p.id))?;
    let why = out_of_members(v, v.record.contract()?)?;
    Some((alone(v, primary), format!("{} goes on without a synchronous standby: {why}", primary.name)))
}

/// The primary came back closed after a crash, or closed by itself, and nobody can take over or acknowledge.
pub fn reopen_alone(v: &View) -> Option<Verdict> {
    let primary =
        v.record.primary().filter(|p| p.goal() == Primary && p.reported == DemoteTimeout && v.is_heard(p.id))?;
    let why = out_of_members(v, v.record.contract()?)?;
    Some((alone(v, primary), format!("{} opens again, alone: {why}", primary.name)))
}

/// Why the contract can't be kept; `None` when it can, or when commits are to wait rather than
/// go through alone.
fn out_of_members(v: &View, contract: &Contract) -> Option<String> {
    if contract.is_none() || v.formation.number_sync_standbys > 0 || v.record.transfer.is_some() {
        return None;
    }
    let missing: Vec<(NodeId, &str)> = contract.members.iter().filter_map(|m| Some((*m, v.missing(*m)?))).collect();
    if contract.can_acknowledge_without(&missing.iter().map(|(m, _)| *m).collect()) {
        return None;
    }
    let name = |id: &NodeId| v.record.nodes.get(id).map_or_else(|| format!("node {id}"), |n| n.name.clone());
    Some(missing.iter().map(|(m, why)| format!("{}: {why}", name(m))).collect::<Vec<_>>().join("; "))
}

fn alone(v: &View, primary: &NodeRecord) -> Vec<Edit> {
    let mut edits = vec![Edit::Enforce(Terms::None), Edit::Degrade, Edit::Assign(primary.id, WaitPrimary)];
    let secondaries = v.record.standbys().filter(|n| n.goal() == Secondary && v.missing(n.id).is_some());
    edits.extend(secondaries.map(|n| Edit::Assign(n.id, Catchingup)));
    edits
}

#[cfg(test)]
mod tests {
    use crate::model::NodeState::*;
    use crate::model::{ControlState, FormationSettings};
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

    #[test]
    fn a_standby_counts_again_only_after_the_primary_has_confirmed() {
        let mut p = Pair::settled();
        p.dies(B);
        let alone = p_contract(&p.record().in_force);
        p.tells(A, WaitPrimary, primary_with(None), |r| r.applied = alone);
        p.says(B, Catchingup, standby());
        p.says(A, WaitPrimary, primary_with(Some(B)));
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
    fn a_primary_back_from_a_crash_without_its_standby_opens_alone_after_it_is_recorded() {
        let mut p = Pair::settled();
        p.dies(A);
        p.dies(B);
        assert_eq!(p.goals(), (Draining, PreparePromotion), "the candidate died after it was chosen");
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
        assert!(p.record().in_force.may_acknowledge_alone());
    }
}
