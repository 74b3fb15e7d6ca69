//! Invariants as folds over a trace.

pub mod trace;

pub use trace::{Event, Kind, Trace};
