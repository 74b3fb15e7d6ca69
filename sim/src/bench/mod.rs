//! What a simulated second costs: the whole world with all its checkers, and beside it the bare executor that
//! carries as many messages and does nothing else. The second is the floor of the first.

mod bare;

use crate::report::Report;
use crate::story;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use pgbaton_core::scenario::{Scenario, parse};
use serde::Serialize;
use std::time::Duration;

const STEADY: &str = include_str!("steady.toml");

/// One round, both ways.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Seconds that passed in the simulated world.
    pub simulated: f64,
    /// Packets sent over its links.
    pub messages: u64,
    /// Events in its trace; each is judged by every checker.
    pub events: u64,
    /// Seconds of one core that the world took, its judges included.
    pub core: f64,
    /// The same of the bare executor, for as many simulated seconds and messages.
    pub bare_core: f64,
    /// The most memory that this process has had so far, in KiB.
    pub peak_kib: i64,
}

impl Round {
    /// Simulated seconds per second of one core.
    pub fn speed(&self) -> f64 {
        self.simulated / self.core
    }

    pub fn bare_speed(&self) -> f64 {
        self.simulated / self.bare_core
    }

    /// Of the executor's speed this much is left.
    pub fn share(&self) -> f64 {
        self.bare_core / self.core
    }

    /// Messages and events per second of one core.
    pub fn events_per_second(&self) -> f64 {
        (self.messages + self.events) as f64 / self.core
    }
}

/// # Errors
/// When the world did not hold: then there is nothing to measure.
pub fn round(seed: u64, simulated: Duration) -> Result<Round, String> {
    let scenario = steady(simulated);
    let before = usage();
    let report = Report::of(story::run(&scenario, seed));
    let core = core_seconds(&before, &usage());
    if !report.holds() {
        return Err(format!("the steady world did not hold under seed {seed}: {:?}", report.broken()));
    }
    let (messages, lasted) = (report.outcome.messages, report.outcome.simulated);
    let before = usage();
    bare::carry(seed, messages, lasted)?;
    let after = usage();
    Ok(Round {
        simulated: lasted.as_secs_f64(),
        messages,
        events: report.outcome.trace.events.len() as u64,
        core,
        bare_core: core_seconds(&before, &after),
        peak_kib: after.max_rss(),
    })
}

fn steady(simulated: Duration) -> Scenario {
    let mut scenario = parse("steady.toml", STEADY).expect("the file is a part of this program");
    scenario.steps[0].at = Some(simulated);
    scenario
}

/// Time of the core, not of the wall: the machine may be busy with other things.
fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage")
}

fn core_seconds(before: &Usage, after: &Usage) -> f64 {
    let total = |u: &Usage| {
        let (user, system) = (u.user_time(), u.system_time());
        (user.tv_sec() + system.tv_sec()) as f64 + (user.tv_usec() + system.tv_usec()) as f64 / 1e6
    };
    (total(after) - total(before)).max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_counts_what_it_carries() {
        let round = round(1, Duration::from_secs(5)).unwrap();
        assert!(round.simulated >= 5.0 && round.messages > 1000 && round.events > 200, "{round:?}");
        assert!(round.core > 0.0 && round.bare_core > 0.0 && round.peak_kib > 0, "{round:?}");
    }
}
