//! Asynchronous groups, where a primary acknowledges under a lease: when its time is up, and when policy goes on without
//! the proof that nobody can give.

use super::Verdict;
use super::give_back::can_keep_the_role;
use crate::model::NodeState::*;
use crate::model::{
    ControlState, Directory, Durability, Facts, Lsn, NodeId, NodeRecord, Report, Server, Transfer, TransferKind, Waiver,
};
use crate::monitor::edit::Edit;
use crate::monitor::health::Life;
use crate::monitor::view::View;
use crate::mutant;

/// An asynchronous group may go on without proof once the lease of the old primary has ended by its own clock, and
/// only if little can be lost. One that was never heard to have a lease won't close by itself.
pub fn bounded_loss(v: &View, old: &NodeRecord) -> Option<String> {
    let closes = old.lease_ms.is_some() || has_closed(v, old) || says_closed(v, old);
    if v.durability() != Durability::Async || v.record.degraded.is_some() || !closes {
        return None;
    }
    // What a standby had to acknowledge is no loss that the policy is about, whatever the formation prefers by now.
    let could_vote = v.voters(old.id).filter(|n| v.could_vote(n)).map(|n| n.id).collect();
    if !v.record.in_force.proven_where_standbys_counted(&could_vote) || !v.may_hold_what_was_shown(old.id) {
        return None;
    }
    let held = v.voters(old.id).filter(|n| v.may_lead(n, None).is_ok()).filter_map(|n| v.running(n.id));
    let best = held.map(|r| r.position.lsn).max()?;
    let lost = known_end(v, old)?.bytes_past(best);
    let ended = lease_is_over(v, old.id) && !is_unminded(v, old.id);
    // Its word is enough to begin with, that it is closed or that its server is down: nobody opens before it is certain.
    let ill = matches!(v.life(old.id), Life::Ill(_));
    let bounded = (ended || ill) && lost <= v.settings.async_loss_bytes;
    bounded.then(|| format!("of what is known {lost} bytes are not on them"))
}

/// How far the old primary is known to have written, or may have by now.
fn known_end(v: &View, old: &NodeRecord) -> Option<Lsn> {
    let pulse = v.pulse(old.id)?;
    let on_disk = pulse.facts().and_then(Facts::position).map(|p| p.lsn);
    let is_whole =
        |f: &Facts| f.server == Server::Down && f.control().is_some_and(|c| c.state == ControlState::ShutDown);
    if pulse.facts().is_some_and(is_whole) {
        // It stopped in order, and that was its last record.
        return on_disk;
    }
    let stored = || old.position.map(|p| Lsn(p.lsn.0.saturating_add(v.settings.stale_bytes())));
    pulse.position.map(|p| p.lsn).or_else(stored).max(on_disk)
}

/// Whether policy gives up what lies past `held`: the standby that held more when it was asked first may be gone.
pub fn is_within_policy(v: &View, transfer: &Transfer, held: Lsn) -> bool {
    if transfer.waiver != Some(Waiver::Policy) || mutant!(PolicyUnbounded) {
        return true;
    }
    let end = v.record.nodes.get(&transfer.old).and_then(|old| known_end(v, old));
    end.is_some_and(|end| end.bytes_past(held) <= v.settings.async_loss_bytes)
}

/// A handover that has become a failover was begun without a waiver, and no votes will prove anything.
pub fn waive(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref().filter(|t| t.kind == TransferKind::Failover && t.waiver.is_none())?;
    let old = v.record.nodes.get(&transfer.old).filter(|old| !v.election_could_succeed(old.id))?;
    let loss = bounded_loss(v, old)?;
    Some((vec![Edit::Waive(Waiver::Policy)], format!("{} isn't waited for any more: {loss}", old.name)))
}

