//! The monitor as a value: what it stores, what it has heard, and one step.
//!
//! `note` takes in what is volatile, `step` decides without changing anything, the caller stores the
//! effects, and only then `settle` makes them current. So nothing leaves before it is durable.

use crate::keeper::Step;
use crate::model::*;
use crate::monitor::commands;
use crate::monitor::decide::{self, Fired};
use crate::monitor::health::Pulse;
use crate::monitor::rules::{OPENED, Rule};
use crate::monitor::view::View;
use crate::ports::Probe;
use crate::wire::{Answer, EventRow, Register};
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
}

/// Where the time of a transfer goes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    /// From the last sign of an open primary to the decision.
    pub detect: Duration,
    pub decided: Moment,
    pub drained: Option<Moment>,
    pub sealed: Option<Moment>,
}

/// What the monitor stores besides groups and events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorRecord {
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
    Switchover(GroupKey),
    Drop {
        formation: String,
        name: String,
        force: bool,
    },
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
    pub fn group_of(&self, node: NodeId) -> Option<&Group> {
        self.groups.values().find(|g| g.record.nodes.contains_key(&node))
    }

    /// Takes in what is volatile.
    pub fn note(&mut self, now: Moment, input: &Input) {
        match input {
            Input::Report(key, report) => {
                let Some(group) = self.groups.get_mut(key) else { return };
                if let Some(pulse) = group.pulses.get_mut(&report.node) {
                    pulse.hear(now, report);
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
                    pulse.probe = Some((now, *probe));
                }
            }
            Input::Tick(_) | Input::Register(_) | Input::Switchover(_) | Input::Drop { .. } => {}
        }
    }

    fn pulse(&mut self, key: &GroupKey, node: NodeId) -> Option<&mut Pulse> {
        self.groups.get_mut(key)?.pulses.get_mut(&node)
    }

    /// Decides. Pure: `wall_ms` is only what the events will show.
    pub fn step(&self, now: Moment, wall_ms: u64, input: &Input) -> Effects {
        match input {
            Input::Report(key, _) | Input::Hangup(key, _) | Input::Probed(key, _, _) | Input::Tick(key) => {
                self.groups.get(key).map(|g| self.step_group(now, wall_ms, g, input)).unwrap_or_default()
            }
            Input::Register(ask) => commands::register(self, now, wall_ms, ask),
            Input::Switchover(key) => commands::switchover(self, now, wall_ms, key),
            Input::Drop { formation, name, force } => commands::drop_node(self, now, wall_ms, formation, name, *force),
        }
    }

    fn step_group(&self, now: Moment, wall_ms: u64, group: &Group, input: &Input) -> Effects {
        let mut log = Log::new(self, wall_ms);
        let mut record = group.record.clone();
        if let Input::Report(_, report) = input {
            take_in(&mut record, report, group, &mut log);
        }
        self.run_rules(now, group, record, log)
    }

    /// The rules on top of a changed record, with everything that changed since the stored one.
    pub(super) fn run_rules(&self, now: Moment, group: &Group, record: GroupRecord, mut log: Log) -> Effects {
        let fired = decide::decide(&View { record: &record, ..self.view(group, now) });
        let mut before = &record;
        for Fired { rule, why, record: after } in &fired {
            let note = group.timing_note(rule, now);
            log.changes(before, after, group, Some(rule), &format!("{why}{note}"));
            before = after;
        }
        let last = fired.last().map(|f| f.record.clone()).unwrap_or(record);
        let groups = if last == group.record { vec![] } else { vec![last] };
        Effects { groups, events: log.rows, ..Effects::default() }
    }

    pub fn view<'a>(&'a self, group: &'a Group, now: Moment) -> View<'a> {
        static DEFAULT: std::sync::LazyLock<FormationSettings> = std::sync::LazyLock::new(FormationSettings::default);
        View {
            record: &group.record,
            pulses: &group.pulses,
            settings: &self.settings,
            formation: self.record.formations.get(&group.record.key.formation).unwrap_or(&DEFAULT),
            transfer_since: group.stopwatch.map(|s| s.decided),
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
            group.settle(now, record);
        }
        self.next_event += effects.events.len() as u64;
    }

    /// When the passing of time alone may change a decision about this group.
    pub fn next_deadline(&self, group: &Group, now: Moment) -> Option<Moment> {
        let verdicts = group.pulses.values().filter_map(|p| p.next_verdict(now, &self.settings));
        let drain = group.stopwatch.map(|s| s.decided + self.settings.drain_timeout).filter(|at| *at > now);
        verdicts.chain(drain).min()
    }
}

/// Reported state and position, and every state walked through on the way.
fn take_in(record: &mut GroupRecord, report: &Report, group: &Group, log: &mut Log) {
    let current = group.pulses.get(&report.node).and_then(|p| p.report.as_ref());
    if current.is_none_or(|r| (r.session, r.seq) != (report.session, report.seq)) {
        return;
    }
    if !record.nodes.contains_key(&report.node) {
        return;
    }
    let walked = group.pulses.get(&report.node).map(Pulse::walked).unwrap_or_default();
    for state in walked {
        let before = record.clone();
        let node = record.nodes.get_mut(&report.node).expect("looked up above");
        if node.reported == state {
            continue;
        }
        node.reported = state;
        (node.session, node.moves) = (report.session, report.moves);
        node.position = report.facts.position().or(node.position);
        let text = match state == report.state {
            true => format!("{} is {state}{}", node.name, how(report)),
            false => format!("{} is {state}", node.name),
        };
        log.changes(&before, record, group, None, &text);
    }
    if let Some(control) = report.facts.control() {
        record.system_id.get_or_insert(control.system_id);
    }
}

