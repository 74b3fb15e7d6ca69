//! What a run brings back.

use pgbaton_core::check::Trace;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub trace: Trace,
    /// What the scenario expected and did not get.
    pub unmet: Vec<String>,
    pub simulated: Duration,
    /// The next number that chance would have given: it differs when anything was drawn more, or less.
    pub unseed: u64,
    /// Packets sent over all links.
    pub messages: u64,
}

impl Outcome {
    pub fn broken(panic: String) -> Outcome {
        let unmet = vec![format!("the run panicked: {panic}")];
        Outcome { trace: Trace::default(), unmet, simulated: Duration::ZERO, unseed: 0, messages: 0 }
    }
}
