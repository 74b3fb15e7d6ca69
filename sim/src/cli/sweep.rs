//! `pgbaton-sim sweep`: a harm at every point of a story.

use super::args::Jobs;
use super::interrupt::Interrupt;
use super::story::Story;
use super::table::table;
use super::{bad_input, now};
use clap::Args;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use pgbaton_sim::ink::Ink;
use pgbaton_sim::report::{Report, TimelineStyle};
use pgbaton_sim::sweep::{Name, Sweep, Tally};
use pgbaton_sim::world::points::Trap;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    #[arg(long, value_name = "POINT:HARM", conflicts_with_all = ["every", "jobs"])]
    only: Option<Name>,
    /// Plays every n-th run of each file.
    #[arg(long, default_value = "1", value_name = "N")]
    every: NonZero<usize>,
    #[command(flatten)]
    jobs: Jobs,
    /// How the timeline of the run is printed that is played alone.
    #[arg(long, value_enum, requires = "only")]
    timeline: Option<TimelineStyle>,
}

/// Why a file can't be swept.
enum Trouble {
    /// The story doesn't hold by itself.
    Fails(String),
    /// What was asked for isn't there.
    Nonsense(String),
}

impl SweepFiles {
    pub fn main(self) -> ExitCode {
        let stories = match Story::read_all(&self.files) {
            Ok(stories) => stories,
            Err(why) => return bad_input(&why),
        };
        let interrupt = Interrupt::watched();
        let started = now();
        let (mut total, mut failed) = (Tally::default(), false);
        for story in &stories {
            if interrupt.came() {
                break;
            }
            match self.sweep(story, &interrupt) {
                Ok(tally) => total.merge(tally),
                Err(Trouble::Fails(why)) => {
                    println!("{}: {why}", story.file);
                    failed = true;
                }
                Err(Trouble::Nonsense(why)) => return bad_input(&format!("{}: {why}", story.file)),
            }
        }
        if self.only.is_none() {
            println!("{}\n{}", shown(&total), total.summary(started.elapsed()));
        }
        failed |= total.total().violations > 0;
        match failed {
            _ if interrupt.came() => Interrupt::exit(),
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }

    fn sweep(&self, Story { file, scenario, .. }: &Story, interrupt: &Interrupt) -> Result<Tally, Trouble> {
        let sweep = Sweep::of(scenario, self.seed.unwrap_or(scenario.seed)).map_err(Trouble::Fails)?;
        match self.only {
            Some(name) => self.play_one(file, &sweep, name),
            None => Ok(self.play_all(file, &sweep, interrupt)),
        }
    }

    fn play_one(&self, file: &str, sweep: &Sweep, name: Name) -> Result<Tally, Trouble> {
        let trap = sweep.trap(name).map_err(Trouble::Nonsense)?;
        let (started, style) = (now(), self.timeline.unwrap_or(TimelineStyle::Full));
        let report = sweep.play(&trap);
        print!("{}", report.text(sweep.scenario(), sweep.seed(), style, Ink::for_stdout(), started.elapsed()));
        if !report.holds() {
            println!("{}", sweep.reproduce(file, &trap));
        }
        let mut tally = Tally::default();
        tally.count(&trap, &report);
        Ok(tally)
    }

    fn play_all(&self, file: &str, sweep: &Sweep, interrupt: &Interrupt) -> Tally {
        let traps = sweep.traps(self.every.get());
        let bar = bar(file, traps.len());
        let next = AtomicUsize::new(0);
        let (results, played) = mpsc::channel::<(usize, Report)>();
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.get() {
                let (results, traps, next) = (results.clone(), &traps, &next);
                scope.spawn(move || {
                    while !interrupt.came() {
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

fn shown(tally: &Tally) -> Table {
    let (head, rows) = tally.rows();
    let mut table = table(&head, 1);
    table.add_rows(rows);
    table
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
