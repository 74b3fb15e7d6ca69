//! Whether a drawn story has ended in the same roles in both worlds, as far as its plan says which.
//!
//! The worlds differ by milliseconds, and by them the role goes one way or another while things go wrong, and an order
//! is taken here and refused there. In the end the role is taken home, where that is possible. From there on the plan
//! alone decides: who of the core holds the role, who follows, and whether the group settles. Two things leave it open:
//! a role that didn't come home, or orders that were answered differently, in one of the worlds; and a home that goes
//! away in the end while several others are equals. Then the same nodes must be there and each world must have settled,
//! or wait for a lawful reason, which its own checkers judge.

use super::format::Scenario;
use super::verb::Verb;
use crate::check::roles::Role;
use crate::check::{Answered, Kind, Trace, are_settled};
use crate::model::NodeState;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreement {
    Same,
    /// They differ in what the plan leaves open, and why it does.
    Lawful(String),
    Differ(String),
}

/// What the end of a run comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End<'a> {
    /// Of the core, what each node ended as.
    core: BTreeMap<&'a str, Part>,
    settled: bool,
    came_home: bool,
    /// Orders that change who may do what, with whether they were taken.
    orders: Vec<(&'a str, bool)>,
}

/// A node's part in the group. A primary that is alone or not yet followed holds the role all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Holds,
    Follows,
    Neither(NodeState),
}

pub fn compare(plan: &Scenario, live: &Trace, simulated: &Trace) -> Agreement {
    let (here, there) = (End::of(plan, live), End::of(plan, simulated));
    let both = format!("live {}; simulated {}", here.words(), there.words());
    if here.core.keys().ne(there.core.keys()) {
        return Agreement::Differ(format!("other nodes are members: {both}"));
    }
    if here.core == there.core && here.settled == there.settled {
        return Agreement::Same;
    }
    match open_to_chance(plan, &here, &there) {
        Some(why) => Agreement::Lawful(format!("{why}: {both}")),
        None => Agreement::Differ(both),
    }
}

/// Why the plan doesn't say who has which role, if it doesn't.
fn open_to_chance(plan: &Scenario, here: &End, there: &End) -> Option<&'static str> {
    if !here.came_home || !there.came_home {
        return Some("the role could not be taken home in both worlds");
    }
    if here.orders != there.orders {
        return Some("orders were answered differently");
    }
    let must_settle = |name: &String| plan.finally.core.is_empty() || plan.finally.core.contains(name);
    if must_settle(&plan.cluster.primary) {
        return None;
    }
    // Its successor is the one that comes first, unless there are several.
    let successors = plan.cluster.nodes.iter().filter(|name| must_settle(name));
    let priorities: Vec<u8> = successors.map(|name| plan.cluster.options(name).candidate_priority).collect();
    let first = priorities.iter().max().copied().unwrap_or_default();
    let changes = |verb: &Verb| matches!(verb, Verb::SetNode(set) if set.candidate_priority.is_some());
    let changed = plan.steps.iter().filter_map(|s| s.verb.as_ref()).any(changes);
    let equals = changed || priorities.iter().filter(|priority| **priority == first).count() > 1;
    equals.then_some("the node that held the role went away, and several were next in line")
}

