//! What a run came to: named things that a search must have reached to have proved anything about them, the rules that
//! fired and the moves that nodes made. A search that never saw a candidate fetch WAL says nothing about fetching.

use super::roles::Role;
use super::trace::{Answered, Fault, Kind, Trace};
use super::{CONSENT, convergence};
use crate::model::NodeState::{self, *};
use crate::model::Timeline;
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};

pub struct Mark {
    pub name: &'static str,
    /// A search of some thousand runs that doesn't come here has a hole.
    pub must: bool,
    seen: fn(&Trace) -> bool,
}

const fn must(name: &'static str, seen: fn(&Trace) -> bool) -> Mark {
    Mark { name, must: true, seen }
}

const fn may(name: &'static str, seen: fn(&Trace) -> bool) -> Mark {
    Mark { name, must: false, seen }
}

pub const MARKS: &[Mark] = &[
    must("an election was won", |t| fired(t, 221)),
    must("the candidate fetched WAL first", |t| fired(t, 223)),
    must("an election was started over", |t| fired(t, 225)),
    must("a move of the role was called off", |t| fired(t, 201)),
    must("the old primary came back before anybody was elected", |t| fired(t, 227)),
    must("the old primary died while it handed over", |t| fired(t, 203)),
    must("a handover was drained", |t| fired(t, 205)),
    must("a stopped service handed over", |t| fired(t, 213)),
    must("the primary went on alone", |t| fired(t, 403)),
    may("a closed primary opened again alone", |t| fired(t, 405)),
    must("the last node was left alone", |t| fired(t, 103)),
    must("a monitor that knew too little adopted the primary", |t| fired(t, 109)),
    must("a primary came back closed and kept its role", |t| {
        edges(t).iter().any(|(from, to)| *from == DemoteTimeout && to.is_writable())
    }),
    must("a primary closed by itself", closed_by_itself),
    must("a node opened without the monitor", opened_without_the_monitor),
    must("writes were thrown away by a rewind or a copy", |t| {
        t.events.iter().any(|e| matches!(&e.kind, Kind::Rebuilt { gone, .. } if !gone.is_empty()))
    }),
    must("a directory was replaced", |t| t.events.iter().any(|e| matches!(&e.kind, Kind::Rebuilt { .. }))),
    must("consent to lose data was given", |t| accepted(t, CONSENT)),
    must("a switchover was accepted", |t| accepted(t, "Failover")),
    must("an order was refused", |t| {
        t.events.iter().any(|e| matches!(&e.kind, Kind::Told { answer: Answered::Refused { .. }, .. }))
    }),
    must("a node was in maintenance", |t| reported(t, Maintenance)),
    must("a node was dropped", |t| accepted(t, "Drop")),
    must("a primary was dropped or put in maintenance", |t| {
        edges(t).iter().any(|(from, to)| *from == PrepareMaintenance || (from.is_writable() && *to == Dropped))
    }),
    must("two branches left one timeline", two_branches),
    must("the role moved more than five times", |t| super::roles::promotions(t).len() > 5),
    must("a fault struck while the role moved", |t| while_the_role_moves(t, |fault| fault != Fault::Monitor)),
    must("the monitor died or came back while the role moved", |t| {
        while_the_role_moves(t, |fault| fault == Fault::Monitor)
    }),
    must("a commit was acknowledged with a warning", |t| {
        t.events.iter().any(|e| matches!(&e.kind, Kind::Acked { warning: true, .. }))
    }),
    must("the group ended in a lawful wait", |t| convergence::settled(t).is_err() && !super::is_unsettled(t)),
    must("a primary without a contract was replaced once its lease had ended", |t| {
        t.terms.may_lose && !super::roles::promotions(t).is_empty()
    }),
];

/// The names of all marks that a run has come to.
pub fn marks(trace: &Trace) -> Vec<&'static str> {
    MARKS.iter().filter(|mark| (mark.seen)(trace)).map(|mark| mark.name).collect()
}

/// Numbers of the rules that fired, as far as the monitor told of it.
pub fn rules(trace: &Trace) -> BTreeSet<u16> {
    let number = |kind: &Kind| if let Kind::Node { rule, .. } = kind { *rule } else { None };
    trace.events.iter().filter_map(|e| number(&e.kind)).collect()
}

