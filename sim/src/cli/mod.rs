//! The commands, a file each.

mod run;
mod sweep;

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
    Sweep(sweep::SweepFiles),
}

pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => run.main(),
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
