//! What a run prints, and the verdict on it.

use crate::ink::Ink;
use crate::story::Outcome;
use pgbaton_core::check::{Trace, Verdict, gaps_by_step, judge, longest_gap};
use pgbaton_core::scenario::Scenario;
use pgbaton_core::scenario::timeline::{render_full, render_states, transfers};
use pgbaton_core::view::marks;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TimelineStyle {
    Full,
    States,
}

pub fn timeline(trace: &Trace, style: TimelineStyle) -> String {
    match style {
        TimelineStyle::Full => render_full(trace),
        TimelineStyle::States => render_states(trace),
    }
}

pub struct Report {
    pub outcome: Outcome,
    pub verdicts: Vec<Verdict>,
}

impl Report {
    pub fn of(outcome: Outcome) -> Report {
        let verdicts = judge(&outcome.trace);
        Report { outcome, verdicts }
    }

    pub fn holds(&self) -> bool {
        self.outcome.unmet.is_empty() && self.verdicts.iter().all(|v| v.broken.is_none())
    }

    /// What was not as it was to be, a line each; empty when the run holds.
    pub fn broken(&self) -> Vec<String> {
        let broken = |v: &Verdict| v.broken.as_ref().map(|how| format!("{}: {how}", v.name));
        self.outcome.unmet.iter().cloned().chain(self.verdicts.iter().filter_map(broken)).collect()
    }

    /// Nothing of the real world is in here: two processes print the same bytes.
    pub fn json(&self, scenario: &Scenario, seed: u64) -> String {
        let verdicts: BTreeMap<&str, &Option<String>> = self.verdicts.iter().map(|v| (v.name, &v.broken)).collect();
        let not_judged: BTreeMap<&str, &String> =
            self.verdicts.iter().filter_map(|v| Some((v.name, v.not_judged.as_ref()?))).collect();
        let value = serde_json::json!({
            "title": scenario.title,
            "seed": seed,
            "holds": self.holds(),
            "verdicts": verdicts,
            "not_judged": not_judged,
            "outcome": self.outcome,
        });
        value.to_string()
    }

    pub fn text(&self, scenario: &Scenario, seed: u64, style: TimelineStyle, ink: Ink, real: Duration) -> String {
        let mut out = format!("{} (seed {seed})\n\n", scenario.title);
        out += &ink.timeline(&self.outcome.trace, style);
        out.push('\n');
        // How long writes were out is told of the first formation.
        let first = self.outcome.trace.of_first();
        for (at, text, gap) in gaps_by_step(&first) {
            let gap = gap.map_or("no clients".into(), |g| format!("writes out for at most {:.3} s", g.as_secs_f64()));
            let _ = writeln!(out, "  {:>9.3} s  {text}: {gap}", at.seconds());
        }
        if let Some(gap) = longest_gap(&first) {
            let (length, from) = (gap.length().as_secs_f64(), gap.from.seconds());
            let _ = writeln!(out, "  longest write outage {length:.3} s, from {from:.3} s on");
        }
        if let Some(gone) = gone(&self.outcome.trace) {
            let _ = writeln!(out, "  {}", ink.bad(&gone));
        }
        for (at, how) in transfers(&self.outcome.trace) {
            let _ = writeln!(out, "  {:>9.3} s  {how}", at.seconds());
        }
        out.push('\n');
        for verdict in &self.verdicts {
            let _ = writeln!(out, "  {}: {}", verdict.name, ink.verdict(verdict));
        }
        for unmet in &self.outcome.unmet {
            let _ = writeln!(out, "  expected otherwise: {}", ink.bad(unmet));
        }
        out += &speed(self.outcome.simulated, real);
        out
    }
}

/// What an operator or a policy gave up, or what was lost: the verdicts say which.
fn gone(trace: &Trace) -> Option<String> {
    let lost = marks::lost(trace);
    let (first, last) = (trace.events[*lost.first()?].at.seconds(), trace.events[*lost.last()?].at.seconds());
    Some(format!("acknowledged writes that are gone: {}, acknowledged from {first:.3} s to {last:.3} s", lost.len()))
}

fn speed(simulated: Duration, real: Duration) -> String {
    let (simulated, real) = (simulated.as_secs_f64(), real.as_secs_f64().max(1e-6));
    let rate = simulated / real;
    format!(
        "\n{simulated:.1} simulated seconds in {real:.2} s, {rate:.0} per second: 1 simulated hour in {:.1} s\n",
        3600.0 / rate.max(1e-6)
    )
}

/// The line that brings a failed run back.
pub fn reproduce(file: &str, seed: u64) -> String {
    format!("reproduce: pgbaton-sim run {file} --seed {seed}")
}
