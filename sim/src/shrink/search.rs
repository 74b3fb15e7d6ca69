//! Finds the first of many candidates that still fails in the same way. Runs go side by side, and yet the answer is
//! the one that a search one after the other would give.

use super::failure::{Failure, names};
use super::size::Size;
use super::{Judge, Progress, mends};
use pgbaton_core::check::Terms;
use pgbaton_core::scenario::{Scenario, expect, parse, write};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// What a smaller story must still be.
pub struct Goal {
    pub failure: Failure,
    /// Everything that failed at first. A story that breaks something else is another story: it would not hold once
    /// this failure is mended.
    pub allowed: BTreeSet<String>,
    /// The story as it was: what is smaller is judged by the same terms, with stricter ones everything fails.
    pub story: Scenario,
}

impl Goal {
    /// How it fails, when it fails as it must.
    fn met_by(&self, failures: &[Failure]) -> Option<Failure> {
        let same = failures.iter().find(|f| f.name == self.failure.name)?;
        names(failures).iter().all(|name| self.allowed.contains(*name)).then(|| same.clone())
    }
}

/// By the same terms, but for nodes and faults that are gone.
fn judged_alike(small: &Scenario, big: &Scenario) -> bool {
    let mut terms = terms(big);
    terms.core.retain(|node| small.cluster.nodes.contains(node));
    // With nobody left who must settle, everybody would have to.
    let nobody = terms.core.is_empty() && !big.finally.core.is_empty();
    terms.fault_points &= !small.fault_points.is_empty();
    // A second formation may be gone as a whole.
    let of_beside = |s: &Scenario| s.of_beside().map(|s| self::terms(&s));
    let beside = small.beside.is_none() || of_beside(small) == of_beside(big);
    !nobody && beside && self::terms(small) == terms
}

/// Without what only tells of what the group and its clients are like: that may become simpler.
fn terms(scenario: &Scenario) -> Terms {
    let Terms { acknowledgements, not_asked, never_lead, sticky, .. } = Terms::default();
    Terms { acknowledgements, not_asked, never_lead, sticky, ..expect::terms(scenario) }
}

pub struct Search<'a> {
    pub judge: &'a Judge<'a>,
    pub goal: Goal,
    pub jobs: usize,
    pub most_runs: u32,
    pub stop: &'a (dyn Fn() -> bool + Sync),
    pub told: &'a (dyn Fn(&Progress) + Sync),
    /// As a search one after the other counts them.
    pub runs: u32,
    pub stopped: bool,
    /// Every text that was run: a run is not repeated, it would end as it did.
    pub tried: BTreeSet<String>,
}

pub struct Found {
    /// Of the candidates.
    pub index: usize,
    pub scenario: Scenario,
    pub failure: Failure,
}

impl Search<'_> {
    /// Candidates are stories with their seeds. Those that make no sense are passed over.
    pub fn first(&mut self, candidates: Vec<Scenario>, so_far: Size) -> Option<Found> {
        let mut sound: Vec<(usize, Scenario)> = Vec::new();
        for (index, candidate) in candidates.into_iter().enumerate() {
            let text = write(&candidate, "");
            if self.makes_sense(&candidate, &text) && !self.tried.contains(&text) {
                sound.push((index, candidate));
            }
        }
        // No more than are allowed, whatever is found among them: a bound that followed the threads would give
        // another answer on another machine.
        sound.truncate(self.left());
        let best = self.run(&sound, so_far);
        let counted = best.as_ref().map_or(sound.len(), |(at, _)| at + 1);
        self.runs += u32::try_from(counted).unwrap_or(u32::MAX);
        self.tried.extend(sound[..counted].iter().map(|(_, candidate)| write(candidate, "")));
        let (at, failure) = best?;
        let (index, scenario) = sound.swap_remove(at);
        Some(Found { index, scenario, failure })
    }

    pub fn exhausted(&self) -> bool {
        self.stopped || self.left() == 0
    }

    fn left(&self) -> usize {
        self.most_runs.saturating_sub(self.runs) as usize
    }

    /// What is run is what a file would say, and it is judged as before.
    fn makes_sense(&self, candidate: &Scenario, text: &str) -> bool {
        let read = parse("candidate", text);
        let story = &self.goal.story;
        // Without clients nobody is told anything, and there is nothing to lose.
        if candidate.workload.is_empty() && !story.workload.is_empty() {
            return false;
        }
        read.is_ok_and(|read| read == *candidate) && judged_alike(candidate, story) && mends::as_whole(candidate, story)
    }

    fn run(&mut self, sound: &[(usize, Scenario)], so_far: Size) -> Option<(usize, Failure)> {
        let (next, best) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let (runs, stopped) = (AtomicU32::new(self.runs), AtomicBool::new(false));
        let (judge, goal, stop, told) = (self.judge, &self.goal, self.stop, self.told);
        let one_after_the_other = || {
            let mut met = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                // All before the best are run to their end, so that the best is the first.
                if at >= sound.len() || at > best.load(Ordering::Relaxed) {
                    return met;
                }
                if stop() {
                    stopped.store(true, Ordering::Relaxed);
                    return met;
                }
                let scenario = &sound[at].1;
                if let Some(failure) = goal.met_by(&judge(scenario, scenario.seed)) {
                    best.fetch_min(at, Ordering::Relaxed);
                    met.push((at, failure));
                }
                told(&Progress { runs: runs.fetch_add(1, Ordering::Relaxed) + 1, size: so_far });
            }
        };
        let met = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.jobs.clamp(1, sound.len().max(1))).map(|_| scope.spawn(one_after_the_other)).collect();
            workers.into_iter().flat_map(|w| w.join().expect("a run catches its panics")).collect::<Vec<_>>()
        });
        self.stopped |= stopped.into_inner();
        met.into_iter().min_by_key(|(at, _)| *at)
    }
}
