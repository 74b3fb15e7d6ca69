//! The production binaries have none of the bugs that `pgbaton-sim mutants` plants.

use object::{Object, ObjectSection};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rows of the table of planted bugs, out of its source: the variant, and name and description as they are shown.
fn table() -> Vec<(String, Vec<String>)> {
    let file = root().join("core/src/mutants/table.rs");
    let table = std::fs::read_to_string(file).expect("the table is there");
    let rows = table.split_once("\nmutants! {").expect("the table begins so").1;
    let row = |text: &str| {
        let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join(" ");
        let variant = code.trim().split(' ').next().expect("a row begins with its variant").to_string();
        (variant, code.split('"').skip(1).step_by(2).take(2).map(String::from).collect())
    };
    rows.split("\",\n").filter(|text| text.contains('"')).map(row).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources_below(dir: &Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).expect("sources can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            *found += &std::fs::read_to_string(path).expect("sources are text");
        }
    }
}

#[test]
fn every_planted_bug_has_a_place_in_the_code() {
    let mut sources = String::new();
    sources_below(&root().join("core/src"), &mut sources);
    sources_below(&root().join("sim/src"), &mut sources);
    let table = table();
    assert!(table.len() >= 25, "this is not the table: {table:?}");
    let nowhere = |(variant, _): &&(String, _)| !sources.contains(&format!("mutant!({variant})"));
    let nowhere: Vec<_> = table.iter().filter(nowhere).map(|(variant, _)| variant).collect();
    assert!(nowhere.is_empty(), "{nowhere:?}");
}

#[test]
fn binaries_hold_no_planted_bug() {
    let table = table();
    for path in [env!("CARGO_BIN_EXE_pgbaton"), env!("CARGO_BIN_EXE_pgbaton-live")] {
        let bytes = std::fs::read(path).expect("cargo has built it");
        let binary = object::File::parse(&*bytes).expect("an executable");
        let section = binary.section_by_name(".rodata").expect("texts are there").uncompressed_data();
        let section = section.expect("it can be read");
        let said = String::from_utf8_lossy(&section);
        let holds = |text: &str| said.contains(text);
        assert!(holds("wait_primary"), "{path}: the texts of this binary can't be seen");
        let found: Vec<&String> = table.iter().flat_map(|(_, texts)| texts).filter(|text| holds(text)).collect();
        assert!(found.is_empty(), "{path} knows planted bugs: {found:?}");
    }
}

/// Cargo unites the features of what it builds together: what nobody asks for can't be united.
#[test]
fn nobody_asks_for_planted_bugs() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--workspace", "--prefix", "none", "--format", "{lib} {f}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    let core: Vec<&str> = tree.lines().filter(|line| line.starts_with("pgbaton_core")).collect();
    assert!(!core.is_empty(), "this is not the tree:\n{tree}");
    assert!(core.iter().all(|line| !line.contains("mutants")), "{core:?}");
}
