//! What a story leaves broken. A group with a dead node need not settle, and to leave out the step that brings the
//! node back would make nearly every story fail: that is no smaller story, it is another one.

use pgbaton_core::scenario::verb::{DropNode, Maintenance, OnDisk, Whose};
use pgbaton_core::scenario::{Scenario, Selector, Step, Verb};
use pgbaton_core::wire;
use std::collections::{BTreeMap, BTreeSet};

/// In which way something is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Down,
    Frozen,
    Monitor,
    Disk(u8),
    Archiver,
    Backend,
    Config,
    Checkpoint,
    Replay,
    Version,
    Maintenance,
}

type Who = String;

/// Everything that is broken at the end.
pub type Broken = BTreeSet<(String, Who)>;

/// Whether the small story is as whole as the big one.
pub fn as_whole(small: &Scenario, big: &Scenario) -> bool {
    left_broken(small).is_subset(&left_broken(big)) && ends_what_it_begins(small, big) && keeps_guards(small, big)
}

pub fn left_broken(scenario: &Scenario) -> Broken {
    let nodes = &scenario.nodes();
    // With each, the nodes that have been mended in this way since: one that was hit by its role may be any of them.
    let mut broken: BTreeMap<(Class, Who), BTreeSet<&str>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !scenario.options(node).join) {
        broken.insert((Class::Down, node.clone()), BTreeSet::new());
    }
    let bound = bound_later(&scenario.steps);
    for step in &scenario.steps {
        let Some(verb) = &step.verb else { continue };
        for (class, selector) in breaks(verb) {
            let who = match &step.bind {
                Some(name) if bound.contains(name) => format!("${name}"),
                _ => selector.to_string(),
            };
            broken.insert((class, who), BTreeSet::new());
        }
        let Some((class, selector)) = mends(verb) else { continue };
        let who = selector.to_string();
        broken.remove(&(class, who.clone()));
        if let Some(name) = nodes.iter().find(|name| **name == who) {
            for (_, mended) in broken.iter_mut().filter(|((c, who), _)| *c == class && who.starts_with(['@', '$'])) {
                mended.insert(name);
            }
        }
    }
    // Who writes a story knows who it is; a drawn one mends everybody.
    let enough = if scenario.drawn { nodes.len() } else { 1 };
    broken.retain(|_, mended| mended.len() < enough);
    broken.into_keys().map(|(class, who)| (format!("{class:?}"), who)).collect()
}

/// Names that a step has bound and a later verb mends.
fn bound_later(steps: &[Step]) -> BTreeSet<String> {
    let mended = steps.iter().filter_map(|step| mends(step.verb.as_ref()?));
    mended.filter_map(|(_, selector)| bound_name(&selector)).collect()
}

fn bound_name(selector: &Selector) -> Option<String> {
    match selector {
        Selector::Bound(name) => Some(name.clone()),
        _ => None,
    }
}

pub fn breaks(verb: &Verb) -> Vec<(Class, Selector)> {
    let one = |class, node: &Selector| vec![(class, node.clone())];
    match verb {
        Verb::PowerOff(node) if *node == monitor() => one(Class::Monitor, node),
        Verb::KillMonitor(_) => one(Class::Monitor, &monitor()),
        Verb::StopService(n) | Verb::KillKeeper(n) | Verb::KillNode(n) | Verb::PowerOff(n) | Verb::LoseDisk(n) => {
            one(Class::Down, n)
        }
        Verb::Drop(DropNode { node, .. }) => one(Class::Down, node),
        Verb::AtOnce(orders) => orders.iter().flat_map(breaks).collect(),
        Verb::KillGroup(nodes) => nodes.iter().map(|node| (Class::Down, node.clone())).collect(),
        Verb::Pause(n) | Verb::PauseKeeper(n) | Verb::Suspend(n) => one(Class::Frozen, n),
        Verb::FillDisk(disk) | Verb::StallDisk(disk) | Verb::ReadOnlyDisk(disk) => vec![of_disk(disk)],
        Verb::HangArchiver(n) => one(Class::Archiver, n),
        Verb::StopBackend(n) => one(Class::Backend, n),
        Verb::BreakConfig(n) => one(Class::Config, n),
        Verb::SlowCheckpoint(d) if !d.by.is_zero() => one(Class::Checkpoint, &d.node),
        Verb::ApplyDelay(d) if !d.by.is_zero() => one(Class::Replay, &d.node),
        Verb::SpeakVersion(s) if s.version != wire::VERSION => one(Class::Version, &s.node),
        Verb::Maintenance(Maintenance { node, on: true, .. }) => one(Class::Maintenance, node),
        // Links are mended when the story is over, and what else a story does ends by itself or is the group's to mend.
        _ => Vec::new(),
    }
}

pub fn mends(verb: &Verb) -> Option<(Class, Selector)> {
    Some(match verb {
        Verb::StartMonitor(_) | Verb::RestoreMonitor(_) | Verb::ReplaceMonitor(_) => (Class::Monitor, monitor()),
        Verb::StartService(n) => (Class::Down, n.clone()),
        Verb::Resume(n) => (Class::Frozen, n.clone()),
        Verb::FreeDisk(disk) => of_disk(disk),
        Verb::FreeArchiver(n) => (Class::Archiver, n.clone()),
        Verb::ContinueBackend(n) => (Class::Backend, n.clone()),
        Verb::MendConfig(n) => (Class::Config, n.clone()),
        Verb::SlowCheckpoint(d) if d.by.is_zero() => (Class::Checkpoint, d.node.clone()),
        Verb::ApplyDelay(d) if d.by.is_zero() => (Class::Replay, d.node.clone()),
        Verb::SpeakVersion(s) if s.version == wire::VERSION => (Class::Version, s.node.clone()),
        Verb::Maintenance(Maintenance { node, on: false, .. }) => (Class::Maintenance, node.clone()),
        _ => return None,
    })
}

