//! Reads a scenario file and refuses what makes no sense, with the line.

use super::format::{Condition, Scenario, Step, Verb, World};
use super::resolve::Selector;
use std::collections::BTreeSet;
use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct ScenarioError {
    pub file: String,
    pub line: usize,
    pub what: String,
}

/// `file` is only used in errors.
pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let error = |line: usize, what: String| ScenarioError { file: file.to_string(), line, what };
    let scenario: Scenario = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span: Range<usize>| line_of(text, span.start));
        error(line, e.message().to_string())
    })?;
    let at = Lines::of(text);
    check_head(&scenario).map_err(|(key, what)| error(at.key(key), what))?;
    let mut bound = BTreeSet::new();
    for (i, step) in scenario.steps.iter().enumerate() {
        check_step(&scenario, step, &mut bound).map_err(|what| error(at.step(i), what))?;
    }
    for node in scenario.finally.roles.keys() {
        if !scenario.cluster.nodes.contains(node) {
            return Err(error(at.key("roles"), unknown_node(node, &scenario)));
        }
    }
    Ok(scenario)
}

fn check_head(s: &Scenario) -> Result<(), (&'static str, String)> {
    let nodes = &s.cluster.nodes;
    if nodes.is_empty() {
        return Err(("nodes", "a cluster needs at least one node".into()));
    }
    let mut seen = BTreeSet::new();
    for node in nodes {
        if matches!(node.as_str(), "monitor" | "clients") {
            return Err(("nodes", format!("\"{node}\" can't be the name of a node, it has a meaning of its own")));
        }
        if node.is_empty() || !node.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(("nodes", format!("\"{node}\" can't be the name of a node: letters, digits, - and _ only")));
        }
        if !seen.insert(node) {
            return Err(("nodes", format!("node \"{node}\" is listed twice")));
        }
    }
    if s.cluster.primary != nodes[0] {
        return Err(("primary", format!("the first node to join is the primary: write primary = \"{}\"", nodes[0])));
    }
    if s.worlds.is_empty() {
        return Err(("worlds", "a scenario needs a world: \"sim\", \"live\" or both".into()));
    }
    if !(s.worlds.contains(&World::Sim) && s.worlds.contains(&World::Live)) && s.why.is_none() {
        return Err(("worlds", "a world is left out: say why, with why = \"...\"".into()));
    }
    Ok(())
}

fn check_step(s: &Scenario, step: &Step, bound: &mut BTreeSet<String>) -> Result<(), String> {
    let moments = [step.at.is_some(), step.wait.is_some(), step.until.is_some()];
    if moments.iter().filter(|m| **m).count() > 1 {
        return Err("a step has one of at, wait and until".into());
    }
    if step.within.is_some() && step.until.is_none() {
        return Err("within belongs to until".into());
    }
    if step.verb.is_none() && step.until.is_none() {
        return Err("a step needs something to wait for (until) or something to do (do)".into());
    }
    if let Some(condition) = &step.until {
        match condition {
            Condition::State { node, .. } | Condition::Goal { node, .. } => check_selector(s, node, bound)?,
            Condition::Writable { except: Some(node), .. } => check_selector(s, node, bound)?,
            Condition::Writable { .. } | Condition::Settled => {}
        }
    }
    if let Some(verb) = &step.verb {
        for selector in verb.selectors() {
            check_selector(s, selector, bound)?;
        }
        if s.worlds.contains(&World::Live) && !verb.exists_live() {
            return Err(format!("live runs can't {}: write worlds = [\"sim\"] and why = \"...\"", verb.describe()));
        }
    }
    match (&step.bind, step.verb.as_ref().map(Verb::subject)) {
        (None, _) => {}
        (Some(name), Some(Some(_))) => {
            bound.insert(name.clone());
        }
        (Some(_), _) => return Err("as needs a verb that is about one node".into()),
    }
    Ok(())
}

fn check_selector(s: &Scenario, selector: &Selector, bound: &BTreeSet<String>) -> Result<(), String> {
    match selector {
        Selector::Name(name) if name == "monitor" || name == "clients" || s.cluster.nodes.contains(name) => Ok(()),
        Selector::Name(name) => Err(unknown_node(name, s)),
        Selector::Bound(name) if bound.contains(name) => Ok(()),
        Selector::Bound(name) => {
            Err(format!("${name} isn't bound by an earlier step; bind it there with as = \"{name}\""))
        }
        Selector::Primary | Selector::Standby => Ok(()),
    }
}

