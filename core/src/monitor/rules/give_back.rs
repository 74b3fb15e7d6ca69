//! The role goes back to the old primary: its candidate can't take over, or it doesn't come to a stop.

use super::Verdict;
use super::transfer::{after_vote, parties};
use crate::model::NodeState::*;
use crate::model::{ControlState, History, NodeRecord, TransferKind};
use crate::monitor::edit::Edit;
use crate::monitor::health::Life;
use crate::monitor::view::View;

/// The candidate can't take over, or the old primary doesn't come to a stop, and the candidate has not
/// been told to open: the role goes back to the old primary.
pub fn call_off(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if !candidate.goal().is_being_promoted() || !can_keep_the_role(v, old) {
        return None;
    }
    let incomplete = || {
        let position = v.vote(candidate)?;
        let lacks = transfer.kind == TransferKind::Switchover && position.lsn <= transfer.drained?;
        lacks.then_some("it lacks the last record of the old primary")
    };
    // Chosen before the old primary was lost, it turns out to prove too little, and nobody can complete the proof.
    let unproven = || {
        let stands_alone = v.awaits_proof(transfer, candidate) && !v.election_could_succeed(old.id);
        stands_alone.then_some("nothing proves that it holds every acknowledged commit")
    };
    let undrained = transfer.kind == TransferKind::Switchover && transfer.drained.is_none();
    let late = v.transfer_lasts(v.settings.drain_timeout);
    let why = match v.life(candidate.id) {
        Life::Lost(why) => why,
        // After a failure the candidate is the better hope, and its keeper will try to start it again.
        Life::Ill(why) if transfer.kind == TransferKind::Switchover || late => why,
        _ if v.is_mute(candidate.id) => "its keeper says nothing",
        _ if undrained && late => "the old primary didn't stop in time",
        _ if late && v.vote(candidate).is_none() && !v.gets_on(candidate.id, v.settings.drain_timeout) => {
            "it doesn't get on"
        }
        _ => incomplete().or_else(unproven)?,
    };
    Some((give_back(v, old), format!("{} keeps the role, {} can't take over: {why}", old.name, candidate.name)))
}

/// Its keeper is heard and its data is there: it holds all it ever acknowledged.
pub fn can_keep_the_role(v: &View, old: &NodeRecord) -> bool {
    let is_there = v.report(old.id).is_some_and(|r| r.facts.control().is_some());
    v.is_heard(old.id) && is_there && (v.is_kin(old.id) || untold_lineage(v, old).is_some())
}

/// It was told to open, did so, and was lost before it could say on which timeline.
fn untold_lineage<'a>(v: &View<'a>, old: &NodeRecord) -> Option<&'a History> {
    let control = v.report(old.id)?.facts.control()?;
    let known = v.record.history.as_ref()?;
    let was_open = matches!(control.state, ControlState::InProduction | ControlState::ShutDown);
    let is_ours = v.record.system_id.is_none_or(|id| id == control.system_id);
    let number = v.record.last_timeline;
    let is_untold = number > known.tli.0 && control.history.tli.0 >= number && control.history.is_kin(known);
    (was_open && is_ours && is_untold).then_some(&control.history)
}

