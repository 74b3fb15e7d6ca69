//! The role moves: seal, prove, open. Planned or not, the way is the same; a planned one drains first.

use super::Verdict;
use crate::model::NodeState::*;
use crate::model::{ControlState, Lsn, NodeRecord, Server, Transfer, TransferKind};
use crate::monitor::edit::{Edit, Terms};
use crate::monitor::health::Life;
use crate::monitor::view::View;
use std::collections::BTreeSet;

/// The edits that start moving the role from `old` to `candidate`.
pub fn begin(kind: TransferKind, old: &NodeRecord, candidate: &NodeRecord) -> Vec<Edit> {
    let transfer = Transfer { kind, old: old.id, candidate: candidate.id, drained: None };
    // One that has closed by itself has nothing to drain.
    let closing = if old.reported == DemoteTimeout { DemoteTimeout } else { Draining };
    vec![
        Edit::RaiseEpoch,
        Edit::Begin(transfer),
        Edit::Assign(old.id, closing),
        Edit::Assign(candidate.id, PreparePromotion),
    ]
}

/// The primary's server is gone or closed and a standby is proven complete.
pub fn fail_over(v: &View) -> Option<Verdict> {
    if v.record.transfer.is_some() {
        return None;
    }
    let old = v.record.primary().filter(|p| p.goal().is_writable())?;
    let why = v.primary_lost(old)?;
    let candidate = v.candidate().ok()?;
    let why = format!("{} takes over from {}: {why}", candidate.name, old.name);
    Some((begin(TransferKind::Failover, old, candidate), why))
}

/// The primary's service is being stopped: it hands the role over in order.
pub fn hand_over(v: &View) -> Option<Verdict> {
    let old = v.record.primary().filter(|p| p.settled_in(Primary) && v.is_heard(p.id) && v.is_leaving(p.id))?;
    let candidate = v.candidate().ok().filter(|_| v.record.transfer.is_none())?;
    let why = format!("{} takes over from {}, whose service is being stopped", candidate.name, old.name);
    Some((begin(TransferKind::Switchover, old, candidate), why))
}

fn parties<'a>(v: &View<'a>) -> Option<(&'a Transfer, &'a NodeRecord, &'a NodeRecord)> {
    let transfer = v.record.transfer.as_ref()?;
    Some((transfer, v.record.nodes.get(&transfer.old)?, v.record.nodes.get(&transfer.candidate)?))
}

/// The old primary of a planned handover has stopped in order: where its last record starts.
fn shutdown_checkpoint(v: &View, old: &NodeRecord) -> Option<Lsn> {
    let facts = &v.report(old.id)?.facts;
    let control = facts.control().filter(|c| c.state == ControlState::ShutDown)?;
    (matches!(facts.server, Server::Down) && old.settled_in(Draining)).then_some(control.checkpoint.lsn)
}

pub fn drained(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if transfer.kind != TransferKind::Switchover || !candidate.settled_in(PreparePromotion) {
        return None;
    }
    let lsn = shutdown_checkpoint(v, old)?;
    let edits =
        vec![Edit::Drained(lsn), Edit::Assign(candidate.id, StopReplication), Edit::Assign(old.id, DemoteTimeout)];
    Some((edits, format!("{} has stopped in order, its last record is at {lsn}", old.name)))
}

/// A planned handover whose old primary died, hangs, or stopped in disorder: go on as after a failure. If it had
/// stopped in order, what may be missing is its last record alone, and that holds no commit.
pub fn old_primary_died(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if transfer.kind != TransferKind::Switchover || !candidate.goal().is_being_promoted() {
        return None;
    }
    let gone = matches!(v.life(old.id), Life::Lost(_));
    let hangs = || {
        let stuck = v.report(old.id).is_some_and(|r| matches!(r.facts.server, Server::Stuck { .. }));
        stuck && matches!(v.life(old.id), Life::Ill(_))
    };
    let stopped_otherwise = || old.settled_in(Draining) && shutdown_checkpoint(v, old).is_none();
    let undrained = transfer.drained.is_none() && (old.reported == DemoteTimeout || hangs() || stopped_otherwise());
    (gone || undrained).then(|| (vec![Edit::Undrained], format!("{} won't stop in order any more", old.name)))
}

pub fn seal(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if transfer.kind != TransferKind::Failover || !candidate.settled_in(PreparePromotion) {
        return None;
    }
    let edits = vec![Edit::Assign(candidate.id, StopReplication), Edit::Assign(old.id, DemoteTimeout)];
    Some((edits, format!("{} stops receiving from {}", candidate.name, old.name)))
}

