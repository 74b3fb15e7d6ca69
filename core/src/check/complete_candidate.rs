//! S8: whoever is promoted holds all that a quorum of sealed nodes holds: those sealed where its log ends or before
//! it, on its lineage, leave too few to have acknowledged anything more.

use super::rogues::Rogues;
use super::succession::{Succession, Successions};
use super::trace::{Kind, Trace};
use crate::model::{Epoch, NodeId, Position, Seal, Timeline};
use std::collections::BTreeMap;

#[derive(Default)]
struct Voter {
    id: Option<NodeId>,
    /// Where its log ended by its vote in each epoch.
    seals: BTreeMap<Epoch, Position>,
    epoch: Option<Epoch>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut voters: BTreeMap<&str, Voter> = BTreeMap::new();
    let mut successions = Successions::default();
    let mut latest: Option<Succession> = None;
    let mut forks = Forks::default();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        if let Some(next) = successions.follow(event)? {
            latest = Some(next);
        }
        rogues.follow(&event.kind);
        match &event.kind {
            Kind::Node { node, id, .. } => voters.entry(node).or_default().id = Some(*id),
            Kind::Stored { node, seal, epoch, .. } => {
                let voter = voters.entry(node).or_default();
                voter.seals.extend(seal.map(|seal: Seal| (seal.epoch, seal.position)));
                voter.epoch = Some(*epoch);
            }
            Kind::Branched { node, tli, parent, fork } => {
                forks.add(*tli, Position { tli: *parent, lsn: *fork }, rogues.has(node));
                let moved = latest.as_ref().filter(|s| s.moved.to == node);
                let Some(succession) = moved.filter(|s| !s.has_last_record(Some(*fork))) else { continue };
                let end = Position { tli: *parent, lsn: *fork };
                let epoch = voters.get(node.as_str()).and_then(|v| v.epoch);
                // It may have been lost before it opened, and told again in an epoch in which nobody else was chosen.
                let seal_of = |v: &Voter, epoch: Epoch| v.seals.get(&epoch).copied();
                let vote = |v: &Voter| epoch.and_then(|e| seal_of(v, e)).or_else(|| seal_of(v, succession.moved.epoch));
                let within = voters.values().filter(|v| vote(v).is_some_and(|position| forks.hold(position, end)));
                let within = within.filter_map(|v| v.id).collect();
                if let Some(contract) = succession.must_prove().find(|c| c.can_acknowledge_without(&within)) {
                    return Err(format!(
                        "{node} was promoted at {end:?}, where {within:?} end; {} of {:?} may have acknowledged more",
                        contract.k, contract.members
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where each timeline leaves its parent.
#[derive(Default)]
struct Forks(BTreeMap<Timeline, Position>);

impl Forks {
    /// The group may give a number again that a hand has given, and not the other way round.
    fn add(&mut self, tli: Timeline, fork: Position, by_hand: bool) {
        match by_hand {
            true => _ = self.0.entry(tli).or_insert(fork),
            false => _ = self.0.insert(tli, fork),
        }
    }

    /// Whether the log that ends here holds all of one that ends at `position`: on the same timeline, or on an ancestor
    /// and not past the fork.
    fn hold(&self, position: Position, end: Position) -> bool {
        let (mut tli, mut lsn) = (end.tli, end.lsn);
        while tli > position.tli
            && let Some(fork) = self.0.get(&tli)
        {
            (tli, lsn) = (fork.tli, lsn.min(fork.lsn));
        }
        tli == position.tli && position.lsn <= lsn
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    #[test]
    fn a_candidate_behind_a_node_whose_vote_is_needed_is_found() {
        let election = |in_force: &str, end| {
            check(&trace(vec![
                (0, under("a", Primary, Primary, 1, in_force)),
                (1, stored("b", 2, ReportLsn, Some(100))),
                (1, stored("c", 2, ReportLsn, Some(120))),
                (2, under("b", ReportLsn, ReportLsn, 2, in_force)),
                (2, under("c", ReportLsn, ReportLsn, 2, in_force)),
                (3, under("b", ReportLsn, WaitPrimary, 2, "none")),
                (4, branched("b", 2, 1, end)),
            ]))
        };
        assert_eq!(election("any 1 of (2, 3)", 120), Ok(()));
        assert!(election("any 1 of (2, 3)", 100).unwrap_err().contains("may have acknowledged more"));
        assert_eq!(election("any 2 of (2, 3)", 100), Ok(()), "b has all that was acknowledged");
    }

    #[test]
    fn one_that_a_policy_lets_open_holds_what_standbys_had_to_acknowledge() {
        let by_policy = |in_force: &str, end| {
            check(&trace(vec![
                (0, under("a", Primary, Primary, 1, in_force)),
                (1, stored("c", 2, ReportLsn, Some(120))),
                (1, stored("b", 2, ReportLsn, Some(100))),
                (2, under("c", ReportLsn, ReportLsn, 2, in_force)),
                (3, given_up("b", 2, Some(Waiver::Policy))),
                (4, branched("b", 2, 1, end)),
            ]))
        };
        assert_eq!(by_policy("none", 100), Ok(()));
        assert_eq!(by_policy("any 1 of (2, 3); none", 120), Ok(()));
        assert!(by_policy("any 1 of (2, 3); none", 100).unwrap_err().contains("may have acknowledged more"));
    }

    #[test]
    fn one_that_is_told_again_is_held_to_the_votes_that_chose_it() {
        let told_again = |sealed_anew: u64, end| {
            check(&trace(vec![
                (0, under("a", Primary, Primary, 1, "any 1 of (2, 3)")),
                (1, stored("b", 2, ReportLsn, Some(120))),
                (1, stored("c", 2, ReportLsn, Some(120))),
                (2, under("b", ReportLsn, ReportLsn, 2, "any 1 of (2, 3)")),
                (2, under("c", ReportLsn, ReportLsn, 2, "any 1 of (2, 3)")),
                (3, under("b", ReportLsn, WaitPrimary, 2, "any 1 of (1, 3)")),
                (4, stored("c", 3, ReportLsn, Some(120))),
                (5, under("b", ReportLsn, Primary, 4, "any 1 of (1, 3)")),
                (6, stored("c", 4, ReportLsn, Some(sealed_anew))),
                (6, stored("b", 4, Primary, None)),
                (7, branched("b", 2, 1, end)),
            ]))
        };
        assert_eq!(told_again(120, 120), Ok(()));
        assert!(told_again(120, 110).unwrap_err().contains("may have acknowledged more"));
        assert!(told_again(130, 120).is_err(), "its newest vote counts");
    }

    #[test]
    fn a_vote_on_another_branch_is_no_part_of_the_candidate() {
        let election = |fork_of_2: u64, sealed_at: u64| {
            check(&trace(vec![
                (0, under("a", Primary, Primary, 1, "any 1 of (2, 3)")),
                (1, branched("a", 2, 1, fork_of_2)),
                (1, stored("c", 2, ReportLsn, Some(sealed_at))),
                (2, under("b", ReportLsn, ReportLsn, 2, "any 1 of (2, 3)")),
                (2, under("c", ReportLsn, ReportLsn, 2, "any 1 of (2, 3)")),
                (2, stored("b", 2, ReportLsn, Some(100))),
                (3, under("b", ReportLsn, WaitPrimary, 2, "none")),
                (4, branched("b", 3, 2, 200)),
            ]))
        };
        assert_eq!(election(120, 120), Ok(()));
        assert!(election(110, 120).unwrap_err().contains("may have acknowledged more"), "c has gone on past the fork");
    }

    #[test]
    fn after_an_orderly_stop_the_candidate_branches_off_past_the_last_record() {
        let handed = |end| {
            check(&trace(vec![
                (0, under("a", Primary, Primary, 1, "any 1 of (2, 3)")),
                (1, drained("a", 2, "any 1 of (2, 3)", 100)),
                (2, stored("b", 2, StopReplication, Some(120))),
                (3, under("b", StopReplication, WaitPrimary, 2, "none")),
                (4, branched("b", 2, 1, end)),
            ]))
        };
        assert_eq!(handed(120), Ok(()));
        assert!(handed(100).unwrap_err().contains("may have acknowledged more"));
    }
}
