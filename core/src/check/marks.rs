//! What a run came to: named things that a search must have reached to have proved anything about them, the rules that
//! fired and the moves that nodes made. A search that never saw a candidate fetch WAL says nothing about fetching.

use super::rogues::Rogues;
use super::roles::{Role, promotions};
use super::trace::{Answered, Fault, Kind, Trace};
use super::{CONSENT, convergence};
use crate::model::NodeState::{self, *};
use crate::model::{Timeline, Waiver};
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};

pub struct Mark {
    pub name: &'static str,
    /// A search of some thousand runs that doesn't come here has a hole.
    pub must: bool,
    seen: Seen,
}

enum Seen {
    /// The rule of this number fired.
    Fired(u16),
    In(fn(&Trace) -> bool),
}

use Seen::{Fired, In};

const fn must(name: &'static str, seen: Seen) -> Mark {
    Mark { name, must: true, seen }
}

const fn may(name: &'static str, seen: Seen) -> Mark {
    Mark { name, must: false, seen }
}

pub const MARKS: &[Mark] = &[
    must("an election was won", Fired(221)),
    must("the candidate fetched WAL first", Fired(223)),
    must("an election was started over", Fired(225)),
    must("a move of the role was called off", Fired(201)),
    must("the old primary came back before anybody was elected", Fired(227)),
    must("the old primary died while it handed over", Fired(203)),
    must("a handover was drained", Fired(205)),
    must("a stopped service handed over", Fired(213)),
    must("the primary went on alone", Fired(403)),
    may("a closed primary opened again alone", Fired(405)),
    must("the last node was left alone", Fired(103)),
    must("a monitor that knew too little adopted the primary", Fired(109)),
    must(
        "a primary came back closed and kept its role",
        In(|t| edges(t).iter().any(|(from, to)| *from == DemoteTimeout && to.is_writable())),
    ),
    must("a primary closed by itself", In(closed_by_itself)),
    must("a node opened without the monitor", In(opened_without_the_monitor)),
    must(
        "writes were thrown away by a rewind or a copy",
        In(|t| happened(t, |kind| matches!(kind, Kind::Rebuilt { gone, .. } if !gone.is_empty()))),
    ),
    must("a directory was replaced", In(|t| happened(t, |kind| matches!(kind, Kind::Rebuilt { .. })))),
    must("consent to lose data was given", In(|t| accepted(t, |order| order.contains(CONSENT)))),
    must(
        "a switchover was accepted",
        In(|t| accepted(t, |order| order.starts_with("Failover") && !order.contains(CONSENT))),
    ),
    must(
        "an order was refused",
        In(|t| happened(t, |kind| matches!(kind, Kind::Told { answer: Answered::Refused { .. }, .. }))),
    ),
    must(
        "a node was in maintenance",
        In(|t| happened(t, |kind| matches!(kind, Kind::Node { reported: Maintenance, .. }))),
    ),
    must("a node was dropped", In(|t| accepted(t, |order| order.starts_with("Drop {")))),
    must(
        "a primary was dropped or put in maintenance",
        In(|t| edges(t).iter().any(|(from, to)| *from == PrepareMaintenance || (from.is_writable() && *to == Dropped))),
    ),
    must("two branches left one timeline", In(two_branches)),
    must("the role moved more than five times", In(|t| promotions(t).len() > 5)),
    must("a fault struck while the role moved", In(|t| while_the_role_moves(t, strikes))),
    must(
        "the monitor died or came back while the role moved",
        In(|t| while_the_role_moves(t, |fault| fault == Fault::Monitor)),
    ),
    must(
        "a commit was acknowledged with a warning",
        In(|t| happened(t, |kind| matches!(kind, Kind::Acked { warning: true, .. }))),
    ),
    must("the group ended in a lawful wait", In(|t| convergence::settled(t).is_err() && !super::is_unsettled(t))),
    must(
        "a primary without a contract was replaced once its lease had ended",
        In(|t| promotions(t).iter().any(|moved| moved.waiver == Some(Waiver::Policy))),
    ),
];