fn monitor() -> Selector {
    Selector::Name("monitor".into())
}

fn of_disk(disk: &OnDisk) -> (Class, Selector) {
    let nth = match disk.whose {
        Whose::Postgres => 0,
        Whose::Keeper => 1,
        Whose::Monitor => 2,
    };
    (Class::Disk(nth), disk.node.clone().unwrap_or_else(monitor))
}

/// In a drawn story whatever speaks of the node that a step has hit is there to end what that step began.
fn ends_what_it_begins(small: &Scenario, big: &Scenario) -> bool {
    let counted = |scenario: &Scenario| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for verb in scenario.steps.iter().filter_map(|step| step.verb.as_ref()) {
            verb.selectors().into_iter().filter_map(bound_name).for_each(|name| *counts.entry(name).or_default() += 1);
        }
        counts
    };
    let (before, after) = (counted(big), counted(small));
    let mut begun = small.steps.iter().filter_map(|step| step.bind.as_ref());
    !big.drawn || begun.all(|name| before.get(name) == after.get(name))
}

/// What takes data away waits until it is safe, if it did; and a single node has nobody else who has it.
fn keeps_guards(small: &Scenario, big: &Scenario) -> bool {
    let takes_data = |step: &&Step| matches!(&step.verb, Some(Verb::LoseDisk(_) | Verb::LoseDirectory(_)));
    let unguarded = |s: &Scenario| s.steps.iter().filter(takes_data).filter(|step| step.until.is_none()).count();
    let alone = small.cluster.nodes.len() == 1 && big.cluster.nodes.len() > 1;
    unguarded(small) <= unguarded(big) && !(alone && small.steps.iter().any(|step| takes_data(&step)))
}

#[cfg(test)]
mod tests {
    use super::super::reduce::testing::story;
    use super::*;

    fn broken(steps: &[&str]) -> Vec<String> {
        left_broken(&of(steps)).into_iter().map(|(class, who)| format!("{class} {who}")).collect()
    }

    fn of(steps: &[&str]) -> Scenario {
        story(&steps.iter().map(|step| format!("[[step]]\n{step}\n")).collect::<String>())
    }

    #[test]
    fn a_fault_is_over_with_its_mend_and_with_no_other() {
        let kill = "do = { kill_node = \"@primary\" }\nas = \"old\"";
        assert_eq!(broken(&[kill, "do = { start_service = \"$old\" }"]), [""; 0]);
        assert_eq!(broken(&[kill, "do = { resume = \"a\" }"]), ["Down @primary"]);
        assert_eq!(broken(&["do = { start_service = \"b\" }", "do = { kill_keeper = \"b\" }"]), ["Down b"]);
        let on = |node: &str, on: bool| format!("do = {{ maintenance = {{ node = \"{node}\", on = {on} }} }}");
        assert_eq!(broken(&[&on("c", true), &on("c", false)]), [""; 0]);
        assert_eq!(broken(&["do = { kill_monitor = {} }"]), ["Monitor monitor"]);
        assert_eq!(broken(&["do = { fill_disk = { node = \"a\", whose = \"keeper\" } }"]), ["Disk(1) a"]);
        assert_eq!(broken(&["do = { cut = [\"a\", \"b\"] }"]), [""; 0], "links are mended at the end");
    }

    #[test]
    fn whoever_was_hit_is_back_when_it_is_named_or_when_everybody_is() {
        let mut steps = vec!["do = { pause = \"@primary\" }".to_string()];
        steps.extend(["a", "b", "c", "d", "e"].map(|node| format!("do = {{ resume = \"{node}\" }}")));
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        assert_eq!(broken(&steps[..1]), ["Frozen @primary"]);
        assert_eq!(broken(&steps[..2]), [""; 0]);
        let drawn = |steps: &[&str]| left_broken(&Scenario { drawn: true, ..of(steps) }).len();
        assert_eq!((drawn(&steps[..5]), drawn(&steps)), (1, 0));
    }

    #[test]
    fn a_smaller_story_is_as_whole_as_it_was() {
        let hit = "do = { set_node = { node = \"@primary\", candidate_priority = 0 } }\nas = \"n1\"";
        let back = "do = { set_node = { node = \"$n1\", candidate_priority = 50 } }";
        let lose = "until = { settled = true }\ndo = { lose_directory = \"a\" }";
        let big = of(&[hit, back, lose, "do = { kill_node = \"b\" }", "do = { start_service = \"b\" }"]);
        let mut drawn = big.clone();
        drawn.drawn = true;
        let of_drawn = |steps: &[&str]| Scenario { drawn: true, ..of(steps) };
        assert!(as_whole(&of(&[hit]), &big) && !as_whole(&of_drawn(&[hit]), &drawn));
        assert!(as_whole(&of_drawn(&[hit, back]), &drawn) && as_whole(&of_drawn(&[]), &drawn));
        assert!(!as_whole(&of(&["do = { kill_node = \"b\" }"]), &big));
        assert!(as_whole(&of(&[lose]), &big) && !as_whole(&of(&["do = { lose_directory = \"a\" }"]), &big));
        let mut alone = of(&[lose]);
        alone.cluster.nodes.truncate(1);
        assert!(!as_whole(&alone, &big), "nobody else has its data");
    }
}
