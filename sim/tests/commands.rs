//! The commands: what they refuse, and how they end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const HOLDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kill_and_return.toml");
const BAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bad.toml");
const SWEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/sweep/switchover.toml");

fn sim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"))
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = sim().args(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A story under another head.
fn put(dir: &Path, name: &str, head: &str) -> String {
    let path = dir.join(name);
    let text = std::fs::read_to_string(HOLDS).unwrap();
    let text = text.replace("[finally]\n", &format!("[finally]\n{head}\n"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn options_without_a_use_are_refused() {
    for args in [
        &["meta", "--live"][..],
        &["meta", "--jobs", "2"],
        &["mutants", "--live"],
        &["mutants", "--for", "10s"],
        &["sweep", SWEPT, "--timeline", "full"],
        &["sweep", SWEPT, "--only", "3:kill", "--every", "2"],
        &["soak", "--seeds", "0..1", "--for", "10s"],
        &["soak", "--jobs", "0"],
        &["sweep", SWEPT, "--jobs", "0"],
        &["shrink", "1", "--jobs", "0"],
        &["meta", "--seeds", "0..1", "--shard", "2/2"],
        &["meta", "--for", "0s"],
    ] {
        let (code, stdout, stderr) = run(args);
        assert!(code == Some(2) && stdout.is_empty() && !stderr.is_empty(), "{args:?}: {code:?} {stdout} {stderr}");
    }
}

#[test]
fn one_bad_file_is_told_before_any_is_played() {
    for command in ["run", "sweep"] {
        let (code, stdout, stderr) = run(&[command, HOLDS, BAD, "none.toml"]);
        assert!(code == Some(2) && stdout.is_empty(), "{stdout}");
        assert!(stderr.contains("bad.toml:2: unknown field `titel`") && stderr.contains("none.toml: "), "{stderr}");
    }
}

#[test]
fn every_file_that_fails_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (put(dir.path(), "one.toml", "promotions = 7"), put(dir.path(), "two.toml", "promotions = 8"));
    let (code, stdout, _) = run(&["run", &one, HOLDS, &two, "--timeline", "states"]);
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = stdout.lines().filter(|line| line.starts_with("reproduce: ")).collect();
    assert!(lines.len() == 2 && lines[0].contains(&one) && lines[1].contains(&two), "{lines:?}");
}

#[test]
fn standard_output_is_json_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live.toml");
    let text = std::fs::read_to_string(HOLDS).unwrap();
    let text = text.replace("[cluster]", "worlds = [\"live\"]\nwhy = \"x\"\n[cluster]");
    std::fs::write(&live, text).unwrap();
    let (code, stdout, stderr) = run(&["run", "--json", live.to_str().unwrap(), HOLDS]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.lines().count() == 1 && stdout.starts_with('{'), "{stdout}");
    assert!(stderr.contains("not for the simulated world: x"), "{stderr}");
}

#[test]
fn an_interrupted_search_says_so() {
    for args in [&["soak", "--for", "1h", "--jobs", "1"][..], &["sweep", SWEPT, "--jobs", "1"]] {
        let child = sim().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Its signals are caught before it begins.
        let is_caught = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_string();
            u64::from_str_radix(&line, 16).unwrap() & (1 << 14) != 0
        };
        while !is_caught(std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap()) {
            std::thread::yield_now();
        }
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{told}");
        assert!(told.contains("simulated hours") && told.contains("interrupted: "), "{told}");
    }
}
