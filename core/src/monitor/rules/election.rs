//! The primary is gone and its successor has to be found: one standby that alone proves everything takes over
//! directly, several seal their votes first.

use super::Verdict;
use super::give_back::{can_keep_the_role, give_back};
use super::lease::bounded_loss;
use super::transfer::{begin, leave_old};
use crate::model::NodeState::*;
use crate::model::{NodeId, NodeRecord, Transfer, TransferKind, Waiver};
use crate::monitor::edit::Edit;
use crate::monitor::health::Life;
use crate::monitor::view::View;

/// The edits that ask every standby for its vote.
pub fn call_votes(v: &View, transfer: Transfer) -> Vec<Edit> {
    let old = v.record.nodes.get(&transfer.old);
    let is_closed = old.is_some_and(|old| old.reported == DemoteTimeout);
    let closing = if is_closed { DemoteTimeout } else { transfer.closing() };
    let going = v.voters(transfer.old).filter(|n| n.goal() == WaitMaintenance).map(|n| n.id);
    let transfer = Transfer { put_off: going.collect(), ..transfer };
    let voters = v.voters(transfer.old).map(|n| Edit::Assign(n.id, ReportLsn));
    let closes = leave_old(v, &transfer, closing);
    [Edit::RaiseEpoch, Edit::Begin(transfer)].into_iter().chain(closes).chain(voters).collect()
}

/// The primary's server is gone or closed, and enough standbys are there to prove who is complete.
pub fn fail_over(v: &View) -> Option<Verdict> {
    if v.moving().is_some() {
        return None;
    }
    let old = v.record.primary().filter(|p| p.goal().is_writable())?;
    let why = v.primary_lost(old)?;
    if v.is_deaf(old) || v.awaits_first_word(old.id) {
        return None;
    }
    let transfer = Transfer::new(TransferKind::Failover, old.id, None);
    let mut heard = v.voters(old.id).filter(|n| v.is_heard(n.id));
    if let (Some(only), None) = (heard.next(), heard.next()) {
        // Nobody else could win, and nobody else is needed.
        let proven = v.record.shown.is_none() && v.record.in_force.proven_by(&[only.id].into());
        if proven && v.is_fit(only, None).is_ok() {
            let why = format!("{} takes over from {}: {why}", only.name, old.name);
            return Some((begin(old, only, transfer), why));
        }
    }
    if !v.voters(old.id).any(|n| v.may_lead(n, None).is_ok()) {
        return None;
    }
    if v.election_could_succeed(old.id) {
        let why = format!("the standbys of {} elect a new primary: {why}", old.name);
        return Some((call_votes(v, transfer), why));
    }
    let loss = bounded_loss(v, old)?;
    let transfer = Transfer { waiver: Some(Waiver::Policy), ..transfer };
    Some((call_votes(v, transfer), format!("the standbys of {} elect a new primary: {why}; {loss}", old.name)))
}

/// The votes prove a winner.
pub fn elect(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref().filter(|t| t.candidate.is_none())?;
    let winner = v.winner(transfer)?;
    let name = v.name(winner.node);
    let elect = Edit::Elect(winner.node, winner.fetch);
    Some(match winner.fetch {
        Some((source, lsn)) => (
            vec![elect, Edit::Assign(winner.node, FastForward)],
            format!("{name} is elected and first fetches up to {lsn} from {}", v.name(source)),
        ),
        None => ([elect].into_iter().chain(promote(v, transfer, winner.node)).collect(), format!("{name} is elected")),
    })
}

fn promote(v: &View, transfer: &Transfer, winner: NodeId) -> impl Iterator<Item = Edit> {
    [Edit::Assign(winner, StopReplication)].into_iter().chain(leave_old(v, transfer, DemoteTimeout))
}

/// The winner holds now what it lacked.
pub fn fetched(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref()?;
    let (_, lsn) = transfer.fetch?;
    let winner = v.record.nodes.get(&transfer.candidate?).filter(|n| n.settled_in(FastForward))?;
    v.vote(winner).filter(|p| p.lsn >= lsn)?;
    let edits = [Edit::Elect(winner.id, None)].into_iter().chain(promote(v, transfer, winner.id)).collect();
    Some((edits, format!("{} holds all there is, up to {lsn}", winner.name)))
}

