//! Who could still let a server acknowledge: those its backends wait for, less those that have promised to receive
//! nothing more.

use super::contracts::Terms;
use super::trace::Kind;
use crate::model::NodeId;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Reach<'a> {
    names: BTreeMap<&'a str, Terms>,
    ids: BTreeMap<&'a str, NodeId>,
    sealed: BTreeSet<&'a str>,
}

impl<'a> Reach<'a> {
    pub fn follow(&mut self, kind: &'a Kind) {
        if let Some((node, seal)) = kind.promise() {
            match seal {
                Some(_) => self.sealed.insert(node),
                None => self.sealed.remove(node),
            };
        }
        match kind {
            Kind::Node { node, id, .. } => {
                self.ids.insert(node, *id);
            }
            Kind::Names { node, k, of } => {
                self.names.insert(node, Terms { k: *k, members: of.clone() });
            }
            _ => {}
        }
    }

    /// Whether this server can gather enough acknowledgements without these, whom it can't have.
    pub fn can_acknowledge(&self, node: &str, without: &[&str]) -> bool {
        let gone = self.sealed.iter().copied().chain(without.iter().copied());
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
        assert_eq!(of(&[names("a", 1, &["b"]), sealed, stored("b", 3, Catchingup, None)]), (true, false));
    }
}
