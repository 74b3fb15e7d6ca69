//! What all commands share that play many seeds: the progress, the interrupt, the failures.

use super::now;
use super::seeds::Seeds;
use indicatif::{ProgressBar, ProgressStyle};
use pgbaton_core::check::marks::MARKS;
use pgbaton_core::swarm::Manner;
use pgbaton_sim::soak::{self, Run, Tally};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A failure more is told only by its seed.
const TOLD_IN_FULL: usize = 10;

pub struct Outcome {
    pub tally: Tally,
    /// Seeds whose runs broke something, with what, in order.
    pub failed: Vec<(u64, Vec<String>)>,
    pub took: Duration,
    pub manner: Manner,
}

/// Plays the seeds until all are done, the time is over, or somebody interrupts it.
pub fn play(seeds: &Seeds, usual: u64) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the process at once.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone());
        let _ = signal_hook::flag::register(signal, stop.clone());
    }
    let (started, jobs) = (now(), seeds.jobs());
    let bar = Bar::new(seeds.count(usual), seeds.time(), started);
    let mut outcome =
        Outcome { tally: Tally::default(), failed: Vec::new(), took: Duration::ZERO, manner: seeds.manner() };
    println!("seeds from {} on, {jobs} at a time", seeds.first(usual));
    soak::runs(seeds.list(usual), &seeds.manner(), jobs, &stop, |run: Run| {
        outcome.tally.add(run.tally);
        if !run.broken.is_empty() {
            bar.tell(run.seed, &run.broken, outcome.failed.len());
            outcome.failed.push((run.seed, run.broken));
        }
        bar.show(&outcome);
        if seeds.time().is_some_and(|time| started.elapsed() >= time) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    outcome.took = started.elapsed();
    outcome.failed.sort();
    bar.bar.finish_and_clear();
    outcome
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
        let missed = if all_marks { self.tally.unseen(true) } else { Vec::new() };
        if !missed.is_empty() {
            println!("never seen, and to be seen: {}", missed.join("; "));
        }
        let Some((seed, broken)) = self.failed.first() else {
            return if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        };
        let more: Vec<String> = self.failed.iter().skip(1).take(200).map(|(seed, _)| seed.to_string()).collect();
        if !more.is_empty() {
            println!("also failed: {}", more.join(" "));
        }
        println!("seed {seed}:\n  {}\n{}", broken.join("\n  "), soak::replay(*seed, &self.manner));
        ExitCode::FAILURE
    }
}

struct Bar {
    bar: ProgressBar,
    started: Instant,
    time: Option<Duration>,
}

impl Bar {
    fn new(count: Option<u64>, time: Option<Duration>, started: Instant) -> Bar {
        let length = count.or(time.map(|t| t.as_secs()));
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new(length.unwrap_or(0)) } else { ProgressBar::hidden() };
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
