//! `pgbaton-sim sweep`: a harm at every point of a story.

use super::{bad_input, now};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pgbaton_core::scenario::{World, parse};
use pgbaton_sim::ink::Ink;
use pgbaton_sim::report::{Report, TimelineStyle};
use pgbaton_sim::sweep::{Name, Sweep, Tally};
use pgbaton_sim::world::points::Trap;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Plays each file once for every point at which a process does something that lasts or is seen, and every harm:
/// the process or its node is killed there, loses power, is paused or cut off, or isn't told what it did.
#[derive(Debug, Args)]
pub struct SweepFiles {
    #[arg(required = true)]
    files: Vec<String>,
    /// Instead of the seed in the file.
    #[arg(long)]
    seed: Option<u64>,
    /// Plays one run alone and prints its timeline, named as a failure names it: 137:kill-node.
    #[arg(long, value_name = "POINT:HARM")]
    only: Option<Name>,
    /// Plays every n-th run of each file.
    #[arg(long, default_value = "1", value_name = "N")]
    every: NonZero<usize>,
    /// How many runs go on at a time; by default as many as there are processors.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[arg(long, value_enum, default_value = "full")]
    timeline: TimelineStyle,
}

/// What a file came to.
enum Swept {
    Skipped,
    /// Nothing can be swept: the story doesn't hold by itself.
    Fails(String),
    Done(Tally),
}

impl SweepFiles {
    pub fn main(self) -> ExitCode {
        let interrupted = Arc::new(AtomicBool::new(false));
        if let Err(why) = signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted.clone()) {
            return bad_input(&format!("interrupts can't be caught: {why}"));
        }
        let started = now();
        let (mut total, mut failed) = (Tally::default(), false);
        for file in &self.files {
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            match self.sweep(file, &interrupted) {
                Err(why) => return bad_input(&why),
                Ok(Swept::Skipped) => {}
                Ok(Swept::Fails(why)) => {
                    println!("{file}: {why}");
                    failed = true;
                }
                Ok(Swept::Done(tally)) => total.merge(tally),
            }
        }
        if self.only.is_none() {
            println!("{}\n{}", total.table(), total.summary(started.elapsed()));
            if interrupted.load(Ordering::Relaxed) {
                println!("interrupted: this is what was done until then");
            }
        }
        failed |= total.total().violations > 0;
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn sweep(&self, file: &str, interrupted: &AtomicBool) -> Result<Swept, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        let scenario = parse(file, &text).map_err(|e| e.to_string())?;
        if !scenario.worlds.contains(&World::Sim) {
            let why = scenario.why.as_deref().unwrap_or("the file gives no reason");
            println!("{file}: skipped, not for the simulated world: {why}");
            return Ok(Swept::Skipped);
        }
        let sweep = match Sweep::of(&scenario, self.seed.unwrap_or(scenario.seed)) {
            Ok(sweep) => sweep,
            Err(why) => return Ok(Swept::Fails(why)),
        };
        match self.only {
            Some(name) => self.play_one(file, &sweep, name),
            None => Ok(Swept::Done(self.play_all(file, &sweep, interrupted))),
        }
    }

    fn play_one(&self, file: &str, sweep: &Sweep, name: Name) -> Result<Swept, String> {
        let trap = sweep.trap(name).map_err(|why| format!("{file}: {why}"))?;
        let started = now();
        let report = sweep.play(&trap);
        print!("{}", report.text(sweep.scenario(), sweep.seed(), self.timeline, Ink::for_stdout(), started.elapsed()));
        if !report.holds() {
            println!("{}", sweep.reproduce(file, &trap));
        }
        let mut tally = Tally::default();
        tally.count(&trap, &report);
        Ok(Swept::Done(tally))
    }

    fn play_all(&self, file: &str, sweep: &Sweep, interrupted: &AtomicBool) -> Tally {
        let traps = sweep.traps(self.every.get());
        let bar = bar(file, traps.len());
        let next = AtomicUsize::new(0);
        let (results, played) = mpsc::channel::<(usize, Report)>();
        let jobs = self.jobs.or(std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let (results, traps, next) = (results.clone(), &traps, &next);
                scope.spawn(move || {
                    while !interrupted.load(Ordering::Relaxed) {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(trap) = traps.get(i) else { return };
                        if results.send((i, sweep.play(trap))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            for (i, report) in played {
                tally.count(&traps[i], &report);
                bar.inc(1);
                if !report.holds() {
                    bar.suspend(|| println!("{}", failure(file, sweep, &traps[i], &report)));
                }
            }
        });
        bar.finish_and_clear();
        println!(
            "{file}: {} points, {} runs, {} violations",
            sweep.points.len(),
            tally.total().runs,
            tally.total().violations
        );
        tally
    }
}

fn failure(file: &str, sweep: &Sweep, trap: &Trap, report: &Report) -> String {
    let what = format!("{file}: {} at {}", trap.harm.name(), trap.point);
    format!("{what}\n  {}\n  {}", report.broken().join("\n  "), sweep.reproduce(file, trap))
}

/// Shown when standard error is a terminal.
fn bar(file: &str, runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64).with_message(file.to_string());
    let style = "{msg} [{bar:30}] {pos}/{len} runs, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed").progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
