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
    /// Packets sent over all links.
    pub messages: u64,
}

impl Outcome {
    pub fn broken(panic: String) -> Outcome {
        let unmet = vec![format!("the run panicked: {panic}")];
        Outcome { trace: Trace::default(), unmet, simulated: Duration::ZERO, messages: 0 }
    }
}