/// The durability law: the sealed candidate proves that every acknowledged commit is here, and denies
/// the old primary any further acknowledgement; so it may open without waiting for the old one.
pub fn open(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if !(candidate.settled_in(StopReplication) && v.life(candidate.id) == Life::Alive) {
        return None;
    }
    let seal = v.report(candidate.id)?.seal.filter(|s| s.epoch == v.record.epoch)?;
    let complete = transfer.drained.is_none_or(|lsn| seal.position.lsn > lsn);
    let on_lineage = v.record.history.as_ref().is_some_and(|h| h.contains(seal.position));
    let proven = v.record.in_force.proven_by(&BTreeSet::from([candidate.id]));
    if !(complete && on_lineage && proven) {
        return None;
    }
    let edits = vec![Edit::Install, Edit::Assign(candidate.id, WaitPrimary), Edit::Assign(old.id, Demoted)];
    Some((
        edits,
        format!("{} holds every acknowledged commit, up to {}; it opens alone", candidate.name, seal.position),
    ))
}

/// The new primary is open; with its own account of the lineage the old one can rejoin.
pub fn opened(v: &View) -> Option<Verdict> {
    let (_, _, candidate) = parties(v)?;
    if !(candidate.settled_in(WaitPrimary) && v.is_open(candidate.id)) {
        return None;
    }
    Some((vec![Edit::EndTransfer], format!("{} is open for writes", candidate.name)))
}

/// The candidate can't take over, or the old primary doesn't come to a stop, and the candidate has not
/// been told to open: the role goes back to the old primary.
pub fn call_off(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if !candidate.goal().is_being_promoted() || !v.is_heard(old.id) {
        return None;
    }
    let incomplete = || {
        let seal = v.report(candidate.id)?.seal.filter(|s| s.epoch == v.record.epoch)?;
        (seal.position.lsn <= transfer.drained?).then_some("it lacks the last record of the old primary")
    };
    let undrained = transfer.kind == TransferKind::Switchover && transfer.drained.is_none();
    let late = v.transfer_since.is_some_and(|since| v.now.since(since) >= v.settings.drain_timeout);
    let why = match v.life(candidate.id) {
        Life::Lost(why) => why,
        // After a failure the candidate is the better hope, and its keeper will try to start it again.
        Life::Ill(why) if transfer.kind == TransferKind::Switchover || late => why,
        _ if v.is_mute(candidate.id) => "its keeper says nothing",
        _ if undrained && late => "the old primary didn't stop in time",
        _ => incomplete()?,
    };
    let edits = vec![
        Edit::RaiseEpoch,
        Edit::EndTransfer,
        Edit::Enforce(Terms::None),
        Edit::Degrade,
        Edit::Assign(old.id, WaitPrimary),
        Edit::Assign(candidate.id, Catchingup),
    ];
    Some((edits, format!("{} keeps the role, {} can't take over: {why}", old.name, candidate.name)))
}

