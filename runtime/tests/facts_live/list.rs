//! The list of facts and what is shown of it.

use super::harness::{Version, may_mount, versions};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(serde::Deserialize)]
struct List {
    fact: Vec<Fact>,
}

#[derive(serde::Deserialize)]
struct Fact {
    name: String,
    /// Why it can't be shown on live servers.
    live: Option<String>,
}

/// Of the modules beside this one; and whether it mounts a file system of its own.
fn tests_here() -> BTreeMap<String, bool> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts_live");
    let sources = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let sources = sources.filter(|path| path.extension().is_some_and(|e| e == "rs") && !path.ends_with("list.rs"));
    let texts = sources.map(|path| std::fs::read_to_string(path).unwrap());
    let names = |text: String| {
        let marked = text.split("#[test]\nfn ").skip(1);
        marked
            .map(|rest| (rest.split('(').next().unwrap().to_string(), rest.contains("Disk::new(lab")))
            .collect::<Vec<_>>()
    };
    texts.flat_map(names).collect()
}

#[test]
fn every_fact_has_a_live_twin_or_says_why_not() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/src/postgres/facts.toml");
    let list: List = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut tests = tests_here();
    let total = list.fact.len();
    let (excused, owed): (Vec<Fact>, Vec<Fact>) = list.fact.into_iter().partition(|fact| fact.live.is_some());
    for fact in &excused {
        eprintln!("not shown live: {}: {}", fact.name, fact.live.as_deref().unwrap_or_default());
        assert!(!tests.contains_key(&fact.name), "{} is shown and excused", fact.name);
    }
    let left_out = tests.values().filter(|mounts| **mounts && !may_mount()).count();
    let missing: Vec<&str> = owed.iter().filter(|f| tests.remove(&f.name).is_none()).map(|f| f.name.as_str()).collect();
    assert!(missing.is_empty(), "facts without a live twin: {missing:#?}");
    assert!(tests.is_empty(), "tests that are no facts: {tests:#?}");
    eprintln!("{total} facts, {} with a live twin, {left_out} of these not shown here", owed.len());
}

/// Which majors this machine is expected to have, such as `15,17`; by default the system's, whichever that is, and 17.
const EXPECTED: &str = "PGBATON_FACTS_VERSIONS";

#[test]
fn versions_under_test() {
    let is_the_systems = |version: &&Version| version.bin.starts_with("/usr/lib/postgresql");
    let systems = versions().iter().find(is_the_systems).map(|version| version.major.to_string());
    let systems = systems.unwrap_or_else(|| "of the system".into());
    let expected = std::env::var(EXPECTED).unwrap_or_else(|_| format!("{systems},17"));
    let found: Vec<String> = versions().iter().map(|version| version.major.to_string()).collect();
    for version in versions() {
        eprintln!("the facts run on {} in {}", version.full, version.bin.display());
    }
    for major in expected.split(',') {
        assert!(
            found.iter().any(|f| f == major.trim()),
            "PostgreSQL {major} is expected and not here: see scripts/fetch-postgres-17, or set {EXPECTED} to {}",
            found.join(",")
        );
    }
}