impl<'a> End<'a> {
    fn of(plan: &Scenario, trace: &'a Trace) -> End<'a> {
        let terms = super::expect::terms(plan);
        let ends: Vec<(&str, NodeState, NodeState)> = trace
            .events
            .iter()
            .filter_map(|e| match &e.kind {
                Kind::Ended { node, reported, goal, .. } if *goal != NodeState::Dropped => {
                    Some((node.as_str(), *reported, *goal))
                }
                _ => None,
            })
            .collect();
        let core = ends.iter().filter(|(node, ..)| terms.must_settle(node));
        End {
            core: core.map(|(node, reported, goal)| (*node, Part::of(*reported, *goal))).collect(),
            settled: are_settled(ends.iter().copied(), &terms).is_ok(),
            came_home: came_home(plan, trace),
            orders: orders(trace),
        }
    }

    fn words(&self) -> String {
        let mut words = String::new();
        for (node, part) in &self.core {
            let part = match part {
                Part::Holds => "holds the role".to_string(),
                Part::Follows => "follows".to_string(),
                Part::Neither(state) => format!("is {state}"),
            };
            let _infallible = write!(words, "{node} {part}, ");
        }
        words + if self.settled { "settled" } else { "not settled" }
    }
}

impl Part {
    fn of(reported: NodeState, goal: NodeState) -> Part {
        match reported {
            _ if reported != goal => Part::Neither(reported),
            NodeState::Single | NodeState::Primary | NodeState::WaitPrimary => Part::Holds,
            NodeState::Secondary => Part::Follows,
            other => Part::Neither(other),
        }
    }
}

/// The role was with the first node when the plan had asked for that, before anybody went away for good. A plan that
/// doesn't ask, as there is nobody else, has it there anyway.
fn came_home(plan: &Scenario, trace: &Trace) -> bool {
    let asks = |verb: &Verb| matches!(verb, Verb::Promote(p) if p.may_be_refused);
    if !plan.steps.iter().rev().filter_map(|s| s.verb.as_ref()).any(asks) {
        return plan.cluster.nodes.len() == 1;
    }
    let home = plan.cluster.primary.as_str();
    let asked = format!("promote {home}");
    let is_ask = |kind: &Kind| matches!(kind, Kind::Step { text } if *text == asked);
    let Some(at) = trace.events.iter().rposition(|e| is_ask(&e.kind)) else { return false };
    let next = |kind: &Kind| matches!(kind, Kind::Step { .. } | Kind::Healed);
    let until = trace.events[at + 1..].iter().position(|e| next(&e.kind)).map_or(trace.events.len(), |n| at + 1 + n);
    let mut role = Role::default();
    trace.events[..until].iter().for_each(|e| _ = role.follow(e.at, &e.kind));
    role.holder == Some(home)
}

/// Orders to move the role change nothing for good.
fn orders(trace: &Trace) -> Vec<(&str, bool)> {
    let told = trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Told { order, answer } => Some((order.as_str(), *answer == Answered::Accepted)),
        _ => None,
    });
    let lasts = |order: &str| !order.starts_with("Failover") && !order.starts_with("Promote");
    told.filter(|(order, _)| lasts(order)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use crate::model::NodeState::*;
    use crate::scenario::parse;

    fn plan(core: &str) -> Scenario {
        let text = format!(
            "title = \"t\"\ndrawn = true\n[cluster]\nnodes = [\"a\", \"b\", \"c\"]\nprimary = \"a\"\n\
             [[step]]\nat = \"1s\"\ndo = {{ promote = {{ node = \"a\", may_be_refused = true }} }}\n\
             [finally]\nconverge = \"1s\"\ncore = {core}\ninvariants = \"all\"\n"
        );
        parse("t.toml", &text).unwrap()
    }

    fn run(home: &str, ends: [(&str, NodeState); 3]) -> Trace {
        let step = Kind::Step { text: "promote a".into() };
        let role = [node("a", Single, Single, 1), node(home, Primary, Primary, 2)];
        let begin = role.into_iter().chain([step, Kind::Healed]).map(|kind| (1, kind));
        trace(begin.chain(ends.map(|(node, state)| (2, ended(node, state, state)))).collect())
    }

    const USUAL: [(&str, NodeState); 3] = [("a", Primary), ("b", Secondary), ("c", Secondary)];
    const AT_B: [(&str, NodeState); 3] = [("a", Secondary), ("b", Primary), ("c", Secondary)];

    #[test]
    fn a_role_that_came_home_in_both_worlds_must_be_there() {
        assert_eq!(compare(&plan("[]"), &run("a", USUAL), &run("a", USUAL)), Agreement::Same);
        let differ = compare(&plan("[]"), &run("a", USUAL), &run("a", AT_B));
        assert!(matches!(&differ, Agreement::Differ(how) if how.contains("simulated a follows, b holds the role")));
        let elsewhere = compare(&plan("[]"), &run("a", USUAL), &run("b", AT_B));
        assert!(matches!(&elsewhere, Agreement::Lawful(why) if why.contains("taken home")), "{elsewhere:?}");
    }

    #[test]
    fn among_equals_any_may_follow_a_home_that_goes_away_but_a_lone_one_must() {
        let at_c = [("a", Draining), ("b", Secondary), ("c", Primary)];
        let at_b = [("a", Draining), ("b", Primary), ("c", Secondary)];
        let both = || (run("a", at_b), run("a", at_c));
        let (one, other) = both();
        let lawful = compare(&plan("[\"b\", \"c\"]"), &one, &other);
        assert!(matches!(&lawful, Agreement::Lawful(why) if why.contains("next in line")), "{lawful:?}");
        assert!(matches!(compare(&plan("[\"b\"]"), &one, &other), Agreement::Differ(_)));
    }

    #[test]
    fn an_order_that_only_one_world_takes_may_lead_elsewhere_and_a_missing_member_never() {
        let told = |answer| Kind::Told { order: "SetFormation { .. }".into(), answer };
        let with = |answer, ends| {
            let mut run = run("a", ends);
            run.events.insert(0, crate::check::Event { at: crate::model::Moment::ZERO, kind: told(answer) });
            run
        };
        let (one, other) = (with(Answered::Accepted, USUAL), with(Answered::Refused { why: String::new() }, AT_B));
        let lawful = compare(&plan("[]"), &one, &other);
        assert!(matches!(&lawful, Agreement::Lawful(why) if why.contains("orders")), "{lawful:?}");
        let dropped = [("a", Primary), ("b", Secondary), ("c", Dropped)];
        let differ = compare(&plan("[]"), &run("b", USUAL), &run("a", dropped));
        assert!(matches!(&differ, Agreement::Differ(how) if how.contains("members")), "{differ:?}");
    }
}
