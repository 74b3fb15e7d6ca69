//! A run to look at: one page that needs nothing but a browser. Made of a trace and what was said of it, by both
//! worlds, without a clock and without any I/O: the same run gives the same bytes.

pub mod colour;
mod html;
mod lanes;
pub mod marks;
mod trouble;
pub mod words;

use crate::check::{Kind, Sense, Trace, Verdict, outage};
use crate::model::{Moment, NodeState};
use serde::Serialize;
use std::time::Duration;
use words::Words;

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub title: &'a str,
    /// Where it ran, in a few words: `simulated, seed 7`.
    pub place: &'a str,
    /// The command that brings it back.
    pub reproduce: &'a str,
    /// The story that was played, as text: a scenario file, or what was drawn.
    pub story: Option<&'a str>,
    pub trace: &'a Trace,
    pub verdicts: &'a [Verdict],
    /// What the scenario expected and did not get.
    pub unmet: &'a [String],
}

/// The whole page.
pub fn page(run: &Run) -> String {
    let words = Words::of(run.trace);
    html::page(run, &words, &data(run, &words))
}

/// Shorter gaps between two writes are no outage, however often clients write.
const LEAST_OUTAGE: Duration = Duration::from_millis(100);

/// What the page's script reads. Events are columns, one place for each event of the trace; whatever names an event
/// names its place. Times are microseconds.
#[derive(Debug, Serialize)]
struct Data {
    end: Moment,
    /// Where the world is blind, nothing is said.
    sees_servers: bool,
    /// Clients begin, the story is over, clients stop.
    began: Option<Moment>,
    healed: Option<Moment>,
    stopped: Option<Moment>,
    states: Vec<StateKey>,
    lanes: Vec<lanes::Lane>,
    groups: Vec<lanes::Group>,
    trouble: Vec<trouble::Trouble>,
    outages: Vec<Outage>,
    judged: Vec<marks::Judged>,
    lost: Vec<usize>,
    /// Acknowledgements with Postgres' warning that no standby has the write.
    warned: Vec<usize>,
    kinds: &'static [&'static str],
    at: Vec<Moment>,
    /// Places in `kinds`.
    kind: Vec<u8>,
    /// Places in `lanes`; -1 for everybody else.
    who: Vec<i32>,
    /// The number of the rule that fired; 0 for none.
    rule: Vec<u16>,
}

#[derive(Debug, Serialize)]
struct StateKey {
    name: &'static str,
    meaning: &'static str,
    colour: String,
    dark_text: bool,
}

#[derive(Debug, Serialize)]
struct Outage {
    /// Of the second formation's clients.
    beside: bool,
    from: Moment,
    to: Moment,
    step: Option<String>,
}

fn data(run: &Run, words: &Words) -> Data {
    let trace = run.trace;
    let first = |wanted: fn(&Kind) -> bool| trace.events.iter().find(|e| wanted(&e.kind)).map(|e| e.at);
    let lane = |name: &str| trace.nodes.iter().position(|n| n == name);
    let who = |kind: &Kind| words::who(kind).and_then(lane).and_then(|i| i32::try_from(i).ok()).unwrap_or(-1);
    let rule = |kind: &Kind| match kind {
        Kind::Node { rule, .. } => rule.unwrap_or(0),
        _ => 0,
    };
    Data {
        end: trace.end(),
        sees_servers: trace.sees.contains(&Sense::Servers),
        began: first(|k| matches!(k, Kind::ClientsBegan)),
        healed: first(|k| matches!(k, Kind::Healed)),
        stopped: first(|k| matches!(k, Kind::ClientsStopped)),
        states: NodeState::ALL.iter().map(|s| key(*s)).collect(),
        lanes: lanes::of(trace),
        groups: lanes::groups(trace, words),
        trouble: trouble::of(trace),
        outages: outages(trace),
        judged: marks::judged(trace, run.verdicts, run.unmet),
        lost: marks::lost(trace),
        warned: places(trace, |k| matches!(k, Kind::Acked { warning: true, .. })),
        kinds: KINDS,
        at: trace.events.iter().map(|e| e.at).collect(),
        kind: trace.events.iter().map(|e| kind_place(&e.kind)).collect(),
        who: trace.events.iter().map(|e| who(&e.kind)).collect(),
        rule: trace.events.iter().map(|e| rule(&e.kind)).collect(),
    }
}

fn places(trace: &Trace, wanted: fn(&Kind) -> bool) -> Vec<usize> {
    (0..trace.events.len()).filter(|i| wanted(&trace.events[*i].kind)).collect()
}

fn key(state: NodeState) -> StateKey {
    let colour = colour::of(state);
    StateKey { name: state.name(), meaning: state.meaning(), colour: colour.hex(), dark_text: colour.dark_text }
}

/// A formation's clients know nothing of another's: while those write, these may be out.
fn outages(trace: &Trace) -> Vec<Outage> {
    let of_each = trace.groups().into_iter().zip([false, true]);
    of_each.flat_map(|(group, beside)| outages_of(&group, beside)).collect()
}

/// Clients that write seldom leave gaps that are none: what counts is much longer than nine of ten.
fn outages_of(trace: &Trace, beside: bool) -> Vec<Outage> {
    let mut lengths: Vec<Duration> = outage::gaps(trace, Duration::ZERO).iter().map(outage::Gap::length).collect();
    lengths.sort();
    let usual = lengths.get(lengths.len() * 9 / 10).copied().unwrap_or_default();
    let gaps = outage::gaps(trace, LEAST_OUTAGE.max(usual * 3));
    gaps.into_iter().map(|g| Outage { beside, from: g.from, to: g.to, step: g.step.map(|(_, text)| text) }).collect()
}

macro_rules! kinds {
    ($($($kind:ident)|+ $name:literal,)*) => {
        const KINDS: &[&str] = &[$($name,)*];

        fn kind_name(kind: &Kind) -> &'static str {
            match kind { $($(Kind::$kind { .. })|+ => $name,)* }
        }
    };
}

kinds! {
    Step "step",
    Node "node",
    Opened "opened",
    Closed "closed",
    Names "names",
    Branched "branched",
    Received "received",
    KeptAside "kept_aside",
    Rebuilt "rebuilt",
    Failed "failed",
    Stored "stored",
    Fault "fault",
    Asked "asked",
    Told "told",
    Healed "healed",
    ClientsBegan | ClientsStopped "clients",
    Acked "acked",
    NotAcked "not_acked",
    Read "read",
    StandbyRead "standby_read",
    Found "found",
    Ended "ended",
    Configured "configured",
    Shown "shown",
}

fn kind_place(kind: &Kind) -> u8 {
    let place = KINDS.iter().position(|name| *name == kind_name(kind)).expect("every kind is in the list");
    u8::try_from(place).expect("the list is short")
}

#[cfg(test)]
mod tests;
