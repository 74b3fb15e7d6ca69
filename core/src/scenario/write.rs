//! Writes a scenario file as a person would: what is as usual is left out, a step is a few lines, and what makes up
//! one thing is on one line. `parse` reads the same scenario from it.

use super::beside::{Beside, BesideFinally};
use super::format::{
    ClockOptions, Cluster, Finally, NodeOptions, PostgresOptions, Scenario, Step, SynchronousCommit, Workload, World,
};
use crate::model::{FormationSettings, KeeperSettings, MonitorSettings, time::duration};
use serde::Serialize;
use toml::ser::ValueSerializer;

/// `head` becomes the comment at the top of the file: what a reader must know before the story. It may be empty.
pub fn write(scenario: &Scenario, head: &str) -> String {
    // Field by field: whoever adds one to the format is told here that it isn't written yet.
    #[rustfmt::skip]
    let Scenario {
        title, worlds, why, seed, drawn, fault_points, cluster, beside, monitor, keeper, workload, steps, finally,
    } = scenario;
    let mut page = Page::default();
    page.comment(head);
    page.entry("title", title);
    if *worlds != [World::Sim, World::Live] {
        page.entry("worlds", worlds);
    }
    page.some("why", why);
    if *seed != 0 {
        page.entry("seed", seed);
    }
    if *drawn {
        page.entry("drawn", drawn);
    }
    write_cluster(&mut page, "cluster", cluster);
    if let Some(beside) = beside {
        write_beside(&mut page, beside);
    }
    if !fault_points.is_empty() {
        page.header("[fault_points]");
        fault_points.iter().for_each(|(point, rate)| page.entry(point.name(), rate));
    }
    page.table_unless_usual("monitor", monitor, &MonitorSettings::default());
    page.table_unless_usual("keeper", keeper, &KeeperSettings::default());
    workload.iter().for_each(|workload| write_workload(&mut page, "[[workload]]", workload));
    steps.iter().for_each(|step| write_step(&mut page, step));
    write_finally(&mut page, finally);
    page.text
}

/// `name` is that of the table.
fn write_cluster(page: &mut Page, name: &str, cluster: &Cluster) {
    let Cluster { nodes, primary, formation, group, settings, node, postgres, clock, ssl } = cluster;
    page.header(&format!("[{name}]"));
    page.entry("nodes", nodes);
    page.entry("primary", primary);
    if formation != "default" {
        page.entry("formation", formation);
    }
    if *group != 0 {
        page.entry("group", group);
    }
    if *ssl {
        page.entry("ssl", ssl);
    }
    page.table_unless_usual(&format!("{name}.settings"), settings, &FormationSettings::default());
    // These are written even if they say nothing: that they are there is part of the value.
    if let Some(postgres) = postgres {
        page.table(&format!("{name}.postgres"), unusual(postgres, &PostgresOptions::default()));
    }
    for (node, options) in node {
        page.table(&format!("{name}.node.{node}"), unusual(options, &NodeOptions::default()));
    }
    for (machine, options) in clock {
        page.table(&format!("{name}.clock.{machine}"), unusual(options, &ClockOptions::default()));
    }
}

fn write_beside(page: &mut Page, beside: &Beside) {
    let Beside { cluster, workload, finally } = beside;
    write_cluster(page, "beside.cluster", cluster);
    workload.iter().for_each(|workload| write_workload(page, "[[beside.workload]]", workload));
    if *finally == BesideFinally::default() {
        return;
    }
    let BesideFinally { roles, promotions, write_outage } = finally;
    page.header("[beside.finally]");
    if !roles.is_empty() {
        page.entry("roles", roles);
    }
    page.some("promotions", promotions);
    page.some("write_outage", write_outage);
}

fn write_workload(page: &mut Page, header: &str, workload: &Workload) {
    let Workload { kind, clients, rate, synchronous_commit, sticky, row } = workload;
    page.header(header);
    page.entry("kind", kind);
    page.entry("clients", clients);
    page.entry("rate", &format!("{rate}/s"));
    if *synchronous_commit != SynchronousCommit::default() {
        page.entry("synchronous_commit", synchronous_commit);
    }
    if *sticky {
        page.entry("sticky", sticky);
    }
    page.some("row", row);
}

fn write_step(page: &mut Page, step: &Step) {
    let Step { at, wait, until, within, verb, bind } = step;
    page.header("[[step]]");
    page.some("at", &at.map(duration::format));
    page.some("wait", &wait.map(duration::format));
    page.some("until", until);
    page.some("within", &within.map(duration::format));
    page.some("do", verb);
    page.some("as", bind);
}

