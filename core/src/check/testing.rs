//! Short traces for the tests of the checkers.

use super::trace::{Fault, Kind, Trace};
use crate::model::{Epoch, Lsn, Moment, NodeId, NodeState, Position, Seal, Timeline, Waiver};
use crate::monitor::rules::{DRAINED, LAST_RECORD, OPEN, answered_for};

pub fn trace(events: Vec<(u64, Kind)>) -> Trace {
    let mut trace = Trace { nodes: vec!["a".into(), "b".into()], ..Trace::default() };
    for (ms, kind) in events {
        trace.push(Moment(ms * 1000), kind);
    }
    trace
}

/// Ids go with names: a is 1, b is 2.
pub fn id(name: &str) -> NodeId {
    NodeId(u32::from(name.as_bytes()[0] - b'a') + 1)
}

pub fn node(name: &str, reported: NodeState, goal: NodeState, epoch: u64) -> Kind {
    under(name, reported, goal, epoch, "none")
}

/// A row of the monitor, with the contracts that may be in force.
pub fn under(name: &str, reported: NodeState, goal: NodeState, epoch: u64, in_force: &str) -> Kind {
    Kind::Node {
        node: name.into(),
        id: id(name),
        reported,
        goal,
        epoch: Epoch(epoch),
        in_force: in_force.into(),
        rule: None,
        description: String::new(),
    }
}

/// The same row, told by a rule.
pub fn by_rule(number: u16, mut row: Kind) -> Kind {
    if let Kind::Node { rule, .. } = &mut row {
        *rule = Some(number);
    }
    row
}

pub fn saying(text: String, mut row: Kind) -> Kind {
    if let Kind::Node { description, .. } = &mut row {
        *description = text;
    }
    row
}

/// This node is told to open, and somebody answers for what it may lack.
pub fn given_up(name: &str, epoch: u64, waiver: Option<Waiver>) -> Kind {
    let row = by_rule(OPEN, node(name, NodeState::StopReplication, NodeState::WaitPrimary, epoch));
    saying(waiver.map_or("", answered_for).into(), row)
}

/// The old primary has stopped in order.
pub fn drained(name: &str, epoch: u64, in_force: &str, lsn: u64) -> Kind {
    let row = by_rule(DRAINED, under(name, NodeState::Draining, NodeState::DemoteTimeout, epoch, in_force));
    saying(format!("{name} has stopped in order, {LAST_RECORD}{}", Lsn(lsn)), row)
}

pub fn opened(name: &str, tli: u32) -> Kind {
    Kind::Opened { node: name.into(), tli: Timeline(tli) }
}

pub fn closed(name: &str) -> Kind {
    Kind::Closed { node: name.into() }
}

pub fn names(name: &str, k: usize, of: &[&str]) -> Kind {
    Kind::Names { node: name.into(), k, of: of.iter().map(|n| id(n)).collect() }
}

pub fn branched(name: &str, tli: u32, parent: u32, fork: u64) -> Kind {
    Kind::Branched { node: name.into(), tli: Timeline(tli), parent: Timeline(parent), fork: Lsn(fork) }
}

/// A keeper's record with a goal, and sealed in its epoch at this place of timeline 1.
pub fn stored(name: &str, epoch: u64, goal: NodeState, sealed: Option<u64>) -> Kind {
    let seal = sealed.map(|lsn| Seal { epoch: Epoch(epoch), position: Position::new(1, lsn) });
    Kind::Stored { node: name.into(), epoch: Epoch(epoch), state: goal, goal: Some(goal), seal, system_id: Some(7) }
}

pub fn fault(fault: Fault, names: &[&str]) -> Kind {
    Kind::Fault { fault, nodes: names.iter().map(|n| n.to_string()).collect() }
}

pub fn acked(id: u64, name: &str, sent_ms: u64) -> Kind {
    Kind::Acked { client: 0, id, node: name.into(), sent: Moment(sent_ms * 1000), warning: false }
}

pub fn found(ids: &[u64]) -> Kind {
    Kind::Found { node: "b".into(), ids: ids.iter().copied().collect() }
}

pub fn ended(name: &str, reported: NodeState, goal: NodeState) -> Kind {
    waiting(name, reported, goal, None)
}

pub fn waiting(name: &str, reported: NodeState, goal: NodeState, pending: Option<&str>) -> Kind {
    Kind::Ended { node: name.into(), reported, goal, pending: pending.map(String::from), runs: true }
}
