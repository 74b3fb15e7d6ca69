//! Who leads a group of which the monitor knows less than its nodes.

use super::{Verdict, call_votes};
use crate::model::NodeState::*;
use crate::model::{Contract, Durability, Epoch, NodeId, NodeRecord, NodeState, Transfer, TransferKind, Waiver, Word};
use crate::monitor::edit::Edit;
use crate::monitor::health::Pulse;
use crate::monitor::view::View;
use crate::mutant;
use std::collections::BTreeSet;

/// Of the nodes that are open, the one that was given the role last is the primary, if nobody can have been elected since.
pub fn adopt(v: &View) -> Option<Verdict> {
    if !v.record.in_doubt {
        return None;
    }
    let leads = |n: &&NodeRecord| n.reported.is_writable() && v.is_heard(n.id) && v.is_open(n.id);
    let led = v.record.nodes.values().filter(leads).filter_map(|n| Some((n, claim(n)?)));
    let (primary, claim) = led.max_by_key(|(n, claim)| (claim.led_in, std::cmp::Reverse(n.id)))?;
    // Nobody is elected in the place of one that works alone, unless somebody has consented.
    let unsure = match claim.contract.is_none() {
        true => others(v, primary).any(|w| w.epoch > claim.led_in) && !all_spoke(v),
        false => !is_proven(v, &claim),
    };
    if was_replaced(v, primary, &claim) || unsure {
        return None;
    }
    if awaits_others(v, primary, &claim) {
        return None;
    }
    Some((adopt_open(v, primary), format!("{} is open and was given the role last: it is the primary", primary.name)))
}

/// What a node has said of its leading, if nobody has told it since that another leads.
struct Claim {
    led_in: Epoch,
    leased: bool,
    contract: Contract,
}

fn claim(node: &NodeRecord) -> Option<Claim> {
    let word = node.word.as_ref().filter(|_| !node.doubted)?;
    let led_in = if mutant!(OrderTakenForRole) { word.epoch } else { word.led_in };
    Some(Claim { led_in, leased: word.leased, contract: word.contract.clone()? })
}

/// What the others have said.
fn others<'a>(v: &'a View, than: &NodeRecord) -> impl Iterator<Item = &'a Word> {
    let than = than.id;
    v.record.nodes.values().filter(move |n| n.id != than && !n.doubted).filter_map(|n| n.word.as_ref())
}

fn all_spoke(v: &View) -> bool {
    v.record.nodes.values().all(|n| !n.doubted)
}

fn knows_all_members(v: &View, claim: &Claim) -> bool {
    claim.contract.members.iter().all(|m| v.record.nodes.contains_key(m))
}

/// Others are about to register again as well. Without its members a contract would be given up for nothing; and of one that
/// worked alone nobody can say who is with it: somebody may have been given its role who hasn't spoken so far.
fn awaits_others(v: &View, node: &NodeRecord, claim: &Claim) -> bool {
    let alone = claim.contract.is_none() && node.reported != Single;
    let since = |p: &Pulse| p.known_since.max(v.doubt_since.unwrap_or(v.now));
    let late = v.pulse(node.id).is_some_and(|p| v.now.since(since(p)) >= v.settings.drain_timeout);
    (alone && !mutant!(AdoptsWhoeverSpeaks) || !knows_all_members(v, claim)) && !late
}

/// Time alone ends the doubt about it, unless another speaks until then.
pub fn is_given_time(v: &View, node: &NodeRecord) -> bool {
    let (is_open, is_closed) = (v.is_open(node.id), node.reported == DemoteTimeout);
    let waits = |c: Claim| c.contract.is_none() && awaits_others(v, node, &c) && (is_open || is_closed && !c.leased);
    claim(node).is_some_and(waits)
}

fn was_replaced(v: &View, node: &NodeRecord, claim: &Claim) -> bool {
    others(v, node).any(|w| w.led_in > claim.led_in)
}

/// Nobody can have been given the role since: an election under this contract needs the seal, in a newer epoch, of one of
/// any that are enough to acknowledge. And when all have spoken, members included, none of them has told of it, as long as
/// none has forgotten what it was told.
fn is_proven(v: &View, claim: &Claim) -> bool {
    let Claim { led_in, contract, .. } = claim;
    let vouches = |id: &&NodeId| {
        let member = v.record.nodes.get(id).filter(|n| !n.doubted && !begins_anew(n));
        member.and_then(|n| n.word.as_ref()).is_some_and(|w| w.epoch <= *led_in)
    };
    let enough = !contract.is_none() && contract.members.iter().filter(vouches).count() >= contract.k as usize;
    let all_remember = contract.is_none() || !v.record.nodes.values().any(begins_anew);
    enough || all_spoke(v) && all_remember && knows_all_members(v, claim) || mutant!(AdoptsWhoeverSpeaks)
}