impl Mark {
    fn is_seen(&self, trace: &Trace) -> bool {
        match self.seen {
            Fired(number) => {
                happened(trace, |kind| matches!(kind, Kind::Node { rule: Some(rule), .. } if *rule == number))
            }
            In(seen) => seen(trace),
        }
    }
}

/// The names of all marks that a run has come to.
pub fn marks(trace: &Trace) -> Vec<&'static str> {
    MARKS.iter().filter(|mark| mark.is_seen(trace)).map(|mark| mark.name).collect()
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

fn happened(trace: &Trace, is: impl Fn(&Kind) -> bool) -> bool {
    trace.events.iter().any(|e| is(&e.kind))
}

fn accepted(trace: &Trace, is: fn(&str) -> bool) -> bool {
    happened(trace, |kind| matches!(kind, Kind::Told { order, answer: Answered::Accepted } if is(order)))
}

/// Neither an end of something nor an order.
fn strikes(fault: Fault) -> bool {
    !matches!(fault, Fault::Monitor | Fault::Mend | Fault::Order)
}

/// Its keeper closed it although it was to write.
fn closed_by_itself(trace: &Trace) -> bool {
    happened(
        trace,
        |kind| matches!(kind, Kind::Stored { state: DemoteTimeout, goal: Some(goal), .. } if goal.is_writable()),
    )
}

fn opened_without_the_monitor(trace: &Trace) -> bool {
    let mut away = false;
    let mut rogues = Rogues::default();
    let killed = [words::KILL_MONITOR.to_string(), format!("{} monitor", words::CUT_POWER)];
    let started = [words::START_MONITOR, words::RESTORE_MONITOR, words::REPLACE_MONITOR];
    trace.events.iter().any(|e| {
        rogues.follow(&e.kind);
        match &e.kind {
            Kind::Step { text } if killed.contains(text) => away = true,
            Kind::Step { text } if started.contains(&text.as_str()) => away = false,
            _ => {}
        }
        away && matches!(&e.kind, Kind::Opened { node, .. } if !rogues.has(node))
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
    use crate::monitor::rules::RULES;

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
    fn a_rule_that_is_looked_for_exists() {
        let known = |number| RULES.iter().any(|rule| rule.number == number);
        let unknown = MARKS.iter().find(|mark| matches!(mark.seen, Fired(number) if !known(number)));
        assert_eq!(unknown.map(|mark| mark.name), None);
    }

    fn comes_to(name: &str, kinds: Vec<Kind>) -> bool {
        marks(&trace((0..).zip(kinds).collect())).contains(&name)
    }

    #[test]
    fn what_only_looks_like_it_is_no_mark() {
        let leased = |waiver| {
            let run = vec![node("a", Primary, Primary, 1), given_up("b", 2, waiver)];
            comes_to("a primary without a contract was replaced once its lease had ended", run)
        };
        assert!(leased(Some(Waiver::Policy)));
        assert!(!leased(Some(Waiver::Operator)) && !leased(None));
        let struck = |kind| {
            let run = vec![node("b", Secondary, StopReplication, 2), fault(kind, &["b"])];
            comes_to("a fault struck while the role moved", run)
        };
        assert!(struck(Fault::Machine) && struck(Fault::Link));
        assert!(!struck(Fault::Mend) && !struck(Fault::Order));
        let order = |text: &str| {
            let told = Kind::Told { order: text.into(), answer: Answered::Accepted };
            comes_to("a switchover was accepted", vec![told])
        };
        assert!(order("Failover { allow_data_loss: false }"));
        assert!(!order(&format!("Failover {{ allow_data_loss: true }}, {CONSENT}")));
        let opens = |first: Vec<Kind>| {
            let killed = Kind::Step { text: words::KILL_MONITOR.into() };
            let run = first.into_iter().chain([killed, opened("b", 2)]).collect();
            comes_to("a node opened without the monitor", run)
        };
        assert!(opens(vec![]));
        assert!(!opens(vec![fault(Fault::Rogue, &["b"])]));
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