/// The old primary of an asynchronous group acknowledges nothing any more: it has closed, or its time is up by its own
/// clock. Whoever consents to lose commits has not asked for two primaries.
pub fn lease_is_over(v: &View, old: NodeId) -> bool {
    let known = v.record.nodes.get(&old);
    // What it was told counts, whatever the formation prefers by now.
    let says_so = v.report(old).is_some_and(|r| r.leased);
    let leased = v.durability() == Durability::Async || known.is_some_and(|n| n.lease_ms.is_some()) || says_so;
    if !leased || !v.record.in_force.may_acknowledge_alone() {
        return true;
    }
    let lease = v.lease_of(old);
    let Some((old, pulse)) = known.zip(v.pulse(old)) else { return v.transfer_lasts(lease) };
    let ended = v.now.since(pulse.heard.unwrap_or(pulse.known_since)) >= lease;
    ended || has_closed(v, old) || mutant!(LeaseNotAwaited)
}

/// A lease ends by the hand of a keeper, and of this one there may be none: it is silent, while its server answers.
pub fn is_unminded(v: &View, old: NodeId) -> bool {
    let Some((old, pulse)) = v.record.nodes.get(&old).zip(v.pulse(old)) else { return false };
    v.record.in_force.may_acknowledge_alone() && pulse.outlived && !old.forced && !has_closed(v, old)
}

/// By positive evidence it acknowledges nothing any more.
fn has_closed(v: &View, old: &NodeRecord) -> bool {
    let Some(pulse) = v.pulse(old.id) else { return false };
    // It can't open on what isn't there, unless it is there again in a moment.
    let gone = pulse.facts().is_some_and(|f| f.server == Server::Down && f.control().is_none());
    (gone || pulse.died() && stays_closed(v, old) || says_closed(v, old)) && !pulse.may_reopen
}

/// When it comes back, out of reach perhaps, it doesn't open by itself: it had a lease, or acknowledged nothing alone.
fn stays_closed(v: &View, old: &NodeRecord) -> bool {
    let says_so = |r: &Report| r.leased || r.contract.as_ref().is_some_and(|c| !c.is_none());
    old.lease_ms.is_some() || v.report(old.id).is_some_and(says_so)
}

fn says_closed(v: &View, old: &NodeRecord) -> bool {
    let down = v.report(old.id).is_some_and(|r| r.facts.server == Server::Down);
    down && matches!(v.life(old.id), Life::Ill(_)) && old.reported == DemoteTimeout
}

