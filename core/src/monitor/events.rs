//! The event log: a row for every change of a node's reported or assigned state, and for what operators change.

use crate::model::*;
use crate::monitor::health::Pulse;
use crate::monitor::rules::Rule;
use crate::monitor::state::{Group, Monitor};
use crate::wire::EventRow;

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

    /// Goes on after these rows.
    pub fn continuing(monitor: &Monitor, wall_ms: u64, rows: Vec<EventRow>) -> Log {
        Log { next: monitor.next_event + rows.len() as u64, wall_ms, rows }
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

    /// A row at this node.
    pub fn of(&mut self, record: &GroupRecord, node: NodeId, group: &Group, text: &str) {
        let row = self.row(record, &record.nodes[&node], group, None, text);
        self.rows.push(row);
    }

    /// A row for a formation that has no nodes.
    pub fn formation(&mut self, name: &str, text: &str) {
        let nobody = NodeState::Init;
        let row = EventRow {
            eventid: self.next,
            eventtime: self.wall_ms,
            formationid: name.to_string(),
            groupid: 0,
            nodeid: 0,
            nodename: String::new(),
            nodehost: String::new(),
            nodeport: 0,
            reportedstate: nobody,
            goalstate: nobody,
            reportedtli: Timeline(0),
            reportedlsn: Lsn::ZERO,
            candidatepriority: 0,
            replicationquorum: false,
            epoch: 0,
            in_force: String::new(),
            description: text.to_string(),
            rule_pos: None,
            rule_section: None,
        };
        self.next += 1;
        self.rows.push(row);
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
            in_force: record.in_force.iter().map(Contract::to_string).collect::<Vec<_>>().join("; "),
            description: text.to_string(),
            rule_pos: rule.map(|r| r.number),
            rule_section: rule.map(|r| r.name.to_string()),
        }
    }
}
