//! `pgbaton-live`: plays scenario files with real processes and real Postgres.

mod agree;
mod authority;
mod bench;
mod blind;
mod chaos;
mod checkpoints;
mod clients;
mod cluster;
mod configured;
mod disks;
mod hands;
mod ledger;
mod narrate;
mod outcome;
mod page;
mod play;
mod procs;
mod proxy;
mod reader;
mod reaper;
mod screen;
mod suite;
mod tally;
mod verbs;
mod watch;
mod witness;

use crate::cli::log;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use narrate::{Narrator, say};
use outcome::{Outcome, Timeline};
use pgbaton_core::scenario::timeline::sequences;
use pgbaton_core::scenario::{Scenario, parse};
use reaper::{KillAtTheEnd, Reaper};
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
        /// How many files are played at the same time; the outage that each allows is so many times as long.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        jobs: u8,
        /// Writes the run of one file as a page to look at in a browser.
        #[arg(long, value_name = "OUT")]
        html: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Plays drawn stories, one after the other, and judges each.
    Chaos(chaos::Chaos),
    /// Counts the scenario files of a directory, by the worlds they are for.
    List { dir: PathBuf },
    /// Measures how long writes are out, case by case, beside what Postgres itself needs.
    Bench(bench::Options),
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
    /// Several files are kept side by side; those of two folders may have one name.
    fn within(&self, file: &Path) -> Place {
        let stem = file.file_stem().unwrap_or(file.as_os_str());
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
        Place { keep: self.keep.as_ref().map(|dir| dir.join(folder).join(stem)), ..self.clone() }
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
    let _nothing_lives_on = KillAtTheEnd::All;
    // These have something to say even then.
    let sums_up = matches!(cli.command, Command::Chaos(_) | Command::Bench(_));
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = execute(cli.command) => outcome,
            () = interrupted(), if !sums_up => Err(anyhow::anyhow!("interrupted")),
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
        Command::Bench(options) => bench::run(&options, &reaper).await,
        Command::Run { files, json, timeline, jobs, html, place } => {
            suite::run(&files, &suite::Manner { json, timeline, jobs: usize::from(jobs), html, place }, &reaper).await
        }
        Command::Chaos(chaos) => chaos::run(&chaos, &reaper).await,
        Command::List { dir } => suite::list(&dir).map(|()| true),
        Command::Demo { file, sim, place } => demo(&file, &sim, &place, &reaper).await,
    }
}

fn read(file: &Path) -> Result<Scenario> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {name}"))?;
    Ok(parse(&name, &text)?)
}

async fn play(scenario: &Scenario, place: &Place, narrator: Narrator, reaper: &Reaper) -> Result<Outcome> {
    // Locals go in reverse order: processes end before their disk and their directory are removed under their feet.
    let temporary;
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
    let base = base.canonicalize()?;
    checkpoints::check(scenario)?;
    let disks = disks::Disks::mount(&base, scenario)?;
    let _nothing_lives_on = KillAtTheEnd::AtHome(base.clone());
    // What waits for a disk can't die.
    let _none_is_stalled = disks.thaw_at_the_end();
    let cluster = cluster::Cluster::lay_out(&base, place.base_port, scenario, reaper.clone())?;
    play::Play::new(scenario, cluster, narrator)?.run().await
}

async fn demo(file: &Path, sim: &Path, place: &Place, reaper: &Reaper) -> Result<bool> {
    let scenario = read(file)?;
    if let Some(why) = suite::not_for_live(&scenario) {
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
    let simulated = sequences(&agree::of_sim(sim, file, reaper).await?);
    say(&agree::render(&live, &simulated));
    let agreed = live == simulated;
    say(match agreed {
        true => "Both runs went through the same states.",
        false => "The runs differ.",
    });
    Ok(agreed && outcome.holds())
}
