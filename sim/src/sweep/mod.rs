//! Plays a story again and again, each time with one harm at one of its points: a crash at every step. The same file
//! and the same case give the same run, so each can be played alone.

pub mod tally;

pub use tally::Tally;

use crate::report::Report;
use crate::story;
use crate::world::Points;
use crate::world::points::{Harm, Point, Trap};
use pgbaton_core::scenario::Scenario;
use std::fmt;
use std::str::FromStr;

/// A story whose points are counted.
#[derive(Debug)]
pub struct Sweep {
    scenario: Scenario,
    seed: u64,
    pub points: Vec<Point>,
}

/// One run of a sweep, as it is named on the command line: `137:power-off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub number: usize,
    pub harm: Harm,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.harm.name())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let (number, harm) = text
            .split_once(':')
            .ok_or_else(|| format!("\"{text}\" is no run of a sweep; write it as 137:kill-node"))?;
        let number = number.parse().map_err(|e| format!("the point \"{number}\": {e}"))?;
        Ok(Name { number, harm: harm.parse()? })
    }
}

impl Sweep {
    /// Plays the story as it is written, then counts its points. An error when it doesn't hold even so.
    pub fn of(scenario: &Scenario, seed: u64) -> Result<Sweep, String> {
        let written = Report::of(story::run(scenario, seed));
        if !written.holds() {
            return Err(format!("it fails undisturbed: {}", written.broken().join("; ")));
        }
        let scenario = scenario.disturbed();
        let points = Points::counted();
        let counted = Report::of(story::run_with(&scenario, seed, points.clone()));
        if !counted.holds() {
            return Err(format!("it fails while its points are counted: {}", counted.broken().join("; ")));
        }
        Ok(Sweep { scenario, seed, points: points.passed() })
    }

    /// Every n-th of all runs there are. The first is drawn by no one: two sweeps of a file are the same.
    pub fn traps(&self, every: usize) -> Vec<Trap> {
        let at = |point: &Point| {
            let point = point.clone();
            let fitting = Harm::ALL.into_iter().filter(move |harm| harm.fits(&point));
            fitting.collect::<Vec<_>>()
        };
        let all = self.points.iter().flat_map(|p| at(p).into_iter().map(|harm| Trap { point: p.clone(), harm }));
        all.step_by(every.max(1)).collect()
    }

    pub fn trap(&self, name: Name) -> Result<Trap, String> {
        let point =
            name.number.checked_sub(1).and_then(|i| self.points.get(i)).ok_or_else(|| {
                format!("there is no point {}; the story has {} of them", name.number, self.points.len())
            })?;
        if !name.harm.fits(point) {
            return Err(format!("{} makes no sense at {point}", name.harm.name()));
        }
        Ok(Trap { point: point.clone(), harm: name.harm })
    }

    pub fn play(&self, trap: &Trap) -> Report {
        let points = Points::trapped(trap.clone());
        let mut outcome = story::run_with(&self.scenario, self.seed, points.clone());
        if outcome.unmet.is_empty() && !points.has_sprung() {
            outcome
                .unmet
                .push("the point was not reached: the run went another way than the one that was counted".into());
        }
        Report::of(outcome)
    }

    /// The name a run is brought back with.
    pub fn name(trap: &Trap) -> Name {
        Name { number: trap.point.number, harm: trap.harm }
    }

    /// The line that brings a failed run back.
    pub fn reproduce(&self, file: &str, trap: &Trap) -> String {
        format!("reproduce: pgbaton-sim sweep {file} --seed {} --only {}", self.seed, Sweep::name(trap))
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_point_and_its_harm() {
        let name: Name = "137:kill-node".parse().unwrap();
        assert_eq!(name.to_string(), "137:kill-node");
        assert!("137".parse::<Name>().unwrap_err().contains("write it as"));
        assert!("x:kill".parse::<Name>().unwrap_err().contains("the point \"x\""));
        assert!("1:flood".parse::<Name>().unwrap_err().contains("known are"));
    }
}
