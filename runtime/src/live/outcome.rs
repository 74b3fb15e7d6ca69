//! What a live run brings back, and how it is told.

use pgbaton_core::check::{Kind, Trace, Verdict, gaps_by_step, judge};
use pgbaton_core::model::Moment;
use pgbaton_core::scenario::timeline::{render_full, render_states, transfers};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Timeline {
    Full,
    States,
}

#[derive(Debug)]
pub struct Outcome {
    pub trace: Trace,
    /// What the scenario expected and did not get.
    pub unmet: Vec<String>,
    pub verdicts: Vec<Verdict>,
    pub outages: Vec<StepOutage>,
    pub counts: Counts,
}

/// The longest time without an acknowledged write that a step may have caused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepOutage {
    pub at: f64,
    pub step: String,
    pub seconds: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub acknowledged: usize,
    /// Acknowledged with Postgres' warning that no standby has it.
    pub with_warning: usize,
    pub not_acknowledged: usize,
    /// Acknowledged without a warning and not found at the end; unknown when nothing could be read.
    pub lost: Option<usize>,
}

impl Counts {
    fn and(self, other: Counts) -> Counts {
        Counts {
            acknowledged: self.acknowledged + other.acknowledged,
            with_warning: self.with_warning + other.with_warning,
            not_acknowledged: self.not_acknowledged + other.not_acknowledged,
            lost: self.lost.zip(other.lost).map(|(one, other)| one + other),
        }
    }
}

impl Outcome {
    pub fn of(trace: Trace, unmet: Vec<String>) -> Outcome {
        // How long writes were out is told of the first formation, what clients were told of all.
        let outages = outages(&trace.of_first());
        let counts = trace.groups().iter().map(|group| count(group)).reduce(Counts::and).unwrap_or_default();
        Outcome { verdicts: judge(&trace), outages, counts, trace, unmet }
    }

    pub fn holds(&self) -> bool {
        // Writes that a policy or an operator gave up are counted, and judged by the checkers.
        self.unmet.is_empty() && self.verdicts.iter().all(|v| v.broken.is_none())
    }

    /// What was not as it was to be, a line each.
    pub fn broken(&self) -> Vec<String> {
        let broken = |v: &Verdict| v.broken.as_ref().map(|how| format!("{}: {how}", v.name));
        self.verdicts.iter().filter_map(broken).chain(self.unmet.iter().cloned()).collect()
    }

    pub fn json(&self, title: &str) -> Value {
        json!({
            "title": title,
            "holds": self.holds(),
            "verdicts": self.verdicts,
            "unmet": self.unmet,
            "outages": self.outages,
            "writes": self.counts,
            "outcome": { "trace": self.trace },
        })
    }

    pub fn text(&self, title: &str, style: Timeline) -> String {
        let mut out = format!("{title} (live)\n\n");
        out += &match style {
            Timeline::Full => render_full(&self.trace),
            Timeline::States => render_states(&self.trace),
        };
        out.push('\n');
        for outage in &self.outages {
            let line = format!("  {:>9.3} s  {}: writes out for at most", outage.at, outage.step);
            let _infallible = writeln!(out, "{line} {:.3} s", outage.seconds);
        }
        out += &self.summary();
        out
    }

    pub fn summary(&self) -> String {
        let mut out = String::new();
        for (at, how) in transfers(&self.trace) {
            let _infallible = writeln!(out, "  {:>9.3} s  {how}", at.seconds());
        }
        out.push('\n');
        for verdict in &self.verdicts {
            let _infallible = writeln!(out, "  {}: {}", verdict.name, verdict.word());
        }
        for unmet in &self.unmet {
            let _infallible = writeln!(out, "  expected otherwise: {unmet}");
        }
        let c = &self.counts;
        let lost = c.lost.map_or_else(|| "unknown".to_string(), |n| n.to_string());
        let _infallible = writeln!(
            out,
            "\n{} writes acknowledged, {} of them with a warning; {} not acknowledged\nlost acknowledged writes: {lost}",
            c.acknowledged, c.with_warning, c.not_acknowledged
        );
        out
    }
}

fn outages(trace: &Trace) -> Vec<StepOutage> {
    let of_step = |(at, step, gap): (Moment, String, Option<Duration>)| {
        Some(StepOutage { at: at.seconds(), step, seconds: gap?.as_secs_f64() })
    };
    gaps_by_step(trace).into_iter().filter_map(of_step).collect()
}

fn count(trace: &Trace) -> Counts {
    let mut counts = Counts::default();
    let mut promised: BTreeSet<u64> = BTreeSet::new();
    let mut found: Option<BTreeSet<u64>> = None;
    for event in &trace.events {
        match &event.kind {
            Kind::Acked { id, warning, .. } => {
                counts.acknowledged += 1;
                counts.with_warning += usize::from(*warning);
                if !warning {
                    promised.insert(*id);
                }
            }
            Kind::NotAcked { .. } => counts.not_acknowledged += 1,
            Kind::Found { ids, .. } => found = Some(ids.clone()),
            _ => {}
        }
    }
    counts.lost = found.map(|found| promised.difference(&found).count());
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(id: u64, warning: bool) -> Kind {
        Kind::Acked { client: 0, id, node: "mdw".into(), sent: Moment(0), warning }
    }

    fn trace() -> Trace {
        let mut trace = Trace::default();
        let step = |text: &str| Kind::Step { text: text.into() };
        for (ms, kind) in [
            (10, acked(1, false)),
            (20, acked(2, true)),
            (25, step("kill")),
            (90, acked(3, false)),
            (100, step("start")),
            (110, acked(4, false)),
        ] {
            trace.push(Moment(ms * 1000), kind);
        }
        trace
    }

    #[test]
    fn a_write_with_a_warning_is_no_promise() {
        let mut trace = trace();
        assert_eq!(count(&trace).lost, None);
        let ids = [1, 4].into();
        trace.push(Moment(130_000), Kind::Found { node: "mdw".into(), ids });
        let counts = count(&trace);
        assert_eq!((counts.acknowledged, counts.with_warning, counts.lost), (4, 1, Some(1)));
    }
}
