//! Fewer nodes: with a node goes what befalls it.

use super::steps::without;
use super::with;
use pgbaton_core::scenario::{Beside, Condition, Scenario, Selector, Step, Verb};
use std::collections::BTreeSet;

pub fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let nodes = &scenario.cluster.nodes;
    let mut out: Vec<Scenario> = scenario.beside.iter().map(|beside| without_beside(scenario, beside)).collect();
    for kept in 1..nodes.len().saturating_sub(1) {
        out.push(nodes[kept..].iter().fold(scenario.clone(), |s, node| without_node(&s, node)));
    }
    out.extend(nodes.iter().rev().filter(|_| nodes.len() > 1).map(|node| without_node(scenario, node)));
    // A smaller group can't keep every promise of a bigger one.
    let lowered = |s: &Scenario| {
        let number = s.cluster.settings.number_sync_standbys;
        let most = u32::try_from(s.cluster.nodes.len().saturating_sub(2)).unwrap_or(u32::MAX);
        (number > most).then(|| with(s, |s| s.cluster.settings.number_sync_standbys = most))
    };
    out.iter().flat_map(|s| [Some(s.clone()), lowered(s)]).flatten().collect()
}

fn without_beside(scenario: &Scenario, beside: &Beside) -> Scenario {
    let alone = beside.cluster.nodes.iter().fold(scenario.clone(), |s, node| without_node(&s, node));
    Scenario { beside: None, ..alone }
}

fn without_node(scenario: &Scenario, node: &str) -> Scenario {
    let mut s = scenario.clone();
    s.cluster.nodes.retain(|name| name != node);
    s.cluster.node.remove(node);
    s.cluster.clock.remove(node);
    s.finally.roles.remove(node);
    s.finally.core.retain(|name| name != node);
    if let Some(first) = s.cluster.nodes.first() {
        s.cluster.primary.clone_from(first);
        if let Some(options) = s.cluster.node.get_mut(first) {
            options.join = true;
        }
    }
    let others = s.cluster.nodes.len().saturating_sub(1);
    let mut gone = BTreeSet::new();
    for (i, step) in s.steps.iter_mut().enumerate() {
        forget(step, node, others);
        if step.verb.is_none() && step.until.is_none() {
            gone.insert(i);
        }
    }
    without(&s, &gone)
}

/// Takes a node out of a step; what is left of it may be nothing.
fn forget(step: &mut Step, node: &str, others: usize) {
    let is_gone = |s: &Selector| match s {
        Selector::Name(name) => name == node,
        Selector::Standby(nth) => *nth > others,
        _ => false,
    };
    if let Some(Verb::KillGroup(group)) = &mut step.verb {
        group.retain(|s| !is_gone(s));
    }
    let empty = matches!(&step.verb, Some(Verb::KillGroup(group)) if group.is_empty());
    if empty || step.verb.as_ref().is_some_and(|verb| verb.selectors().into_iter().any(is_gone)) {
        step.verb = None;
        step.bind = None;
    }
    match &mut step.until {
        Some(Condition::Writable { except, .. }) => *except = except.take().filter(|s| !is_gone(s)),
        Some(condition) if condition.selector().is_some_and(is_gone) => {
            step.until = None;
            step.within = None;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::story;
    use super::*;

    #[test]
    fn a_second_formation_goes_with_what_befalls_it() {
        let beside = "[beside.cluster]\nnodes = [\"x\", \"y\"]\nprimary = \"x\"\nformation = \"other\"\n";
        let steps = "[[step]]\ndo = { pause = \"x\" }\nas = \"n1\"\n[[step]]\ndo = { resume = \"$n1\" }\n\
                     [[step]]\ndo = { kill_group = [\"a\", \"y\"] }\n";
        let smaller = &candidates(&story(&format!("{beside}{steps}")))[0];
        assert_eq!((smaller.beside.as_ref(), smaller.cluster.nodes.len()), (None, 5));
        let verbs: Vec<&Verb> = smaller.steps.iter().filter_map(|step| step.verb.as_ref()).collect();
        assert_eq!(verbs, [&Verb::KillGroup(vec![Selector::Name("a".into())])]);
    }

    #[test]
    fn a_node_goes_with_what_befalls_it() {
        let mut story = story(
            r#"
[[step]]
do = { kill_group = ["c", "e"] }
[[step]]
until = { writable = "one", except = "e" }
do = { pause = "@standby4" }
as = "slow"
[[step]]
wait = "2s"
do = { resume = "$slow" }
[[step]]
until = { node = "e", state = "secondary" }
do = { start_service = "e" }
"#,
        );
        story.cluster.settings.number_sync_standbys = 3;
        let smaller = without_node(&story, "e");
        assert_eq!(smaller.cluster.nodes, ["a", "b", "c", "d"]);
        assert_eq!(smaller.steps.len(), 2, "{:?}", smaller.steps);
        assert_eq!(smaller.steps[0].verb, Some(Verb::KillGroup(vec![Selector::Name("c".into())])));
        assert_eq!((smaller.steps[1].verb.as_ref(), smaller.steps[1].bind.as_ref()), (None, None));
        let numbers: BTreeSet<(usize, u32)> = candidates(&story)
            .iter()
            .map(|s| (s.cluster.nodes.len(), s.cluster.settings.number_sync_standbys))
            .collect();
        assert_eq!(numbers, [(1, 0), (1, 3), (2, 0), (2, 3), (3, 1), (3, 3), (4, 2), (4, 3)].into());
    }
}
