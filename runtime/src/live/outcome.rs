//! What a live run brings back, and how it is told.

use pgbaton_core::check::{Event, Kind, Trace, judge};
use pgbaton_core::model::Moment;
use pgbaton_core::scenario::timeline::{render_full, render_states};
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

#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub name: &'static str,
    pub broken: Option<String>,
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

impl Outcome {
    pub fn of(trace: Trace, unmet: Vec<String>, stopped: Moment) -> Outcome {
        let verdicts = judge(&trace).into_iter().map(|v| Verdict { name: v.name, broken: v.broken });
        Outcome { verdicts: verdicts.collect(), outages: outages(&trace, stopped), counts: count(&trace), trace, unmet }
    }

    pub fn holds(&self) -> bool {
        let lawful = self.verdicts.iter().all(|v| v.broken.is_none());
        self.unmet.is_empty() && lawful && self.counts.lost.unwrap_or(0) == 0
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
            let line = format!("  {:>9.3}s  {}: writes out for at most", outage.at, outage.step);
            let _infallible = writeln!(out, "{line} {:.3}s", outage.seconds);
        }
        out += &self.summary();
        out
    }

    pub fn summary(&self) -> String {
        let mut out = String::from("\n");
        for verdict in &self.verdicts {
            let word = verdict.broken.as_deref().unwrap_or("holds");
            let _infallible = writeln!(out, "  {}: {word}", verdict.name);
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

/// For each step the longest time between two acknowledgements that it may have caused.
fn outages(trace: &Trace, stopped: Moment) -> Vec<StepOutage> {
    let step = |e: &'_ Event| match &e.kind {
        Kind::Step { text } => Some((e.at, text.clone())),
        _ => None,
    };
    let steps: Vec<(Moment, String)> = trace.events.iter().filter_map(step).collect();
    let acks: Vec<Moment> =
        trace.events.iter().filter(|e| matches!(e.kind, Kind::Acked { .. })).map(|e| e.at).collect();
    if acks.is_empty() {
        return Vec::new();
    }
    let ends = steps.iter().skip(1).map(|(at, _)| *at).chain([stopped]);
    let one = |((at, text), end): (&(Moment, String), Moment)| StepOutage {
        at: at.seconds(),
        step: text.clone(),
        seconds: longest_gap(&acks, *at, end, stopped).as_secs_f64(),
    };
    steps.iter().zip(ends).map(one).collect()
}

pub fn longest_gap(acks: &[Moment], from: Moment, next_step: Moment, stopped: Moment) -> Duration {
    let starts = [Moment::ZERO].into_iter().chain(acks.iter().copied());
    let gaps = starts.zip(acks.iter().copied().chain([stopped]));
    // What lasts beyond the next step and began after this one is the next one's.
    let caused = gaps.filter(|(start, end)| *end > from && (*start <= from || *end <= next_step));
    caused.map(|(start, end)| end.since(start)).max().unwrap_or_default()
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
    fn an_outage_goes_with_the_step_before_its_end() {
        let outages = outages(&trace(), Moment(120_000));
        let seconds: Vec<f64> = outages.iter().map(|o| o.seconds).collect();
        assert_eq!(seconds, [0.07, 0.02]);
        let acks = [10, 20, 90, 110].map(|ms| Moment(ms * 1000));
        let gap = longest_gap(&acks, Moment(15_000), Moment(25_000), Moment(120_000));
        assert_eq!(gap, Duration::from_millis(10), "the gap around the next step is that step's");
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