/// The moves between states that nodes made, as their keepers stored them.
pub fn edges(trace: &Trace) -> BTreeSet<(NodeState, NodeState)> {
    let mut at: BTreeMap<&str, NodeState> = BTreeMap::new();
    let mut walked = BTreeSet::new();
    for event in &trace.events {
        let Kind::Stored { node, state, .. } = &event.kind else { continue };
        if let Some(from) = at.insert(node, *state).filter(|from| from.may_become(*state)) {
            walked.insert((from, *state));
        }
    }
    walked
}

fn fired(trace: &Trace, number: u16) -> bool {
    trace.events.iter().any(|e| matches!(&e.kind, Kind::Node { rule: Some(rule), .. } if *rule == number))
}

fn reported(trace: &Trace, state: NodeState) -> bool {
    trace.events.iter().any(|e| matches!(&e.kind, Kind::Node { reported, .. } if *reported == state))
}

fn accepted(trace: &Trace, words: &str) -> bool {
    let told = |kind: &Kind| matches!(kind, Kind::Told { order, answer: Answered::Accepted } if order.contains(words));
    trace.events.iter().any(|e| told(&e.kind))
}

/// Its keeper closed it although it was to write.
fn closed_by_itself(trace: &Trace) -> bool {
    let closed =
        |kind: &Kind| matches!(kind, Kind::Stored { state: DemoteTimeout, goal: Some(goal), .. } if goal.is_writable());
    trace.events.iter().any(|e| closed(&e.kind))
}

fn opened_without_the_monitor(trace: &Trace) -> bool {
    let mut away = false;
    let killed = [words::KILL_MONITOR.to_string(), format!("{} monitor", words::CUT_POWER)];
    let started = [words::START_MONITOR, words::RESTORE_MONITOR, words::REPLACE_MONITOR];
    trace.events.iter().any(|e| {
        match &e.kind {
            Kind::Step { text } if killed.contains(text) => away = true,
            Kind::Step { text } if started.contains(&text.as_str()) => away = false,
            _ => {}
        }
        away && matches!(&e.kind, Kind::Opened { .. })
    })
}

fn two_branches(trace: &Trace) -> bool {
    let mut parents: BTreeSet<Timeline> = BTreeSet::new();
    let parent = |kind: &Kind| if let Kind::Branched { parent, .. } = kind { Some(*parent) } else { None };
    trace.events.iter().filter_map(|e| parent(&e.kind)).any(|p| !parents.insert(p))
}

fn while_the_role_moves(trace: &Trace, counts: fn(Fault) -> bool) -> bool {
    let mut role = Role::default();
    let mut chosen: BTreeSet<&str> = BTreeSet::new();
    trace.events.iter().any(|e| {
        role.follow(e.at, &e.kind);
        if let Kind::Node { node, goal, .. } = &e.kind {
            match goal.is_being_promoted() || *goal == ReportLsn {
                true => chosen.insert(node),
                false => chosen.remove(node.as_str()),
            };
        }
        !chosen.is_empty() && matches!(&e.kind, Kind::Fault { fault, .. } if counts(*fault))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn names_are_unique_and_a_run_in_which_nothing_happens_comes_to_none() {
        let names: BTreeSet<_> = MARKS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), MARKS.len());
        let settled = trace(vec![(0, ended("a", Primary, Primary)), (0, ended("b", Secondary, Secondary))]);
        assert_eq!(marks(&settled), Vec::<&str>::new());
    }

    #[test]
    fn marks_follow_from_what_happened() {
        let step = |text: &str| Kind::Step { text: text.into() };
        let run = trace(vec![
            (0, stored("a", 1, Primary, None)),
            (1, step("kill the monitor")),
            (2, opened("b", 2)),
            (3, step("start the monitor")),
            (4, branched("b", 2, 1, 100)),
            (5, node("b", Secondary, StopReplication, 2)),
            (6, fault(Fault::Machine, &["b"])),
            (7, branched("a", 3, 1, 90)),
            (8, ended("a", Primary, Primary)),
            (9, ended("b", Secondary, Secondary)),
        ]);
        let expected = [
            "a node opened without the monitor",
            "two branches left one timeline",
            "a fault struck while the role moved",
        ];
        assert_eq!(marks(&run), expected);
    }

    #[test]
    fn edges_are_moves_of_one_node_along_the_table() {
        let run = trace(vec![
            (0, stored("a", 1, Primary, None)),
            (1, stored("b", 1, Secondary, None)),
            (2, stored("a", 1, Draining, None)),
            (3, stored("a", 1, Secondary, None)),
        ]);
        assert_eq!(edges(&run), [(Primary, Draining)].into());
    }
}
