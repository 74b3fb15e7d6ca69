//! A promotion as it was decided: from the monitor's log, what may have been in force until then and who was sealed.

use super::contracts::{self, Demand};
use super::roles::{Promotion, Role};
use super::trace::{Event, Kind};
use crate::model::{Epoch, Lsn, Moment, NodeId, NodeState, Waiver};
use crate::monitor::rules::{DRAINED, LAST_RECORD};
use std::collections::{BTreeMap, BTreeSet};

pub struct Succession<'a> {
    pub moved: Promotion<'a>,
    /// The contracts that may have been in force when it was decided.
    pub contracts: Vec<Demand>,
    /// Who had said that it receives nothing more.
    pub sealed: BTreeSet<NodeId>,
    /// The old primary had stopped in this epoch, and acknowledges nothing more: whoever has its last record, which is
    /// here, has all.
    pub drained: Option<Lsn>,
    /// Where the log of the new one ended when it promised to receive nothing more.
    pub held: Option<Lsn>,
}

impl Succession<'_> {
    /// Of the contracts those that must be proven. An operator answers for whatever is missing; the policy of an async
    /// formation only for what was acknowledged without a standby.
    pub fn must_prove(&self) -> impl Iterator<Item = &Demand> {
        let waiver = self.moved.waiver;
        self.contracts.iter().filter(move |c| match waiver {
            None => true,
            Some(Waiver::Policy) => c.k > 0,
            Some(Waiver::Operator) => false,
        })
    }

    /// Whether a log that ends here ends after the last record of a primary that had stopped in order.
    pub fn has_last_record(&self, end: Option<Lsn>) -> bool {
        end.zip(self.drained).is_some_and(|(end, last)| end > last)
    }
}

#[derive(Default)]
pub struct Successions<'a> {
    role: Role<'a>,
    sealed: BTreeSet<NodeId>,
    /// The promise that a keeper has stored last: it stands whatever state the keeper died in.
    promised: BTreeMap<&'a str, (Epoch, Lsn)>,
    ids: BTreeMap<&'a str, NodeId>,
    /// The epoch in which the monitor saw the old primary stopped in order, and where its last record is.
    drained: Option<(Epoch, Lsn)>,
    in_force: &'a str,
    /// What was in force before that, and until when: the move itself ends the old contracts.
    before: Option<(&'a str, Moment)>,
}

impl<'a> Successions<'a> {
    /// The promotion that this event is, if it is one.
    pub fn follow(&mut self, event: &'a Event) -> Result<Option<Succession<'a>>, String> {
        let moved = self.role.follow(event.at, &event.kind);
        if let Some((node, seal)) = event.kind.promise() {
            match seal {
                Some(seal) => self.promised.insert(node, (seal.epoch, seal.position.lsn)),
                None => self.promised.remove(node),
            };
        }
        let Kind::Node { node, id, reported, goal, epoch, in_force, rule, description } = &event.kind else {
            return Ok(None);
        };
        self.ids.insert(node, *id);
        match seals(*reported) && (seals(*goal) || goal.is_writable()) {
            true => self.sealed.insert(*id),
            false => self.sealed.remove(id),
        };
        if *rule == Some(DRAINED) {
            self.drained = last_record(description).map(|lsn| (*epoch, lsn));
        }
        if self.in_force != in_force {
            self.before = Some((self.in_force, event.at));
            self.in_force = in_force;
        }
        let Some(moved) = moved else { return Ok(None) };
        let contracts = contracts::read(self.before.filter(|b| b.1 == event.at).map_or(self.in_force, |b| b.0))?;
        Ok(Some(Succession {
            moved,
            contracts,
            sealed: self.sealed_for(moved.epoch),
            drained: self.drained.filter(|(epoch, _)| *epoch == moved.epoch).map(|(_, lsn)| lsn),
            held: self.promised.get(moved.to).filter(|(epoch, _)| *epoch == moved.epoch).map(|(_, lsn)| *lsn),
        }))
    }
}

impl Successions<'_> {
    fn sealed_for(&self, epoch: Epoch) -> BTreeSet<NodeId> {
        let promised = self.promised.iter().filter(|(_, (of, _))| *of == epoch);
        let promised = promised.filter_map(|(node, _)| self.ids.get(node).copied());
        self.sealed.iter().copied().chain(promised).collect()
    }
}

fn last_record(description: &str) -> Option<Lsn> {
    let told = description.split_once(LAST_RECORD)?.1;
    told.split(|c: char| !(c.is_ascii_hexdigit() || c == '/')).next()?.parse().ok()
}

/// Who reports this has promised to receive nothing from an older primary.
fn seals(state: NodeState) -> bool {
    matches!(state, NodeState::StopReplication | NodeState::ReportLsn | NodeState::FastForward)
}