/// What it took to get there, and what stands in the way of the next step.
fn how(report: &Report) -> String {
    let spent: Vec<String> =
        report.spent.iter().map(|s| format!("{} {:.3} s", s.step, s.micros as f64 / 1e6)).collect();
    let trouble = report.trouble.as_ref().map(|t| format!(" ({t})")).unwrap_or_default();
    if spent.is_empty() { trouble } else { format!(": {}{trouble}", spent.join(", ")) }
}

impl Group {
    pub fn new(record: GroupRecord, now: Moment) -> Group {
        let pulses = record.nodes.values().map(|n| (n.id, Pulse::new(now, (n.session, n.moves)))).collect();
        Group { record, pulses, stopwatch: None }
    }

    /// Which standbys the primary lists as streaming.
    fn note_senders(&mut self, now: Moment) {
        let Some(primary) = self.record.primary().map(|p| p.id) else {
            return;
        };
        let facts = self.pulses.get(&primary).and_then(Pulse::facts);
        let Some(running) = facts.and_then(Facts::running).filter(|r| !r.in_recovery).cloned() else {
            return;
        };
        for (id, pulse) in self.pulses.iter_mut().filter(|(id, _)| **id != primary) {
            let listed = running.sender(*id).is_some_and(|s| s.streaming);
            pulse.unlisted_since = if listed { None } else { pulse.unlisted_since.or(Some(now)) };
        }
    }

    fn settle(&mut self, now: Moment, record: &GroupRecord) {
        self.stopwatch = match (&self.record.transfer, &record.transfer, self.stopwatch) {
            (_, None, _) => None,
            (None, Some(transfer), _) => Some(self.start_stopwatch(now, transfer)),
            (Some(_), Some(transfer), running) => running.map(|s| Stopwatch {
                drained: s.drained.or(transfer.drained.map(|_| now)),
                sealed: s.sealed.or(record
                    .nodes
                    .get(&transfer.candidate)
                    .filter(|c| c.goal().is_writable())
                    .map(|_| now)),
                ..s
            }),
        };
        self.record = record.clone();
        self.pulses.retain(|id, _| record.nodes.contains_key(id));
        for node in record.nodes.values() {
            self.pulses.entry(node.id).or_insert_with(|| Pulse::new(now, (node.session, node.moves)));
        }
    }

    fn start_stopwatch(&self, now: Moment, transfer: &Transfer) -> Stopwatch {
        let heard = self.pulses.get(&transfer.old).and_then(|p| p.hungup.or(p.heard)).unwrap_or(now);
        let detect = match transfer.kind {
            TransferKind::Switchover => Duration::ZERO,
            TransferKind::Failover => now.since(heard),
        };
        Stopwatch { detect, decided: now, drained: None, sealed: None }
    }

    /// At the end of a transfer: where its time went.
    fn timing_note(&self, rule: &Rule, now: Moment) -> String {
        let Some(watch) = self.stopwatch.filter(|_| rule.number == OPENED) else {
            return String::new();
        };
        let sealed = watch.sealed.unwrap_or(now);
        let drained = watch.drained.unwrap_or(watch.decided);
        // The candidate says how long Postgres took to promote itself; the rest went into opening it.
        let report = self.record.transfer.as_ref().and_then(|t| self.pulses.get(&t.candidate)?.report.as_ref());
        let spent = report.and_then(|r| r.spent.iter().find(|s| s.step == Step::Promote.name()));
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

/// Collects event rows with rising ids.
#[derive(Debug)]
pub struct Log {
    next: u64,
    wall_ms: u64,
    pub rows: Vec<EventRow>,
}

impl Log {
    pub fn new(monitor: &Monitor, wall_ms: u64) -> Log {
        Log { next: monitor.next_event, wall_ms, rows: Vec::new() }
    }

    /// A row for every node whose reported or assigned state changed; one row at the primary (or the
    /// first node) when only the group did.
    pub fn changes(
        &mut self,
        before: &GroupRecord,
        after: &GroupRecord,
        group: &Group,
        rule: Option<&Rule>,
        text: &str,
    ) {
        let states = |n: &NodeRecord| (n.reported, n.goal());
        let mut changed: Vec<&NodeRecord> =
            after.nodes.values().filter(|n| before.nodes.get(&n.id).map(states) != Some(states(n))).collect();
        // Who gives the role up is named before who takes it, as operators know it.
        changed.sort_by_key(|n| (!n.goal().belongs_to_primary(), n.id));
        if changed.is_empty() {
            changed.extend(after.primary().or(after.nodes.values().next()));
        }
        for node in changed {
            let row = self.row(after, node, group, rule, text);
            self.rows.push(row);
        }
    }

    fn row(
        &mut self,
        record: &GroupRecord,
        node: &NodeRecord,
        group: &Group,
        rule: Option<&Rule>,
        text: &str,
    ) -> EventRow {
        let seen = group.pulses.get(&node.id).and_then(Pulse::facts).and_then(Facts::position);
        let position = seen.or(node.position);
        let id = self.next;
        self.next += 1;
        EventRow {
            eventid: id,
            eventtime: self.wall_ms,
            formationid: record.key.formation.clone(),
            groupid: record.key.group,
            nodeid: node.id.0,
            nodename: node.name.clone(),
            nodehost: node.host.clone(),
            nodeport: node.port,
            reportedstate: node.reported,
            goalstate: node.goal(),
            reportedtli: position.map_or(Timeline(0), |p| p.tli),
            reportedlsn: position.map_or(Lsn::ZERO, |p| p.lsn),
            candidatepriority: node.candidate_priority,
            replicationquorum: node.replication_quorum,
            epoch: record.epoch.0,
            description: text.to_string(),
            rule_pos: rule.map(|r| r.number),
            rule_section: rule.map(|r| r.name.to_string()),
        }
    }
}
