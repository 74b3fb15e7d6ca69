//! The file: all of it or none, and clear words when it can't be.

use super::{page_of, story, view};
use std::path::Path;
use std::process::Command;

fn refused(file: &Path, html: &Path) -> String {
    let output = view(file, html);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn two_processes_write_the_same_page() {
    let dir = tempfile::tempdir().unwrap();
    let note = story("failover/operations-note.toml");
    let (first, second) = (page_of(&note, &dir.path().join("1.html")), page_of(&note, &dir.path().join("2.html")));
    assert!(first == second);
    assert!(first.contains("--seed 0") && first.contains("smdw takes over from mdw"));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing is left beside the pages: {left:?}");
}

#[test]
fn the_json_of_a_run_gives_the_page_of_that_run() {
    let dir = tempfile::tempdir().unwrap();
    let note = story("failover/operations-note.toml");
    let mut sim = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"));
    let json = sim.args(["run", "--json"]).arg(&note).output().unwrap().stdout;
    let saved = dir.path().join("run.json");
    std::fs::write(&saved, json).unwrap();
    let (of_json, of_file) = (page_of(&saved, &dir.path().join("1.html")), page_of(&note, &dir.path().join("2.html")));
    let data = |page: &str| page.split_once("id=\"data\">").unwrap().1.to_string();
    assert!(data(&of_json) == data(&of_file));
    std::fs::write(&saved, "{ \"title\": 1 }").unwrap();
    let said = refused(&saved, &dir.path().join("3.html"));
    assert!(said.contains("run.json: ") && said.contains("pgbaton-sim run --json"), "{said}");
}

#[test]
fn a_page_that_has_no_place_is_refused_before_anything_is_played() {
    let dir = tempfile::tempdir().unwrap();
    let note = story("failover/operations-note.toml");
    assert!(refused(&note, Path::new("-")).starts_with("--html -: a page goes to a file; name one"));
    assert!(refused(&note, dir.path()).contains("this is a directory; name a file in it"));
    let said = refused(&note, &dir.path().join("missing/run.html"));
    assert!(said.contains("there is no directory") && said.contains("make it first"), "{said}");
    let said = refused(Path::new("no-such.toml"), &dir.path().join("run.html"));
    assert!(said.starts_with("no-such.toml: No such file"), "{said}");
    // Nobody may write here, not even root.
    let said = refused(&note, Path::new("/proc/run.html"));
    assert!(said.starts_with("--html /proc/run.html: ") && said.contains("nothing was written"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_page_replaces_the_one_before_it_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("run.html");
    std::fs::write(&html, "old").unwrap();
    let before = std::fs::File::open(&html).unwrap();
    assert!(page_of(&story("failover/operations-note.toml"), &html).ends_with("</html>\n"));
    assert_eq!(std::io::read_to_string(before).unwrap(), "old", "whoever had it open goes on reading that one");
}
