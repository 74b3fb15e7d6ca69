//! The role moves to a chosen node: drain, seal, prove, open. Planned or not, the way is the same; a planned one
//! drains first. How a node is chosen among several is `election`.

use super::Verdict;
use super::lease::{is_unminded, lease_is_over};
use crate::model::NodeState::*;
use crate::model::{
    Afterwards, ControlState, Lsn, NodeId, NodeRecord, NodeState, Server, Transfer, TransferKind, Waiver,
};
use crate::monitor::edit::{Edit, Terms};
use crate::monitor::health::Life;
use crate::monitor::view::View;
use crate::mutant;

/// What the event says of an old primary that has stopped in order, before the place of its last record.
pub const LAST_RECORD: &str = "its last record is at ";

/// What the event of an opening says when somebody has answered for what may be missing.
pub fn answered_for(waiver: Waiver) -> &'static str {
    match waiver {
        Waiver::Operator => "by the operator's consent",
        Waiver::Policy => "as the formation is async",
    }
}

/// The edits that start moving the role from `old` to `candidate`.
pub fn begin(old: &NodeRecord, candidate: &NodeRecord, transfer: Transfer) -> Vec<Edit> {
    // One that has closed by itself has nothing to drain.
    let closing = if old.reported == DemoteTimeout { DemoteTimeout } else { transfer.closing() };
    let transfer = Transfer { candidate: Some(candidate.id), ..transfer };
    vec![
        Edit::RaiseEpoch,
        Edit::Begin(transfer),
        Edit::Assign(old.id, closing),
        Edit::Assign(candidate.id, PreparePromotion),
    ]
}

/// The primary's service is being stopped: it hands the role over in order.
pub fn hand_over(v: &View) -> Option<Verdict> {
    let old = v.record.primary().filter(|p| p.goal().is_writable() && p.reported == p.goal())?;
    if v.record.transfer.is_some() || !(v.is_heard(old.id) && v.is_open(old.id) && v.is_leaving(old.id)) {
        return None;
    }
    let candidate = v.successor(old, None).ok()?;
    let why = format!("{} takes over from {}, whose service is being stopped", candidate.name, old.name);
    Some((begin(old, candidate, Transfer::new(TransferKind::Switchover, old.id, None)), why))
}

/// A transfer with its chosen candidate.
fn chosen<'a>(v: &View<'a>) -> Option<(&'a Transfer, &'a NodeRecord)> {
    let transfer = v.record.transfer.as_ref()?;
    Some((transfer, v.record.nodes.get(&transfer.candidate?)?))
}

/// As `chosen`, with the old primary, if it is known.
pub fn parties<'a>(v: &View<'a>) -> Option<(&'a Transfer, &'a NodeRecord, &'a NodeRecord)> {
    let (transfer, candidate) = chosen(v)?;
    Some((transfer, v.record.nodes.get(&transfer.old)?, candidate))
}

/// The old primary is to be this; nobody is told when it isn't known.
pub fn leave_old(v: &View, transfer: &Transfer, state: NodeState) -> Option<Edit> {
    v.record.nodes.contains_key(&transfer.old).then_some(Edit::Assign(transfer.old, state))
}

/// The old primary of a planned handover has stopped in order: where its last record starts.
fn shutdown_checkpoint(v: &View, transfer: &Transfer, old: &NodeRecord) -> Option<Lsn> {
    let facts = &v.report(old.id)?.facts;
    let control = facts.control().filter(|c| c.state == ControlState::ShutDown)?;
    let closed = match facts.server {
        Server::Down => old.settled_in(transfer.closing()),
        Server::Starting => old.goal() == transfer.closing() && v.lingers_shut_down(old.id),
        Server::Up(_) | Server::Stuck { .. } => false,
    };
    closed.then_some(control.checkpoint.lsn)
}

pub fn drained(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    let waits = transfer.drained.is_none() && transfer.kind == TransferKind::Switchover;
    if !waits || !candidate.settled_in(PreparePromotion) {
        return None;
    }
    let lsn = if mutant!(SwitchoverNotDrained) { Lsn::ZERO } else { shutdown_checkpoint(v, transfer, old)? };
    let mut edits = vec![Edit::Drained(lsn), Edit::Assign(candidate.id, StopReplication)];
    if transfer.afterwards != Afterwards::Maintenance {
        edits.push(Edit::Assign(old.id, DemoteTimeout));
    }
    Some((edits, format!("{} has stopped in order, {LAST_RECORD}{lsn}", old.name)))
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
    let stopped_otherwise = || old.settled_in(transfer.closing()) && shutdown_checkpoint(v, transfer, old).is_none();
    let undrained = transfer.drained.is_none() && (old.reported == DemoteTimeout || hangs() || stopped_otherwise());
    (gone || undrained).then(|| (vec![Edit::Abandon], format!("{} can't be waited for any more", old.name)))
}

