//! Plays every scenario file and compares its timeline with the snapshot next to it.

use pgbaton_core::scenario::{World, parse};
use pgbaton_sim::report::{Report, TimelineStyle, reproduce, timeline};
use pgbaton_sim::story;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
}

/// What broke, one line each, with the command that brings it back.
fn play(root: &Path, file: &Path) -> Result<(), String> {
    let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
    let scenario = parse(&shown, &text).map_err(|e| e.to_string())?;
    if !scenario.worlds.contains(&World::Sim) {
        println!("{shown}: skipped: {}", scenario.why.unwrap_or_default());
        return Ok(());
    }
    let report = Report::of(story::run(&scenario, scenario.seed));
    let mut wrong = report.broken();
    let rendered = timeline(&report.outcome.trace, TimelineStyle::Full);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(file.parent().expect("a file is in a directory"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_input_file(file);
    let name = file.file_stem().expect("a file has a name").to_string_lossy().to_string();
    let compare = || settings.bind(|| insta::assert_snapshot!(name, rendered));
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare)).is_err() {
        wrong.push("the timeline differs from its snapshot".to_string());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let reproduce = reproduce(&shown, scenario.seed);
    Err(format!("{shown}:\n  {}\n  {reproduce}", wrong.join("\n  ")))
}

#[test]
fn every_scenario_holds_and_goes_as_its_snapshot_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim/ is in the workspace");
    let mut files = Vec::new();
    files_below(&root.join("scenarios"), &mut files);
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        let file = || files.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(file).filter_map(|file| play(root, file).err()).collect::<Vec<String>>()
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let players = std::thread::available_parallelism().map_or(1, NonZero::get);
        let players: Vec<_> = (0..players).map(|_| scope.spawn(one_after_the_other)).collect();
        players.into_iter().flat_map(|player| player.join().expect("a player catches what goes wrong")).collect()
    });
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}
