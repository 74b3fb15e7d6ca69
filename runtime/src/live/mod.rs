//! `pgbaton-live`: plays scenario files with real processes and real Postgres.

mod agree;
mod clients;
mod cluster;
mod ledger;
mod narrate;
mod outcome;
mod play;
mod procs;
mod proxy;
mod reaper;
mod verbs;
mod watch;

use crate::cli::log;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use narrate::{Narrator, say};
use outcome::{Outcome, Timeline};
use pgbaton_core::model::FormationSettings;
use pgbaton_core::scenario::timeline::sequences;
use pgbaton_core::scenario::{Scenario, SynchronousCommit, World, parse};
use reaper::{KillAllAtTheEnd, Reaper};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Plays scenario files with real processes and real Postgres, on this machine.
#[derive(Debug, Parser)]
#[command(name = "pgbaton-live", version, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays scenario files and judges what happened.
    Run {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Prints one JSON object for each file.
        #[arg(long)]
        json: bool,
        #[arg(long, default_value = "states")]
        timeline: Timeline,
        #[command(flatten)]
        place: Place,
    },
    /// Plays one file and tells what an operator would see, then compares it with the simulated run.
    Demo {
        file: PathBuf,
        /// The simulator.
        #[arg(long, value_name = "PATH_TO_pgbaton-sim")]
        sim: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Clone, Args)]
struct Place {
    /// Keeps data directories and logs in this directory, which must be absent or empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The monitor's port; the nodes take the next ones. Default: ports that are free.
    #[arg(long)]
    base_port: Option<u16>,
}

impl Place {
    /// Several files are kept side by side.
    fn within(&self, file: &Path) -> Place {
        let stem = file.file_stem().unwrap_or(file.as_os_str());
        Place { keep: self.keep.as_ref().map(|dir| dir.join(stem)), ..self.clone() }
    }
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _reader_gone = e.print();
            return if e.exit_code() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
    };
    log::start(log::Volume::Verbose(0));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!("{e}");
            return ExitCode::from(12);
        }
    };
    // Dropped last, in a panic too.
    let _nothing_lives_on = KillAllAtTheEnd;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = execute(cli.command) => outcome,
            () = interrupted() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::from(2)
        }
    }
}

async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Whether all is well.
async fn execute(command: Command) -> Result<bool> {
    let reaper = Reaper::start().context("can't become the reaper of orphans")?;
    match command {
        Command::Run { files, json, timeline, place } => {
            // A file that can't be read is found before an hour of others has been played.
            let scenarios = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
            let mut failed = None;
            for (file, scenario) in files.iter().zip(&scenarios) {
                let place = if files.len() > 1 { place.within(file) } else { place.clone() };
                if !run_file(file, scenario, json, timeline, &place, &reaper).await? {
                    failed = Some(file);
                }
            }
            let reproduce = failed.map(|file| format!("reproduce: pgbaton-live run {}", file.display()));
            match (&reproduce, json) {
                (Some(line), true) => eprintln!("{line}"),
                (Some(line), false) => say(line),
                (None, _) => {}
            }
            Ok(failed.is_none())
        }
        Command::Demo { file, sim, place } => demo(&file, &sim, &place, &reaper).await,
    }
}

fn read(file: &Path) -> Result<Scenario> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {name}"))?;
    Ok(parse(&name, &text)?)
}

async fn run_file(
    file: &Path,
    scenario: &Scenario,
    json: bool,
    timeline: Timeline,
    place: &Place,
    reaper: &Reaper,
) -> Result<bool> {
    if let Some(why) = not_for_live(scenario) {
        let line = format!("{}: skipped, not for the live world: {why}", file.display());
        if json {
            eprintln!("{line}")
        } else {
            say(&line)
        }
        return Ok(true);
    }
    let outcome = play(scenario, place, Narrator::quiet(), reaper).await?;
    if json {
        say(&outcome.json(&scenario.title).to_string());
    } else {
        say(&outcome.text(&scenario.title, timeline));
    }
    Ok(outcome.holds())
}

fn not_for_live(scenario: &Scenario) -> Option<&str> {
    if !scenario.worlds.contains(&World::Live) {
        return Some(scenario.why.as_deref().unwrap_or("the file gives no reason"));
    }
    if !scenario.cluster.node.is_empty() {
        return Some("the live cluster gives no node settings of its own yet");
    }
    if scenario.workload.iter().any(|w| w.sticky || w.synchronous_commit != SynchronousCommit::On) {
        return Some("the live clients know one kind of session only");
    }
    let asked = &scenario.cluster.settings;
    let usual = FormationSettings::default();
    (asked.number_sync_standbys != usual.number_sync_standbys)
        .then_some("no command sets number_sync_standbys of a formation yet")
}

async fn play(scenario: &Scenario, place: &Place, narrator: Narrator, reaper: &Reaper) -> Result<Outcome> {
    // Locals go in reverse order: processes end before their directory is removed under their feet.
    let temporary;
    let _nothing_lives_on = KillAllAtTheEnd;
    let base = match &place.keep {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            if std::fs::read_dir(dir)?.next().is_some() {
                bail!("\"{}\" isn't empty; name another directory with --keep", dir.display());
            }
            std::path::absolute(dir)?
        }
        None => {
            temporary = tempfile::Builder::new().prefix("pgbaton-live-").tempdir_in("/tmp")?;
            temporary.path().to_path_buf()
        }
    };
    let cluster = cluster::Cluster::lay_out(&base, place.base_port, scenario, reaper.clone())?;
    play::Play::new(scenario, cluster, narrator).run().await
}

async fn demo(file: &Path, sim: &Path, place: &Place, reaper: &Reaper) -> Result<bool> {
    let scenario = read(file)?;
    if let Some(why) = not_for_live(&scenario) {
        bail!("{} is not for the live world: {why}", file.display());
    }
    if !sim.exists() {
        bail!("there is no simulator at \"{}\"; build it, with cargo build -p pgbaton-sim", sim.display());
    }
    say(&format!("{}\n", scenario.title));
    let outcome = play(&scenario, place, Narrator::telling(), reaper).await?;
    say("\n== How long writes were out\n");
    for outage in &outcome.outages {
        say(&format!("{:>8.3} s  {}", outage.seconds, outage.step));
    }
    say(&outcome.summary());
    say("== The same file, simulated\n");
    let live = sequences(&outcome.trace);
    let simulated = agree::of_sim(sim, file, async |mut command: tokio::process::Command| {
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::inherit());
        Ok(reaper.spawn(&mut command)?.wait_with_output().await?.stdout)
    })
    .await?;
    say(&agree::render(&live, &simulated));
    let agreed = live == simulated;
    say(match agreed {
        true => "Both runs went through the same states.",
        false => "The runs differ.",
    });
    Ok(agreed && outcome.holds())
}
