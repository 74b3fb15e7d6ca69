//! Plays a scenario and brings back what happened.

pub mod condition;
pub mod observer;
pub mod outcome;
pub mod play;
pub mod verb;

pub use outcome::Outcome;

use pgbaton_core::scenario::Scenario;

/// One run of a scenario under a seed, on a thread of its own.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let played = scenario.clone();
    match crate::world::on_fresh_thread(seed, move || play::play(played)) {
        Ok(outcome) => outcome,
        Err(panic) => Outcome::broken(panic),
    }
}
