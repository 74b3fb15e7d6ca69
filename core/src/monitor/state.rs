//! The monitor as a value: what it stores, what it has heard, and one step.
//!
//! `note` takes in what is volatile, `step` decides without changing anything, the caller stores the
//! effects, and only then `settle` makes them current. So nothing leaves before it is durable.

use crate::keeper::Step;
use crate::model::*;
use crate::monitor::health::Pulse;
use crate::monitor::rules::{OPENED, Rule};
use crate::monitor::view::View;
use crate::ports::Probe;
use crate::wire::{Answer, Command, EventRow, Register};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One group with what has been heard of its nodes.
#[derive(Debug, Clone)]
pub struct Group {
    pub record: GroupRecord,
    pub pulses: BTreeMap<NodeId, Pulse>,
    /// Of the transfer under way.
    pub stopwatch: Option<Stopwatch>,
    /// When the closed primary was told to open again.
    pub reopening_since: Option<Moment>,
    /// Since when the monitor knows that it knows less than its nodes.
    pub doubt_since: Option<Moment>,
}

/// Where the time of a transfer goes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    /// From the last sign of an open primary to the decision.
    pub detect: Duration,
    pub decided: Moment,
    /// When the candidate was chosen, or given up.
    pub since: Moment,
    pub drained: Option<Moment>,
    pub sealed: Option<Moment>,
}

/// What the monitor stores besides groups and events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorRecord {
    /// Drawn when the store was made: a keeper tells by it whether a monitor that doesn't know it has dropped it.
    pub identity: u64,
    pub next_node: u32,
    pub replication_password: String,
    pub formations: BTreeMap<String, FormationSettings>,
}

#[derive(Debug)]
pub struct Monitor {
    pub settings: MonitorSettings,
    pub started: Moment,
    pub record: MonitorRecord,
    pub groups: BTreeMap<GroupKey, Group>,
    /// Which group a node is in.
    pub(super) homes: BTreeMap<NodeId, GroupKey>,
    pub next_event: u64,
}

#[derive(Debug, Clone)]
pub enum Input {
    Report(GroupKey, Box<Report>),
    /// The connection on which the node's latest report waited has broken.
    Hangup(GroupKey, NodeId),
    Probed(GroupKey, NodeId, Probe),
    /// Time has passed.
    Tick(GroupKey),
    Register(Register),
    Command(Command),
}

/// What a step wants stored, and what may be said once it is.
#[derive(Debug, Default)]
pub struct Effects {
    pub record: Option<MonitorRecord>,
    pub groups: Vec<GroupRecord>,
    pub events: Vec<EventRow>,
    /// For operator calls and registrations.
    pub answer: Option<Answer>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.record.is_none() && self.groups.is_empty() && self.events.is_empty()
    }

    pub fn refuse(reason: impl Into<String>, remedy: impl Into<String>) -> Effects {
        let answer = Some(Answer::Refused { reason: reason.into(), remedy: remedy.into() });
        Effects { answer, ..Effects::default() }
    }
}

impl Monitor {
    pub fn new(
        settings: MonitorSettings,
        started: Moment,
        record: MonitorRecord,
        groups: BTreeMap<GroupKey, Group>,
        next_event: u64,
    ) -> Monitor {
        let nodes = groups.iter().flat_map(|(key, g)| g.record.nodes.keys().map(|id| (*id, key.clone())));
        let homes = nodes.collect();
        Monitor { settings, started, record, groups, homes, next_event }
    }

    pub fn key_of(&self, node: NodeId) -> Option<&GroupKey> {
        self.homes.get(&node)
    }

    pub fn group_of(&self, node: NodeId) -> Option<&Group> {
        self.groups.get(self.key_of(node)?)
    }

    /// Takes in what is volatile.
    pub fn note(&mut self, now: Moment, input: &Input) {
        match input {
            Input::Report(key, _) | Input::Hangup(key, _) | Input::Probed(key, _, _) | Input::Tick(key) => {
                self.groups.get_mut(key).into_iter().for_each(Group::note_answers);
            }
            Input::Register(_) | Input::Command(_) => self.groups.values_mut().for_each(Group::note_answers),
        }
        match input {
            Input::Report(key, report) => {
                let Some(group) = self.groups.get_mut(key) else { return };
                let node = group.record.nodes.get(&report.node);
                if let Some((pulse, node)) = group.pulses.get_mut(&report.node).zip(node)
                    && pulse.hear(now, report)
                {
                    pulse.believe(report, &node.assignment);
                }
                group.note_senders(now);
            }
            Input::Hangup(key, node) => {
                if let Some(pulse) = self.pulse(key, *node) {
                    pulse.hungup.get_or_insert(now);
                }
            }
            Input::Probed(key, node, probe) => {
                if let Some(pulse) = self.pulse(key, *node) {
                    pulse.try_port(now, *probe);
                }
            }
            Input::Tick(_) | Input::Register(_) | Input::Command(_) => {}
        }
    }

