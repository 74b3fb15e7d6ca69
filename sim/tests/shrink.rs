//! `pgbaton-sim shrink` as a command: files, sentences and exit codes.

use pgbaton_core::scenario::parse;
use std::path::Path;
use std::process::{Command, Output};

/// A group of three that fails over and comes back, with much around it. It expects the role to stay where it is:
/// that can't be.
const PLANTED: &str = r#"
title = "The role stays"
[cluster]
nodes = ["a", "b", "c"]
primary = "a"
[keeper]
heartbeat = "900ms"
[[workload]]
kind = "unique_inserts"
clients = 3
rate = "20/s"
[[step]]
at = "2s"
do = { cut = ["b", "c"] }
[[step]]
wait = "1s"
do = { heal = {} }
[[step]]
wait = "1s"
do = { kill_keeper = "c" }
[[step]]
wait = "1s"
do = { start_service = "c" }
[[step]]
wait = "2s"
do = { kill_node = "a" }
[[step]]
until = { writable = "one", except = "a" }
do = { start_service = "a" }
[[step]]
until = { node = "a", state = "secondary" }
[finally]
converge = "60s"
invariants = "all"
promotions = 0
"#;

fn shrink(dir: &Path, args: &[&str]) -> Output {
    let mut sim = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"));
    sim.current_dir(dir).arg("shrink").args(args).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(all).unwrap())
}

#[test]
fn a_failing_story_becomes_a_small_file_that_fails_in_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stays.toml"), PLANTED).unwrap();
    let args = ["stays.toml", "--seed", "3", "--runs", "60", "--time", "1h"];
    let (code, told) = said(&shrink(dir.path(), &args));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("expected otherwise: the role was to move 0 times and moved 1 times"), "{told}");
    assert!(told.contains("steps 7 -> "), "{told}");
    let path = "scenarios/regress/the-role-was-to-move-0-times-and-moved-1-times-stays.toml";
    assert!(told.contains(&format!("reproduce: pgbaton-sim run {path} --seed ")), "{told}");
    let text = std::fs::read_to_string(dir.path().join(path)).unwrap();
    assert!(text.starts_with("# Shrunk from stays.toml"), "{text}");
    assert!(text.contains("By: pgbaton-sim shrink stays.toml --seed 3 --runs 60\n"), "{text}");
    let small = parse(path, &text).unwrap();
    assert!(small.steps.len() <= 2 && small.finally.promotions == Some(0), "{text}");
    let mut run = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"));
    let (code, told) = said(&run.current_dir(dir.path()).args(["run", path]).output().unwrap());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the role was to move 0 times and moved 1 times"), "{told}");

    // Once more: never over the first file unless it must be, and then it is the same.
    let (code, told) = said(&shrink(dir.path(), &args));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("exists: write to another with --out, or replace it with --force"), "{told}");
    let (code, told) = said(&shrink(dir.path(), &[&args[..], &["--force", "--jobs", "1"]].concat()));
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(std::fs::read_to_string(dir.path().join(path)).unwrap(), text, "another time another file");
}

#[test]
fn a_failure_is_chosen_as_a_report_names_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stays.toml"), PLANTED).unwrap();
    let found = "the role was to move 0 times and moved 1 times";
    let with = |failure: &str| {
        let args = ["stays.toml", "--seed", "3", "--runs", "5", "--out", "out.toml", "--other-seeds", "0"];
        said(&shrink(dir.path(), &[&args[..], &["--failure", failure]].concat()))
    };
    let (code, told) = with("a fire");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&format!("it fails with \"{found}\"")), "{told}");
    let (code, told) = with(&format!("  expected otherwise: {found}"));
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_story_of_live_runs_is_shrunk_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let (code, told) = said(&shrink(dir.path(), &["0", "--live", "--other-seeds", "0"]));
    assert_eq!((code, told.trim_end()), (Some(1), "seed 0 --live holds under seed 0: there is nothing to shrink"));
    let (code, told) = said(&shrink(dir.path(), &["x.toml", "--live"]));
    assert_eq!(code, Some(2), "{told}");
}

#[test]
fn a_story_that_holds_is_no_work() {
    let dir = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kill_and_return.toml");
    let (code, told) = said(&shrink(dir.path(), &[file, "--seed", "7", "--other-seeds", "1"]));
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.trim_end(), format!("{file} holds under seeds 7, 8: there is nothing to shrink"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("there.toml"), PLANTED).unwrap();
    std::fs::write(dir.path().join("bad.toml"), PLANTED.replace("title", "titel")).unwrap();
    let live = PLANTED.replace("[cluster]", "worlds = [\"live\"]\nwhy = \"x\"\n[cluster]");
    std::fs::write(dir.path().join("live.toml"), live).unwrap();
    for (args, expected) in [
        (&["none.toml"][..], "none.toml: "),
        (&["bad.toml"], "bad.toml:2: unknown field `titel`"),
        (&["live.toml"], "not for the simulated world"),
        (&["there.toml", "--out", "there.toml"], "there.toml exists: write to another"),
        (&["there.toml", "--jobs", "0"], "--jobs"),
        (&["there.toml", "--time", "ten"], "is not a duration"),
    ] {
        let (code, told) = said(&shrink(dir.path(), args));
        assert_eq!(code, Some(2), "{args:?}: {told}");
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}
