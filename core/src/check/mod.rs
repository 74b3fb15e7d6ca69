//! Invariants as pure folds over a trace: the same ones judge simulated and live runs. One file each.

mod convergence;
mod epochs_rise;
mod legal_edges;
mod no_lost_write;
mod one_primary;
pub mod outage;
#[cfg(test)]
mod testing;
pub mod trace;

pub use outage::{Gap, gaps_by_step, longest_gap};
pub use trace::{Event, Kind, Trace};

/// What a checker says of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub name: &'static str,
    /// How the invariant was broken, if it was.
    pub broken: Option<String>,
}

type Checker = fn(&Trace) -> Result<(), String>;

const CHECKERS: &[(&str, Checker)] = &[
    ("no acknowledged write is lost", no_lost_write::check),
    ("at most one node acknowledges writes", one_primary::check),
    ("epochs only rise", epochs_rise::check),
    ("every move is legal", legal_edges::check),
    ("the group settles", convergence::check),
];

/// Every checker's verdict on a run.
pub fn judge(trace: &Trace) -> Vec<Verdict> {
    CHECKERS.iter().map(|(name, check)| Verdict { name, broken: check(trace).err() }).collect()
}