const OTHERS_CAN_BE_ASKED: &str = "others can be asked for what it may lack";
const SOURCE_LOST: &str = "the node it fetches from is lost";
const STUCK: &str = "it doesn't get on";

/// The winner is lost or doesn't get on, and others can be elected: all votes are taken again. One whose source is lost
/// or gives it nothing votes again even if nobody else does: it may prove enough without, or an operator may consent to do without.
pub fn start_over(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref()?;
    let winner = v.record.nodes.get(&transfer.candidate?).filter(|n| n.goal().is_being_promoted())?;
    let others = || v.voters(transfer.old).any(|n| n.id != winner.id && v.is_heard(n.id));
    let still = v.pulse(winner.id).and_then(|p| p.moved).is_none_or(|at| v.now.since(at) >= v.settings.fetch_timeout);
    // One that is sealed has nothing left to do but to wait for leave to open.
    let is_ready = winner.settled_in(StopReplication) && v.vote(winner).is_some() && v.life(winner.id) == Life::Alive;
    let stuck = still && !is_ready && v.transfer_lasts(v.settings.fetch_timeout);
    let source_lost = transfer.fetch.is_some_and(|(source, _)| matches!(v.life(source), Life::Lost(_) | Life::Ill(_)));
    let unproven = v.awaits_proof(transfer, winner);
    let why = match v.life(winner.id) {
        Life::Lost(why) => why,
        _ if v.is_mute(winner.id) => "its keeper says nothing",
        _ if winner.goal() == FastForward && source_lost => SOURCE_LOST,
        _ if transfer.kind == TransferKind::Failover && stuck => STUCK,
        _ if unproven && transfer.waiver.is_some() => OTHERS_CAN_BE_ASKED,
        _ if unproven => "the old primary is gone and others may hold more",
        _ => return None,
    };
    let is_alone = why == SOURCE_LOST || why == STUCK && winner.goal() == FastForward;
    if !others() && !is_alone {
        return None;
    }
    // An operator who consents may have named it, and nothing speaks against it.
    let is_passed_over = why != OTHERS_CAN_BE_ASKED;
    let mut edits: Vec<Edit> = is_passed_over.then_some(Edit::PassOver).into_iter().collect();
    edits.extend([Edit::RaiseEpoch, Edit::StartOver]);
    // Whoever is asked for the first time may still go and come back.
    let asked_in_vain = v.unasked(transfer).filter(|n| n.goal() == ReportLsn);
    edits.extend(asked_in_vain.map(|n| Edit::AskAgain(n.id)));
    edits.extend(v.voters(transfer.old).map(|n| Edit::Assign(n.id, ReportLsn)));
    let passed_over = if is_passed_over { format!(", {} is passed over", winner.name) } else { String::new() };
    Some((edits, format!("the election begins anew{passed_over}: {why}")))
}

