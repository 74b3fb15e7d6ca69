//! Makes a failing story smaller: fewer steps, nodes and clients, lower rates, shorter times, usual settings, for as
//! long as it fails in the same way. What is left is the failure and little else, and becomes a scenario file.

pub mod failure;
pub mod file;
mod mends;
pub mod reduce;
mod search;
pub mod size;

pub use failure::{Failure, failures};
pub use size::Size;

use crate::report::Report;
use crate::story;
use pgbaton_core::scenario::{Scenario, World};
use reduce::WAYS;
use search::{Goal, Search};
use std::collections::BTreeSet;

/// What failed in a run of this story under this seed. The same answer whenever it is asked, on whatever thread.
pub type Judge<'a> = dyn Fn(&Scenario, u64) -> Vec<Failure> + Sync + 'a;

/// The judge that `pgbaton-sim run` is.
pub fn simulated(original: &Scenario) -> impl Fn(&Scenario, u64) -> Vec<Failure> + Sync + use<> {
    let nodes = original.nodes();
    move |scenario, seed| failures(&Report::of(story::run(scenario, seed)), &nodes)
}

#[derive(Debug, Clone)]
pub struct Options {
    /// Runs at the same time. The result doesn't depend on it.
    pub jobs: usize,
    /// No more than this many runs.
    pub most_runs: u32,
    /// A story that holds under its seed is tried under so many more, the numbers that follow; and so is a smaller
    /// one, when no other is found.
    pub other_seeds: u64,
    /// The failure to keep, by its name or as a report says it; the first one if none is given.
    pub failure: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options { jobs: 1, most_runs: 2000, other_seeds: 3, failure: None }
    }
}

impl Options {
    fn seeds(&self, first: u64) -> Vec<u64> {
        (0..=self.other_seeds).map(|n| first.wrapping_add(n)).collect()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// So far, about: runs that are under way end in any order.
    pub runs: u32,
    pub size: Size,
}

#[derive(Debug, Clone)]
pub struct Shrunk {
    /// With the seed under which it fails.
    pub scenario: Scenario,
    pub failure: Failure,
    /// Under which the story failed first.
    pub first_seed: u64,
    pub from: Size,
    pub to: Size,
    pub runs: u32,
    /// It was cut short, by the number of runs or by `stop`: perhaps there is a smaller one.
    pub cut_short: bool,
}

/// The story doesn't fail as asked, under any of these seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds {
    pub seeds: Vec<u64>,
    /// The names of what else failed.
    pub found: BTreeSet<String>,
}

/// Shrinks a story that fails under this seed. The same call gives the same result, unless `stop` ends it: that is
/// asked before each run. `told` hears of every run, from any thread.
pub fn shrink(
    scenario: &Scenario,
    seed: u64,
    options: &Options,
    judge: &Judge<'_>,
    stop: &(dyn Fn() -> bool + Sync),
    told: &(dyn Fn(&Progress) + Sync),
) -> Result<Shrunk, Holds> {
    let mut scenario = scenario.clone();
    // What is left of a story is about this world: live runs have no seeds.
    scenario.worlds = vec![World::Sim];
    scenario.why = Some("it was found in simulation, where a seed brings it back".into());
    let seeds = options.seeds(seed);
    let (first_seed, mut failure, allowed) = failure_to_keep(&scenario, &seeds, options, judge)?;
    scenario.seed = first_seed;
    let from = Size::of(&scenario);
    let mut search = Search {
        judge,
        goal: Goal { failure: failure.clone(), allowed, story: scenario.clone() },
        jobs: options.jobs,
        most_runs: options.most_runs,
        stop,
        told,
        runs: 0,
        stopped: false,
        tried: BTreeSet::new(),
    };
    // A smaller story draws other chances from its seed: others are tried when nothing more is found under this one.
    loop {
        let mut found = false;
        for seeds in [None, Some(&seeds)] {
            for way in WAYS {
                // Candidates before the one that was taken have been tried; the next round tries them again.
                let mut from = 0;
                while let Some(taken) = smaller(&mut search, &scenario, way, from, seeds) {
                    from += taken.index;
                    (scenario, failure, found) = (taken.scenario, taken.failure, true);
                }
            }
            if found {
                break;
            }
        }
        if !found || search.exhausted() {
            break;
        }
    }
    let (to, cut_short) = (Size::of(&scenario), search.exhausted());
    Ok(Shrunk { scenario, failure, first_seed, from, to, runs: search.runs, cut_short })
}

/// How a story fails that is yet to be shrunk.
pub fn first_failure(scenario: &Scenario, seed: u64, options: &Options, judge: &Judge<'_>) -> Result<Failure, Holds> {
    failure_to_keep(scenario, &options.seeds(seed), options, judge).map(|(_, failure, _)| failure)
}

/// The first seed that fails, the failure to keep, and the names of all.
fn failure_to_keep(
    scenario: &Scenario,
    seeds: &[u64],
    options: &Options,
    judge: &Judge<'_>,
) -> Result<(u64, Failure, BTreeSet<String>), Holds> {
    let mut found = BTreeSet::new();
    for &seed in seeds {
        let failures = judge(scenario, seed);
        let wanted = |f: &&Failure| options.failure.as_ref().is_none_or(|given| f.is(given, &scenario.nodes()));
        let names: BTreeSet<String> = failures.iter().map(|f| f.name.clone()).collect();
        if let Some(failure) = failures.iter().find(wanted) {
            return Ok((seed, failure.clone(), names));
        }
        found.extend(names);
    }
    Err(Holds { seeds: seeds.to_vec(), found })
}

/// The first candidate that fails under the story's seed, or under others.
fn smaller(
    search: &mut Search<'_>,
    scenario: &Scenario,
    way: reduce::Way,
    from: usize,
    others: Option<&Vec<u64>>,
) -> Option<search::Found> {
    let candidates = way.candidates(scenario);
    let seeds = match others {
        None => vec![scenario.seed],
        Some(others) => others.iter().copied().filter(|seed| *seed != scenario.seed).collect(),
    };
    seeds.into_iter().find_map(|seed| {
        let mut under_seed: Vec<Scenario> = candidates.iter().skip(from).cloned().collect();
        under_seed.iter_mut().for_each(|candidate| candidate.seed = seed);
        search.first(under_seed, Size::of(scenario))
    })
}

#[cfg(test)]
mod tests;
