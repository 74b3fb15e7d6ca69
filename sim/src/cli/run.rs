//! `pgbaton-sim run`: plays files, each once.

use super::story::Story;
use super::{bad_input, now};
use clap::Args;
use pgbaton_sim::ink::Ink;
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
        let stories = match Story::read_all(&self.files) {
            Ok(stories) => stories,
            Err(why) => return bad_input(&why),
        };
        let failed: Vec<String> = stories.iter().filter_map(|story| self.play(story)).collect();
        for line in &failed {
            // Machines read standard output as JSON; people read the lines wherever they are last.
            if self.json { eprintln!("{line}") } else { println!("{line}") }
        }
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The line that brings it back when the run did not hold.
    fn play(&self, Story { file, scenario, .. }: &Story) -> Option<String> {
        let seed = self.seed.unwrap_or(scenario.seed);
        let started = now();
        let report = Report::of(story::run(scenario, seed));
        let real = started.elapsed();
        if self.json {
            println!("{}", report.json(scenario, seed));
        } else {
            print!("{}", report.text(scenario, seed, self.timeline, Ink::for_stdout(), real));
        }
        (!report.holds()).then(|| reproduce(file, seed))
    }
}