/// The votes that are there, or could still come, prove nothing, and the old primary is back: it holds everything.
pub fn return_of_the_old(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref().filter(|t| t.candidate.is_none())?;
    let old = v.record.nodes.get(&transfer.old)?;
    let late = v.transfer_since_decided(v.settings.drain_timeout);
    let could_be_won = v.election_could_succeed(old.id) && v.has_leader(old.id, transfer.preferred);
    // One that was told to open again and could not is no better hope than the votes, and one that was there when an operator
    // gave up what it holds is none to him as long as somebody else gets on.
    let hopeful = could_be_won || v.record.reopening == Some(old.id) || transfer.gives_up_old;
    let gets_on =
        |n: &NodeRecord| v.may_lead(n, transfer.preferred).is_ok() && v.gets_on(n.id, v.settings.drain_timeout);
    let late = late && !(transfer.gives_up_old && v.voters(old.id).any(gets_on));
    if (hopeful && !late) || !can_keep_the_role(v, old) || v.is_leaving(old.id) || v.awaits_first_word(old.id) {
        return None;
    }
    Some((give_back(v, old), format!("{} is back before an election could be won: it keeps the role", old.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Contract, ContractId, ControlState, Facts, InForce, Lsn, NodeState, Position, Rebuild, Seal, Server,
    };
    use crate::monitor::rules::testing::*;
    use crate::ports::Probe;
    use crate::wire::Answer;
    use std::time::Duration;

    /// The rewind of c broke off when its source died; b never leads.
    #[test]
    fn one_that_is_half_rebuilt_is_not_waited_for_when_the_old_primary_is_back() {
        for torn in [true, false] {
            let mut p = Pair::of(3, 1);
            p.record_mut().in_force = InForce::only(Contract::any(ContractId(9), 1, [B].into()));
            p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 0;
            p.dies(A);
            p.record_mut().nodes.get_mut(&C).unwrap().reported = Demoted;
            p.votes(B, 1000);
            p.tells(C, Demoted, stopped(ControlState::ShutDown), |r| r.rebuild = torn.then_some(Rebuild::Rewind));
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
            assert_eq!(p.goal(A).is_writable(), torn, "{:?}", p.stall());
        }
    }

    #[test]
    fn both_votes_of_any_one_of_two_are_needed_and_the_most_advanced_wins() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        assert_eq!((p.goal(A), p.goal(B), p.goal(C)), (Draining, ReportLsn, ReportLsn));
        p.votes(B, 1000);
        assert_eq!(p.goal(B), ReportLsn, "c alone may have acknowledged a commit");
        p.votes(C, 1100);
        assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, StopReplication));
        p.vows(C, NodeState::StopReplication, 1100);
        assert_eq!((p.goal(A), p.goal(B), p.goal(C)), (Demoted, Secondary, WaitPrimary));
        let contract = p.record().contract().unwrap().clone();
        assert_eq!((contract.k, contract.members), (1, [B].into()), "a strict one never acknowledges alone");
        assert!(p.record().degraded.is_none());
    }

    /// A copy of the record may be from the middle of an election that another has won since.
    #[test]
    fn a_monitor_that_has_just_started_gives_no_role_away_before_all_have_had_time_to_speak() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.monitor_restarts();
        let epoch = p.record().epoch;
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        p.says(B, ReportLsn, cut_off_standby());
        assert_eq!((p.goal(A), p.record().epoch), (Draining, epoch), "c hasn't said what it knows");
        p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!((p.goal(A), p.record().epoch), (Primary, epoch.next()), "c is silent, and b alone proves nothing");

        let mut p = Pair::of(3, 1);
        p.monitor_restarts();
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        p.says(B, Secondary, cut_off_standby());
        p.probed(C, Probe::Refused);
        assert_eq!(p.goal(B), Secondary, "c hasn't said what it knows, though its Postgres is down");
        p.says(C, Secondary, cut_off_standby());
        assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, ReportLsn));
    }

    /// b is elected by its priority, and fetches what it lacks from c.
    fn b_fetches() -> Pair {
        let mut p = Pair::of(3, 1);
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 90;
        p.dies(A);
        p.votes(C, 1100);
        p.votes(B, 1000);
        assert_eq!(p.goal(B), FastForward);
        p
    }

    #[test]
    fn a_node_of_higher_priority_is_waited_for_and_fetches_what_it_lacks() {
        let mut p = b_fetches();
        assert_eq!(p.record().nodes[&B].assignment.fetch, Some(Lsn(1100)));
        assert_eq!(p.record().nodes[&B].assignment.upstream.as_ref().unwrap().node, C);
        p.vows(B, NodeState::FastForward, 1100);
        assert_eq!(p.goal(B), StopReplication);
    }

    #[test]
    fn a_source_that_dies_makes_the_election_begin_anew_without_a_hang() {
        let mut p = Pair::of(4, 1);
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 90;
        p.dies(A);
        for (node, lsn) in [(D, 1100), (C, 1050), (B, 1000)] {
            p.votes(node, lsn);
        }
        assert_eq!(p.goal(B), FastForward);
        let epoch = p.record().epoch;
        p.dies(D);
        assert_eq!((p.goal(B), p.record().epoch), (ReportLsn, epoch.next()));
        assert!(p.stall().unwrap().starts_with("waits for nodes: "), "d may hold what nobody else does");
        p.votes(B, 1000);
        p.votes(C, 1050);
        assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, ReportLsn));
    }

    #[test]
    fn a_winner_that_its_source_has_left_alone_waits_for_it_by_name_or_for_consent() {
        let mut p = b_fetches();
        p.dies(C);
        p.votes(B, 1000);
        assert_eq!(p.goal(B), ReportLsn);
        assert!(p.stall().unwrap().contains("one of a, c must come back"), "{:?}", p.stall());
        p.ordered_failover(None, true);
        p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
        p.votes(B, 1000);
        assert_eq!(p.goal(B), StopReplication);
    }

    #[test]
    fn the_vote_of_a_node_that_died_since_counts_when_the_winner_holds_as_much() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.votes(B, 1000);
        p.dies(B);
        p.votes(C, 1000);
        assert_eq!(p.goal(C), StopReplication);

        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.votes(B, 1100);
        p.dies(B);
        p.votes(C, 1000);
        assert_eq!(p.goal(C), ReportLsn, "b held more");
    }

    #[test]
    fn a_demoted_node_that_the_contract_counts_on_is_asked_and_one_with_wal_of_its_own_proves_nothing() {
        for (timeline, wins) in [(1, true), (9, false)] {
            let mut p = Pair::of(3, 1);
            p.record_mut().nodes.get_mut(&C).unwrap().assignment.goal = Demoted;
            p.says(C, Demoted, stopped(ControlState::InProduction));
            p.dies(A);
            assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, ReportLsn));
            p.votes(B, 1000);
            let seal = Some(Seal { epoch: p.record().epoch, position: Position::new(timeline, 900) });
            p.tells(C, ReportLsn, cut_off_standby(), |r| r.seal = seal);
            assert_eq!(p.goal(B) == StopReplication, wins, "{:?}", p.stall());
            assert!(wins || p.stall().unwrap().starts_with("waits for nodes: acknowledged"), "{:?}", p.stall());
        }
    }

    #[test]
    fn n_minus_k_plus_one_votes_are_enough_and_fewer_are_not() {
        let mut p = Pair::of(5, 2);
        p.dies(A);
        p.dies(E);
        p.votes(B, 1000);
        p.votes(C, 1000);
        assert_eq!(p.goal(B), ReportLsn);
        p.votes(D, 1000);
        assert_eq!(p.goal(B), StopReplication);
        let mut p = Pair::of(5, 2);
        p.hangs_up(D);
        p.hangs_up(E);
        p.dies(A);
        assert_eq!(p.goal(B), Secondary);
        let stall = p.stall().unwrap();
        assert!(stall.starts_with("waits for nodes: ") && stall.contains("d, e"), "{stall}");
    }

    #[test]
    fn with_every_priority_zero_the_operator_chooses() {
        let mut p = Pair::of(3, 1);
        for node in [B, C] {
            p.record_mut().nodes.get_mut(&node).unwrap().candidate_priority = 0;
        }
        p.dies(A);
        assert_eq!(p.goal(B), Secondary);
        assert!(p.stall().unwrap().starts_with("waits for the operator: "));
        assert!(matches!(p.ordered_failover(Some("c"), false), Answer::Accepted { .. }));
        p.votes(B, 1000);
        p.votes(C, 1000);
        assert_eq!(p.goal(C), StopReplication);
    }

    #[test]
    fn the_old_primary_that_comes_back_before_an_election_can_be_won_keeps_the_role() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.votes(B, 1000);
        p.dies(C);
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!((p.goal(A), p.goal(B)), (Primary, Secondary));
        assert!(p.record().transfer.is_none());
    }

    /// a went on alone, and its server died; its keeper is well.
    fn alone_and_down() -> Pair {
        let mut p = Pair::settled();
        p.dies(B);
        p.says(B, Catchingup, standby());
        p.says(A, WaitPrimary, stopped(ControlState::InProduction));
        p.says(B, Catchingup, cut_off_standby());
        p
    }

    fn consents(p: &mut Pair) {
        assert!(matches!(p.ordered_failover(None, true), Answer::Accepted { .. }));
        assert_eq!(p.goals(), (Draining, ReportLsn));
        p.passes(Duration::from_millis(1));
    }

    /// What a reports, once it has taken in what it is told.
    fn a_knows(p: &mut Pair, facts: Facts) {
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, DemoteTimeout, facts, |r| r.serial = serial);
    }

    /// Its server doesn't start, say: nobody knows that better than the operator.
    #[test]
    fn consent_gives_up_an_old_primary_that_is_there_and_not_one_that_comes_back() {
        type Story = fn(&mut Pair);
        let stories: [(bool, Story); 4] = [
            (true, |p| consents(p)),
            (true, |p| {
                consents(p);
                p.hangs_up(A);
            }),
            (true, |p| {
                consents(p);
                p.monitor_restarts();
                p.says(B, ReportLsn, cut_off_standby());
            }),
            (false, |p| {
                p.dies(A);
                consents(p);
            }),
        ];
        for (number, (is_given_up, story)) in stories.into_iter().enumerate() {
            let mut p = alone_and_down();
            story(&mut p);
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
            p.votes(B, 1000);
            assert_eq!(p.goal(A).is_writable(), !is_given_up, "{number}");
            assert_eq!(p.goal(B) == StopReplication, is_given_up, "{number}");
        }
    }

    /// The consent comes when the election runs already, and then its hope is lost.
    #[test]
    fn consent_amid_an_election_gives_up_the_old_primary_that_is_there_by_then() {
        for consents in [true, false] {
            let mut p = Pair::of(3, 1);
            p.dies(A);
            p.passes(Duration::from_secs(1));
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
            if consents {
                p.ordered_failover(None, true);
            }
            p.hangs_up(C);
            assert_eq!(p.goal(A).is_writable(), !consents);
        }
    }

    /// Whoever consents to lose commits has not asked for two primaries: it was told to open, and starts or recovers.
    #[test]
    fn an_old_primary_that_is_given_up_and_there_has_to_be_down_and_to_know_it() {
        let starting = || Facts { server: Server::Starting, ..stopped(ControlState::InProduction) };
        type Way = fn(&mut Pair);
        let ways: [(Way, &str); 5] = [
            (|p| _ = p.says(A, DemoteTimeout, stopped(ControlState::InProduction)), "its keeper has yet to hear"),
            (
                |p| a_knows(p, Facts { server: Server::Starting, ..stopped(ControlState::InProduction) }),
                "has yet to be stopped",
            ),
            (|p| a_knows(p, cut_off_standby()), "has yet to be stopped"),
            (|p| a_knows(p, stuck()), "may let commits through"),
            (|p| a_knows(p, primary_of(&[])), "is open and has yet to close"),
        ];
        for (way, why) in ways {
            let mut p = alone_and_down();
            p.says(A, WaitPrimary, starting());
            p.says(B, Catchingup, cut_off_standby());
            consents(&mut p);
            p.votes(B, 1000);
            way(&mut p);
            p.vows(B, StopReplication, 1000);
            assert_eq!(p.goal(B), StopReplication, "{why}");
            assert!(p.stall().unwrap().contains(why), "{:?} doesn't say {why}", p.stall());
            a_knows(&mut p, stopped(ControlState::InProduction));
            p.vows(B, StopReplication, 1000);
            assert_eq!(p.goal(B), WaitPrimary, "{:?}", p.stall());
        }
    }

    #[test]
    fn a_consent_outlasts_a_long_replay_and_not_a_voter_that_is_stuck() {
        for replays in [true, false] {
            let mut p = alone_and_down();
            consents(&mut p);
            for second in 0..45 {
                let replayed = if replays { second } else { 0 };
                p.says(B, p.goal(B), with(cut_off_standby(), |r| r.replayed = Lsn(replayed)));
                a_knows(&mut p, stopped(ControlState::InProduction));
                p.passes(Duration::from_secs(1));
            }
            assert_eq!(p.goal(A).is_writable(), !replays);
        }
    }

    #[test]
    fn a_member_that_lacks_wal_of_its_new_primary_proves_nothing_alone() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.votes(B, 1000);
        p.votes(C, 1100);
        p.vows(C, NodeState::StopReplication, 1100);
        assert_eq!((p.goal(B), p.goal(C)), (Secondary, WaitPrimary));
        p.says(C, WaitPrimary, primary_of(&[]));
        p.dies(C);
        p.votes(B, 1000);
        assert!(!p.goal(B).is_being_promoted(), "c alone holds what lies between 1000 and 1100");
        let stall = p.stall().unwrap();
        assert!(stall.starts_with("waits for nodes: "), "{stall}");
    }

    #[test]
    fn a_member_that_has_caught_up_or_held_as_much_can_succeed_its_primary() {
        for (held, confirms) in [(1000, true), (1100, false)] {
            let mut p = Pair::of(3, 1);
            p.dies(A);
            p.votes(B, held);
            p.votes(C, 1100);
            let winner = if p.goal(C) == StopReplication { C } else { B };
            let other = if winner == C { B } else { C };
            p.vows(winner, NodeState::StopReplication, 1100);
            let id = confirms.then(|| p.record().contract().unwrap().id);
            p.tells(winner, WaitPrimary, primary_of(&[other]), |r| r.applied = id);
            p.says(other, Secondary, standby());
            p.dies(winner);
            assert!(p.goal(other).is_being_promoted(), "held {held}: {:?}", p.record().in_force);
        }
    }

    #[test]
    fn a_node_on_its_way_to_maintenance_gives_its_vote_and_goes_on() {
        let mut p = Pair::of(3, 1);
        p.record_mut().nodes.get_mut(&C).unwrap().assignment.goal = WaitMaintenance;
        p.dies(A);
        assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, ReportLsn));
        p.votes(B, 1000);
        p.votes(C, 1000);
        p.vows(B, StopReplication, 1000);
        assert_eq!((p.goal(B), p.goal(C)), (WaitPrimary, WaitMaintenance));
    }

    #[test]
    fn a_loss_needs_consent_and_is_told_with_its_range() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.dies(C);
        p.votes(B, 1000);
        assert_eq!(p.goal(B), ReportLsn);
        p.ordered_failover(None, true);
        assert_eq!(p.goal(B), StopReplication);
        p.passes(Duration::from_millis(1));
        let epoch = p.record().epoch;
        let seal = Some(crate::model::Seal { epoch, position: crate::model::Position::new(1, 1000) });
        let effects = p.tells(B, NodeState::StopReplication, cut_off_standby(), |r| r.seal = seal);
        assert_eq!(p.goal(B), WaitPrimary);
        let told = effects.events.iter().any(|e| e.description.contains("by the operator's consent what a may have"));
        assert!(told, "{:?}", effects.events);
    }

    #[test]
    fn two_standbys_lost_one_after_the_other_leave_a_group_that_can_still_elect() {
        let mut p = Pair::of(4, 1);
        let confirm = |p: &mut Pair, standbys: &[NodeId]| {
            let id = p.record().contract().map(|c| c.id);
            p.tells(A, Primary, primary_of(standbys), |r| r.applied = id);
        };
        p.dies(D);
        confirm(&mut p, &[B, C]);
        p.dies(C);
        confirm(&mut p, &[B]);
        assert_eq!(p.record().contract().unwrap().members, [B].into());
        p.dies(A);
        assert_eq!(p.goal(B), PreparePromotion, "nobody else could win, and nobody else is needed");
    }

    /// Each round elects the only one that may lead, and what it lacks never comes.
    #[test]
    fn an_old_primary_that_is_back_is_not_put_off_by_one_vain_election_after_another() {
        let mut p = Pair::of(3, 1);
        p.record_mut().nodes.get_mut(&C).unwrap().candidate_priority = 0;
        p.dies(A);
        let (mut waited, mut rounds) = (Duration::ZERO, 0);
        let mut epoch = p.record().epoch;
        while !p.goal(A).is_writable() && waited < Duration::from_secs(120) {
            for (node, lsn) in [(B, 1000), (C, 1100)] {
                match p.goal(node) {
                    goal @ (ReportLsn | FastForward) => p.vows(node, goal, lsn),
                    goal => drop(p.says(node, goal, cut_off_standby())),
                }
            }
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
            p.passes(Duration::from_secs(1));
            waited += Duration::from_secs(1);
            rounds += u32::from(p.record().epoch != epoch);
            epoch = p.record().epoch;
        }
        assert!(rounds >= 2 && waited < Duration::from_secs(60), "{rounds} rounds, {waited:?}");
    }
}