    fn pulse(&mut self, key: &GroupKey, node: NodeId) -> Option<&mut Pulse> {
        self.groups.get_mut(key)?.pulses.get_mut(&node)
    }

    pub fn view<'a>(&'a self, group: &'a Group, now: Moment) -> View<'a> {
        static DEFAULT: std::sync::LazyLock<FormationSettings> = std::sync::LazyLock::new(FormationSettings::default);
        View {
            record: &group.record,
            stored: &group.record,
            pulses: &group.pulses,
            settings: &self.settings,
            formation: self.record.formations.get(&group.record.key.formation).unwrap_or(&DEFAULT),
            transfer_since: group.stopwatch.map(|s| s.since),
            opening_since: group.stopwatch.and_then(|s| s.sealed),
            transfer_decided: group.stopwatch.map(|s| s.decided),
            reopening_since: group.reopening_since,
            doubt_since: group.doubt_since,
            now,
        }
    }

    /// The effects are stored: they become current.
    pub fn settle(&mut self, now: Moment, effects: &Effects) {
        if let Some(record) = &effects.record {
            self.record = record.clone();
        }
        for record in &effects.groups {
            let group = self.groups.entry(record.key.clone()).or_insert_with(|| Group::new(record.clone(), now));
            for id in group.record.nodes.keys().filter(|id| !record.nodes.contains_key(id)) {
                self.homes.remove(id);
            }
            self.homes.extend(record.nodes.keys().map(|id| (*id, record.key.clone())));
            group.settle(now, record);
        }
        self.next_event += effects.events.len() as u64;
    }

    /// When the passing of time alone may change a decision about this group.
    pub fn next_deadline(&self, group: &Group, now: Moment) -> Option<Moment> {
        let verdicts = group.pulses.values().filter_map(|p| p.next_verdict(now, &self.settings));
        let MonitorSettings { drain_timeout, election_patience, fetch_timeout, .. } = self.settings;
        let patience = self.settings.node_considered_unhealthy_timeout;
        let waits = [drain_timeout, election_patience, fetch_timeout, patience];
        let since = group.stopwatch.map(|s| s.since);
        let moved = group.stopwatch.and_then(|_| group.pulses.values().filter_map(|p| p.moved).max());
        let transfer = since.into_iter().flat_map(|since| waits.map(|wait| since + wait));
        let decided = group.stopwatch.map(|s| s.decided + drain_timeout);
        let opening = group.stopwatch.and_then(|s| s.sealed).map(|told| told + drain_timeout);
        let replayed = group.stopwatch.and_then(|_| group.pulses.values().filter_map(|p| p.replayed).max());
        let replay = replayed.map(|at| at + drain_timeout);
        let reopening = group.reopening_since.map(|since| since + drain_timeout);
        let fetch = moved.map(|moved| moved + fetch_timeout);
        let begun = |doubt: Moment| group.pulses.values().map(move |p| p.known_since.max(doubt) + drain_timeout);
        let doubt = group.doubt_since.into_iter().flat_map(begun);
        let view = self.view(group, now);
        let leases = group.pulses.iter().map(|(id, p)| p.heard.unwrap_or(p.known_since) + view.lease_of(*id));
        verdicts
            .chain(transfer)
            .chain(fetch)
            .chain(decided)
            .chain(opening)
            .chain(replay)
            .chain(reopening)
            .chain(doubt)
            .chain(leases)
            .filter(|at| *at > now)
            .min()
    }
}

impl Group {
    pub fn new(record: GroupRecord, now: Moment) -> Group {
        let pulses = record.nodes.values().map(|n| (n.id, Pulse::new(now, (n.session, n.moves)))).collect();
        // The transfer of an earlier life of the monitor: its time counts anew.
        let begun = Stopwatch { detect: Duration::ZERO, decided: now, since: now, drained: None, sealed: None };
        let stopwatch = record.transfer.is_some().then_some(begun);
        let reopening_since = record.reopening.map(|_| now);
        let doubt_since = record.in_doubt.then_some(now);
        Group { record, pulses, stopwatch, reopening_since, doubt_since }
    }

