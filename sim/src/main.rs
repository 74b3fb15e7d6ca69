//! `pgbaton-sim`: plays scenario files in the simulated world.

use clap::{Parser, Subcommand};
use pgbaton_core::scenario::{World, parse};
use pgbaton_sim::report::{Report, TimelineStyle, reproduce};
use pgbaton_sim::story;
use std::process::ExitCode;

/// Plays scenario files in a seeded, simulated world.
#[derive(Debug, Parser)]
#[command(name = "pgbaton-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs each file once and judges what happened.
    Run {
        #[arg(required = true)]
        files: Vec<String>,
        /// Instead of the seed in the file.
        #[arg(long)]
        seed: Option<u64>,
        /// Prints the whole trace as one line of JSON per file.
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum, default_value = "full")]
        timeline: TimelineStyle,
    },
}

fn main() -> ExitCode {
    let Command::Run { files, seed, json, timeline } = Cli::parse().command;
    let mut failed = None;
    for file in &files {
        match run_file(file, seed, json, timeline) {
            Ok(None) => {}
            Ok(Some(seed)) => failed = Some((file, seed)),
            Err(why) => {
                eprintln!("{why}");
                return ExitCode::from(2);
            }
        }
    }
    match failed {
        None => ExitCode::SUCCESS,
        Some((file, seed)) => {
            let line = reproduce(file, seed);
            // Machines read standard output as JSON; people read the line wherever it is last.
            if json {
                eprintln!("{line}")
            } else {
                println!("{line}")
            }
            ExitCode::FAILURE
        }
    }
}

/// The seed when the run did not hold; an error for a file that can't be read.
fn run_file(file: &str, seed: Option<u64>, json: bool, style: TimelineStyle) -> Result<Option<u64>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let scenario = parse(file, &text).map_err(|e| e.to_string())?;
    if !scenario.worlds.contains(&World::Sim) {
        let why = scenario.why.as_deref().unwrap_or("the file gives no reason");
        println!("{file}: skipped, not for the simulated world: {why}");
        return Ok(None);
    }
    let seed = seed.unwrap_or(scenario.seed);
    #[allow(clippy::disallowed_methods)] // The one real clock: how fast the simulation runs.
    let started = std::time::Instant::now();
    let report = Report::of(story::run(&scenario, seed));
    let real = started.elapsed();
    if json {
        println!("{}", report.json(&scenario, seed));
    } else {
        print!("{}", report.text(&scenario, seed, style, real));
    }
    Ok((!report.holds()).then_some(seed))
}
