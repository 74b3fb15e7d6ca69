//! A promotion as it was decided: from the monitor's log, what may have been in force until then and who was sealed.

use super::CONSENT;
use super::contracts::{self, Terms};
use super::roles::{Promotion, Role};
use super::trace::{Event, Kind};
use crate::model::{Epoch, Moment, NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};

pub struct Succession<'a> {
    pub moved: Promotion<'a>,
    /// The contracts that may have been in force when it was decided.
    pub contracts: Vec<Terms>,
    /// Who had said that it receives nothing more.
    pub sealed: BTreeSet<NodeId>,
    /// The old primary had stopped in this epoch, by its own word: it acknowledges nothing more, and waits for the
    /// candidate to have its last record.
    pub orderly: bool,
    /// An operator gave up what can't be proven.
    pub consented: bool,
}

/// The rule by which the monitor has seen the old primary stopped in order, also before that one says it is draining.
const STOPPED: u16 = 205;

#[derive(Default)]
pub struct Successions<'a> {
    role: Role<'a>,
    sealed: BTreeSet<NodeId>,
    /// The epoch of the promise that a keeper has stored last: it stands whatever state the keeper died in.
    promised: BTreeMap<&'a str, Epoch>,
    ids: BTreeMap<&'a str, NodeId>,
    closed: BTreeMap<&'a str, Epoch>,
    /// The epoch in which the monitor saw the old primary stopped in order.
    stopped_in: Option<Epoch>,
    in_force: &'a str,
    /// What was in force before that, and until when: the move itself ends the old contracts.
    before: Option<(&'a str, Moment)>,
    consented: bool,
}

impl<'a> Successions<'a> {
    /// The promotion that this event is, if it is one.
    pub fn follow(&mut self, event: &'a Event) -> Result<Option<Succession<'a>>, String> {
        if let Kind::Asked { order } = &event.kind {
            self.consented |= order.contains(CONSENT);
        }
        if let Kind::Stored { node, seal, epoch, .. } = &event.kind {
            match seal.map(|s| s.epoch).filter(|sealed| sealed == epoch) {
                Some(epoch) => self.promised.insert(node, epoch),
                None => self.promised.remove(node.as_str()),
            };
        }
        let Kind::Node { node, id, reported, goal, epoch, in_force, rule, .. } = &event.kind else {
            return Ok(None);
        };
        self.ids.insert(node, *id);
        match seals(*reported) && (seals(*goal) || goal.is_writable()) {
            true => self.sealed.insert(*id),
            false => self.sealed.remove(id),
        };
        if *rule == Some(STOPPED) {
            self.stopped_in = Some(*epoch);
        }
        if matches!(reported, NodeState::Draining | NodeState::PrepareMaintenance) {
            self.closed.entry(node).or_insert(*epoch);
        } else if reported.runs_postgres() {
            self.closed.remove(node.as_str());
        }
        if self.in_force != in_force {
            self.before = Some((self.in_force, event.at));
            self.in_force = in_force;
        }
        let Some(moved) = self.role.follow(event.at, &event.kind) else { return Ok(None) };
        let contracts = contracts::read(self.before.filter(|b| b.1 == event.at).map_or(self.in_force, |b| b.0))?;
        Ok(Some(Succession {
            moved,
            contracts,
            sealed: self.sealed_for(moved.epoch),
            orderly: self.stopped_in == Some(moved.epoch) || self.closed.get(moved.from) == Some(&moved.epoch),
            consented: std::mem::take(&mut self.consented),
        }))
    }
}

impl Successions<'_> {
    fn sealed_for(&self, epoch: Epoch) -> BTreeSet<NodeId> {
        let promised = self.promised.iter().filter(|(_, of)| **of == epoch);
        let promised = promised.filter_map(|(node, _)| self.ids.get(node).copied());
        self.sealed.iter().copied().chain(promised).collect()
    }
}

/// Who reports this has promised to receive nothing from an older primary.
fn seals(state: NodeState) -> bool {
    matches!(state, NodeState::StopReplication | NodeState::ReportLsn | NodeState::FastForward)
}