/// It has no data, and remembers no promise and no role.
fn begins_anew(node: &NodeRecord) -> bool {
    matches!(node.reported, Init | WaitStandby)
}

/// The doubt is over: this open node leads.
pub fn adopt_open(v: &View, primary: &NodeRecord) -> Vec<Edit> {
    let contract = v.report(primary.id).and_then(|r| r.contract.as_ref());
    let is_member = |id| contract.is_some_and(|c| c.members.contains(&id));
    // It may have said first that it was closed, and have opened since by the word of its members.
    let mut edits = vec![Edit::Adopt(primary.id), Edit::Assign(primary.id, primary.reported)];
    // What they are may not be known yet; a member is what a member should be.
    let others = v.record.nodes.values().filter(|n| n.id != primary.id);
    edits.extend(others.map(|n| Edit::Assign(n.id, under_another(n, is_member(n.id)))));
    edits
}

/// Nobody is open. The one that was given the role last opens again if nobody can have been elected since.
pub fn vouched(v: &View) -> Option<Verdict> {
    if !v.record.in_doubt || v.durability() == Durability::Async {
        return None;
    }
    let nodes = &v.record.nodes;
    if nodes.values().any(|n| v.is_heard(n.id) && v.is_open(n.id)) {
        return None;
    }
    // Its lineage is newer than what the monitor knows, and can't be compared.
    let has_data = |n: &NodeRecord| v.is_heard(n.id) && v.report(n.id).is_some_and(|r| r.facts.control().is_some());
    let closed = nodes.values().filter(|n| n.reported == DemoteTimeout && has_data(n));
    let (last, claim) =
        closed.filter_map(|n| Some((n, claim(n)?))).max_by_key(|(n, c)| (c.led_in, std::cmp::Reverse(n.id)))?;
    // Policy asks nobody's leave to replace one whose lease has ended.
    let bypassed = claim.contract.is_none() && (claim.leased || awaits_others(v, last, &claim));
    if was_replaced(v, last, &claim) || bypassed || !is_proven(v, &claim) {
        return None;
    }
    let edits = open_again(v, last, &claim.contract.members);
    Some((edits, format!("{} led last, as enough of its members say: it opens again", last.name)))
}

/// The doubt is over: this closed node leads again, over these members.
pub fn open_again(v: &View, last: &NodeRecord, members: &BTreeSet<NodeId>) -> Vec<Edit> {
    let mut edits = vec![Edit::Adopt(last.id), Edit::Reopen(last.id), Edit::Assign(last.id, Primary)];
    let others = v.record.nodes.values().filter(|n| n.id != last.id);
    edits.extend(others.map(|n| Edit::Assign(n.id, under_another(n, members.contains(&n.id)))));
    edits
}

/// The doubt is over by the word of an operator: this standby is to lead, and what others held before it is given up as
/// far as it can't be fetched.
pub fn elect_in_doubt(v: &View, chosen: &NodeRecord) -> Vec<Edit> {
    let others = || v.record.nodes.values().filter(|n| n.id != chosen.id);
    let led_in = |n: &&NodeRecord| n.word.as_ref().map(|w| w.led_in);
    let old = others().filter(|n| n.goal().belongs_to_primary()).max_by_key(led_in).map_or(NodeId::UNKNOWN, |n| n.id);
    let mut edits = vec![Edit::Adopt(chosen.id)];
    edits.extend(others().map(|n| Edit::Assign(n.id, under_another(n, false))));
    let consent = Transfer {
        preferred: Some(chosen.id),
        waiver: Some(Waiver::Operator),
        ..Transfer::new(TransferKind::Failover, old, None)
    };
    edits.extend(call_votes(v, consent));
    edits
}

