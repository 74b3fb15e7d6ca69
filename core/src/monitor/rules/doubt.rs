//! Who leads a group of which the monitor knows less than its nodes.

use super::Verdict;
use super::transfer::can_keep_the_role;
use crate::model::NodeState::*;
use crate::model::{Durability, NodeId, NodeRecord};
use crate::monitor::edit::Edit;
use crate::monitor::view::View;

/// Of the nodes that are open, the one of the highest epoch is the primary; another that is open was replaced by it.
pub fn adopt(v: &View) -> Option<Verdict> {
    if !v.record.in_doubt {
        return None;
    }
    let told = |n: &&NodeRecord| !n.doubted && n.reported.is_writable() && v.is_heard(n.id) && v.is_open(n.id);
    let epoch = |id: NodeId| v.report(id).map(|r| r.epoch);
    let primary = v.record.nodes.values().filter(told).max_by_key(|n| (epoch(n.id), std::cmp::Reverse(n.id)))?;
    let contract = v.report(primary.id).and_then(|r| r.contract.as_ref());
    // Its members are about to register again as well; without them the contract would be given up for nothing.
    let strangers = contract.is_some_and(|c| c.members.iter().any(|m| !v.record.nodes.contains_key(m)));
    let known_since = v.pulse(primary.id)?.known_since;
    if strangers && v.now.since(known_since) < v.settings.drain_timeout {
        return None;
    }
    let is_member = |id| contract.is_some_and(|c| c.members.contains(&id));
    let mut edits = vec![Edit::Adopt(primary.id)];
    for node in v.record.nodes.values().filter(|n| n.id != primary.id) {
        // What it is may not be known yet; a member is what a member should be.
        let goal = match node.goal() {
            goal if goal.is_writable() && is_member(node.id) => Secondary,
            goal if goal.is_writable() => Catchingup,
            DemoteTimeout => Demoted,
            ReportLsn => Catchingup,
            goal => goal,
        };
        edits.push(Edit::Assign(node.id, goal));
    }
    Some((edits, format!("{} is open and of the highest epoch: it is the primary", primary.name)))
}

/// Nobody is open. The one that led last, as far as is known, opens again if nobody can have been elected since: an
/// election under its contract needs the seal of one of any that are enough to acknowledge, and those that speak have seen
/// no newer epoch than it has. Where it needed nobody, all that are known must speak.
pub fn vouched(v: &View) -> Option<Verdict> {
    if !v.record.in_doubt || v.durability() == Durability::Async {
        return None;
    }
    let known = |n: &&NodeRecord| !n.doubted && v.is_heard(n.id) && v.report(n.id).is_some_and(|r| !r.facts.is_open());
    let heard: Vec<&NodeRecord> = v.record.nodes.values().filter(known).collect();
    let epoch = |id: NodeId| v.report(id).map(|r| r.epoch);
    let newest = heard.iter().map(|n| epoch(n.id)).max()?;
    let led = |n: &&&NodeRecord| n.reported == DemoteTimeout && epoch(n.id) == newest;
    let last = heard.iter().find(|n| led(n) && can_keep_the_role(v, n))?;
    let contract = v.report(last.id)?.contract.as_ref()?;
    let vouch = contract.members.iter().filter(|m| heard.iter().any(|n| n.id == **m)).count();
    let enough = if contract.is_none() { heard.len() == v.record.nodes.len() } else { vouch >= contract.k as usize };
    if !enough {
        return None;
    }
    let mut edits = vec![Edit::Adopt(last.id), Edit::Reopen(last.id), Edit::Assign(last.id, Primary)];
    for node in v.record.nodes.values().filter(|n| n.id != last.id) {
        let counts = contract.members.contains(&node.id);
        match node.goal() {
            Secondary | Catchingup | ReportLsn => {
                edits.push(Edit::Assign(node.id, if counts { Secondary } else { Catchingup }))
            }
            goal if goal.is_writable() => edits.push(Edit::Assign(node.id, Catchingup)),
            DemoteTimeout => edits.push(Edit::Assign(node.id, Demoted)),
            _ => {}
        }
    }
    Some((edits, format!("{} led last, as enough of its members say: it opens again", last.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Contract, ContractId, ControlState, Epoch, NodeState};
    use crate::monitor::rules::testing::*;

    /// The monitor was put back to a copy in which a is primary; since then b has taken over in epoch 5.
    fn restored() -> Pair {
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
    fn nobody_is_promoted_before_the_primary_is_found() {
        let mut p = Pair::settled();
        p.tells(B, Secondary, standby(), |r| r.epoch = Epoch(5));
        assert!(p.record().in_doubt);
        p.dies(A);
        assert_eq!(p.goal(B), Secondary);
        assert!(p.stall().unwrap().starts_with("waits for nodes: "));
        p.tells(A, Primary, primary_with(Some(B)), |r| (r.session, r.epoch) = (2, Epoch(5)));
        assert!(!p.record().in_doubt);
        assert_eq!((p.goal(A), p.goal(B)), (Primary, Secondary));
    }

    #[test]
    fn with_nobody_open_the_last_to_lead_opens_again_once_enough_of_its_members_say_so() {
        let closed = |epoch_of_b: u64| {
            let mut p = Pair::of(3, 1);
            p.monitor_restarts();
            let contract = Contract::any(ContractId(9), 1, [A, B].into());
            p.tells(C, NodeState::DemoteTimeout, stopped(ControlState::InProduction), |r| {
                (r.epoch, r.serial, r.contract) = (Epoch(5), 40, Some(contract.clone()));
            });
            assert!(p.record().in_doubt && !p.goal(C).is_writable(), "nobody speaks for it");
            p.tells(B, Secondary, cut_off_standby(), |r| (r.epoch, r.serial) = (Epoch(epoch_of_b), 30));
            p
        };
        let p = closed(5);
        assert_eq!((p.goal(A), p.goal(B), p.goal(C)), (Catchingup, Secondary, Primary));
        assert!(p.record().epoch > Epoch(5) && !p.record().in_doubt);
        let p = closed(6);
        assert!(p.record().in_doubt && !p.goal(C).is_writable(), "b has sealed for another since");
    }

    #[test]
    fn of_two_that_are_open_the_one_of_the_higher_epoch_is_the_primary() {
        let mut p = restored();
        p.tells(A, Primary, primary_with(None), |r| r.epoch = Epoch(1));
        assert_eq!((p.goal(A).is_writable(), p.goal(B).is_writable()), (false, true));
    }
}