pub fn seal(v: &View) -> Option<Verdict> {
    let (transfer, old, candidate) = parties(v)?;
    if transfer.kind != TransferKind::Failover || !candidate.settled_in(PreparePromotion) {
        return None;
    }
    let edits = vec![Edit::Assign(candidate.id, StopReplication), Edit::Assign(old.id, DemoteTimeout)];
    Some((edits, format!("{} stops receiving from {}", candidate.name, old.name)))
}

/// Why the sealed candidate may open: what it holds is everything that was ever acknowledged, or somebody has
/// answered for the rest.
fn warrant(v: &View, transfer: &Transfer, candidate: &NodeRecord) -> Option<String> {
    let position = v.vote(candidate)?;
    let name = &candidate.name;
    let has_last_record = transfer.drained.is_some_and(|lsn| position.lsn > lsn);
    let awaits_last_record = transfer.kind == TransferKind::Switchover && !has_last_record;
    if has_last_record || (!awaits_last_record && v.proves(position.lsn)) {
        return Some(format!("{name} holds every acknowledged commit, up to {}", position.lsn));
    }
    if v.awaits_proof(transfer, candidate) {
        return None;
    }
    let waiver = transfer.waiver.filter(|_| !awaits_last_record && lease_is_over(v, transfer.old))?;
    // Whoever consents to lose commits has not asked for two primaries.
    let unfenced = match waiver {
        Waiver::Policy => is_unminded(v, transfer.old) || !v.proves_where_standbys_counted(position.lsn),
        Waiver::Operator => v.stands_by_the_old(transfer).is_some(),
    };
    if unfenced {
        return None;
    }
    let old = v.record.nodes.get(&transfer.old);
    let until = old.and_then(|old| v.report(old.id).and_then(|r| r.facts.position()).or(old.position));
    let (by, who) = (answered_for(waiver), v.name(transfer.old));
    let range = match until.map(|p| p.lsn) {
        Some(until) if until > position.lsn => format!("from {} to {until} and beyond", position.lsn),
        Some(until) => format!("from {} on, it was known to be at {until}", position.lsn),
        None => format!("from {} to an unknown point", position.lsn),
    };
    let shown = v.shown().filter(|shown| *shown > position.lsn);
    let shown = shown.map(|shown| format!(", and what was shown up to {shown},")).unwrap_or_default();
    let given_up = format!("{by} what {who} may have acknowledged {range}{shown} is given up");
    Some(format!("{name} holds WAL up to {}; {given_up}", position.lsn))
}

/// The durability law: the sealed votes prove that every acknowledged commit is here, and deny the old primary any
/// further acknowledgement; so the candidate may open without waiting for the old one.
pub fn open(v: &View) -> Option<Verdict> {
    let (transfer, candidate) = chosen(v)?;
    if !(candidate.settled_in(StopReplication) && v.life(candidate.id) == Life::Alive) {
        return None;
    }
    let warrant = warrant(v, transfer, candidate)?;
    let terms = v.founding_terms(candidate.id);
    let is_member = |id| matches!(&terms, Terms::Any(_, members) if members.contains(&id));
    let losers = v.voters(transfer.old).filter(|n| n.id != candidate.id && n.goal() == ReportLsn);
    let losers = losers.map(|n| Edit::Assign(n.id, after_vote(transfer, n.id, is_member(n.id))));
    let mut edits: Vec<Edit> = losers.collect();
    edits.extend([Edit::Install(terms), Edit::Assign(candidate.id, WaitPrimary)]);
    edits.extend(leave_old(v, transfer, rest_of(transfer)));
    Some((edits, format!("{warrant}; it opens")))
}

/// What a node is after its vote was taken.
pub fn after_vote(transfer: &Transfer, node: NodeId, counts: bool) -> NodeState {
    match counts {
        _ if transfer.put_off.contains(&node) => WaitMaintenance,
        true => Secondary,
        false => Catchingup,
    }
}