/// What a node is to be now that another leads.
fn under_another(node: &NodeRecord, is_member: bool) -> NodeState {
    match node.goal() {
        goal if goal.is_writable() && is_member => Secondary,
        goal if goal.is_writable() => Catchingup,
        DemoteTimeout => Demoted,
        ReportLsn if is_member => Secondary,
        ReportLsn => Catchingup,
        goal => goal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Assignment, ContractId, ControlState};
    use crate::monitor::rules::testing::*;

    /// The monitor was put back to a copy in which a is primary; since then b has taken over in epoch 5.
    fn restored() -> Pair {
        let mut p = restored_and_told_by_the_primary();
        p.tells(A, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(5), 40));
        p
    }

    fn restored_and_told_by_the_primary() -> Pair {
        let mut p = Pair::settled();
        p.monitor_restarts();
        let contract = Contract::any(ContractId(9), 1, [A].into());
        p.tells(B, NodeState::Primary, primary_with(Some(A)), |r| {
            (r.epoch, r.serial, r.contract, r.applied) = (Epoch(5), 40, Some(contract.clone()), Some(contract.id));
        });
        p
    }

    #[test]
    fn a_restored_monitor_takes_the_primary_for_what_it_is_and_rises_past_its_epoch() {
        let p = restored();
        assert!(!p.record().in_doubt);
        assert_eq!(p.goal(B), Primary);
        assert_ne!(p.goal(A), Primary, "two would be told to write");
        assert!(p.record().epoch > Epoch(5));
        assert!(p.record().contract().unwrap().id > ContractId(9));
        assert!(p.record().in_force.may_acknowledge_alone(), "until it confirms, nothing is known for sure");
    }

    #[test]
    fn in_doubt_nobody_is_told_anything_that_it_did_not_say_itself() {
        let mut p = restored_and_told_by_the_primary();
        assert!(p.record().in_doubt, "a may have been elected since");
        let Assignment { goal, contract, led_in, .. } = p.record().nodes[&B].assignment.clone();
        assert_eq!((goal, contract.map(|c| c.id), led_in), (Primary, Some(ContractId(9)), Epoch(5)));
        p.tells(A, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(6), 40));
        assert_eq!((p.record().in_doubt, p.goals()), (false, (Secondary, Primary)), "all have spoken");
    }

    #[test]
    fn one_that_is_being_opened_goes_on_unless_it_would_acknowledge_alone() {
        for (k, facts, goal) in [
            (1, cut_off_standby(), WaitPrimary),
            (1, primary_of(&[]), WaitPrimary),
            (0, cut_off_standby(), ReportLsn),
            (0, primary_of(&[]), WaitPrimary),
        ] {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            let contract =
                if k == 0 { Contract::none(ContractId(9)) } else { Contract::any(ContractId(9), k, [A].into()) };
            p.tells(B, StopReplication, facts.clone(), |r| {
                (r.epoch, r.serial, r.contract) = (Epoch(5), 40, Some(contract.clone()));
            });
            assert_eq!((p.record().in_doubt, p.goal(B)), (true, goal), "{k} {facts:?}");
        }
    }

    #[test]
    fn a_member_that_begins_anew_vouches_for_nobody() {
        for (state, proven) in [(Init, false), (Secondary, true)] {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            p.tells(A, Primary, primary_of(&[B, C]), |r| (r.epoch, r.serial) = (Epoch(5), 40));
            p.tells(C, state, no_directory(), |r| (r.epoch, r.serial) = (Epoch(1), 1));
            assert_eq!(p.record().in_doubt, !proven, "{state}: b may have been elected since");
            p.tells(B, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(6), 40));
            assert_eq!(p.record().in_doubt, !proven, "{state}: or c itself, which has forgotten it");
        }
    }

    /// Another node registered again while its promotion was on its way to it.
    #[test]
    fn what_this_monitor_gave_counts_though_its_node_has_yet_to_hear_of_it() {
        for given in [Epoch(6), Epoch(5)] {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            p.record_mut().epoch = Epoch(6);
            p.record_mut().nodes.get_mut(&A).unwrap().assignment.led_in = given;
            for (node, epoch, serial) in [(C, Epoch(6), 40), (A, Epoch(5), 1)] {
                let (state, facts) = if node == A { (Primary, primary_of(&[B])) } else { (Secondary, standby()) };
                let contract = (node == A).then(|| Contract::any(ContractId(9), 1, [B, C].into()));
                p.tells(node, state, facts, |r| {
                    (r.epoch, r.serial, r.contract) = (epoch, serial, contract.clone());
                });
            }
            assert_eq!(p.record().in_doubt, given == Epoch(5), "c has promised nothing since");
        }
    }

    /// It was told to lead in epoch 6 by another monitor, and this one has heard of the old primary only.
    #[test]
    fn one_that_was_cut_off_from_its_own_replacement_is_not_taken_for_the_primary() {
        for elected in [true, false] {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            let contract = Contract::any(ContractId(9), 1, [B, C].into());
            let says = |p: &mut Pair, node, state, facts, led_in, contract: Option<&Contract>| {
                p.tells(node, state, facts, |r| {
                    (r.epoch, r.serial, r.contract, r.led_in) = (Epoch(7), 40, contract.cloned(), Epoch(led_in));
                });
            };
            // In the meantime it may have seen any epoch.
            says(&mut p, A, Primary, primary_of(&[B]), 5, Some(&contract));
            says(&mut p, C, Secondary, cut_off_standby(), 0, None);
            assert!(p.record().in_doubt);
            match elected {
                // Another has replaced it since.
                true => says(&mut p, B, DemoteTimeout, stopped(ControlState::ShutDown), 6, None),
                false => says(&mut p, B, Secondary, standby(), 0, None),
            }
            assert_eq!((p.record().in_doubt, p.goal(A)), (elected, Primary));
            assert_eq!(p.record().nodes[&A].assignment.led_in, if elected { Epoch(5) } else { p.record().epoch });
        }
    }

    #[test]
    fn nobody_is_promoted_before_the_primary_is_found() {
        let mut p = Pair::settled();
        p.tells(B, Secondary, standby(), |r| r.epoch = Epoch(5));
        assert!(p.record().in_doubt);
        p.dies(A);
        assert_eq!(p.goal(B), Secondary);
        assert!(p.stall().unwrap().starts_with("waits for nodes: "));
        let contract = Contract::any(ContractId(9), 1, [B].into());
        p.tells(A, Primary, primary_with(Some(B)), |r| {
            (r.session, r.epoch, r.contract) = (2, Epoch(5), Some(contract.clone()));
        });
        assert!(!p.record().in_doubt);
        assert_eq!((p.goal(A), p.goal(B)), (Primary, Secondary));
    }

    /// It was told that another leads, and hasn't managed to close: it names no contract any more.
    #[test]
    fn one_that_was_deposed_and_has_yet_to_close_does_not_get_the_role_back() {
        let mut p = Pair::of(3, 1);
        p.monitor_restarts();
        let says = |p: &mut Pair, state, facts| {
            p.tells(A, state, facts, |r| (r.epoch, r.serial, r.contract) = (Epoch(5), 40, None));
        };
        says(&mut p, Primary, primary_of(&[]));
        for node in [B, C] {
            p.tells(node, Secondary, cut_off_standby(), |r| (r.epoch, r.serial) = (Epoch(5), 30));
        }
        assert_eq!((p.record().in_doubt, p.goal(A)), (true, Demoted), "open, and not to be");
        says(&mut p, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!((p.record().in_doubt, p.goal(A)), (true, Demoted), "closed, and not the last to lead");
    }

    #[test]
    fn with_nobody_open_the_last_to_lead_opens_again_once_enough_of_its_members_say_so() {
        let closed = |was_to_lead: bool, epoch_of_b: u64| {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            let contract = Contract::any(ContractId(9), 1, [A, B].into());
            let says = |p: &mut Pair, contract: Option<&Contract>| {
                p.tells(C, DemoteTimeout, stopped(ControlState::InProduction), |r| {
                    (r.epoch, r.serial, r.contract) = (Epoch(5), 40, contract.cloned());
                });
            };
            says(&mut p, Some(&contract).filter(|_| was_to_lead));
            assert!(p.record().in_doubt && !p.goal(C).is_writable(), "nobody speaks for it");
            p.tells(B, Secondary, cut_off_standby(), |r| (r.epoch, r.serial) = (Epoch(epoch_of_b), 30));
            // It was told to stay closed meanwhile, and has that on its disk.
            says(&mut p, None);
            p
        };
        let p = closed(true, 5);
        assert_eq!((p.goal(B), p.goal(C)), (Secondary, Primary));
        assert!(!p.goal(A).is_writable() && p.record().epoch > Epoch(5) && !p.record().in_doubt);
        assert_eq!(p.record().contract().unwrap().members, [A, B].into());
        for (was_to_lead, epoch_of_b, why) in
            [(true, 6, "b has sealed for another since"), (false, 5, "it had handed its role over in that epoch")]
        {
            let p = closed(was_to_lead, epoch_of_b);
            assert!(p.record().in_doubt && !p.goal(C).is_writable(), "{why}");
        }
    }

    #[test]
    fn a_primary_that_opened_by_the_word_of_its_members_is_told_to_stay_open() {
        let mut p = Pair::settled();
        p.monitor_restarts();
        let contract = Contract::any(ContractId(9), 1, [A].into());
        let says = |p: &mut Pair, state, facts| {
            p.tells(B, state, facts, |r| (r.epoch, r.serial, r.contract) = (Epoch(5), 40, Some(contract.clone())));
        };
        says(&mut p, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!((p.record().in_doubt, p.goal(B)), (true, DemoteTimeout));
        says(&mut p, Primary, primary_with(Some(A)));
        assert_eq!((p.record().in_doubt, p.goal(B)), (true, Primary));
        p.tells(A, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(5), 40));
        assert_eq!((p.record().in_doubt, p.goals()), (false, (Secondary, Primary)));
    }

    #[test]
    fn one_that_is_open_while_another_has_told_of_a_later_epoch_is_not_taken_for_the_primary() {
        for later_leads in [true, false] {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            p.tells(C, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(5), 40));
            let theirs = Contract::any(ContractId(1), 1, [B, C].into());
            p.tells(A, NodeState::Primary, primary_with(None), |r| {
                (r.epoch, r.serial, r.contract) = (Epoch(1), 30, Some(theirs.clone()));
            });
            assert!(p.record().in_doubt, "b may have been elected since");
            let told = p.ordered_failover(Some("b"), true);
            assert!(matches!(told, crate::wire::Answer::Refused { .. }), "a is open");
            let contract = Contract::any(ContractId(2), 1, [C].into());
            match later_leads {
                true => p.tells(B, NodeState::Primary, primary_with(Some(C)), |r| {
                    (r.epoch, r.serial, r.contract) = (Epoch(5), 40, Some(contract.clone()));
                }),
                false => p.tells(B, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(5), 40)),
            };
            assert_eq!((p.record().in_doubt, p.goal(A).is_writable()), (false, !later_leads), "{:?}", p.record());
        }
    }

    #[test]
    fn of_two_that_are_open_the_one_of_the_higher_epoch_is_the_primary() {
        let mut p = restored();
        p.tells(A, Primary, primary_with(None), |r| r.epoch = Epoch(1));
        assert_eq!((p.goal(A).is_writable(), p.goal(B).is_writable()), (false, true));
    }

    /// A new monitor that so far knows one node alone, which says that it has acknowledged without a standby.
    fn told_by_one_that_worked_alone(state: NodeState, facts: crate::model::Facts, leased: bool) -> Pair {
        let mut p = Pair::settled();
        p.record_mut().nodes.remove(&B);
        p.monitor_restarts();
        // The doubt begins when somebody speaks.
        p.passes(p.monitor.settings.drain_timeout * 2);
        tells_again(&mut p, state, facts, leased);
        p
    }

    fn tells_again(p: &mut Pair, state: NodeState, facts: crate::model::Facts, leased: bool) {
        let serial = p.record().nodes[&A].assignment.serial.max(40);
        p.tells(A, state, facts, |r| {
            (r.epoch, r.led_in, r.serial, r.leased) = (Epoch(5), Epoch(5), serial, leased);
            r.contract = Some(Contract::none(ContractId(9)));
        });
    }

    #[test]
    fn one_that_worked_alone_is_not_taken_for_the_primary_before_others_had_time_to_speak() {
        let closed = || stopped(ControlState::InProduction);
        let open = || primary_of(&[]);
        for (state, facts) in [(DemoteTimeout, closed as fn() -> _), (WaitPrimary, open as fn() -> _)] {
            let mut p = told_by_one_that_worked_alone(state, facts(), false);
            assert!(p.record().in_doubt, "{state}: its successor may be about to register");
            assert!(p.stall().unwrap().contains("a worked alone"), "{:?}", p.stall());
            p.passes(p.monitor.settings.drain_timeout);
            tells_again(&mut p, state, facts(), false);
            assert!(!p.record().in_doubt && p.goal(A).is_writable(), "{state}");
        }
        let p = told_by_one_that_worked_alone(Single, open(), false);
        assert!(!p.record().in_doubt, "it has nobody to wait for");
    }

    #[test]
    fn one_whose_lease_may_have_ended_does_not_open_again_by_itself() {
        let closed = || stopped(ControlState::InProduction);
        let mut p = told_by_one_that_worked_alone(DemoteTimeout, closed(), true);
        p.passes(p.monitor.settings.drain_timeout * 2);
        tells_again(&mut p, DemoteTimeout, closed(), true);
        assert!(p.record().in_doubt && !p.goal(A).is_writable(), "policy may have replaced it");
    }
}