/// The role stays where it was, under the contract it had; if too few members are left for that, the rules of
/// contracts see to it.
pub fn give_back(v: &View, old: &NodeRecord) -> Vec<Edit> {
    let mut edits = vec![Edit::RaiseEpoch, Edit::EndTransfer, Edit::Reopen(old.id), Edit::Assign(old.id, Primary)];
    edits.extend(untold_lineage(v, old).map(|history| Edit::Lineage(history.clone())));
    let contract = v.record.contract();
    let drawn_in = |n: &&NodeRecord| n.goal().is_being_promoted() || n.goal() == ReportLsn;
    for node in v.voters(old.id).filter(drawn_in) {
        let is_member = contract.is_some_and(|c| c.members.contains(&node.id));
        let counts = is_member && v.is_heard(node.id);
        let after = v.record.transfer.as_ref().map_or(Catchingup, |t| after_vote(t, node.id, counts));
        edits.push(Edit::Assign(node.id, after));
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Directory, Lsn, Timeline};
    use crate::monitor::rules::testing::*;
    use crate::ports::Probe;
    use crate::wire::Answer;
    use std::time::Duration;

    #[test]
    fn an_abandoned_handover_without_a_proof_ends_with_the_old_primary_when_it_is_back() {
        let mut p = Pair::settled();
        p.switchover();
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force.add(crate::model::Contract::none(id));
        p.says(B, PreparePromotion, standby());
        p.dies(A);
        p.sealed(1000);
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication), "nobody knows what else it acknowledged");
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goals().0, Primary, "it holds all it ever acknowledged");
        assert!(!p.goals().1.is_being_promoted());
    }

    /// It was cut off when it opened, and replaced by one that is lost for good.
    #[test]
    fn an_old_primary_that_never_told_its_timeline_keeps_the_role_when_it_is_back() {
        let mut p = Pair::of(3, 1);
        p.set_durability(crate::model::Durability::Strict);
        p.dies(A);
        p.votes(B, 1000);
        p.votes(C, 1000);
        p.vows(B, StopReplication, 1000);
        assert_eq!((p.goal(B), p.goal(C)), (WaitPrimary, Secondary));
        let number = p.record().last_timeline;
        p.says(C, Secondary, standby());
        p.dies(B);
        assert_eq!(p.goal(B), Draining, "{:?}", p.stall());
        p.dies(C);
        p.passes(Duration::from_secs(60));
        let theirs = History::root(Timeline(1)).branch(Timeline(number), Lsn(1000));
        let mut back = stopped(ControlState::InProduction);
        let Directory::Present(control) = &mut back.directory else { unreachable!() };
        control.history = theirs.clone();
        p.says(B, DemoteTimeout, back);
        assert_eq!((p.goal(B), p.record().history.as_ref()), (Primary, Some(&theirs)), "{:?}", p.stall());
    }

    #[test]
    fn a_candidate_without_the_last_record_gives_the_role_back() {
        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.sealed(900);
        assert_eq!(p.goals(), (Primary, Secondary));
        assert!(p.record().transfer.is_none());
        p.says(A, DemoteTimeout, stopped(ControlState::ShutDown));
        assert_eq!(p.goals(), (Primary, Secondary), "it is on its way back, not lost");
        p.passes(Duration::from_secs(31));
        p.says(B, Secondary, standby());
        p.says(A, DemoteTimeout, stopped(ControlState::ShutDown));
        assert_eq!(p.goals().1, PreparePromotion, "it doesn't come back");
    }

    #[test]
    fn a_candidate_that_proves_too_little_gives_the_role_back_to_an_old_primary_that_returns() {
        let mut p = Pair::of(3, 1);
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.dies(C);
        p.dies(A);
        let goals = |p: &Pair| (p.goal(A), p.goal(B));
        assert_eq!(goals(&p), (DemoteTimeout, StopReplication));
        p.vows(B, StopReplication, 1000);
        assert_eq!(goals(&p), (DemoteTimeout, StopReplication), "c may have acknowledged a commit alone");
        assert!(p.stall().unwrap().starts_with("waits for nodes: "), "{:?}", p.stall());
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(goals(&p), (Primary, Secondary));
        assert!(p.record().transfer.is_none());
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
        let stall = p.stall().unwrap();
        assert!(stall.starts_with("waits for nodes: b may have acknowledged commits that it alone holds"), "{stall}");
        p.says(A, Demoted, stopped(ControlState::ShutDown));
        assert!(matches!(p.ordered_failover(None, true), Answer::Accepted { .. }));
        assert_eq!(p.goals(), (ReportLsn, Draining));
        p.votes(A, 1000);
        assert_eq!(p.goals(), (StopReplication, DemoteTimeout), "given up by consent");
    }

    /// Its configuration is broken, say: it lives, and can't start without its upstream.
    #[test]
    fn a_candidate_that_cannot_seal_gives_the_role_back() {
        for (failure, gets_on) in [(false, false), (true, false), (false, true)] {
            let mut p = Pair::settled();
            match failure {
                true => drop(p.says(A, DemoteTimeout, stopped(ControlState::InProduction))),
                false => drop(p.switchover()),
            }
            let mut waited = Duration::ZERO;
            while !p.goal(A).is_writable() && waited < Duration::from_secs(90) {
                let state = p.goal(B).min(StopReplication);
                let replayed = Lsn(if gets_on { waited.as_secs() } else { 0 });
                let facts = with(standby(), |r| r.replayed = replayed);
                p.says(B, if state == StopReplication { PreparePromotion } else { state }, facts);
                p.says(A, p.goal(A), stopped(ControlState::ShutDown));
                p.passes(Duration::from_secs(1));
                waited += Duration::from_secs(1);
            }
            let time = p.monitor.settings.drain_timeout;
            match gets_on {
                true => assert_eq!(waited, Duration::from_secs(90), "it replays what it holds"),
                false => assert!(time <= waited && waited < time * 3 / 2, "failure: {failure}, {waited:?}"),
            }
        }
    }

    /// The primary before it is back as well, and could be elected.
    #[test]
    fn one_that_was_told_to_open_and_does_not_isnt_given_the_role_back() {
        let mut p = Pair::of(3, 1);
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        for node in [B, C] {
            p.votes(node, 1000);
        }
        p.vows(B, StopReplication, 1000);
        let mut waited = Duration::ZERO;
        while [A, C].iter().all(|n| p.goal(*n) != WaitPrimary) && waited < Duration::from_secs(120) {
            let stuck = with(cut_off_standby(), |r| r.replayed = Lsn(0));
            p.says(B, StopReplication, stuck);
            p.says(C, p.goal(C), cut_off_standby());
            if matches!(p.goal(C), ReportLsn | StopReplication) {
                p.vows(C, p.goal(C), 1000);
            }
            match p.goal(A) {
                goal @ (ReportLsn | StopReplication) => p.vows(A, goal, 1000),
                goal => drop(p.says(A, goal, stopped(ControlState::InProduction))),
            }
            p.passes(Duration::from_secs(1));
            waited += Duration::from_secs(1);
        }
        assert!(waited < Duration::from_secs(60) && !p.goal(B).is_writable(), "{waited:?} {:?}", p.stall());
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
    fn an_old_primary_that_doesnt_stop_keeps_the_role() {
        let mut p = Pair::settled();
        p.switchover();
        for _ in 0..31 {
            p.passes(Duration::from_secs(1));
            p.says(A, Primary, primary_with(Some(B)));
            p.says(B, PreparePromotion, standby());
        }
        assert_eq!(p.goals(), (Primary, Secondary), "under the contract it had");
    }
}
