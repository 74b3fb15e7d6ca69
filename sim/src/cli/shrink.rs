//! `pgbaton-sim shrink`: the smallest story that still fails in the same way, as a file for `scenarios/regress`.

use super::args::{Jobs, Live};
use super::story::Story;
use super::{bad_input, now, quiet_runs};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pgbaton_core::model::time::duration;
use pgbaton_core::scenario::Scenario;
use pgbaton_core::swarm;
use pgbaton_sim::report::reproduce;
use pgbaton_sim::shrink::file::{self, Origin};
use pgbaton_sim::shrink::size::Way;
use pgbaton_sim::shrink::{self, Failure, Holds, Judge, Options, Progress, Shrunk};
use pgbaton_sim::soak::as_live;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Shrink {
    /// A scenario file, or the seed of a drawn story.
    #[arg(value_name = "FILE|SEED")]
    story: String,
    /// To run it under, instead of the seed in the file or of the story.
    #[arg(long)]
    seed: Option<u64>,
    /// The file to write; without it a file in scenarios/regress, named after the failure and its origin.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Replaces a file that exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    live: Live,
    /// The failure to keep, as `run` prints it; without it the first one.
    #[arg(long, value_name = "NAME")]
    failure: Option<String>,
    #[command(flatten)]
    jobs: Jobs,
    /// The most runs to make.
    #[arg(long, value_name = "N", default_value_t = Options::default().most_runs)]
    runs: u32,
    /// The longest time to take, written 90s, 10m or 1h. What has been reached by then is written.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    time: Duration,
    /// A story that holds under its seed is tried under so many more, the numbers that follow.
    #[arg(long, value_name = "N", default_value_t = 3)]
    other_seeds: u64,
    /// Plants this bug in every run, to see how small a story shows it.
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME", requires = "out", value_parser = super::mutants::find)]
    mutant: Option<pgbaton_core::mutants::Mutant>,
}

impl Shrink {
    pub fn main(self) -> ExitCode {
        let (scenario, seed) = match self.read() {
            Ok(read) => read,
            Err(why) => return bad_input(&why),
        };
        quiet_runs();
        let (options, judge) = (self.options(), self.judge(&scenario));
        // Whether there is a place for the result is said before the work, not after it.
        let path = match (&self.out, shrink::first_failure(&scenario, seed, &options, &judge)) {
            (_, Err(holds)) => return self.nothing_to_shrink(&holds),
            (Some(out), _) => out.clone(),
            (None, Ok(failure)) => file::usual_path(&failure, &self.source()),
        };
        if path.exists() && !self.force {
            return bad_input(&file::taken(&path));
        }
        match self.shrink(&scenario, seed, &options, &judge) {
            Ok(shrunk) => self.write(&shrunk, seed, &path),
            Err(holds) => self.nothing_to_shrink(&holds),
        }
    }

    fn read(&self) -> Result<(Scenario, u64), String> {
        if let Ok(seed) = self.story.parse::<u64>() {
            return Ok((swarm::plan(seed, &self.live.manner()), self.seed.unwrap_or(seed)));
        }
        if self.live.is_set() {
            return Err(format!("{} is a file; --live goes with the seed of a drawn story", self.story));
        }
        let scenario = Story::read(&self.story)?.for_sim()?.scenario;
        let seed = self.seed.unwrap_or(scenario.seed);
        Ok((scenario, seed))
    }

    #[cfg(not(feature = "mutants"))]
    fn judge(&self, story: &Scenario) -> impl Fn(&Scenario, u64) -> Vec<Failure> + Sync + use<> {
        shrink::simulated(story)
    }

    #[cfg(feature = "mutants")]
    fn judge(&self, story: &Scenario) -> impl Fn(&Scenario, u64) -> Vec<Failure> + Sync + use<> {
        let (judge, mutant) = (shrink::simulated(story), self.mutant);
        move |scenario: &Scenario, seed| {
            pgbaton_core::mutants::plant(mutant);
            let failures = judge(scenario, seed);
            pgbaton_core::mutants::plant(None);
            failures
        }
    }

