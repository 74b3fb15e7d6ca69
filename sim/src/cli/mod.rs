//! The commands, a file each.

mod args;
mod bench;
mod coverage;
mod interrupt;
mod keep;
mod many;
mod meta;
mod mutants;
mod outage;
mod replay;
mod run;
mod seeds;
mod shrink;
mod soak;
mod story;
mod sweep;
mod table;
mod view;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Instant;

/// Plays stories in a seeded, simulated world.
#[derive(Debug, Parser)]
#[command(name = "pgbaton-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs each file once and judges what happened.
    Run(run::Run),
    /// Makes a failing story smaller, for as long as it fails in the same way, and writes what is left.
    Shrink(shrink::Shrink),
    /// Plays drawn stories, one for each seed, and judges each.
    Soak(soak::Soak),
    /// Plays the drawn story of one seed again.
    Replay(replay::Replay),
    /// Plays each seed several times, in two processes, and compares the traces to the byte.
    Meta(meta::Meta),
    /// Tells which rules, moves and marks drawn stories came to, and which never. Fails also when they never came to a
    /// mark that a search must see.
    Coverage(coverage::Coverage),
    /// Tells what each kind of fault costs in time without writes, and whether it keeps its budget.
    Outage(outage::Outage),
    /// Plants bugs in the failover logic, one at a time, and shows what finds them.
    Mutants(mutants::Mutants),
    /// Writes one run as a page to look at in a browser.
    View(view::View),
    /// Measures how fast the simulation is, beside the bare executor.
    Bench(bench::Bench),
    Sweep(sweep::SweepFiles),
}

pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => run.main(),
        Command::Shrink(shrink) => shrink.main(),
        Command::Soak(soak) => soak.main(),
        Command::Replay(replay) => replay.main(),
        Command::Meta(meta) => meta.main(),
        Command::Coverage(coverage) => coverage.main(),
        Command::Outage(outage) => outage.main(),
        Command::Mutants(mutants) => mutants.main(),
        Command::View(view) => view.main(),
        Command::Bench(bench) => bench.main(),
        Command::Sweep(sweep) => sweep.main(),
    }
}

/// Says what is wrong with a file or an option.
fn bad_input(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// The one real clock: how fast the simulation runs.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

/// A run that panics says so in its verdict; hundreds of them need not say it here as well.
fn quiet_runs() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let of_a_run = std::thread::current().name().is_some_and(|name| name.starts_with("seed-"));
        if !of_a_run {
            usual(info);
        }
    }));
}
