//! What held from when to when: a node's states, whether its server was open, where its WAL was; a group's epochs
//! and contracts.

use super::words::Words;
use crate::check::{Beside, Event, Kind, Trace};
use crate::model::{Epoch, Moment, NodeState};
use serde::Serialize;

/// Something that held for a while, and the event that began it, counted among the events of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch<T> {
    pub from: Moment,
    pub to: Moment,
    pub event: usize,
    #[serde(flatten)]
    pub what: T,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    pub name: String,
    /// Its place among the groups.
    pub group: usize,
    pub states: Vec<Stretch<States>>,
    pub open: Vec<Stretch<Open>>,
    pub stored: Vec<Stretch<Stored>>,
    pub shown: Vec<Stretch<Shown>>,
}

/// As the monitor knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct States {
    pub reported: NodeState,
    pub goal: NodeState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Open {
    pub tli: u32,
}

/// As the node's own keeper knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    pub epoch: Epoch,
    pub state: NodeState,
    pub goal: Option<NodeState>,
    pub seal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub tli: u32,
    pub lsn: String,
    pub health: i8,
    pub pending: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Numbered {
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    pub contract: String,
}

/// Each value until the next other one; `None` ends one without a successor.
fn stretches<T: PartialEq>(trace: &Trace, value: impl Fn(&Event) -> Option<Option<T>>) -> Vec<Stretch<T>> {
    let mut all: Vec<Stretch<T>> = Vec::new();
    let mut open = false;
    for (event, e) in trace.events.iter().enumerate() {
        let Some(value) = value(e) else { continue };
        let last = all.last_mut().filter(|_| open);
        match (last, value) {
            (Some(last), Some(what)) if last.what == what => {}
            (last, value) => {
                if let Some(last) = last {
                    last.to = e.at;
                }
                open = value.is_some();
                all.extend(value.map(|what| Stretch { from: e.at, to: trace.end(), event, what }));
            }
        }
    }
    all
}

/// One for each node of the scenario, in its order.
pub fn of(trace: &Trace) -> Vec<Lane> {
    trace.nodes.iter().map(|name| lane(trace, name)).collect()
}

fn lane(trace: &Trace, name: &str) -> Lane {
    let states = stretches(trace, |e| match &e.kind {
        Kind::Node { node, reported, goal, .. } if node == name => {
            Some(Some(States { reported: *reported, goal: *goal }))
        }
        _ => None,
    });
    let open = stretches(trace, |e| match &e.kind {
        Kind::Opened { node, tli } if node == name => Some(Some(Open { tli: tli.0 })),
        Kind::Closed { node } if node == name => Some(None),
        _ => None,
    });
    let stored = stretches(trace, |e| match &e.kind {
        Kind::Stored { node, epoch, state, goal, seal, .. } if node == name => {
            let seal = seal.map(|s| format!("{}:{} in e{}", s.position.tli, s.position.lsn, s.epoch));
            Some(Some(Stored { epoch: *epoch, state: *state, goal: *goal, seal }))
        }
        _ => None,
    });
    let shown = stretches(trace, |e| match &e.kind {
        Kind::Shown { node, position, health, pending } if node == name => {
            let (tli, lsn) = (position.tli.0, position.lsn.to_string());
            Some(Some(Shown { tli, lsn, health: *health, pending: pending.clone() }))
        }
        _ => None,
    });
    Lane { name: name.into(), group: usize::from(trace.is_beside(name)), states, open, stored, shown }
}

/// What holds of a group as a whole. Each formation of a run has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The second one's, where there are two.
    pub formation: Option<String>,
    pub epochs: Vec<Stretch<Numbered>>,
    /// Those that may be in force, with names in place of numbers.
    pub contracts: Vec<Stretch<InForce>>,
}

pub fn groups(trace: &Trace, words: &Words) -> Vec<Group> {
    let beside = trace.beside.as_ref().map(|beside| Some(Beside::name(&beside.group)));
    std::iter::once(None).chain(beside).map(|formation| group(trace, words, formation)).collect()
}

fn group(trace: &Trace, words: &Words, formation: Option<String>) -> Group {
    let is_own = |node: &str| trace.is_beside(node) == formation.is_some();
    let epochs = stretches(trace, |e| match &e.kind {
        Kind::Node { node, epoch, .. } if is_own(node) => Some(Some(Numbered { epoch: *epoch })),
        _ => None,
    });
    let contracts = stretches(trace, |e| match &e.kind {
        Kind::Node { node, in_force, .. } if is_own(node) && !in_force.is_empty() => {
            Some(Some(InForce { contract: words.contract(in_force) }))
        }
        _ => None,
    });
    Group { formation, epochs, contracts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{closed, node, opened, trace};
    use crate::model::NodeState::*;

    #[test]
    fn a_state_lasts_until_the_next_one_and_the_last_until_the_end() {
        let run = trace(vec![
            (1, node("a", Single, Single, 1)),
            (2, node("a", Single, Single, 1)),
            (3, opened("a", 1)),
            (5, node("a", Single, WaitPrimary, 2)),
            (7, closed("a")),
            (8, opened("a", 2)),
            (9, node("b", Secondary, Secondary, 2)),
        ]);
        let lanes = of(&run);
        let ms = |from: Moment, to: Moment| (from.0 / 1000, to.0 / 1000);
        let states: Vec<_> = lanes[0].states.iter().map(|s| (ms(s.from, s.to), s.event, s.what.goal)).collect();
        assert_eq!(states, [((1, 5), 0, Single), ((5, 9), 3, WaitPrimary)]);
        let open: Vec<_> = lanes[0].open.iter().map(|s| (ms(s.from, s.to), s.what.tli)).collect();
        assert_eq!(open, [((3, 7), 1), ((8, 9), 2)]);
        assert_eq!(lanes[1].states.len(), 1);
        let groups = groups(&run, &Words::of(&run));
        assert_eq!(groups.len(), 1);
        let epochs: Vec<_> = groups[0].epochs.iter().map(|s| (ms(s.from, s.to), s.what.epoch.0)).collect();
        assert_eq!(epochs, [((1, 5), 1), ((5, 9), 2)]);
    }
}