    /// The last session known of a node's keeper.
    pub fn last_session(&self, node: &NodeRecord) -> u64 {
        let heard = self.pulses.get(&node.id).and_then(|p| p.report.as_ref()).map_or(0, |r| r.session);
        heard.max(node.session)
    }

    /// Whatever was reported until now is answered, or may be at any time, with what is on record.
    fn note_answers(&mut self) {
        for (id, pulse) in &mut self.pulses {
            if let Some(node) = self.record.nodes.get(id) {
                pulse.answered(node.goal());
            }
        }
    }

    /// Which standbys the primary lists as streaming.
    fn note_senders(&mut self, now: Moment) {
        let Some(primary) = self.record.primary().map(|p| p.id) else {
            return;
        };
        let facts = self.pulses.get(&primary).and_then(Pulse::facts);
        let Some(running) = facts.and_then(Facts::running).cloned() else {
            return;
        };
        for (id, pulse) in self.pulses.iter_mut().filter(|(id, _)| **id != primary) {
            let listed = running.sender(*id).is_some_and(|s| s.streaming);
            pulse.unlisted_since = if listed { None } else { pulse.unlisted_since.or(Some(now)) };
        }
    }

    fn settle(&mut self, now: Moment, record: &GroupRecord) {
        let same_epoch = self.record.epoch == record.epoch;
        self.stopwatch = match (&self.record.transfer, &record.transfer, self.stopwatch) {
            (_, None, _) => None,
            (None, Some(transfer), _) => Some(self.start_stopwatch(now, transfer)),
            // One that was told to open is replaced itself: that is another move.
            (Some(before), Some(transfer), _) if before.old != transfer.old => {
                Some(self.start_stopwatch(now, transfer))
            }
            (Some(before), Some(transfer), running) => running.map(|s| Stopwatch {
                since: if same_epoch && before.candidate == transfer.candidate { s.since } else { now },
                drained: s.drained.or(transfer.drained.map(|_| now)),
                sealed: s.sealed.or(transfer
                    .candidate
                    .and_then(|c| record.nodes.get(&c))
                    .filter(|c| c.goal().is_writable())
                    .map(|_| now)),
                ..s
            }),
        };
        let begun = self.doubt_since.filter(|_| self.record.in_doubt).unwrap_or(now);
        self.doubt_since = record.in_doubt.then_some(begun);
        let since = self.reopening_since.filter(|_| same_epoch).unwrap_or(now);
        self.reopening_since = record.reopening.map(|_| since);
        self.record = record.clone();
        self.pulses.retain(|id, _| record.nodes.contains_key(id));
        for node in record.nodes.values() {
            self.pulses.entry(node.id).or_insert_with(|| Pulse::new(now, (node.session, node.moves)));
        }
    }

    fn start_stopwatch(&self, now: Moment, transfer: &Transfer) -> Stopwatch {
        let heard = self.pulses.get(&transfer.old).and_then(|p| p.closed_since.or(p.hungup).or(p.heard)).unwrap_or(now);
        let detect = match transfer.kind {
            TransferKind::Switchover => Duration::ZERO,
            TransferKind::Failover => now.since(heard),
        };
        Stopwatch { detect, decided: now, since: now, drained: None, sealed: None }
    }

    /// At the end of a transfer: where its time went.
    pub(super) fn timing_note(&self, rule: &Rule, now: Moment) -> String {
        let Some(watch) = self.stopwatch.filter(|_| rule.number == OPENED) else {
            return String::new();
        };
        let sealed = watch.sealed.unwrap_or(now);
        let drained = watch.drained.unwrap_or(watch.decided);
        // The candidate says how long Postgres took to promote itself; the rest went into opening it.
        let report = self.record.transfer.as_ref().and_then(|t| self.pulses.get(&t.candidate?)?.report.as_ref());
        let spent = report.and_then(|r| r.spent.iter().find(|s| s.step == Step::Promote(Timeline(0)).name()));
        let promote = spent.map_or(Duration::ZERO, |s| Duration::from_micros(s.micros)).min(now.since(sealed));
        let parts = [
            ("detect", watch.detect),
            ("drain", drained.since(watch.decided)),
            ("seal", sealed.since(drained)),
            ("promote", promote),
            ("open", now.since(sealed) - promote),
        ];
        let total: Duration = parts.iter().map(|(_, d)| *d).sum();
        let parts: Vec<String> = parts.iter().map(|(name, d)| format!("{name} {:.3}", d.as_secs_f64())).collect();
        format!(" after {:.3} s: {}", total.as_secs_f64(), parts.join(", "))
    }
}