/// Where the old primary ends once it holds the role no more.
fn rest_of(transfer: &Transfer) -> NodeState {
    match transfer.afterwards {
        Afterwards::Rejoin => Demoted,
        Afterwards::Maintenance => Maintenance,
        Afterwards::Drop => Dropped,
    }
}

/// The new primary is open; with its own account of the lineage the old one can rejoin.
pub fn opened(v: &View) -> Option<Verdict> {
    let (_, candidate) = chosen(v)?;
    if !(candidate.settled_in(WaitPrimary) && v.is_open(candidate.id)) {
        return None;
    }
    Some((vec![Edit::EndTransfer], format!("{} is open for writes", candidate.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Directory, Epoch, Facts, History, NodeState, Position, Seal, Timeline};
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
    fn a_monitor_that_hears_nobody_concludes_nothing_from_what_it_was_told_last() {
        let mut p = Pair::settled();
        p.says(A, Primary, primary_of(&[B]));
        p.passes(Duration::from_millis(100));
        p.says(B, Secondary, cut_off_standby());
        p.passes(Duration::from_millis(4950));
        p.probed(A, Probe::Silent);
        assert_eq!(p.goals(), (Primary, Secondary), "b may well receive by now");
        p.says(B, Secondary, cut_off_standby());
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
    fn consent_to_a_loss_is_used_only_for_what_nobody_can_prove() {
        let steered = |others_live: bool| {
            let mut p = Pair::of(4, 1);
            p.switchover();
            p.says(B, PreparePromotion, standby());
            if !others_live {
                p.dies(C);
                p.dies(D);
            }
            p.dies(A);
            p.ordered_failover(None, true);
            p.vows(B, StopReplication, 1000);
            p
        };
        assert_eq!(steered(false).goal(B), WaitPrimary, "nobody else can be asked");
        let mut p = steered(true);
        assert_eq!(
            [B, C, D].map(|n| p.goal(n)),
            [ReportLsn; 3],
            "c or d may hold what b lacks, and a could go on with them"
        );
        p.votes(B, 1000);
        p.votes(C, 1000);
        assert_eq!([B, C, D].map(|n| p.goal(n)), [ReportLsn; 3]);
        p.votes(D, 1000);
        assert_eq!(p.goal(B), StopReplication, "it is not passed over");
    }

    /// a is lost, b's keeper has gone; by an operator's consent c is elected. Then the server of one of them answers.
    fn given_up_but_alive(nodes: u32, alive: NodeId) -> Pair {
        let mut p = Pair::of(nodes, 1);
        p.hangs_up(B);
        p.dies(A);
        p.probed(B, Probe::Refused);
        p.ordered_failover(Some("c"), true);
        p.votes(C, 1000);
        if nodes > 3 {
            p.votes(D, 1000);
        }
        assert_eq!(p.goal(C), StopReplication);
        p.probed(alive, Probe::Answers);
        p.vows(C, StopReplication, 1000);
        p
    }

    #[test]
    fn consent_to_a_loss_is_none_to_two_primaries() {
        for alive in [A, B] {
            let mut p = given_up_but_alive(3, alive);
            assert_eq!(p.goal(C), StopReplication, "a goes on with b, or alone: {alive}");
            let stall = p.stall().unwrap();
            assert!(stall.contains(&format!("the keeper of {} is silent while", p.view().name(alive))), "{stall}");
            p.probed(alive, Probe::Silent);
            assert_eq!(p.goal(C), StopReplication, "once proves nothing");
            p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
            p.vows(C, StopReplication, 1000);
            assert_eq!(p.goal(C), WaitPrimary, "as far as anybody can see it is gone");
            let mut p = given_up_but_alive(3, alive);
            p.probed(alive, Probe::Refused);
            assert_eq!(p.goal(C), WaitPrimary);
        }
    }

    #[test]
    fn who_comes_back_while_consent_waits_is_asked() {
        let mut p = given_up_but_alive(3, B);
        let epoch = p.record().epoch;
        p.says(B, Secondary, standby());
        assert_eq!((p.goal(B), p.goal(C), p.record().epoch), (ReportLsn, ReportLsn, epoch.next()));
        p.votes(C, 1000);
        assert_eq!(p.goal(C), ReportLsn, "b may hold more");
        p.votes(B, 1100);
        p.vows(C, FastForward, 1100);
        p.vows(C, StopReplication, 1100);
        assert_eq!((p.goal(C), p.goal(B)), (WaitPrimary, Secondary), "and nothing is lost");

        let mut p = given_up_but_alive(3, A);
        p.says(A, Primary, primary_of(&[B]));
        assert_ne!(p.goal(C), WaitPrimary, "it has yet to hear that it is to close");
    }

    #[test]
    fn a_monitor_that_restarts_while_consent_waits_knows_of_nobody_that_it_is_gone() {
        let mut p = given_up_but_alive(3, B);
        p.monitor_restarts();
        p.vows(C, StopReplication, 1000);
        assert_eq!(p.goal(C), StopReplication);
        for node in [A, B] {
            p.hangs_up(node);
            p.vows(C, StopReplication, 1000);
            assert_eq!(p.goal(C), StopReplication, "nobody has tried its port");
            p.probed(node, Probe::Refused);
        }
        assert_eq!(p.goal(C), WaitPrimary);
    }

    #[test]
    fn while_consent_waits_nobody_votes_in_vain_and_the_operator_may_give_the_silent_one_up() {
        for alive in [A, B] {
            let mut p = given_up_but_alive(4, alive);
            let epoch = p.record().epoch;
            for _ in 0..30 {
                p.passes(Duration::from_secs(1));
                p.vows(C, StopReplication, 1000);
                p.votes(D, 1000);
                p.probed(alive, Probe::Answers);
            }
            assert_eq!((p.goal(C), p.record().epoch), (StopReplication, epoch));
            let told = p.ordered_drop(p.view().name(alive).as_str(), true);
            assert!(matches!(told, Answer::Accepted { .. }), "{told:?}");
            assert_eq!(p.goal(C), WaitPrimary, "{:?}", p.stall());
            p.says(C, WaitPrimary, primary_of(&[]));
            assert!(p.record().transfer.is_none());
            let forgotten = p.record().nodes.get(&alive).is_none_or(|n| n.forced == (n.goal() == Dropped));
            assert!(forgotten, "one that stays is a node like any other");
        }
    }

    #[test]
    fn a_winner_whose_postgres_dies_while_it_waits_is_passed_over() {
        let mut p = given_up_but_alive(4, B);
        for _ in 0..30 {
            p.passes(Duration::from_secs(1));
            p.vows(D, p.goal(D), 1000);
            p.says(C, StopReplication, stopped(ControlState::InRecovery));
            p.probed(B, Probe::Answers);
        }
        assert_eq!((p.goal(C), p.goal(D)), (ReportLsn, StopReplication), "{:?}", p.stall());
    }

    /// b comes back again and again, and goes each time before it has voted: so often it is asked until c opens without it.
    fn asked_in_vain(mut p: Pair) -> u64 {
        let epoch = p.record().epoch;
        for _ in 0..30 {
            p.says(B, ReportLsn, standby());
            p.passes(Duration::from_secs(1));
            p.vows(C, p.goal(C), 1000);
            p.hangs_up(B);
            p.probed(B, Probe::Answers);
            p.passes(Duration::from_secs(1));
            p.vows(C, p.goal(C), 1000);
        }
        assert_eq!(p.goal(C), WaitPrimary, "{:?}", p.stall());
        p.record().epoch.0 - epoch.0
    }

    #[test]
    fn one_that_comes_and_goes_is_asked_again_once() {
        assert_eq!(asked_in_vain(given_up_but_alive(3, B)), 1, "it was asked with all others");
        let mut p = Pair::of(3, 1);
        p.record_mut().nodes.get_mut(&B).unwrap().assignment.goal = Maintenance;
        p.hangs_up(B);
        p.dies(A);
        p.ordered_failover(Some("c"), true);
        p.votes(C, 1000);
        p.probed(B, Probe::Answers);
        p.vows(C, StopReplication, 1000);
        p.ordered_maintenance("b", false, false);
        assert_eq!((p.goal(B), p.goal(C)), (Catchingup, StopReplication), "it was never asked");
        assert_eq!(asked_in_vain(p), 2);
    }

    #[test]
    fn consent_waits_for_those_of_whom_a_new_monitor_knows_nothing_yet() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.monitor_restarts();
        p.hangs_up(A);
        p.probed(A, Probe::Refused);
        p.says(C, Secondary, cut_off_standby());
        p.ordered_failover(None, true);
        p.votes(C, 1000);
        assert_eq!(p.goal(C), ReportLsn, "b has had no time to speak");
        p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
        p.votes(C, 1000);
        assert_eq!(p.goal(C), StopReplication);
    }

    /// What they promised in the election that it has won ends with the order to open.
    #[test]
    fn votes_prove_nothing_any_more_once_the_winner_was_told_to_open() {
        let mut p = Pair::of(3, 1);
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        for node in [B, C] {
            p.votes(node, 1000);
        }
        p.vows(B, StopReplication, 1000);
        p.says(A, Demoted, stopped(ControlState::InProduction));
        assert_eq!((p.goal(A), p.goal(B), p.goal(C)), (Demoted, WaitPrimary, Secondary));
        let epoch = p.record().epoch;
        p.passes(Duration::from_secs(6));
        p.says(A, Demoted, stopped(ControlState::InProduction));
        for node in [B, C] {
            p.probed(node, Probe::Silent);
        }
        assert_eq!((p.goal(B), p.record().epoch), (WaitPrimary, epoch), "c may hold what b has acknowledged since");

        // An election was begun all the same, by an operator say, and c is back from the other timeline.
        let theirs = History::root(Timeline(1)).branch(Timeline(p.record().last_timeline), Lsn(1000));
        let transfer = Transfer::new(TransferKind::Failover, B, None);
        let record = p.record_mut();
        record.epoch = epoch.next();
        record.transfer = Some(transfer);
        for (node, goal) in [(A, ReportLsn), (B, DemoteTimeout), (C, ReportLsn)] {
            record.nodes.get_mut(&node).unwrap().assignment.goal = goal;
        }
        let mut facts = cut_off_standby();
        let (Directory::Present(control), Server::Up(running)) = (&mut facts.directory, &mut facts.server) else {
            unreachable!()
        };
        control.history = theirs.clone();
        running.position = Position { tli: theirs.tli, lsn: Lsn(1100) };
        let seal = Some(Seal { epoch: epoch.next(), position: running.position });
        p.tells(C, ReportLsn, facts, |r| r.seal = seal);
        assert_eq!(p.record().history.as_ref(), Some(&theirs));
        p.votes(A, 1000);
        assert_eq!(p.goal(C), StopReplication, "{:?}", p.stall());
    }

    #[test]
    fn one_that_was_told_to_open_and_does_not_is_replaced_unless_it_gets_on() {
        for gets_on in [false, true] {
            let mut p = Pair::of(3, 1);
            p.dies(A);
            for node in [B, C] {
                p.votes(node, 1000);
            }
            p.vows(B, StopReplication, 1000);
            assert_eq!((p.goal(B), p.goal(C)), (WaitPrimary, Secondary));
            let mut waited = Duration::ZERO;
            while p.goal(B) == WaitPrimary && waited < Duration::from_secs(90) {
                let replayed = Lsn(if gets_on { waited.as_secs() } else { 0 });
                p.says(B, StopReplication, with(cut_off_standby(), |r| r.replayed = replayed));
                p.says(C, Secondary, cut_off_standby());
                p.passes(Duration::from_secs(1));
                waited += Duration::from_secs(1);
            }
            let time = p.monitor.settings.drain_timeout;
            match gets_on {
                true => assert_eq!(waited, Duration::from_secs(90)),
                false => assert!(time <= waited && waited < time * 3 / 2, "{waited:?} {:?}", p.stall()),
            }
        }
    }

    #[test]
    fn a_server_that_is_just_being_started_has_not_stopped_in_order() {
        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        let starting = Facts { server: Server::Starting, ..stopped(ControlState::ShutDown) };
        p.says(A, Primary, starting.clone());
        assert_eq!(p.goals(), (Draining, PreparePromotion), "its control file is of the time before");
        for _ in 0..6 {
            p.passes(Duration::from_secs(1));
            p.says(B, PreparePromotion, standby());
            p.says(A, Primary, starting.clone());
        }
        assert_eq!(p.goals(), (DemoteTimeout, StopReplication), "an archiver holds it up");
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
        assert!(reason.contains("b can't be promoted"), "{reason}");
        assert!(remedy.contains("bring a standby back"), "{remedy}");
    }
}
