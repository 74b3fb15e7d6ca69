//! `pgbaton-sim replay`: one drawn story again, with all that happened in it.

use super::args::Live;
use super::now;
use clap::Args;
use pgbaton_core::scenario::write;
use pgbaton_core::swarm::plan;
use pgbaton_sim::ink::Ink;
use pgbaton_sim::report::{Report, TimelineStyle};
use pgbaton_sim::story;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Replay {
    seed: u64,
    /// Prints the story that the seed means as a scenario file, and doesn't play it.
    #[arg(long)]
    print_plan: bool,
    #[command(flatten)]
    live: Live,
    /// Prints the whole trace as one line of JSON.
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value = "full")]
    timeline: TimelineStyle,
}

impl Replay {
    pub fn main(self) -> ExitCode {
        let plan = plan(self.seed, &self.live.manner());
        if self.print_plan {
            print!("{}", write(&plan, &format!("Drawn from seed {}.", self.seed)));
            return ExitCode::SUCCESS;
        }
        let started = now();
        let report = Report::of(story::run(&plan, self.seed));
        match self.json {
            true => println!("{}", report.json(&plan, self.seed)),
            false => print!("{}", report.text(&plan, self.seed, self.timeline, Ink::for_stdout(), started.elapsed())),
        }
        if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
