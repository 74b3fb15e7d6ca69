//! What the primary is to enforce, from the formation's settings and the standbys that can be counted on. Pure.

use crate::model::*;
use crate::monitor::edit::Terms;
use crate::monitor::health::Life;
use crate::monitor::view::View;
use std::collections::BTreeSet;

/// A contract that is wanted instead of the one told last, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub terms: Terms,
    /// Members that are left out because they can't be counted on, with the reason.
    pub missing: Vec<(NodeId, &'static str)>,
}

impl View<'_> {
    /// The formation's preference. A group none of whose standbys takes part in the quorum is asynchronous, unless its
    /// formation is strict.
    pub fn durability(&self) -> Durability {
        let mut standbys = self.record.standbys().peekable();
        let has_standbys = standbys.peek().is_some();
        match self.formation.durability() {
            Durability::Strict => Durability::Strict,
            _ if has_standbys && standbys.all(|n| !n.replication_quorum) => Durability::Async,
            durability => durability,
        }
    }

    /// Standbys that take part in the quorum when they can: those asked to acknowledge when all is well.
    pub fn registered_quorum(&self) -> BTreeSet<NodeId> {
        self.record.standbys().filter(|n| n.replication_quorum).map(|n| n.id).collect()
    }

    /// Counts at the moment: a member that can be counted on, or a standby that has just caught up.
    fn countable(&self, primary: &NodeRecord) -> BTreeSet<NodeId> {
        let latest = self.record.contract();
        let is_member = |id| latest.is_some_and(|c| c.members.contains(&id));
        let joins = |n: &NodeRecord| {
            n.settled_in(NodeState::Secondary)
                && self.life(n.id) == Life::Alive
                && self.followable_primary().is_some_and(|p| p.id == primary.id)
                && self.streams(primary.id, n.id)
        };
        let counts =
            |n: &&NodeRecord| n.replication_quorum && self.missing(n.id).is_none() && (is_member(n.id) || joins(n));
        self.record.standbys().filter(counts).map(|n| n.id).collect()
    }

    /// The contract that should be in force now, if it is another than the one told last. `None` also when commits are
    /// to wait for members that are missing.
    pub fn wanted_contract(&self, primary: &NodeRecord) -> Option<Wanted> {
        let latest = self.record.contract()?;
        let mut members = self.countable(primary);
        let asked = self.formation.acknowledgements();
        let k = match self.durability() {
            Durability::Async => 0,
            Durability::Degrade => asked.min(members.len() as u32),
            // With fewer standbys registered than asked for, all of them is all there can be. With standbys none of which
            // takes part commits wait until one does.
            Durability::Strict if self.record.standbys().next().is_none() => 0,
            Durability::Strict => asked.min(self.registered_quorum().len() as u32).max(1),
        };
        if (members.len() as u32) < k && self.is_left(latest) {
            // Those that stay are to come over to it: closed, it would wait for ever, and they for it.
            members = self.registered_quorum();
        }
        if (members.len() as u32) < k {
            return None;
        }
        let missing = latest.members.iter().filter_map(|m| Some((*m, self.missing(*m)?))).collect();
        let members: Vec<NodeId> = members.into_iter().collect();
        let terms = if k == 0 { Terms::None } else { Terms::Any(k, members.clone()) };
        let unchanged = match terms {
            Terms::None => latest.is_none(),
            Terms::Any(k, _) => latest.k == k && latest.members.iter().eq(members.iter()),
        };
        (!unchanged).then_some(Wanted { terms, missing })
    }

    /// Too many of its members are dropped, and never come back, for it to be met.
    fn is_left(&self, contract: &Contract) -> bool {
        let stays = |id: &&NodeId| self.record.nodes.get(id).is_some_and(|n| n.goal() != NodeState::Dropped);
        (contract.members.iter().filter(stays).count() as u32) < contract.k
    }

    /// What a node that has just been elected enforces from the first moment on. A strict one acknowledges nothing alone,
    /// so it names the standbys that are to come over to it.
    pub fn founding_terms(&self, candidate: NodeId) -> Terms {
        if self.durability() != Durability::Strict {
            return Terms::None;
        }
        let put_off = |id: &NodeId| self.record.transfer.as_ref().is_some_and(|t| t.put_off.contains(id));
        let staying = |n: &&NodeRecord| {
            n.id != candidate
                && !put_off(&n.id)
                && n.replication_quorum
                && !matches!(n.goal(), NodeState::Dropped | NodeState::Maintenance | NodeState::WaitMaintenance)
        };
        let all: Vec<NodeId> = self.record.nodes.values().filter(staying).map(|n| n.id).collect();
        let heard: Vec<NodeId> = all.iter().copied().filter(|id| self.is_heard(*id)).collect();
        let k = self.formation.acknowledgements().min(all.len() as u32);
        match k {
            0 => Terms::None,
            k if heard.len() >= k as usize => Terms::Any(k, heard),
            k => Terms::Any(k, all),
        }
    }

    /// "b: why; c: why".
    pub fn reasons(&self, missing: &[(NodeId, &'static str)]) -> String {
        missing.iter().map(|(id, why)| format!("{}: {why}", self.name(*id))).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use crate::wire::{Answer, Command, FormationChange, NodeChange};

    fn in_quorum(p: &mut Pair, node: NodeId, takes_part: bool) {
        p.record_mut().nodes.get_mut(&node).unwrap().replication_quorum = takes_part;
    }

    #[test]
    fn a_group_without_a_quorum_is_asynchronous_unless_somebody_has_said_strict() {
        for (chosen, without_quorum) in [
            (Durability::Strict, Durability::Strict),
            (Durability::Degrade, Durability::Async),
            (Durability::Async, Durability::Async),
        ] {
            let mut p = Pair::of(3, 0);
            p.set_durability(chosen);
            let durability = |p: &Pair| p.view().durability();
            assert_eq!(durability(&p), chosen);
            in_quorum(&mut p, B, false);
            in_quorum(&mut p, C, false);
            assert_eq!(durability(&p), without_quorum);
            let wanted = p.view().wanted_contract(&p.record().nodes[&A]);
            assert_eq!(wanted.is_none(), chosen == Durability::Strict, "strict: commits wait for b, {wanted:?}");
        }
    }

    #[test]
    fn a_strict_formation_keeps_a_standby_that_acknowledges() {
        let mut p = Pair::of(3, 0);
        p.set_durability(Durability::Strict);
        in_quorum(&mut p, C, false);
        let change = NodeChange { replication_quorum: Some(false), ..NodeChange::default() };
        let set = Command::SetNode { formation: "default".into(), name: "b".into(), node: None, change };
        assert!(refusal(p.orders(set)).contains("the formation is strict"));
        assert!(refusal(p.ordered_drop("b", false)).contains("the formation is strict"));
        assert!(matches!(p.ordered_drop("c", false), Answer::Accepted { .. }));
    }

    #[test]
    fn a_group_that_leaves_async_tells_that_it_still_goes_on_alone_and_its_lease_ends() {
        let mut p = Pair::of(2, 0);
        let set = |p: &mut Pair, durability| {
            let change = FormationChange { durability: Some(durability), ..FormationChange::default() };
            let answer = p.orders(Command::SetFormation { formation: "default".into(), change });
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        };
        set(&mut p, Durability::Async);
        p.dies(B);
        let lease = |p: &Pair| p.record().nodes[&A].assignment.lease_ms;
        assert!(p.record().contract().unwrap().is_none() && p.record().degraded.is_none() && lease(&p).is_some());
        set(&mut p, Durability::Strict);
        assert!(p.record().degraded.is_some() && lease(&p).is_none());
    }
}
