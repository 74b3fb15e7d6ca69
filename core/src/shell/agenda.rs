//! When which group is to be looked at though nobody calls. With many groups nobody goes through all of them to find
//! the next: a report costs the same however many there are.

use crate::model::{GroupKey, Moment};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Agenda {
    at: BTreeMap<GroupKey, Moment>,
    order: BTreeSet<(Moment, GroupKey)>,
}

impl Agenda {
    /// In place of what was noted for this group.
    pub fn set(&mut self, key: &GroupKey, at: Option<Moment>) {
        if self.at.get(key).copied() == at {
            return;
        }
        if let Some((key, before)) = self.at.remove_entry(key) {
            self.order.remove(&(before, key));
        }
        if let Some(at) = at {
            self.at.insert(key.clone(), at);
            self.order.insert((at, key.clone()));
        }
    }

    /// By then at the latest.
    pub fn advance(&mut self, key: &GroupKey, at: Moment) {
        if self.at.get(key).is_none_or(|noted| at < *noted) {
            self.set(key, Some(at));
        }
    }

    pub fn first(&self) -> Option<Moment> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Those to look at now, the longest overdue first.
    pub fn due(&self, now: Moment) -> Vec<GroupKey> {
        self.order.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: u32) -> GroupKey {
        GroupKey { formation: "default".into(), group }
    }

    #[test]
    fn each_group_is_due_once_at_the_time_noted_last() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.first(), None);
        agenda.set(&key(1), Some(Moment(5)));
        agenda.set(&key(2), Some(Moment(3)));
        agenda.set(&key(1), Some(Moment(9)));
        assert_eq!((agenda.first(), agenda.due(Moment(2))), (Some(Moment(3)), vec![]));
        assert_eq!(agenda.due(Moment(9)), [key(2), key(1)]);
        agenda.set(&key(2), None);
        assert_eq!(agenda.due(Moment(9)), [key(1)]);
    }

    #[test]
    fn what_is_noted_can_only_be_brought_forward() {
        let mut agenda = Agenda::default();
        agenda.advance(&key(1), Moment(5));
        agenda.advance(&key(1), Moment(7));
        assert_eq!(agenda.first(), Some(Moment(5)));
        agenda.advance(&key(1), Moment(4));
        assert_eq!(agenda.due(Moment(4)), [key(1)]);
    }
}