/// The lineage of the open primary is what every other node is compared with.
pub fn lineage(v: &View) -> Option<Verdict> {
    let primary = v.record.primary().filter(|p| p.goal().is_writable() && v.is_heard(p.id) && v.is_open(p.id))?;
    let report = v.report(primary.id).filter(|r| r.epoch == v.record.epoch && r.state.is_writable())?;
    let history = &report.facts.control()?.history;
    if v.record.history.as_ref() == Some(history) {
        return None;
    }
    Some((vec![Edit::Lineage(history.clone())], format!("{} is on timeline {}", primary.name, history.tli)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, NodeState};
    use crate::monitor::rules::testing::*;
    use crate::ports::Probe;
    use crate::wire::Answer;
    use std::time::Duration;

    #[test]
    fn a_dead_primary_is_replaced_at_once_and_only_after_the_seal() {
        let mut p = Pair::settled();
        assert_eq!(p.goals(), (Primary, Secondary));
        p.dies(A);
        assert_eq!(p.goals(), (Draining, PreparePromotion));
        assert_eq!(p.record().epoch, Epoch(2));
        p.says(B, PreparePromotion, standby());
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication));
        p.says(B, StopReplication, cut_off_standby());
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication), "stopped, but nothing sealed in this epoch");
        p.sealed(1000);
        assert_eq!(p.goals(), (Demoted, WaitPrimary));
        assert!(p.record().in_force.may_acknowledge_alone() && p.record().degraded.is_some());
    }

    #[test]
    fn a_primary_that_may_acknowledge_alone_is_never_replaced() {
        for may_have_acknowledged in [NodeState::WaitPrimary, NodeState::Primary] {
            let mut p = Pair::settled();
            let id = p.record_mut().new_contract_id();
            p.record_mut().in_force.add(crate::model::Contract::none(id));
            p.record_mut().nodes.get_mut(&A).unwrap().assignment.goal = may_have_acknowledged;
            p.dies(A);
            p.passes(Duration::from_secs(3600));
            assert_eq!(p.goals(), (may_have_acknowledged, Secondary));
        }
    }

    #[test]
    fn silence_is_no_death_while_the_standby_still_receives() {
        let mut p = Pair::settled();
        for _ in 0..30 {
            p.passes(Duration::from_secs(1));
            p.says(B, Secondary, standby());
            p.probed(A, Probe::Silent);
        }
        assert_eq!(p.goals(), (Primary, Secondary), "the link from monitor to primary is cut, nothing else");
        for _ in 0..6 {
            p.passes(Duration::from_secs(1));
            p.says(B, Secondary, cut_off_standby());
        }
        assert_eq!(p.goals(), (Draining, PreparePromotion));
    }

    #[test]
    fn a_postmaster_killed_under_a_living_keeper_moves_the_role() {
        let mut p = Pair::settled();
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goals(), (DemoteTimeout, PreparePromotion));
    }

    #[test]
    fn a_switchover_waits_for_the_orderly_stop_and_for_its_last_record() {
        let mut p = Pair::settled();
        assert!(matches!(p.switchover().answer, Some(Answer::Accepted { .. })));
        assert!(matches!(p.switchover().answer, Some(Answer::Accepted { .. })), "asking twice moves the role once");
        assert_eq!(p.record().epoch, Epoch(2));
        p.says(B, PreparePromotion, standby());
        assert_eq!(p.goals(), (Draining, PreparePromotion), "the old primary still runs");
        p.says(A, Draining, stopped(ControlState::ShutDown));
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication));
        assert_eq!(p.record().nodes[&B].assignment.drained, Some(Lsn(900)));
        p.sealed(1000);
        assert_eq!(p.goals(), (Demoted, WaitPrimary));
    }

    #[test]
    fn a_candidate_without_the_last_record_gives_the_role_back() {
        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.sealed(900);
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
        assert!(p.record().transfer.is_none());
    }

    #[test]
    fn a_crash_of_the_old_primary_in_a_switchover_becomes_a_failover() {
        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.dies(A);
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication));
        p.sealed(1000);
        assert_eq!(p.goals(), (Demoted, WaitPrimary));
    }

    #[test]
    fn a_candidate_that_dies_before_it_may_open_gives_the_role_back_and_after_it_doesnt() {
        let mut p = Pair::settled();
        p.switchover();
        p.dies(B);
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));

        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.sealed(1000);
        p.dies(B);
        assert_eq!(p.goals(), (Demoted, WaitPrimary), "it may have acknowledged commits already");
    }

    #[test]
    fn a_candidate_whose_keeper_is_gone_isnt_chosen_and_doesnt_keep_the_role() {
        let mut p = Pair::settled();
        p.hangs_up(B);
        p.probed(B, Probe::Answers);
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goals(), (Primary, Secondary), "nobody listens there");

        let mut p = Pair::settled();
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goals(), (DemoteTimeout, PreparePromotion));
        p.hangs_up(B);
        for _ in 0..6 {
            p.passes(Duration::from_secs(1));
            p.probed(B, Probe::Answers);
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        }
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
    }

    #[test]
    fn a_candidate_that_stumbles_after_a_failure_stays_the_candidate() {
        let mut p = Pair::settled();
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        p.says(B, PreparePromotion, stopped(ControlState::InRecovery));
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication));
    }

    #[test]
    fn an_old_primary_that_dies_after_its_orderly_stop_holds_nothing_up() {
        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.dies(A);
        p.sealed(900);
        assert_eq!(p.goals(), (Demoted, WaitPrimary), "what it lacks is the shutdown record alone");
    }

    #[test]
    fn an_old_primary_that_doesnt_stop_keeps_the_role() {
        let mut p = Pair::settled();
        p.switchover();
        for _ in 0..31 {
            p.passes(Duration::from_secs(1));
            p.says(A, Primary, primary_with(Some(B)));
            p.says(B, PreparePromotion, standby());
        }
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
    }

    #[test]
    fn a_stopped_service_hands_over_first() {
        let mut p = Pair::settled();
        p.tells(A, Primary, primary_with(Some(B)), |r| r.leaving = true);
        assert_eq!(p.goals(), (Draining, PreparePromotion));
    }

    #[test]
    fn a_switchover_without_a_fit_standby_is_refused_with_the_reason() {
        let mut p = Pair::settled();
        p.says(B, Secondary, stopped(ControlState::InRecovery));
        let Some(Answer::Refused { reason, remedy }) = p.switchover().answer else { panic!("accepted") };
        assert!(reason.contains("not primary") && reason.contains("b can't be promoted"), "{reason}");
        assert!(remedy.contains("wait until the standby is secondary"), "{remedy}");
    }
}
