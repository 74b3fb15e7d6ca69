//! Whatever a file may leave out: settings, options of a verb, half a step. It goes by the file, not by the format's
//! types, so that what the format learns is left out too.

use pgbaton_core::scenario::{Scenario, write};
use toml::{Table, Value};

/// These aren't part of the story, or another way sees to them; and with a shorter time to wait for something,
/// anything fails.
const KEPT: [&str; 7] = ["title", "worlds", "why", "nodes", "primary", "finally", "within"];

pub fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    // The seed is no part of the story either, and may be greater than a number of a table.
    let mut seedless = scenario.clone();
    seedless.seed = 0;
    let Ok(table) = write(&seedless, "").parse::<Table>() else { return Vec::new() };
    let mut paths = Vec::new();
    list(&Value::Table(table.clone()), &mut Vec::new(), &mut paths);
    let read = |path: &Vec<At>| {
        let mut value = Value::Table(table.clone());
        remove(&mut value, path);
        let mut read: Scenario = value.try_into().ok()?;
        read.seed = scenario.seed;
        Some(read)
    };
    paths.iter().filter_map(read).filter(|s| s != scenario).collect()
}

#[derive(Debug, Clone, PartialEq)]
enum At {
    Key(String),
    Index(usize),
}

/// Every place, the whole before its parts.
fn list(value: &Value, here: &mut Vec<At>, paths: &mut Vec<Vec<At>>) {
    let mut visit = |at: At, below: &Value| {
        here.push(at);
        // Whole steps are another way's.
        if !(here.len() <= 2 && here[0] == At::Key("step".into())) {
            paths.push(here.clone());
        }
        list(below, here, paths);
        here.pop();
    };
    match value {
        Value::Table(table) => {
            for (key, below) in table.iter().filter(|(key, _)| !KEPT.contains(&key.as_str())) {
                visit(At::Key(key.clone()), below);
            }
        }
        Value::Array(array) => array.iter().enumerate().for_each(|(i, below)| visit(At::Index(i), below)),
        _ => {}
    }
}

fn remove(value: &mut Value, path: &[At]) {
    match (value, path) {
        (Value::Table(table), [At::Key(key)]) => {
            table.remove(key);
        }
        (Value::Array(array), [At::Index(i)]) => {
            array.remove(*i);
        }
        (Value::Table(table), [At::Key(key), rest @ ..]) => remove(&mut table[key], rest),
        (Value::Array(array), [At::Index(i), rest @ ..]) => remove(&mut array[*i], rest),
        (value, path) => unreachable!("{path:?} was listed and is not in {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::story;
    use super::*;

    #[test]
    fn every_part_that_may_be_left_out_is_and_no_limit_of_time() {
        let mut story = story(
            r#"
[cluster.node.b]
candidate_priority = 0
[[workload]]
kind = "unique_inserts"
clients = 2
rate = "50/s"
sticky = true
[[step]]
until = { settled = true }
within = "9s"
do = { drop = { node = "c", force = true } }
"#,
        );
        story.seed = u64::MAX;
        story.monitor.catchup_bytes = 5;
        let all = candidates(&story);
        assert!(all.iter().all(|s| s.seed == u64::MAX));
        let some = |what: &str, is: fn(&Scenario) -> bool| assert!(all.iter().any(is), "{what}");
        some("the settings of the monitor", |s| s.monitor.catchup_bytes != 5);
        some("the options of b", |s| s.cluster.node.is_empty());
        some("the priority of b", |s| s.cluster.options("b").candidate_priority == 50 && !s.cluster.node.is_empty());
        some("the workload", |s| s.workload.is_empty());
        some("sticky", |s| s.workload.iter().any(|w| !w.sticky));
        some("until", |s| s.steps[0].until.is_none() && s.steps[0].verb.is_some());
        some("do", |s| s.steps[0].until.is_some() && s.steps[0].verb.is_none());
        some("force", |s| !write(s, "").contains("force") && s.steps[0].verb.is_some());
        assert!(all.iter().all(|s| s.steps.len() == 1 && s.steps[0].within.is_some()));
    }
}
