//! What becomes of failures that a search has found: the first of each kind is made small and kept as a scenario file.

use super::{now, quiet_runs};
use clap::Args;
use pgbaton_core::model::time::duration;
use pgbaton_sim::report::reproduce;
use pgbaton_sim::shrink::file::{self, Origin};
use pgbaton_sim::shrink::size::Way;
use pgbaton_sim::shrink::{self, Options};
use pgbaton_sim::soak;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Of how many kinds of failures one is made small.
const KINDS: usize = 3;

#[derive(Debug, Clone, Args)]
pub struct Keep {
    /// The folder for small stories that fail as the drawn ones did.
    #[arg(long, value_name = "DIR", default_value = "target/regress")]
    keep: PathBuf,
    /// The longest time to make one of them small, written 60s or 2m; 0s keeps none.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    shrink: Duration,
}

impl Keep {
    /// `failed` are seeds in order, with what each broke.
    pub fn small_stories(&self, failed: &[(u64, Vec<String>)], jobs: usize) {
        if self.shrink.is_zero() || failed.is_empty() {
            return;
        }
        quiet_runs();
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for (seed, broken) in failed {
            kinds.entry(kind(broken)).or_insert(*seed);
        }
        let mut first: Vec<u64> = kinds.into_values().collect();
        first.sort_unstable();
        for seed in first.into_iter().take(KINDS) {
            self.small_story(seed, jobs);
        }
    }

    fn small_story(&self, seed: u64, jobs: usize) {
        let (plan, started) = (soak::plan(seed), now());
        let options = Options { jobs, ..Options::default() };
        let late = || started.elapsed() >= self.shrink;
        let Ok(shrunk) = shrink::shrink(&plan, seed, &options, &shrink::simulated(&plan), &late, &|_| {}) else {
            println!("seed {seed} failed once and holds now: runs are not repeatable, see pgbaton-sim meta");
            return;
        };
        let took = started.elapsed().as_secs_f64();
        println!("seed {seed}: {}", shrunk.failure.describe());
        println!("  made small in {took:.0} s: {}", Way(shrunk.from, shrunk.to));
        let origin = Origin::new(&format!("seed {seed}"), format!("pgbaton-sim shrink {seed}"));
        match file::keep(&self.keep, &shrunk, &origin) {
            Ok(path) => println!("  {}", reproduce(&path.display().to_string(), shrunk.scenario.seed)),
            Err(why) => println!("  it could not be kept: {why}"),
        }
    }
}

/// The invariant, or the expectation, that broke first.
fn kind(broken: &[String]) -> &str {
    broken.first().map_or("", |how| how.split(':').next().unwrap_or(how))
}
