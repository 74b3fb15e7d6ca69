//! `pgbaton-sim run`: plays files, each once.

use super::{bad_input, now};
use clap::Args;
use pgbaton_core::scenario::{World, parse};
use pgbaton_sim::report::{Report, TimelineStyle, reproduce};
use pgbaton_sim::story;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Run {
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
}

impl Run {
    pub fn main(self) -> ExitCode {
        let mut failed = None;
        for file in &self.files {
            match self.play(file) {
                Ok(None) => {}
                Ok(Some(seed)) => failed = Some((file, seed)),
                Err(why) => return bad_input(&why),
            }
        }
        match failed {
            None => ExitCode::SUCCESS,
            Some((file, seed)) => {
                let line = reproduce(file, seed);
                // Machines read standard output as JSON; people read the line wherever it is last.
                if self.json {
                    eprintln!("{line}")
                } else {
                    println!("{line}")
                }
                ExitCode::FAILURE
            }
        }
    }

    /// The seed when the run did not hold; an error for a file that can't be read.
    fn play(&self, file: &str) -> Result<Option<u64>, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        let scenario = parse(file, &text).map_err(|e| e.to_string())?;
        if !scenario.worlds.contains(&World::Sim) {
            let why = scenario.why.as_deref().unwrap_or("the file gives no reason");
            println!("{file}: skipped, not for the simulated world: {why}");
            return Ok(None);
        }
        let seed = self.seed.unwrap_or(scenario.seed);
        let started = now();
        let report = Report::of(story::run(&scenario, seed));
        let real = started.elapsed();
        if self.json {
            println!("{}", report.json(&scenario, seed));
        } else {
            print!("{}", report.text(&scenario, seed, self.timeline, real));
        }
        Ok((!report.holds()).then_some(seed))
    }
}
