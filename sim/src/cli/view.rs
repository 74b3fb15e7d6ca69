//! `pgbaton-sim view`: one run as a page.

use super::bad_input;
use super::story::Story;
use clap::Args;
use pgbaton_core::check::{Trace, judge};
use pgbaton_core::scenario::{Scenario, write};
use pgbaton_core::swarm::Manner;
use pgbaton_core::view::{self, Run};
use pgbaton_sim::report::{Report, reproduce};
use pgbaton_sim::{soak, story};
use serde::Deserialize;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct View {
    /// A scenario file to play; the seed of a drawn story; or a file with the JSON of a run that is over, as pgbaton-sim
    /// and pgbaton-live print it for one file with --json.
    #[arg(value_name = "FILE|SEED")]
    what: String,
    /// Instead of the seed in the file.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the page goes.
    #[arg(long, value_name = "OUT")]
    html: PathBuf,
}

/// What both binaries print with `--json`, as far as a page needs it.
#[derive(Deserialize)]
struct Told {
    title: String,
    seed: Option<u64>,
    /// Live runs have it beside the outcome.
    #[serde(default)]
    unmet: Vec<String>,
    outcome: ToldOutcome,
}

#[derive(Deserialize)]
struct ToldOutcome {
    trace: Trace,
    #[serde(default)]
    unmet: Vec<String>,
}

impl View {
    pub fn main(self) -> ExitCode {
        match check_place(&self.html).and_then(|()| self.page()).and_then(|page| write_beside(&self.html, &page)) {
            Ok(()) => {
                println!("{}", self.html.display());
                ExitCode::SUCCESS
            }
            Err(why) => bad_input(&why),
        }
    }

    fn page(&self) -> Result<String, String> {
        let file = &self.what;
        match file.parse() {
            // A file may be called by a number.
            Ok(seed) if !Path::new(file).exists() => self.of_seed(seed),
            _ if file.ends_with(".json") => self.of_json(),
            _ => self.of_file(),
        }
    }

    fn of_seed(&self, seed: u64) -> Result<String, String> {
        if self.seed.is_some() {
            return Err(format!("{seed} is the seed of a drawn story; --seed goes with a scenario file"));
        }
        let plan = soak::plan(seed);
        Ok(played(
            &plan,
            seed,
            &format!("drawn from seed {seed}, simulated"),
            &soak::replay(seed, &Manner::SIMULATED),
            &write(&plan, ""),
        ))
    }

    fn of_file(&self) -> Result<String, String> {
        let Story { file, text, scenario } = Story::read(&self.what)?.for_sim()?;
        let seed = self.seed.unwrap_or(scenario.seed);
        Ok(played(&scenario, seed, &format!("simulated, seed {seed}"), &reproduce(&file, seed), &text))
    }

    fn of_json(&self) -> Result<String, String> {
        let text = std::fs::read_to_string(&self.what).map_err(|e| format!("{}: {e}", self.what))?;
        if self.seed.is_some() {
            return Err(format!("{} is a run that is over; --seed goes with a scenario file", self.what));
        }
        let told: Told = serde_json::from_str(&text).map_err(|e| {
            format!("{}: {e}; a page needs one object as pgbaton-sim run --json prints it for one file", self.what)
        })?;
        let place = told.seed.map_or("live".to_string(), |seed| format!("simulated, seed {seed}"));
        let trace = &told.outcome.trace;
        Ok(view::page(&Run {
            title: &told.title,
            place: &place,
            reproduce: "",
            story: None,
            trace,
            verdicts: &judge(trace),
            unmet: &[told.unmet, told.outcome.unmet].concat(),
        }))
    }
}

/// Plays a scenario and makes a page of it.
fn played(scenario: &Scenario, seed: u64, place: &str, reproduce: &str, text: &str) -> String {
    let report = Report::of(story::run(scenario, seed));
    view::page(&Run {
        title: &scenario.title,
        place,
        reproduce,
        story: Some(text),
        trace: &report.outcome.trace,
        verdicts: &report.verdicts,
        unmet: &report.outcome.unmet,
    })
}

/// What can be known before a long run: that the page has a place.
fn check_place(html: &Path) -> Result<(), String> {
    let shown = html.display();
    if html == Path::new("-") {
        return Err("--html -: a page goes to a file; name one, as run.html".to_string());
    }
    if html.is_dir() || html.file_name().is_none() {
        return Err(format!("--html {shown}: a page goes to a file, and this is a directory; name a file in it"));
    }
    let dir = directory(html);
    if !dir.is_dir() {
        return Err(format!("--html {shown}: there is no directory {}; make it first", dir.display()));
    }
    Ok(())
}

fn directory(html: &Path) -> &Path {
    html.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}

/// Whoever reads the file sees all of the page or what was there before.
fn write_beside(html: &Path, page: &str) -> Result<(), String> {
    let complaint = |e: std::io::Error| format!("--html {}: {e}; nothing was written", html.display());
    let usual = std::fs::Permissions::from_mode(0o666);
    let mut beside =
        tempfile::Builder::new().prefix(".page-").permissions(usual).tempfile_in(directory(html)).map_err(complaint)?;
    beside.write_all(page.as_bytes()).map_err(complaint)?;
    beside.persist(html).map_err(|e| complaint(e.error))?;
    Ok(())
}
