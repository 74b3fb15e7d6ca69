//! Same seed, same bytes: on two threads, and in two processes.

use pgbaton_core::scenario::parse;
use pgbaton_sim::report::Report;
use pgbaton_sim::story;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kill_and_return.toml");

fn trace(seed: u64) -> String {
    let text = std::fs::read_to_string(FILE).unwrap();
    let scenario = parse(FILE, &text).unwrap();
    Report::of(story::run(&scenario, seed)).json(&scenario, seed)
}

#[test]
fn the_same_seed_on_two_threads_gives_the_same_bytes() {
    let (first, second) = (trace(7), trace(7));
    assert!(first.len() > 10_000, "something happened");
    assert!(first == second, "two runs of one seed differ");
    assert!(first != trace(8), "another seed is another run");
}

#[test]
fn the_same_seed_in_two_processes_gives_the_same_bytes() {
    let run = || {
        let mut sim = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"));
        sim.args(["run", FILE, "--seed", "7", "--json"]).output().unwrap().stdout
    };
    let (first, second) = (run(), run());
    assert!(first == second, "two runs of one seed differ");
    assert!(first.strip_suffix(b"\n") == Some(trace(7).as_bytes()), "a thread of the test differs from a process");
}

#[test]
fn a_file_that_makes_no_sense_is_named_with_its_line() {
    let bad = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bad.toml");
    let mut sim = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"));
    let output = sim.args(["run", bad]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bad.toml:2: unknown field `titel`"), "{said}");
}
