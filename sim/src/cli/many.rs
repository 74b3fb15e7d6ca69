//! What all commands share that play many seeds: the progress, the interrupt, the failures.

use super::args::{Jobs, Live};
use super::interrupt::Interrupt;
use super::now;
use super::seeds::{Seeds, Timed};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pgbaton_core::check::marks::MARKS;
use pgbaton_core::swarm::Manner;
use pgbaton_sim::soak::{self, Run, Tally};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A failure more is told only by its seed.
const TOLD_IN_FULL: usize = 10;

/// When the command line doesn't say how many.
const USUAL: u64 = 1000;

#[derive(Debug, Clone, Args)]
pub struct Many {
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    timed: Timed,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    pub jobs: Jobs,
}

pub struct Outcome {
    pub tally: Tally,
    /// Seeds whose runs broke something, in order.
    pub failed: Vec<Failed>,
    pub took: Duration,
    pub manner: Manner,
    /// Somebody put an end to it before it was done.
    pub interrupted: bool,
}

pub struct Failed {
    pub seed: u64,
    /// What was broken, a line each.
    pub broken: Vec<String>,
    /// The name of the first failure, as a shrunk story is named after it.
    pub kind: String,
}

impl Many {
    /// Plays the seeds until all are done, the time is over, or somebody interrupts it.
    pub fn play(&self) -> Result<Outcome, String> {
        let time = self.timed.time();
        let seeds = self.seeds.choose(time.is_none().then_some(USUAL))?;
        let interrupt = Interrupt::watched();
        let (started, jobs, manner) = (now(), self.jobs.get(), self.live.manner());
        let bar = Bar::new(seeds.count(), time, started);
        let mut outcome =
            Outcome { tally: Tally::default(), failed: Vec::new(), took: Duration::ZERO, manner, interrupted: false };
        println!("seeds from {} on{}, {jobs} at a time", seeds.first(), self.seeds.origin());
        let stop = || interrupt.came() || time.is_some_and(|time| started.elapsed() >= time);
        soak::runs(seeds.list(), &manner, jobs, &stop, |run: Run| {
            outcome.tally.add(run.tally);
            if let Some(first) = run.failures.first() {
                bar.tell(run.seed, &run.broken, outcome.failed.len());
                outcome.failed.push(Failed { seed: run.seed, broken: run.broken, kind: first.name.clone() });
            }
            bar.show(&outcome);
        });
        outcome.took = started.elapsed();
        outcome.interrupted = interrupt.came();
        outcome.failed.sort_by_key(|failed| failed.seed);
        bar.bar.finish_and_clear();
        Ok(outcome)
    }
}

impl Outcome {
    /// A line for all of it.
    pub fn summary(&self) -> String {
        let (tally, took) = (&self.tally, self.took.as_secs_f64().max(1e-9));
        let hours = tally.simulated.as_secs_f64() / 3600.0;
        format!(
            "{} seeds in {took:.1} s ({:.2} per second), {hours:.1} simulated hours ({:.2} per second), {} moves of the \
             role, {} of {} marks, {} failed",
            tally.runs,
            tally.runs as f64 / took,
            hours / took,
            tally.promotions,
            tally.marks.len(),
            MARKS.len(),
            self.failed.len()
        )
    }

    /// Ends a command: the failures, and the line that brings the first back. With `all_marks` it is a failure as well
    /// not to have seen what a search must see.
    pub fn exit(&self, all_marks: bool) -> ExitCode {
        let missed = if all_marks && !self.interrupted { self.tally.unseen(true) } else { Vec::new() };
        if !missed.is_empty() {
            println!("never seen, and to be seen: {}", missed.join("; "));
        }
        let more: Vec<String> = self.failed.iter().skip(1).take(200).map(|failed| failed.seed.to_string()).collect();
        if !more.is_empty() {
            println!("also failed: {}", more.join(" "));
        }
        if let Some(Failed { seed, broken, .. }) = self.failed.first() {
            println!("seed {seed}:\n  {}\n{}", broken.join("\n  "), soak::replay(*seed, &self.manner));
        }
        match self.failed.is_empty() && missed.is_empty() {
            _ if self.interrupted => Interrupt::exit(),
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

struct Bar {
    bar: ProgressBar,
    started: Instant,
    time: Option<Duration>,
}

impl Bar {
    fn new(count: u64, time: Option<Duration>, started: Instant) -> Bar {
        let length = time.map_or(count, |t| t.as_secs());
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{elapsed} [{wide_bar}] {percent}% {msg}");
        bar.set_style(style.expect("the template is right"));
        Bar { bar, started, time }
    }

    fn show(&self, outcome: &Outcome) {
        let (tally, took) = (&outcome.tally, self.started.elapsed().as_secs_f64().max(1e-9));
        self.bar.set_position(if self.time.is_some() { took as u64 } else { tally.runs });
        self.bar.set_message(format!(
            "{:.1} seeds/s, {:.1} simulated h/s, {} failovers, {}/{} marks, {} failed",
            tally.runs as f64 / took,
            tally.simulated.as_secs_f64() / 3600.0 / took,
            tally.promotions,
            tally.marks.len(),
            MARKS.len(),
            outcome.failed.len()
        ));
    }

    fn tell(&self, seed: u64, broken: &[String], before: usize) {
        let told = if before < TOLD_IN_FULL { broken.join("\n  ") } else { broken[0].clone() };
        self.bar.suspend(|| println!("seed {seed} failed:\n  {told}"));
    }
}
