//! Plays a scenario and brings back what happened.

pub mod condition;
pub mod harm;
pub mod observer;
pub mod outcome;
pub mod play;
pub mod verb;

pub use outcome::Outcome;

use crate::world::Points;
use pgbaton_core::scenario::Scenario;

/// One run of a scenario under a seed, on a thread of its own.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    run_with(scenario, seed, Points::default())
}

/// The same with its points counted, or with a trap at one of them: then nothing of the story's course is demanded,
/// and the checkers alone judge the run.
pub fn run_with(scenario: &Scenario, seed: u64, points: Points) -> Outcome {
    let played = scenario.clone();
    match crate::world::on_fresh_thread(seed, move || play::play(played, points)) {
        Ok(outcome) => outcome,
        Err(panic) => Outcome::broken(panic),
    }
}
