//! What a primary enforces on commits, and the algebra that says who may be elected.
//!
//! A contract `ANY k (members)` lets a commit be acknowledged once `k` members have flushed it. The
//! invariant everything rests on: *a set of sealed nodes may elect only if every set able to
//! acknowledge under any contract that may be in force has a member in it.* With n members and k
//! acknowledgements that is the case exactly when at least n - k + 1 members are sealed.

use crate::model::ids::NodeId;
use crate::mutant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Number of a contract within its group; rises with each new contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContractId(pub u64);

/// `ANY k (members)`; `k = 0` asks for no standby at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contract {
    pub id: ContractId,
    pub k: u32,
    pub members: BTreeSet<NodeId>,
}

impl Contract {
    /// A contract that asks for no acknowledgement.
    pub fn none(id: ContractId) -> Contract {
        Contract { id, k: 0, members: BTreeSet::new() }
    }

    /// # Panics
    /// When fewer members than acknowledgements are given: such a contract could never be kept.
    pub fn any(id: ContractId, k: u32, members: BTreeSet<NodeId>) -> Contract {
        assert!(k >= 1 && members.len() >= k as usize, "ANY {k} needs at least {k} members, got {members:?}");
        Contract { id, k, members }
    }

    pub fn is_none(&self) -> bool {
        self.k == 0
    }

    /// Whether these nodes, once sealed, meet every set of members able to acknowledge a commit.
    pub fn proven_by(&self, sealed: &BTreeSet<NodeId>) -> bool {
        let sealed_members = self.members.intersection(sealed).count();
        if mutant!(MajorityOfMembers) {
            return self.k > 0 && sealed_members * 2 > self.members.len();
        }
        self.k > 0 && sealed_members + self.k as usize > self.members.len()
    }

    /// Whether a commit may still be acknowledged although these members take part no more.
    pub fn can_acknowledge_without(&self, gone: &BTreeSet<NodeId>) -> bool {
        self.members.difference(gone).count() >= self.k as usize
    }

    /// The value of `synchronous_standby_names` (a Postgres setting) that enforces this contract.
    pub fn standby_names(&self) -> String {
        if self.is_none() {
            return String::new();
        }
        if mutant!(AnyStandbyAcknowledges) {
            return format!("ANY {} (*)", self.k);
        }
        let names: Vec<String> = self.members.iter().map(|m| m.standby_name()).collect();
        format!("ANY {} ({})", self.k, names.join(", "))
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return write!(f, "none");
        }
        let ids: Vec<String> = self.members.iter().map(|m| m.to_string()).collect();
        write!(f, "any {} of ({})", self.k, ids.join(", "))
    }
}

/// The contracts that may be in force, in the order in which they were recorded; the last one is
/// what the primary was told last. Never empty once a group has a primary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InForce(Vec<Contract>);

