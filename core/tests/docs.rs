//! The pages of docs/ that are drawn from the tables. They fail when they are stale; PGBATON_DOCS=write draws them anew.

use pgbaton_core::model::NodeState;
use pgbaton_core::model::state::{CLOSED, EDGES};
use pgbaton_core::monitor::rules::RULES;
use std::fmt::Write;
use std::path::Path;

fn compare(name: &str, drawn: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("PGBATON_DOCS").is_some_and(|v| v == "write") {
        std::fs::write(&file, drawn).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == drawn, "docs/{name} is stale: run PGBATON_DOCS=write cargo test -p pgbaton-core --test docs");
}

#[test]
fn states() {
    let mut page = String::from("# States of a node\n\nDrawn from the table in core/src/model/state.rs.\n\n");
    page.push_str("| state | meaning | clients |\n|---|---|---|\n");
    for state in NodeState::ALL {
        writeln!(page, "| {state} | {} | {} |", state.meaning(), state.connection()).unwrap();
    }
    let closed: Vec<String> = CLOSED.iter().map(|s| format!("`{s}`")).collect();
    writeln!(page, "\nEvery state may also become {}: closing is always safe.\n", closed.join(" and ")).unwrap();
    page.push_str("```mermaid\nstateDiagram-v2\n");
    for (to, from) in EDGES {
        for from in *from {
            writeln!(page, "    {from} --> {to}").unwrap();
        }
    }
    page.push_str("```\n");
    compare("states.md", &page);
}

#[test]
fn rules() {
    let mut page = String::from(
        "# Rules of the monitor\n\nDrawn from the table in core/src/monitor/rules/mod.rs. The first rule that applies fires, \
         and the table is gone through again until none does. 1xx is about joining and leaving, 2xx about the role, 3xx \
         about standbys, 4xx about contracts.\n\n| rule | name | when and what |\n|---|---|---|\n",
    );
    for rule in RULES {
        writeln!(page, "| {} | {} | {} |", rule.number, rule.name, rule.says).unwrap();
    }
    page.push_str("\nThe order in which they are asked:\n\n```mermaid\nflowchart TD\n    asked([something was heard, or time has passed])\n");
    let mut before = "asked".to_string();
    for rule in RULES {
        let this = format!("r{}", rule.number);
        writeln!(page, "    {before} -- no --> {this}{{{{\"{} {}\"}}}}", rule.number, rule.name).unwrap();
        writeln!(page, "    {this} -- fires --> asked").unwrap();
        before = this;
    }
    writeln!(page, "    {before} -- no --> rest([nothing more to decide])\n```").unwrap();
    compare("rules.md", &page);
}

/// What a page names as its proof is there.
#[test]
fn files_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|page| page.extension().is_some_and(|e| e == "md")).chain([root.join("README.md")]);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let words = text.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c)));
        let is_ours =
            |word: &&str| ["scenarios/", "core/src/", "sim/src/", "runtime/"].iter().any(|d| word.starts_with(d));
        let is_file = |word: &&str| [".toml", ".rs"].iter().any(|end| word.ends_with(end));
        for file in words.filter(is_ours).filter(is_file) {
            assert!(root.join(file).is_file(), "{} names {file}, which isn't there", page.display());
        }
    }
}
