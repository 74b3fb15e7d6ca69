//! Who could still let a server acknowledge: those its backends wait for, less those that have promised to receive
//! nothing of it. A promise binds against servers of older epochs: within its own epoch it is kept by following the
//! one that was elected.

use super::contracts::Demand;
use super::trace::Kind;
use crate::model::{Epoch, NodeId};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Reach<'a> {
    names: BTreeMap<&'a str, Demand>,
    ids: BTreeMap<&'a str, NodeId>,
    sealed: BTreeMap<&'a str, Epoch>,
    /// The last epoch in which each was told to be open, as it has stored it.
    serves: BTreeMap<&'a str, Epoch>,
    /// The last epoch of each, for those that a hand has opened.
    stored: BTreeMap<&'a str, Epoch>,
}

impl<'a> Reach<'a> {
    pub fn follow(&mut self, kind: &'a Kind) {
        if let Some((node, seal)) = kind.promise() {
            match seal {
                Some(seal) => self.sealed.insert(node, seal.epoch),
                None => self.sealed.remove(node),
            };
        }
        match kind {
            Kind::Node { node, id, .. } => {
                self.ids.insert(node, *id);
            }
            Kind::Stored { node, epoch, goal, .. } => {
                self.stored.insert(node, *epoch);
                if goal.is_some_and(|goal| goal.is_writable()) {
                    self.serves.insert(node, *epoch);
                }
            }
            Kind::Names { node, k, of } => {
                self.names.insert(node, Demand { k: *k, members: of.clone() });
            }
            _ => {}
        }
    }

    /// Whether this server can gather enough acknowledgements without these, whom it can't have.
    pub fn can_acknowledge(&self, node: &str, without: &[&str]) -> bool {
        let serves = self.serves.get(node).or(self.stored.get(node));
        let denies = |sealed: &Epoch| serves.is_none_or(|serves| sealed > serves);
        let denying = self.sealed.iter().filter(|(_, sealed)| denies(sealed)).map(|(name, _)| *name);
        let gone = denying.chain(without.iter().copied());
        let gone = gone.filter_map(|n| self.ids.get(n).copied()).collect();
        self.names.get(node).is_none_or(|names| names.can_acknowledge_without(&gone))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn sealed_members_and_those_left_out_do_not_count() {
        let of = |more: &[Kind]| {
            let start = [node("a", Primary, Primary, 1), node("b", Secondary, Secondary, 1)];
            let kinds: Vec<Kind> = start.into_iter().chain(more.iter().cloned()).collect();
            let mut reach = Reach::default();
            kinds.iter().for_each(|kind| reach.follow(kind));
            (reach.can_acknowledge("a", &[]), reach.can_acknowledge("a", &["b"]))
        };
        assert_eq!(of(&[]), (true, true), "nothing is known of its names");
        assert_eq!(of(&[names("a", 1, &["b"])]), (true, false));
        assert_eq!(of(&[names("a", 0, &[])]), (true, true));
        let sealed = stored("b", 2, ReportLsn, Some(100));
        assert_eq!(of(&[names("a", 1, &["b"]), sealed.clone()]), (false, false));
        assert_eq!(of(&[names("a", 1, &["b"]), sealed.clone(), stored("b", 3, Catchingup, None)]), (true, false));
        let told = |epoch, goal| of(&[names("a", 1, &["b"]), stored("a", epoch, goal, None), sealed.clone()]);
        assert_eq!(told(1, Primary), (false, false));
        assert_eq!(told(2, WaitPrimary), (true, false), "b follows the one that was elected");
        let closes = [stored("a", 1, Primary, None), stored("a", 2, DemoteTimeout, None)];
        assert_eq!(
            of(&[&closes[..], &[names("a", 1, &["b"]), sealed]].concat()),
            (false, false),
            "it serves as before"
        );
    }
}