fn unknown_node(name: &str, s: &Scenario) -> String {
    format!("\"{name}\" is no node of this cluster; its nodes are {}", s.cluster.nodes.join(", "))
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

/// Lines of things that serde no longer knows the place of once they are read.
struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Lines<'a> {
        Lines { text }
    }

    fn step(&self, index: usize) -> usize {
        let mut headers = self.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("[[step]]"));
        headers.nth(index).map_or(1, |(i, _)| i + 1)
    }

    fn key(&self, key: &str) -> usize {
        let is_it =
            |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        self.text.lines().position(is_it).map_or(1, |i| i + 1)
    }
}

impl Verb {
    pub fn selectors(&self) -> Vec<&Selector> {
        match self {
            Verb::Cut([a, b]) => vec![a, b],
            other => other.subject().into_iter().collect(),
        }
    }

    /// The one node a verb is about.
    pub fn subject(&self) -> Option<&Selector> {
        match self {
            Verb::StopService(n)
            | Verb::StartService(n)
            | Verb::KillKeeper(n)
            | Verb::KillPostgres(n)
            | Verb::KillNode(n)
            | Verb::Pause(n)
            | Verb::Resume(n)
            | Verb::Isolate(n) => Some(n),
            Verb::Drop(d) => Some(&d.node),
            Verb::KillMonitor(_) | Verb::StartMonitor(_) | Verb::Heal(_) | Verb::Switchover(_) | Verb::Cut(_) => None,
        }
    }

    pub fn exists_live(&self) -> bool {
        true
    }

    pub fn describe(&self) -> &'static str {
        match self {
            Verb::StopService(_) => "stop the service of",
            Verb::StartService(_) => "start the service of",
            Verb::KillKeeper(_) => "kill the keeper of",
            Verb::KillPostgres(_) => "kill the postmaster of",
            Verb::KillNode(_) => "kill everything on",
            Verb::Pause(_) => "pause",
            Verb::Resume(_) => "resume",
            Verb::KillMonitor(_) => "kill the monitor",
            Verb::StartMonitor(_) => "start the monitor",
            Verb::Cut(_) => "cut the link between",
            Verb::Isolate(_) => "cut every link of",
            Verb::Heal(_) => "mend all links",
            Verb::Switchover(_) => "switch over",
            Verb::Drop(_) => "drop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
title = "kill and return"
[cluster]
nodes = ["mdw", "smdw"]
primary = "mdw"
[[workload]]
kind = "unique_inserts"
clients = 2
rate = "50/s"
[[step]]
at = "10s"
do = { kill_node = "@primary" }
as = "old"
[[step]]
until = { writable = "one", except = "$old" }
within = "20s"
do = { start_service = "$old" }
[[step]]
until = { node = "$old", state = "secondary" }
[finally]
converge = "60s"
invariants = "all"
write_outage = { max = "2s" }
"#;

    #[test]
    fn a_good_file_is_read() {
        let s = parse("good.toml", GOOD).unwrap();
        assert_eq!(s.steps.len(), 3);
        assert_eq!(s.steps[0].verb, Some(Verb::KillNode(Selector::Primary)));
        assert_eq!(s.workload[0].rate, 50.0);
    }

    #[test]
    fn a_bad_file_is_refused_with_the_line_and_the_remedy() {
        let table = [
            ("title =", "titel =", 2, "unknown field `titel`"),
            ("\"10s\"", "\"ten seconds\"", 11, "is not a duration"),
            ("kill_node", "kill_nodes", 12, "unknown variant `kill_nodes`"),
            ("@primary", "@leader", 12, "@leader\" is not a role"),
            ("\"@primary\"", "\"node9\"", 10, "no node of this cluster; its nodes are mdw, smdw"),
            ("except = \"$old\"", "except = \"$new\"", 14, "isn't bound by an earlier step"),
            ("state = \"secondary\"", "state = \"secundary\"", 19, "unknown variant `secundary`"),
            ("rate = \"50/s\"", "rate = \"fast\"", 9, "is not a rate"),
            ("primary = \"mdw\"", "primary = \"smdw\"", 5, "write primary = \"mdw\""),
            ("kill_node = \"@primary\"", "cut = [\"mdw\", \"smdw\"]", 10, "live runs can't cut the link"),
            ("at = \"10s\"", "within = \"10s\"", 10, "within belongs to until"),
        ];
        for (from, to, line, expected) in table {
            assert!(GOOD.contains(from), "{from}");
            let error = parse("bad.toml", &GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(error.what.contains(expected), "{from} -> {to}: {error}");
            assert_eq!(error.line, line, "{from} -> {to}: {error}");
        }
    }
}
