//! What becomes of failures that a search has found: the first of each kind is made small and kept as a scenario file.

use super::many::{Failed, Outcome};
use super::{now, quiet_runs};
use clap::Args;
use pgbaton_core::model::time::duration;
use pgbaton_core::swarm::{self, Manner};
use pgbaton_sim::report::reproduce;
use pgbaton_sim::shrink::file::{self, Origin};
use pgbaton_sim::shrink::size::Way;
use pgbaton_sim::shrink::{self, Options};
use pgbaton_sim::soak::as_live;
use std::collections::BTreeSet;
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
    /// Whoever interrupts a search doesn't wait for them.
    pub fn small_stories(&self, outcome: &Outcome, jobs: usize) {
        if self.shrink.is_zero() || outcome.failed.is_empty() || outcome.interrupted {
            return;
        }
        quiet_runs();
        for seed in first_of_each_kind(&outcome.failed).into_iter().take(KINDS) {
            self.small_story(seed, &outcome.manner, jobs);
        }
    }

    fn small_story(&self, seed: u64, manner: &Manner, jobs: usize) {
        let (plan, started) = (swarm::plan(seed, manner), now());
        let options = Options { jobs, ..Options::default() };
        let late = || started.elapsed() >= self.shrink;
        let Ok(shrunk) = shrink::shrink(&plan, seed, &options, &shrink::simulated(&plan), &late, &|_| {}) else {
            println!("seed {seed} failed once and holds now: runs are not repeatable, see pgbaton-sim meta");
            return;
        };
        let took = started.elapsed().as_secs_f64();
        println!("seed {seed}: {}", shrunk.failure.describe());
        println!("  made small in {took:.0} s: {}", Way(shrunk.from, shrunk.to));
        let live = as_live(manner);
        let origin = Origin::new(&format!("seed {seed}{live}"), format!("pgbaton-sim shrink {seed}{live}"));
        match file::keep(&self.keep, &shrunk, &origin) {
            Ok(path) => println!("  {}", reproduce(&path.display().to_string(), shrunk.scenario.seed)),
            Err(why) => println!("  it could not be kept: {why}"),
        }
    }
}

/// `failed` is in order, and so is the result.
fn first_of_each_kind(failed: &[Failed]) -> Vec<u64> {
    let mut kinds = BTreeSet::new();
    failed.iter().filter(|failed| kinds.insert(&failed.kind)).map(|failed| failed.seed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seed_of_each_kind_is_made_small() {
        let failed = |seed, kind: &str| Failed { seed, broken: vec!["step 3: x".into()], kind: kind.into() };
        let all = [failed(2, "b"), failed(3, "a"), failed(4, "b"), failed(9, "c")];
        assert_eq!(first_of_each_kind(&all), [2, 3, 9]);
    }
}