    fn options(&self) -> Options {
        let jobs = self.jobs.get();
        let (most_runs, other_seeds) = (self.runs, self.other_seeds);
        Options { jobs, most_runs, other_seeds, failure: self.failure.clone() }
    }

    fn shrink(&self, scenario: &Scenario, seed: u64, options: &Options, judge: &Judge<'_>) -> Result<Shrunk, Holds> {
        let (started, time) = (now(), self.time);
        let bar = progress_bar();
        let told = |p: &Progress| {
            bar.set_message(format!("{} runs: {} steps, {} nodes", p.runs, p.size.steps, p.size.nodes));
            bar.tick();
        };
        let shrunk = shrink::shrink(scenario, seed, options, judge, &|| started.elapsed() >= time, &told);
        bar.finish_and_clear();
        if let Ok(shrunk) = &shrunk {
            if shrunk.first_seed != seed {
                println!("{} holds under seed {seed}, and fails under seed {}", self.source(), shrunk.first_seed);
            }
            println!("{}", shrunk.failure.describe());
            let took = started.elapsed().as_secs_f64();
            println!("{} runs in {took:.1} s: {}", shrunk.runs, Way(shrunk.from, shrunk.to));
            if !shrunk.failure.invariant {
                println!(
                    "it is an expectation and no invariant: see whether the small story still gives reason for it"
                );
            }
            if shrunk.cut_short {
                println!("cut short by --runs or --time: perhaps there is a smaller story");
            }
        }
        shrunk
    }

    fn write(&self, shrunk: &Shrunk, seed: u64, path: &Path) -> ExitCode {
        let origin = Origin::new(&self.source(), self.command(seed));
        let text = file::text(shrunk, &origin);
        if let Err(why) = file::save(path, &text, self.force) {
            // The work isn't lost: whoever reads this can put it where it belongs.
            println!("\n{text}");
            return bad_input(&why);
        }
        println!("written to {}, which holds once the failure is mended", path.display());
        println!("{}", reproduce(&path.display().to_string(), shrunk.scenario.seed));
        ExitCode::SUCCESS
    }

    fn source(&self) -> String {
        match self.story.parse::<u64>() {
            Ok(seed) => format!("seed {seed}{}", as_live(&self.live.manner())),
            Err(_) => self.story.clone(),
        }
    }

    fn nothing_to_shrink(&self, holds: &Holds) -> ExitCode {
        let seeds: Vec<String> = holds.seeds.iter().map(u64::to_string).collect();
        let under = format!("under seed{} {}", if seeds.len() > 1 { "s" } else { "" }, seeds.join(", "));
        match &self.failure {
            None => println!("{} holds {under}: there is nothing to shrink", self.source()),
            Some(name) => {
                println!("{} doesn't fail with \"{name}\" {under}: there is nothing to shrink", self.source());
                holds.found.iter().for_each(|found| println!("  it fails with \"{found}\""));
            }
        }
        ExitCode::FAILURE
    }

    /// What the result depends on.
    fn command(&self, seed: u64) -> String {
        let mut line = format!("pgbaton-sim shrink {}{} --seed {seed}", self.story, as_live(&self.live.manner()));
        if let Some(failure) = &self.failure {
            line += &format!(" --failure \"{failure}\"");
        }
        if self.runs != Options::default().most_runs {
            line += &format!(" --runs {}", self.runs);
        }
        if self.other_seeds != Options::default().other_seeds {
            line += &format!(" --other-seeds {}", self.other_seeds);
        }
        #[cfg(feature = "mutants")]
        if let Some(mutant) = self.mutant {
            line += &format!(" --mutant {}", mutant.name());
        }
        line
    }
}

fn progress_bar() -> ProgressBar {
    // On standard error, and only when that is a terminal.
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is right");
    ProgressBar::new_spinner().with_style(style)
}