fn write_finally(page: &mut Page, finally: &Finally) {
    #[rustfmt::skip]
    let Finally {
        converge, while_it_moves, core, invariants, roles, promotions, write_outage, stalled, max_warnings, long_fork,
        wal_held,
    } = finally;
    page.header("[finally]");
    page.entry("converge", &duration::format(*converge));
    if *while_it_moves {
        page.entry("while_it_moves", while_it_moves);
    }
    if !core.is_empty() {
        page.entry("core", core);
    }
    page.entry("invariants", invariants);
    if !roles.is_empty() {
        page.entry("roles", roles);
    }
    page.some("promotions", promotions);
    page.some("write_outage", write_outage);
    page.some("stalled", stalled);
    page.some("max_warnings", max_warnings);
    if *long_fork {
        page.entry("long_fork", long_fork);
    }
    page.some("wal_held", wal_held);
}

type Entries = serde_json::Map<String, serde_json::Value>;

/// The entries that differ from the usual ones. Through JSON and not through `toml::Value`, which knows no numbers
/// above 2^63.
fn unusual<T: Serialize>(value: &T, usual: &T) -> Entries {
    let entries = |value| match serde_json::to_value(value).expect("settings are plain values") {
        serde_json::Value::Object(entries) => entries,
        other => unreachable!("settings are a table, not {other}"),
    };
    let (mut value, usual) = (entries(value), entries(usual));
    value.retain(|key, entry| usual.get(key) != Some(entry));
    value
}

/// Comments reach this far.
const WIDTH: usize = 120;

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Filled up to the width, a paragraph for each line that is given.
    fn comment(&mut self, text: &str) {
        for paragraph in text.lines() {
            let mut line = String::from("#");
            for word in paragraph.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
                if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
                    self.line(&line);
                    line = String::from("#");
                }
                line.push(' ');
                line.push_str(word);
            }
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn header(&mut self, header: &str) {
        self.text.push('\n');
        self.line(header);
    }

    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        let mut line = format!("{key} = ");
        value.serialize(ValueSerializer::new(&mut line)).expect("every value of a scenario has a form in TOML");
        self.line(&line);
    }

    fn some<T: Serialize>(&mut self, key: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.entry(key, value);
        }
    }

    fn table(&mut self, name: &str, entries: Entries) {
        self.header(&format!("[{name}]"));
        for (key, value) in &entries {
            self.entry(key, value);
        }
    }

    fn table_unless_usual<T: Serialize + PartialEq>(&mut self, name: &str, value: &T, usual: &T) {
        if value != usual {
            self.table(name, unusual(value, usual));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// As people write them; what is written is the same text.
    const FILE: &str = r#"# A head that says where it comes from.
# And what it is about.
title = 'A "quoted" story'
worlds = ["sim"]
why = "links lose packets"
seed = 18446744073709551615

[cluster]
nodes = ["a", "b", "c"]
primary = "a"
formation = "other"

[cluster.settings]
durability = "strict"

[cluster.postgres]
wal_keep_size = "64MB"

[cluster.node.c]
candidate_priority = 0

[monitor]
drain_timeout = "90s"

[[workload]]
kind = "unique_inserts"
clients = 2
rate = "50/s"
sticky = true

[[step]]
at = "5s"
do = { kill_node = "@primary" }
as = "old"

[[step]]
wait = "250ms"
do = { lose = { between = ["b", "monitor"], rate = 0.3 } }

[[step]]
until = { writable = "one", except = "$old" }
within = "20s"
do = { failover = {} }

[[step]]
do = { promote = { node = "b", refused = "no" } }

[[step]]
do = { clock_step = { node = "monitor", by = "-300s" } }

[finally]
converge = "60s"
invariants = "all"
roles = { a = "secondary", b = "primary" }
promotions = 1
write_outage = { max = "2s" }
"#;

    #[test]
    fn a_file_is_written_as_people_write_it() {
        let scenario = parse("file.toml", FILE).unwrap();
        assert_eq!(write(&scenario, "A head that says where it comes from.\nAnd what it is about."), FILE);
    }

    #[test]
    fn a_long_head_is_filled_up_and_stays_a_comment() {
        let scenario = parse("file.toml", FILE).unwrap();
        let head = format!("{}\u{7}title = \"x\"\r\n\n{}", "word ".repeat(60), "w".repeat(200));
        let text = write(&scenario, &head);
        let comment: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert_eq!(comment.len(), 5, "{text}");
        assert!(
            comment.iter().filter(|line| line.len() > WIDTH).count() == 1,
            "only the word that is longer is: {text}"
        );
        assert_eq!(parse("file.toml", &text).unwrap(), scenario);
    }
}
