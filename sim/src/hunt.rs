//! The hunt for planted bugs: runs with one bug after the other, until a judge finds each.

use crate::report::Report;
use crate::story;
use pgbaton_core::mutants::{Mutant, plant};
use pgbaton_core::scenario::Scenario;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is played under a seed: a story, and the seed of its own run.
pub type Ground<'a> = &'a (dyn Fn(u64) -> (Scenario, u64) + Sync);

/// How a bug was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// The seed under which it showed.
    pub seed: u64,
    pub invariant: String,
    pub how: String,
}

/// A bug that was hunted.
#[derive(Debug, Clone)]
pub struct Hunted {
    pub mutant: Mutant,
    /// Runs it took, or all there were.
    pub runs: u64,
    pub caught: Option<Caught>,
    /// Seeds whose runs fail without any bug: they prove nothing about this one, and something about the rest.
    pub sick: Vec<u64>,
}

/// Plays one seed, with a planted bug or without.
pub fn play(ground: Ground, seed: u64, mutant: Option<Mutant>) -> Report {
    let (scenario, of_run) = ground(seed);
    plant(mutant);
    let outcome = story::run(&scenario, of_run);
    plant(None);
    Report::of(outcome)
}

/// The first thing that is wrong with a run: what, and how.
pub fn blame(report: &Report) -> Option<(String, String)> {
    let broken = report.verdicts.iter().find_map(|v| Some((v.name.to_string(), v.broken.clone()?)));
    let unmet = report.outcome.unmet.first().map(|how| match how.starts_with("the run panicked") {
        true => ("the world stands".to_string(), how.clone()),
        false => ("the story ends as told".to_string(), how.clone()),
    });
    broken.or(unmet)
}

/// Plays seeds until the bug shows in one whose run holds without it.
pub fn hunt(ground: Ground, mutant: Mutant, seeds: impl Iterator<Item = u64>, played: impl Fn()) -> Hunted {
    let mut hunted = Hunted { mutant, runs: 0, caught: None, sick: Vec::new() };
    for seed in seeds {
        let blame_with = blame(&play(ground, seed, Some(mutant)));
        hunted.runs += 1;
        played();
        let Some((invariant, how)) = blame_with else { continue };
        if blame(&play(ground, seed, None)).is_some() {
            hunted.sick.push(seed);
            continue;
        }
        hunted.caught = Some(Caught { seed, invariant, how });
        break;
    }
    hunted
}

/// Hunts several bugs side by side; each by itself takes the same runs whatever the others do.
pub fn hunt_all<T: Send>(jobs: usize, mutants: &[Mutant], hunt: impl Fn(Mutant) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        let mutant = || {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            Some((nth, *mutants.get(nth)?))
        };
        std::iter::from_fn(mutant).map(|(nth, mutant)| (nth, hunt(mutant))).collect::<Vec<_>>()
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let hunters: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(one_after_the_other)).collect();
        hunters.into_iter().flat_map(|h| h.join().expect("a run that panics is caught")).collect()
    });
    all.sort_by_key(|(nth, _)| *nth);
    all.into_iter().map(|(_, hunted)| hunted).collect()
}
