//! Reads a scenario file and refuses what makes no sense, with the line.

use super::beside::Beside;
use super::condition::Condition;
use super::format::{ClockOptions, Cluster, NodeOptions, Scenario, Step, World};
use super::resolve::Selector;
use super::verb::{OnDisk, Verb, Whose};
use crate::model::FormationSettings;
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
    for (node, options) in &scenario.cluster.node {
        check_options(&scenario.cluster, node, options).map_err(|what| error(at.node(node), what))?;
    }
    for node in scenario.finally.roles.keys() {
        if !scenario.cluster.nodes.contains(node) {
            return Err(error(at.key("roles"), unknown_node(node, &scenario.cluster.nodes)));
        }
    }
    if let Some(beside) = &scenario.beside {
        check_beside(beside, &scenario.cluster).map_err(|what| error(at.beside(), what))?;
    }
    Ok(scenario)
}

fn check_head(s: &Scenario) -> Result<(), (&'static str, String)> {
    check_nodes(&s.cluster, &mut BTreeSet::new())?;
    if s.cluster.group != 0 {
        return Err(("group", "the first is group 0; another belongs below [beside.cluster]".into()));
    }
    if s.worlds.is_empty() {
        return Err(("worlds", "a scenario needs a world: \"sim\", \"live\" or both".into()));
    }
    if !(s.worlds.contains(&World::Sim) && s.worlds.contains(&World::Live)) && s.why.is_none() {
        return Err(("worlds", "a world is left out: say why, with why = \"...\"".into()));
    }
    if s.worlds.contains(&World::Live) {
        let sim_only = "exists in simulated runs only: write worlds = [\"sim\"] and why = \"...\"";
        if s.cluster.postgres.is_some() {
            return Err(("worlds", format!("[cluster.postgres] {sim_only}")));
        }
        if s.finally.wal_held.is_some() {
            return Err(("wal_held", format!("wal_held {sim_only}")));
        }
        if !s.fault_points.is_empty() || !s.cluster.clock.is_empty() {
            return Err(("worlds", format!("[fault_points] and [cluster.clock] {sim_only}")));
        }
    }
    check_chance(s)
}

