//! One step of the monitor: from an input to what shall be stored and said.

use crate::model::*;
use crate::monitor::commands;
use crate::monitor::doubt;
use crate::monitor::events::Log;
use crate::monitor::state::{Effects, Group, Input, Monitor};

impl Monitor {
    /// Decides. Pure: `wall_ms` is only what the events will show.
    pub fn step(&self, now: Moment, wall_ms: u64, input: &Input) -> Effects {
        match input {
            Input::Report(key, _) | Input::Hangup(key, _) | Input::Probed(key, _, _) | Input::Tick(key) => {
                self.groups.get(key).map(|g| self.step_group(now, wall_ms, g, input)).unwrap_or_default()
            }
            Input::Register(ask) => commands::register(self, now, wall_ms, ask),
            Input::Command(command) => commands::command(self, now, wall_ms, command),
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
}

/// Reported state and position, and every state walked through on the way.
fn take_in(record: &mut GroupRecord, report: &Report, group: &Group, log: &mut Log) {
    let current = group.pulses.get(&report.node).and_then(|p| p.report.as_ref());
    if current.is_none_or(|r| (r.session, r.seq) != (report.session, report.seq)) {
        return;
    }
    let Some(node) = record.nodes.get_mut(&report.node) else { return };
    node.seal = report.seal;
    doubt::examine(record, report);
    let Some(node) = record.nodes.get_mut(&report.node) else { return };
    if report.serial == node.assignment.serial && node.goal().is_writable() {
        node.lease_ms = node.assignment.lease_ms;
    }
    let walked = walked(node, report);
    (node.session, node.moves) = (report.session, report.moves);
    for state in walked {
        let before = record.clone();
        let node = record.nodes.get_mut(&report.node).expect("looked up above");
        if node.reported == state {
            continue;
        }
        node.reported = state;
        node.position = report.facts.position().or(node.position);
        let text = match state == report.state {
            true => format!("{} is {state}{}", node.name, how(report)),
            false => format!("{} is {state}", node.name),
        };
        log.changes(&before, record, group, None, &text);
    }
    if record.reopening == Some(report.node) && report.state.is_writable() && report.facts.is_open() {
        record.reopening = None;
    }
    if let Some(control) = report.facts.control() {
        record.system_id.get_or_insert(control.system_id);
    }
}

/// The states a report shows that are not on record yet, oldest first.
fn walked(node: &NodeRecord, report: &Report) -> Vec<NodeState> {
    let known = if node.session == report.session { node.moves } else { 0 };
    let new = report.moves.saturating_sub(known) as usize;
    let passed = &report.passed[report.passed.len() - new.saturating_sub(1).min(report.passed.len())..];
    passed.iter().copied().chain([report.state]).collect()
}

/// What it took to get there, and what stands in the way of the next step.
fn how(report: &Report) -> String {
    let spent: Vec<String> =
        report.spent.iter().map(|s| format!("{} {:.3} s", s.step, s.micros as f64 / 1e6)).collect();
    let trouble = report.trouble.as_ref().map(|t| format!(" ({t})")).unwrap_or_default();
    if spent.is_empty() { trouble } else { format!(": {}{trouble}", spent.join(", ")) }
}