impl InForce {
    pub fn only(contract: Contract) -> InForce {
        InForce(vec![contract])
    }

    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.0.iter()
    }

    /// What the primary was told last.
    pub fn latest(&self) -> Option<&Contract> {
        self.0.last()
    }

    /// Records a contract before the primary is told of it.
    pub fn add(&mut self, contract: Contract) {
        assert!(self.0.last().is_none_or(|c| c.id < contract.id), "contract ids only rise");
        self.0.push(contract);
    }

    /// The primary says that every process of its server runs under `applied`: whatever came before
    /// can acknowledge nothing any more. Returns whether something left the set.
    pub fn confirm(&mut self, applied: ContractId) -> bool {
        let known = self.0.iter().any(|c| c.id == applied);
        let before = self.0.len();
        if known {
            self.0.retain(|c| c.id >= applied);
        }
        self.0.len() != before
    }

    /// Whether `id` is the only one left: told, applied and confirmed.
    pub fn is_settled(&self) -> bool {
        self.0.len() == 1
    }

    /// The durability law: every contract that may be in force is proven by these sealed nodes.
    pub fn proven_by(&self, sealed: &BTreeSet<NodeId>) -> bool {
        if mutant!(NewestContractOnly) {
            return self.latest().is_some_and(|c| c.proven_by(sealed));
        }
        let counts = |c: &&Contract| !(mutant!(PromoteOverWaitPrimary) && c.is_none());
        !self.0.is_empty() && self.0.iter().filter(counts).all(|c| c.proven_by(sealed))
    }

    /// As far as standbys had to acknowledge: what a primary acknowledged alone nobody else proves.
    pub fn proven_where_standbys_counted(&self, sealed: &BTreeSet<NodeId>) -> bool {
        mutant!(PolicyGivesUpAll) || self.0.iter().filter(|c| !c.is_none()).all(|c| c.proven_by(sealed))
    }

    /// A writable primary could acknowledge commits without any standby.
    pub fn may_acknowledge_alone(&self) -> bool {
        self.0.iter().any(Contract::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(bits: u32) -> BTreeSet<NodeId> {
        (0..16).filter(|b| bits & (1 << b) != 0).map(NodeId).collect()
    }

    /// The law by its words: look at every subset able to acknowledge.
    fn proven_naively(k: u32, members: u32, sealed: u32) -> bool {
        k > 0
            && (0..=members)
                .filter(|set| set & !members == 0 && set.count_ones() == k)
                .all(|acknowledging| acknowledging & sealed != 0)
    }

    #[test]
    fn the_fast_test_agrees_with_the_law_for_every_group_of_up_to_five() {
        for members in 1..32u32 {
            for k in 1..=members.count_ones() {
                let contract = Contract::any(ContractId(1), k, ids(members));
                for sealed in 0..32u32 {
                    assert_eq!(
                        contract.proven_by(&ids(sealed)),
                        proven_naively(k, members, sealed),
                        "k={k} members={members:b} sealed={sealed:b}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn beyond_five_members_too(members in 1u32..(1 << 10), k in 1u32..10, sealed in 0u32..(1 << 10)) {
            let k = k.min(members.count_ones());
            let contract = Contract::any(ContractId(1), k, ids(members));
            prop_assert_eq!(contract.proven_by(&ids(sealed)), proven_naively(k, members, sealed));
        }

        #[test]
        fn a_sealed_electing_set_leaves_nobody_to_acknowledge(members in 1u32..(1 << 8), k in 1u32..8, sealed in 0u32..(1 << 8)) {
            let k = k.min(members.count_ones());
            let contract = Contract::any(ContractId(1), k, ids(members));
            let sealed = ids(sealed);
            prop_assert_eq!(contract.proven_by(&sealed), !contract.can_acknowledge_without(&sealed));
        }
    }

    /// From any contract of up to five members to any other: at no moment do sealed nodes prove what a commit could be
    /// acknowledged past, under whatever a backend may work by just then.
    #[test]
    fn through_every_change_of_contract_an_electing_set_meets_all_that_may_acknowledge() {
        let terms: Vec<(u32, u32)> = (0..32u32)
            .flat_map(|members| (1..=members.count_ones()).map(move |k| (k, members)))
            .chain([(0, 0)])
            .collect();
        let made = |id, (k, members): (u32, u32)| match k {
            0 => Contract::none(ContractId(id)),
            k => Contract::any(ContractId(id), k, ids(members)),
        };
        let all_sealed: Vec<BTreeSet<NodeId>> = (0..32).map(ids).collect();
        let by_words: Vec<Vec<bool>> =
            terms.iter().map(|(k, members)| (0..32).map(|s| proven_naively(*k, *members, s)).collect()).collect();
        for (old, before) in terms.iter().enumerate() {
            for (new, after) in terms.iter().enumerate() {
                let mut set = InForce::only(made(1, *before));
                let judge = |set: &InForce, enforced: &[usize], when: &str| {
                    for (bits, sealed) in all_sealed.iter().enumerate() {
                        let lawful = enforced.iter().all(|c| by_words[*c][bits]);
                        assert_eq!(set.proven_by(sealed), lawful, "{when}: {before:?} to {after:?}, {bits:b} sealed");
                    }
                };
                judge(&set, &[old], "before");
                set.add(made(2, *after));
                judge(&set, &[old, new], "told");
                set.confirm(ContractId(1));
                judge(&set, &[old, new], "the old one is reported once more");
                set.confirm(ContractId(2));
                judge(&set, &[new], "confirmed");
            }
        }
    }

    #[test]
    fn without_acknowledgements_nothing_is_ever_proven() {
        let none = Contract::none(ContractId(1));
        assert!(!none.proven_by(&ids(0xffff)));
        assert!(!InForce::default().proven_by(&ids(0xffff)));
    }

    #[test]
    fn a_contract_leaves_only_when_a_later_one_is_confirmed() {
        let member = ids(2);
        let mut set = InForce::only(Contract::none(ContractId(1)));
        set.add(Contract::any(ContractId(2), 1, member.clone()));
        assert!(!set.proven_by(&member), "the older one still lets commits through alone");
        assert!(!set.confirm(ContractId(9)), "an unknown contract confirms nothing");
        assert!(!set.confirm(ContractId(1)));
        assert!(set.confirm(ContractId(2)));
        assert!(set.proven_by(&member) && set.is_settled());
    }

    #[test]
    fn the_value_for_postgres() {
        assert_eq!(Contract::none(ContractId(1)).standby_names(), "");
        let c = Contract::any(ContractId(1), 1, [NodeId(2), NodeId(10)].into());
        assert_eq!(c.standby_names(), "ANY 1 (pgbaton_standby_2, pgbaton_standby_10)");
    }
}