/// The primary of an asynchronous group is back, closed, or its server has just gone down, and nobody could prove to hold
/// as much as it does: it has its time to open again before policy gives up what others lack.
pub fn reopen_the_old(v: &View) -> Option<Verdict> {
    let old = v.record.primary().filter(|p| p.goal().is_writable() && v.record.transfer.is_none())?;
    let why = v.primary_lost(old)?;
    let unread = v.report(old.id).is_some_and(|r| matches!(r.facts.directory, Directory::Unusable { .. }));
    let may_come_back = can_keep_the_role(v, old) || v.is_heard(old.id) && unread;
    let has_its_time = v.record.reopening != Some(old.id) && may_come_back && !v.is_leaving(old.id);
    if !has_its_time || v.election_could_succeed(old.id) || bounded_loss(v, old).is_none() {
        return None;
    }
    let why = if old.reported == DemoteTimeout { "is back" } else { &format!("has time to come back ({why})") };
    let why = format!("{} {why} and holds what nobody else may: it keeps the role", old.name);
    Some((vec![Edit::Reopen(old.id)], why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Contract, ContractId, InForce};
    use crate::monitor::rules::testing::*;
    use crate::ports::Probe;
    use crate::wire::{Answer, Command, FormationChange, NodeChange};
    use std::time::Duration;

    /// Commits wait for nobody, and a has said that it has its lease.
    fn leased_trio() -> Pair {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Async);
        p.says(A, Primary, primary_of(&[B, C]));
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, Primary, primary_of(&[B, C]), |r| r.serial = serial);
        assert!(p.record().nodes[&A].lease_ms.is_some());
        p
    }

    #[test]
    fn a_handover_of_an_async_group_whose_old_primary_goes_silent_waits_for_its_lease() {
        for (consents, changes) in [(false, false), (true, false), (true, true)] {
            let mut p = leased_trio();
            assert!(matches!(p.ordered_failover(Some("b"), false), Answer::Accepted { .. }));
            let lease = p.monitor.settings.async_lease;
            let mut waited = Duration::ZERO;
            while [B, C].iter().all(|n| p.goal(*n) != WaitPrimary) && waited < lease * 3 {
                if consents && p.goal(B) == ReportLsn {
                    // Who consents to lose commits has not asked for two primaries.
                    p.ordered_failover(None, true);
                }
                if changes && p.goal(B) == ReportLsn {
                    // What the old primary was told stays what it was.
                    p.set_durability(Durability::Degrade);
                }
                p.standbys_obey();
                p.probed(A, Probe::Silent);
                p.passes(Duration::from_millis(500));
                waited += Duration::from_millis(500);
            }
            assert!(lease <= waited && waited < lease * 3 / 2, "consents: {consents}, {waited:?}");
        }
    }

    /// a wrote up to 1000 and more; c has nearly all of it, and b lags behind by more than policy gives up.
    #[test]
    fn policy_gives_up_no_more_because_the_better_standby_is_gone_too() {
        for (c_stays, bound) in [(true, 100), (false, 100), (false, 10_000)] {
            let mut p = leased_trio();
            p.monitor.settings.async_loss_bytes = bound;
            p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 90;
            for (node, lsn) in [(B, 500), (C, 990)] {
                p.says(node, Secondary, with(standby(), |r| r.position.lsn = Lsn(lsn)));
            }
            p.hangs_up(A);
            p.passes(p.view().lease_of(A));
            for (node, lsn) in [(B, 500), (C, 990)] {
                p.says(node, p.goal(node), with(cut_off_standby(), |r| r.position.lsn = Lsn(lsn)));
            }
            p.probed(A, Probe::Silent);
            assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, ReportLsn), "{:?}", p.stall());
            if c_stays {
                p.votes(C, 990);
            } else {
                p.dies(C);
            }
            p.votes(B, 500);
            p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
            p.votes(B, 500);
            let expected = match (c_stays, bound) {
                (true, _) => FastForward,
                (false, 100) => ReportLsn,
                _ => StopReplication,
            };
            assert_eq!(p.goal(B), expected, "{:?}", p.stall());
            if expected == ReportLsn {
                assert!(p.stall().unwrap().contains("that it alone holds"), "{:?}", p.stall());
                p.ordered_failover(None, true);
                p.votes(B, 500);
                assert_eq!(p.goal(B), StopReplication, "an operator may");
            }
        }
    }

    /// Its keeper lives, and can tell no more of its server than where the last checkpoint is: all there is only if it
    /// stopped in order. It was seen at 1000 when it ran, and the standbys are at 550.
    #[test]
    fn a_server_that_is_down_is_known_to_have_written_more_than_its_checkpoint() {
        let (crashed, ended) = (ControlState::InProduction, ControlState::ShutDown);
        for (state, checkpoint, restarts, bound, gives_up) in [
            (crashed, 900, false, 400, false),
            (crashed, 900, false, 500, true),
            (crashed, 900, true, 400, false),
            (crashed, 1900, false, 500, false),
            (ended, 900, false, 400, true),
            (ended, 900, true, 400, true),
            (ended, 1900, false, 500, false),
        ] {
            let mut down = stopped(state);
            let Directory::Present(control) = &mut down.directory else { unreachable!() };
            control.checkpoint.lsn = Lsn(checkpoint);
            let mut p = leased_trio();
            p.monitor.settings.async_loss_bytes = bound;
            if restarts {
                p.monitor_restarts();
            }
            for node in [B, C] {
                p.says(node, Secondary, with(cut_off_standby(), |r| r.position.lsn = Lsn(550)));
            }
            let mut waited = Duration::ZERO;
            while p.goal(A).is_writable() && waited < Duration::from_secs(120) {
                p.says(A, Primary, down.clone());
                for node in [B, C] {
                    p.says(node, Secondary, with(cut_off_standby(), |r| r.position.lsn = Lsn(550)));
                }
                p.passes(Duration::from_millis(500));
                waited += Duration::from_millis(500);
            }
            assert_eq!(!p.goal(A).is_writable(), gives_up, "{state:?} {checkpoint} {bound} {restarts} {:?}", p.stall());
        }
    }

    /// It could come back, with what b and c lack; whoever consents to lose that doesn't wait for it.
    #[test]
    fn an_operator_may_give_up_an_old_primary_that_has_its_time_to_open_again() {
        let mut p = leased_trio();
        p.says(A, Primary, stopped(ControlState::InProduction));
        assert_eq!((p.goal(A), p.record().reopening), (Primary, Some(A)));
        let refused = refusal(p.ordered_failover(None, false));
        assert!(
            refused.contains("the Postgres of a is down and is to be opened") && refused.contains("--allow-data-loss"),
            "{refused}"
        );
        assert!(matches!(p.ordered_failover(None, true), Answer::Accepted { .. }));
        for node in [B, C] {
            p.votes(node, 1000);
        }
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, DemoteTimeout, stopped(ControlState::InProduction), |r| r.serial = serial);
        let winner = [B, C].into_iter().find(|n| p.goal(*n) == StopReplication).expect("one is elected");
        p.vows(winner, StopReplication, 1000);
        assert_eq!(p.goal(winner), WaitPrimary, "{:?}", p.stall());
    }

    #[test]
    fn a_lease_that_was_told_and_not_confirmed_counts_if_it_is_the_longer_one() {
        for (asked, known) in [(60, Some(60_000)), (5, Some(10_000))] {
            let mut p = leased_trio();
            p.monitor.settings.async_lease = Duration::from_secs(asked);
            let change = NodeChange { candidate_priority: Some(60), ..NodeChange::default() };
            p.orders(Command::SetNode { formation: key().formation, name: "b".into(), node: None, change });
            assert_eq!(p.record().nodes[&A].lease_ms, known);
            let serial = p.record().nodes[&A].assignment.serial;
            p.tells(A, Primary, primary_of(&[B, C]), |r| r.serial = serial);
            assert_eq!(p.record().nodes[&A].lease_ms, Some(asked * 1000));
        }
        let mut p = leased_trio();
        let durability = |p: &mut Pair, durability| {
            let change = FormationChange { durability: Some(durability), ..FormationChange::default() };
            p.orders(Command::SetFormation { formation: key().formation, change });
        };
        durability(&mut p, Durability::Degrade);
        durability(&mut p, Durability::Async);
        assert!(p.record().nodes[&A].assignment.lease_ms.is_some());
        assert_eq!(p.record().nodes[&A].lease_ms, None, "it may never have heard of the second change");
    }

    /// Its keeper starts it again as soon as it can look at what is there.
    #[test]
    fn a_directory_that_cannot_be_read_now_takes_no_time_from_the_old_primary() {
        let unreadable = Directory::Unusable { reason: "an error of the disk".into() };
        let facts = Facts { directory: unreadable, ..stopped(ControlState::InProduction) };
        let mut p = leased_trio();
        let mut waited = Duration::ZERO;
        while p.goal(A).is_writable() && waited < Duration::from_secs(90) {
            let serial = p.record().nodes[&A].assignment.serial;
            p.tells(A, Primary, facts.clone(), |r| r.serial = serial);
            p.standbys_obey();
            p.passes(Duration::from_millis(500));
            waited += Duration::from_millis(500);
        }
        let time = p.monitor.settings.drain_timeout;
        assert!(time <= waited && waited < time * 3 / 2, "{waited:?}");
    }

    fn set_formation(p: &mut Pair, durability: Durability) {
        let change = FormationChange { durability: Some(durability), ..FormationChange::default() };
        let told = p.orders(Command::SetFormation { formation: "default".into(), change });
        assert!(matches!(told, Answer::Accepted { .. }), "{told:?}");
    }

    fn set_quorum(p: &mut Pair, name: &str, takes_part: bool) {
        let change = NodeChange { replication_quorum: Some(takes_part), ..NodeChange::default() };
        p.orders(Command::SetNode { formation: "default".into(), name: name.into(), node: None, change });
    }

    /// a and c are dead, and what a acknowledged c had to hold; b holds what it happened to receive.
    fn member_is_gone_too() -> Pair {
        let mut p = Pair::of(3, 0);
        p.record_mut().in_force = InForce::only(Contract::any(ContractId(9), 1, [C].into()));
        p.record_mut().nodes.get_mut(&B).unwrap().replication_quorum = false;
        p.hangs_up(A);
        p.hangs_up(C);
        p.probed(A, Probe::Refused);
        p.probed(C, Probe::Refused);
        p.says(B, Secondary, cut_off_standby());
        assert_eq!((p.goal(A).is_writable(), p.goal(B)), (true, Secondary), "it is waited for");
        p
    }

    #[test]
    fn policy_gives_up_nothing_that_a_standby_had_to_acknowledge() {
        let ways: [fn(&mut Pair); 3] =
            [|p| _ = p.ordered_drop("c", true), |p| set_quorum(p, "c", false), |p| set_formation(p, Durability::Async)];
        for way in ways {
            let mut p = member_is_gone_too();
            way(&mut p);
            for _ in 0..60 {
                p.passes(Duration::from_secs(1));
                p.says(B, p.goal(B), cut_off_standby());
            }
            assert!(p.goal(A).is_writable() && p.goal(B) == Secondary, "{:?}", p.record().transfer);
            assert!(p.stall().unwrap().starts_with("waits for nodes"), "{:?}", p.stall());
        }
    }

    #[test]
    fn one_that_had_neither_lease_nor_contract_opens_by_itself_when_it_is_back() {
        let mut p = Pair::settled();
        p.record_mut().in_force = InForce::only(Contract::none(ContractId(9)));
        p.record_mut().next_contract = 10;
        p.record_mut().nodes.get_mut(&B).unwrap().assignment.goal = Catchingup;
        p.says(B, Catchingup, standby());
        p.tells(A, WaitPrimary, primary_of(&[B]), |r| r.contract = Some(Contract::none(ContractId(9))));
        p.record_mut().degraded = None;
        p.dies(A);
        set_formation(&mut p, Durability::Async);
        p.says(B, Catchingup, cut_off_standby());
        assert!(p.goal(A).is_writable() && p.record().transfer.is_none(), "nobody can say that a stays closed");
    }

    #[test]
    fn a_group_that_is_async_again_fails_over_again() {
        let mut p = leased_trio();
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, Primary, primary_of(&[]), |r| r.serial = serial);
        set_formation(&mut p, Durability::Degrade);
        assert!(p.record().degraded.is_some());
        set_formation(&mut p, Durability::Async);
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, Primary, primary_of(&[B, C]), |r| r.serial = serial);
        assert!(p.record().degraded.is_none());
        p.dies(A);
        assert!(!p.goal(A).is_writable(), "{:?}", p.stall());
    }

    #[test]
    fn consent_waits_for_a_lease_of_a_group_that_is_async_no_more() {
        let mut p = leased_trio();
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, Primary, primary_of(&[B, C]), |r| (r.serial, r.leased) = (serial, true));
        set_formation(&mut p, Durability::Strict);
        p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
        p.probed(A, Probe::Silent);
        for node in [B, C] {
            p.says(node, Secondary, cut_off_standby());
        }
        p.ordered_failover(Some("b"), true);
        p.votes(B, 1000);
        p.votes(C, 1000);
        p.vows(B, StopReplication, 1000);
        assert_eq!(p.goal(B), StopReplication, "a goes on by its lease");
        assert!(p.stall().unwrap().contains("until its lease has ended"), "{:?}", p.stall());
        p.passes(p.view().lease_of(A));
        p.vows(B, StopReplication, 1000);
        assert_eq!(p.goal(B), WaitPrimary);
    }

    #[test]
    fn one_whose_standby_is_to_count_has_no_lease_and_goes_on_alone_on_record() {
        let mut p = Pair::settled();
        set_quorum(&mut p, "b", false);
        p.says(A, Primary, primary_of(&[B]));
        assert!(p.record().nodes[&A].assignment.lease_ms.is_some());
        p.dies(B);
        p.says(A, Primary, primary_of(&[]));
        set_quorum(&mut p, "b", true);
        assert!(p.record().nodes[&A].assignment.lease_ms.is_none() && p.record().degraded.is_some());
    }

    /// Its server may be open still, or again, and acknowledge alone: a lease ends by the hand of a keeper.
    #[test]
    fn policy_replaces_nobody_whose_server_has_outlived_its_keeper() {
        for (outlived, hangs_up) in [(true, true), (true, false), (false, false)] {
            let mut p = leased_trio();
            assert!(p.record().in_force.may_acknowledge_alone());
            if hangs_up {
                p.hangs_up(A);
            }
            if outlived {
                p.probed(A, Probe::Answers);
            }
            for _ in 0..60 {
                p.passes(Duration::from_secs(1));
                p.probed(A, Probe::Silent);
                for node in [B, C] {
                    p.says(node, p.goal(node), cut_off_standby());
                }
            }
            assert_eq!(p.goal(A) == Draining, !outlived, "{:?} {:?} {:?}", p.goals(), p.goal(C), p.record().transfer);
            if outlived {
                p.probed(A, Probe::Refused);
                assert_eq!(p.goal(A), Draining, "now it is known to be closed");
            }
        }
    }

    /// Its keeper may be there, unable to speak, and start its server again: until it has said that it is down, it asks
    /// before it does.
    #[test]
    fn a_refused_connection_proves_nothing_of_a_server_that_its_keeper_may_be_starting() {
        for known_down in [false, true] {
            let mut p = leased_trio();
            if known_down {
                p.says(A, Primary, stopped(ControlState::InProduction));
                assert_eq!(p.goal(A), Primary);
            }
            p.dies(A);
            let begun = p.goal(A) == Draining;
            assert_eq!(begun, !known_down);
            let mut waited = Duration::ZERO;
            while p.goal(A) != Draining && waited < Duration::from_secs(60) {
                p.passes(Duration::from_secs(1));
                waited += Duration::from_secs(1);
                p.probed(A, Probe::Refused);
                for node in [B, C] {
                    p.says(node, p.goal(node), cut_off_standby());
                }
            }
            assert_eq!(waited > p.monitor.settings.async_lease, known_down, "{waited:?}");
            assert!(waited < Duration::from_secs(60));
        }
    }

    #[test]
    fn a_server_that_stays_down_or_does_not_answer_is_replaced_in_an_async_group_too() {
        let closed = stopped(ControlState::InProduction);
        let stuck = stuck();
        for ill in [&closed, &stuck] {
            let mut p = leased_trio();
            let mut waited = Duration::ZERO;
            while [B, C].iter().all(|n| p.goal(*n) != WaitPrimary) && waited < Duration::from_secs(60) {
                let (goal, serial) = (p.goal(A), p.record().nodes[&A].assignment.serial);
                let facts = if goal == DemoteTimeout { &closed } else { ill };
                p.tells(A, goal, facts.clone(), |r| r.serial = serial);
                p.standbys_obey();
                p.passes(Duration::from_millis(500));
                waited += Duration::from_millis(500);
            }
            let time = p.monitor.settings.drain_timeout;
            assert!(time <= waited && waited < time * 3 / 2, "{:?} {waited:?}", ill.server);
            assert!(p.took_to_decide().is_some_and(|took| took >= time), "{:?}", p.took_to_decide());
        }
    }

    /// What is no proof: that its directory can't be read now, after it was told that it may open; and that it is on its
    /// way to be closed, as long as its server is there.
    #[test]
    fn a_server_that_may_be_open_is_not_taken_for_closed() {
        let closed = stopped(ControlState::InProduction);
        let gone = crate::model::Facts { directory: crate::model::Directory::Absent, ..closed.clone() };
        let stuck = stuck();
        for (state, before, facts) in [(Primary, &closed, &gone), (DemoteTimeout, &closed, &stuck)] {
            let mut p = leased_trio();
            p.says(A, state, before.clone());
            assert!(p.goal(A).is_writable());
            let knows = state == DemoteTimeout;
            for _ in 0..80 {
                let serial = if knows { p.record().nodes[&A].assignment.serial } else { 0 };
                p.tells(A, state, facts.clone(), |r| r.serial = serial);
                p.standbys_obey();
                p.passes(Duration::from_millis(500));
            }
            assert!(!p.goal(A).is_writable(), "an election is under way");
            assert!([B, C].iter().all(|n| p.goal(*n) != WaitPrimary), "{state}: {:?}", p.goals());
        }
    }

    /// It was opened while an election was under way.
    #[test]
    fn policy_opens_nobody_while_the_old_server_answers_and_its_keeper_is_silent() {
        for answers in [false, true] {
            let mut p = leased_trio();
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
            p.says(A, Primary, primary_of(&[B, C]));
            let lease = p.monitor.settings.async_lease;
            p.record_mut().nodes.get_mut(&A).unwrap().reported = DemoteTimeout;
            let mut waited = Duration::ZERO;
            while [B, C].iter().all(|n| p.goal(*n) != WaitPrimary) && waited < lease * 3 {
                p.standbys_obey();
                let found = if answers && p.goal(A) == DemoteTimeout { Probe::Answers } else { Probe::Silent };
                p.probed(A, found);
                p.passes(Duration::from_millis(500));
                waited += Duration::from_millis(500);
            }
            assert_eq!(waited >= lease * 3, answers, "{waited:?}");
            if answers {
                assert!(
                    p.stall().is_some_and(|s| s.contains("is silent while its Postgres answers")),
                    "{:?}",
                    p.stall()
                );
                p.probed(A, Probe::Refused);
                for node in [B, C] {
                    p.vows(node, p.goal(node), 1000);
                }
                assert!([B, C].iter().any(|n| p.goal(*n) == WaitPrimary), "now it is known to be closed");
            }
        }
    }

    #[test]
    fn policy_replaces_nobody_who_was_never_heard_to_have_a_lease() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Async);
        p.record_mut().nodes.get_mut(&A).unwrap().assignment.goal = Primary;
        for _ in 0..60 {
            p.passes(Duration::from_secs(1));
            for node in [B, C] {
                p.says(node, Secondary, cut_off_standby());
            }
            p.probed(A, Probe::Silent);
        }
        assert!(
            !p.goal(B).is_being_promoted() && !p.goal(C).is_being_promoted(),
            "it goes on by what it was told last"
        );
    }

    #[test]
    fn an_old_primary_that_does_not_open_again_is_replaced_after_all() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Async);
        let id = p.record_mut().new_contract_id();
        p.record_mut().in_force = crate::model::InForce::only(crate::model::Contract::none(id));
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goal(A), Primary, "without a contract the votes prove nothing");
        let mut waited = Duration::ZERO;
        while p.goal(B) != ReportLsn && waited < Duration::from_secs(120) {
            p.passes(Duration::from_secs(1));
            waited += Duration::from_secs(1);
            for node in [B, C] {
                p.says(node, p.goal(node), standby());
            }
            p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        }
        assert_eq!((p.goal(A), p.goal(B), p.goal(C)), (DemoteTimeout, ReportLsn, ReportLsn));
        p.votes(B, 1000);
        p.votes(C, 1000);
        assert!(p.goal(B) == StopReplication || p.goal(C) == StopReplication);
    }

    #[test]
    fn a_primary_of_an_async_group_that_was_told_to_open_again_is_not_taken_for_closed() {
        let mut p = Pair::of(3, 1);
        p.set_durability(Durability::Async);
        p.says(A, Primary, primary_of(&[B, C]));
        let serial = p.record().nodes[&A].assignment.serial;
        p.tells(A, Primary, primary_of(&[B, C]), |r| r.serial = serial);
        for node in [B, C] {
            p.record_mut().nodes.get_mut(&node).unwrap().candidate_priority = 0;
        }
        p.says(A, DemoteTimeout, stopped(ControlState::InProduction));
        assert!(p.goal(A).is_writable(), "nobody else may lead: it opens again");
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 50;
        let lease = p.monitor.settings.async_lease;
        let mut votes = 0;
        for _ in 0..9 {
            p.passes(lease / 10);
            p.probed(A, Probe::Answers);
            for node in [B, C] {
                match p.goal(node) {
                    goal @ (ReportLsn | StopReplication) => p.vows(node, goal, 1000),
                    goal => drop(p.says(node, goal, cut_off_standby())),
                }
                votes += u32::from(p.goal(node) == StopReplication);
            }
            assert!(![B, C].iter().any(|n| p.goal(*n) == WaitPrimary), "its word that it is closed is old");
        }
        assert!(votes > 0, "somebody only waits for the lease to end");
    }
}
