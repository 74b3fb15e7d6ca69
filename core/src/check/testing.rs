//! Short traces for the tests of the checkers.

use super::trace::{Kind, Trace};
use crate::model::{Epoch, Moment, NodeState};

pub fn trace(events: Vec<(u64, Kind)>) -> Trace {
    let mut trace = Trace { nodes: vec!["a".into(), "b".into()], events: vec![] };
    for (ms, kind) in events {
        trace.push(Moment(ms * 1000), kind);
    }
    trace
}

pub fn node(name: &str, reported: NodeState, goal: NodeState, epoch: u64) -> Kind {
    let description = String::new();
    Kind::Node { node: name.into(), reported, goal, epoch: Epoch(epoch), rule: None, description }
}

pub fn acked(id: u64, name: &str, sent_ms: u64) -> Kind {
    Kind::Acked { client: 0, id, node: name.into(), sent: Moment(sent_ms * 1000), warning: false }
}

pub fn found(ids: &[u64]) -> Kind {
    Kind::Found { node: "b".into(), ids: ids.iter().copied().collect() }
}

pub fn ended(name: &str, reported: NodeState, goal: NodeState) -> Kind {
    Kind::Ended { node: name.into(), reported, goal }
}