fn check_nodes<'a>(cluster: &'a Cluster, seen: &mut BTreeSet<&'a str>) -> Result<(), (&'static str, String)> {
    let Some(first) = cluster.nodes.first() else {
        return Err(("nodes", "a cluster needs at least one node".into()));
    };
    for node in &cluster.nodes {
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
    match cluster.primary == *first {
        true => Ok(()),
        false => Err(("primary", format!("the first node to join is the primary: write primary = \"{first}\""))),
    }
}

/// Nodes are told apart by their names alone, and what there is once is said once.
fn check_beside(beside: &Beside, first: &Cluster) -> Result<(), String> {
    let cluster = &beside.cluster;
    check_nodes(cluster, &mut first.nodes.iter().map(String::as_str).collect()).map_err(|(_, what)| what)?;
    match (cluster.formation == first.formation, cluster.group) {
        (true, 0) => {
            let name = &first.formation;
            return Err(format!(
                "both formations are called \"{name}\": give it another name, or say which group it is"
            ));
        }
        (true, _) if cluster.settings != FormationSettings::default() => {
            return Err("the settings of a formation belong below [cluster.settings], whichever its groups are".into());
        }
        (false, 1..) => return Err("another formation has group 0 alone".into()),
        _ => {}
    }
    if cluster.ssl || cluster.postgres.is_some() || !cluster.clock.is_empty() {
        return Err("ssl, postgres and clock are those of all machines: each belongs below [cluster]".into());
    }
    for (node, options) in &cluster.node {
        check_options(cluster, node, options)?;
    }
    match beside.finally.roles.keys().find(|node| !cluster.nodes.contains(node)) {
        Some(node) => Err(unknown_node(node, &cluster.nodes)),
        None => Ok(()),
    }
}

/// Rates, clocks, and who must settle.
fn check_chance(s: &Scenario) -> Result<(), (&'static str, String)> {
    if let Some((point, rate)) = s.fault_points.iter().find(|(_, rate)| !(**rate > 0.0 && **rate < 1.0)) {
        let what = format!("{} = {rate} is not a rate; write a number above 0 and below 1", point.name());
        return Err((point.name(), what));
    }
    let nodes = s.nodes();
    let is_known = |name: &String| name == "monitor" || nodes.contains(name);
    if let Some(name) = s.cluster.clock.keys().find(|name| !is_known(name)) {
        return Err(("clock", unknown_node(name, &nodes)));
    }
    let most = ClockOptions::DRIFT_MAX_PPM;
    if let Some((name, clock)) = s.cluster.clock.iter().find(|(_, c)| c.drift_ppm.abs() > most) {
        let what =
            format!("the clock of {name} drifts by {} ppm; write a number from -{most} to {most}", clock.drift_ppm);
        return Err(("drift_ppm", what));
    }
    match s.finally.core.iter().find(|name| !s.cluster.nodes.contains(name)) {
        Some(name) => Err(("core", unknown_node(name, &s.cluster.nodes))),
        None => Ok(()),
    }
}

fn check_step(s: &Scenario, step: &Step, bound: &mut BTreeSet<String>) -> Result<(), String> {
    if step.at.is_some() && step.wait.is_some() || step.wait.is_some() && step.until.is_some() {
        return Err("a step has one of at, wait and until, or at and then until".into());
    }
    if step.within.is_some() && step.until.is_none() {
        return Err("within belongs to until".into());
    }
    if step.verb.is_none() && step.until.is_none() {
        return Err("a step needs something to wait for (until) or something to do (do)".into());
    }
    if let Some(Condition::Writable { except: Some(Selector::Name(name)), .. }) = &step.until
        && s.beside.as_ref().is_some_and(|beside| beside.cluster.nodes.contains(name))
    {
        return Err(format!("writable asks the clients of the first formation, and {name:?} is in the second"));
    }
    let (sim, live) = (s.worlds.contains(&World::Sim), s.worlds.contains(&World::Live));
    if let Some(node) = step.until.as_ref().and_then(Condition::selector) {
        check_selector(s, node, bound)?;
    }
    if let Some(verb) = &step.verb {
        for selector in verb.selectors() {
            check_selector(s, selector, bound)?;
        }
        check_verb(verb)?;
        if matches!(verb, Verb::ExpireCertificate(_) | Verb::RenewCertificate(_)) && !s.cluster.ssl {
            return Err("the monitor has no certificate: write ssl = true below [cluster]".into());
        }
        if live && !verb.exists_live() {
            return Err(format!("live runs can't {}: write worlds = [\"sim\"] and why = \"...\"", verb.describe()));
        }
        if sim && !verb.exists_simulated() {
            return Err(format!("simulated runs can't {}: write worlds = [\"live\"] and why", verb.describe()));
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

fn check_options(cluster: &Cluster, node: &str, options: &NodeOptions) -> Result<(), String> {
    if !cluster.nodes.iter().any(|n| n == node) {
        return Err(unknown_node(node, &cluster.nodes));
    }
    if options.candidate_priority > 100 {
        return Err(format!("candidate_priority = {}: write a number from 0 to 100", options.candidate_priority));
    }
    if node == cluster.primary && !options.join {
        return Err(format!("{node} is the primary and joins first: take join = false away"));
    }
    Ok(())
}

/// What makes no sense about a verb whatever the cluster is.
fn check_verb(verb: &Verb) -> Result<(), String> {
    match verb {
        Verb::KillGroup(nodes) if nodes.is_empty() => Err("kill_group needs a node: write [\"@primary\", ...]".into()),
        Verb::AtOnce(orders) if orders.is_empty() || !orders.iter().all(Verb::is_order) => {
            Err("at_once gives orders to the monitor, one at least: write [{ switchover = {} }, ...]".into())
        }
        Verb::AtOnce(orders) => orders.iter().try_for_each(check_verb),
        Verb::ReadOnlyDisk(disk) if disk.whose != Whose::Postgres => {
            Err("only the disk of a data directory becomes read-only: write whose = \"postgres\"".into())
        }
        Verb::FillDisk(disk) | Verb::StallDisk(disk) | Verb::ReadOnlyDisk(disk) | Verb::FreeDisk(disk) => match disk {
            OnDisk { node: Some(_), whose: Whose::Monitor } => {
                Err("the monitor has one disk: take node away, or write whose = \"keeper\" or \"postgres\"".into())
            }
            OnDisk { node: None, whose: Whose::Postgres | Whose::Keeper } => {
                Err("which node's disk? add node = \"...\", or write whose = \"monitor\"".into())
            }
            _ => Ok(()),
        },
        Verb::SetNode(set) if set.candidate_priority.is_none() && set.replication_quorum.is_none() => {
            Err("set_node changes nothing: add candidate_priority or replication_quorum".into())
        }
        Verb::SetFormation(set)
            if set.number_sync_standbys.is_none() && set.durability.is_none() && set.secondary.is_none() =>
        {
            Err("set_formation changes nothing: add number_sync_standbys, durability or secondary".into())
        }
        _ => Ok(()),
    }
}

fn check_selector(s: &Scenario, selector: &Selector, bound: &BTreeSet<String>) -> Result<(), String> {
    match selector {
        Selector::Name(name) if name == "monitor" || name == "clients" || s.nodes().contains(name) => Ok(()),
        Selector::Name(name) => Err(unknown_node(name, &s.nodes())),
        Selector::Bound(name) if bound.contains(name) => Ok(()),
        Selector::Bound(name) => {
            Err(format!("${name} isn't bound by an earlier step; bind it there with as = \"{name}\""))
        }
        Selector::Standby(nth) if *nth >= s.cluster.nodes.len() => {
            Err(format!("{selector} needs {} nodes; this cluster has {}", nth + 1, s.cluster.nodes.len()))
        }
        Selector::Primary | Selector::Standby(_) | Selector::Candidate => Ok(()),
    }
}

fn unknown_node(name: &str, nodes: &[String]) -> String {
    format!("\"{name}\" is no node of this cluster; its nodes are {}", nodes.join(", "))
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

    fn node(&self, name: &str) -> usize {
        let header = format!("[cluster.node.{name}]");
        self.text.lines().position(|line| line.trim() == header).map_or(1, |i| i + 1)
    }

    fn beside(&self) -> usize {
        self.text.lines().position(|line| line.trim() == "[beside.cluster]").map_or(1, |i| i + 1)
    }

    fn key(&self, key: &str) -> usize {
        let is_it =
            |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        self.text.lines().position(is_it).map_or(1, |i| i + 1)
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

    /// Three nodes, one of which joins later, and a step each for what two nodes can't show.
    const WIDE: &str = r#"
title = "three nodes"
worlds = ["sim"]
why = "faults of links"
[cluster]
nodes = ["a", "b", "c"]
primary = "a"
[cluster.node.c]
candidate_priority = 0
join = false
[[workload]]
kind = "unique_inserts"
clients = 2
rate = "50/s"
synchronous_commit = "local"
sticky = true
[[step]]
at = "1s"
do = { lose = { between = ["a", "@standby2"], rate = 0.3 } }
[[step]]
do = { clock_step = { node = "monitor", by = "-5m" } }
[[step]]
do = { promote = "b" }
[[step]]
do = { promote = { node = "@candidate", refused = "no" } }
[[step]]
do = { fill_disk = { whose = "monitor" } }
[[step]]
until = { node = "c", postgres = "standby" }
do = { set_formation = { number_sync_standbys = 1 } }
[[step]]
until = { pending = "waits for nodes: " }
do = { kill_group = ["a", "b"] }
[[step]]
until = { events = "is lost" }
[finally]
converge = "60s"
invariants = "all"
max_warnings = 0
"#;

    #[test]
    fn a_wide_file_is_read() {
        let s = parse("wide.toml", WIDE).unwrap();
        let c = s.cluster.options("c");
        assert_eq!((c.candidate_priority, c.replication_quorum, c.join), (0, true, false));
        assert_eq!(s.cluster.options("b"), NodeOptions::default());
        assert!(s.workload[0].sticky && s.workload[0].synchronous_commit.forgoes_standbys());
        assert!(matches!(&s.steps[1].verb, Some(Verb::ClockStep(step)) if step.by_ms == -300_000));
        assert!(matches!(&s.steps[2].verb, Some(Verb::Promote(p)) if p.node == Selector::Name("b".into())));
        assert!(matches!(&s.steps[3].verb, Some(Verb::Promote(p)) if p.refused.as_deref() == Some("no")));
    }

    #[test]
    fn a_bad_wide_file_is_refused_with_the_line_and_the_remedy() {
        let table = [
            ("[cluster.node.c]", "[cluster.node.d]", 8, "no node of this cluster"),
            ("candidate_priority = 0", "candidate_priority = 200", 8, "write a number from 0 to 100"),
            ("[cluster.node.c]", "[cluster.node.a]", 8, "take join = false away"),
            ("= \"local\"", "= \"lokal\"", 15, "unknown variant `lokal`"),
            ("@standby2", "@standby3", 17, "@standby3 needs 4 nodes; this cluster has 3"),
            ("rate = 0.3", "rate = 3", 19, "write a number above 0 and below 1"),
            ("\"-5m\"", "\"-5\"", 21, "is not a duration"),
            ("promote = \"b\"", "promote = 7", 23, "a node, or a table { node"),
            ("promote = \"b\"", "at_once = [{ switchover = {} }, { heal = {} }]", 22, "gives orders to the monitor"),
            ("promote = \"b\"", "at_once = [{ set_node = { node = \"b\" } }]", 22, "set_node changes nothing"),
            ("promote = \"b\"", "at_once = [{ drop = { node = \"d\" } }]", 22, "\"d\" is no node of this cluster"),
            ("refused = \"no\"", "refuse = \"no\"", 25, "unknown field `refuse`"),
            ("whose = \"monitor\"", "whose = \"keeper\"", 26, "which node's disk? add node"),
            ("whose =", "node = \"a\", whose =", 26, "the monitor has one disk"),
            (
                "postgres = \"standby\"",
                "postgres = \"standby\", state = \"single\"",
                29,
                "a condition is { node, state }",
            ),
            ("{ number_sync_standbys = 1 }", "{}", 28, "set_formation changes nothing"),
            (
                "[\"a\", \"b\"] }\n[[step]]\nuntil = { events",
                "[] }\n[[step]]\nuntil = { events",
                31,
                "kill_group needs a node",
            ),
            ("worlds = [\"sim\"]", "worlds = [\"sim\", \"live\"]", 20, "live runs can't move the wall clock"),
            ("[cluster.node.c]", "[cluster.postgres]\nwal_keep_size = \"64\"\n[cluster.node.c]", 9, "is not a size"),
        ];
        for (from, to, line, expected) in table {
            assert!(WIDE.contains(from), "{from}");
            let error = parse("bad.toml", &WIDE.replacen(from, to, 1)).unwrap_err();
            assert!(error.what.contains(expected), "{from} -> {to}: {error}");
            assert_eq!(error.line, line, "{from} -> {to}: {error}");
        }
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
            ("kill_node = \"@primary\"", "power_off = \"@primary\"", 10, "live runs can't cut the power"),
            (
                "kill_node = \"@primary\"",
                "reuse_pid = \"@primary\"",
                10,
                "simulated runs can't give to another program",
            ),
            (
                "{ kill_node = \"@primary\" }\nas = \"old\"",
                "{ expire_certificate = {} }",
                10,
                "write ssl = true below [cluster]",
            ),
            ("converge", "wal_held = \"1GB\"\nconverge", 21, "wal_held exists in simulated runs only"),
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
