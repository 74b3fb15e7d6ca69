//! Compares a live run with the simulated run of the same file: each node must have gone through the same
//! states in the same order.

use super::reaper::Reaper;
use anyhow::{Context, Result, bail};
use pgbaton_core::check::Trace;
use pgbaton_core::model::NodeState;
use pgbaton_core::scenario::{Scenario, write};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

pub type Sequences = Vec<(String, Vec<NodeState>)>;

/// The same drawn story in the simulator, from a file as it would be written.
pub async fn simulated(sim: &Path, plan: &Scenario, reaper: &Reaper) -> Result<Trace> {
    let file = tempfile::Builder::new().prefix("pgbaton-plan-").suffix(".toml").tempfile()?;
    std::fs::write(file.path(), write(plan, ""))?;
    of_sim(sim, file.path(), reaper).await
}

/// Runs the simulator on the same file.
pub async fn of_sim(sim: &Path, file: &Path, reaper: &Reaper) -> Result<Trace> {
    let mut run = Command::new(sim);
    run.arg("run").arg(file).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    // In a group of its own an interrupt of the live run ends it with the rest, and not by itself.
    run.process_group(0);
    let simulator = reaper.spawn(&mut run).with_context(|| format!("can't run {}", sim.display()))?;
    let stdout = simulator.wait_with_output().await?.stdout;
    let value: Value = serde_json::from_slice(&stdout).context("the simulator's output is no JSON")?;
    if value["holds"] == Value::Bool(false) {
        bail!("the simulated run didn't hold: {}", value["verdicts"]);
    }
    Trace::deserialize(&value["outcome"]["trace"]).context("the simulator's output holds no trace")
}

/// Both sequences of each node, side by side; states that differ are marked.
pub fn render(live: &Sequences, sim: &Sequences) -> String {
    let mut out = String::new();
    for (node, states) in live {
        let empty = Vec::new();
        let simulated = sim.iter().find(|(name, _)| name == node).map_or(&empty, |(_, s)| s);
        out.push_str(&format!("{node}\n  {:<20} {}\n", "live", "simulated"));
        for i in 0..states.len().max(simulated.len()) {
            let cell = |side: &[NodeState]| side.get(i).map_or("-", |state| state.name());
            let mark = if states.get(i) == simulated.get(i) { "" } else { "   differs" };
            out.push_str(&format!("  {:<20} {}{mark}\n", cell(states), cell(simulated)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeState::{Primary, Single, WaitPrimary};

    #[test]
    fn differences_are_marked() {
        let sim = vec![("a".to_string(), vec![Single, Primary])];
        let live = vec![("a".to_string(), vec![Single, WaitPrimary])];
        let text = render(&live, &sim);
        assert!(text.contains("wait_primary         primary   differs"), "{text}");
        assert!(!render(&sim, &sim).contains("differs"));
    }
}
