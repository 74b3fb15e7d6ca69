//! Compares a live run with the simulated run of the same file: each node must have gone through the same
//! states in the same order.

use anyhow::{Context, Result, bail};
use pgbaton_core::check::Trace;
use pgbaton_core::scenario::timeline::sequences;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

pub type Sequences = Vec<(String, Vec<String>)>;

pub fn of_live(trace: &Trace) -> Sequences {
    let names = |states: Vec<pgbaton_core::model::NodeState>| states.iter().map(|s| s.name().to_string()).collect();
    sequences(trace).into_iter().map(|(node, states)| (node, names(states))).collect()
}

/// Runs the simulator on the same file.
pub async fn of_sim(
    sim: &Path,
    file: &Path,
    command: impl AsyncFnOnce(Command) -> Result<Vec<u8>>,
) -> Result<Sequences> {
    let mut run = Command::new(sim);
    run.arg("run").arg(file).arg("--json").stdin(Stdio::null());
    let stdout = command(run).await.with_context(|| format!("can't run {}", sim.display()))?;
    let value: Value = serde_json::from_slice(&stdout).context("the simulator's output is no JSON")?;
    if value["holds"] == Value::Bool(false) {
        bail!("the simulated run didn't hold: {}", value["verdicts"]);
    }
    of_json(&value["outcome"]["trace"]).context("the simulator's output holds no trace")
}

fn of_json(trace: &Value) -> Option<Sequences> {
    let events = trace["events"].as_array()?;
    let nodes = trace["nodes"].as_array()?.iter().filter_map(Value::as_str);
    let of = |name: &str| {
        let of_node = events.iter().filter(|e| e["event"] == "node" && e["node"] == name);
        let mut states: Vec<String> = of_node.filter_map(|e| Some(e["reported"].as_str()?.to_string())).collect();
        states.dedup();
        states
    };
    Some(nodes.map(|name| (name.to_string(), of(name))).collect())
}

/// Both sequences of each node, side by side; states that differ are marked.
pub fn render(live: &Sequences, sim: &Sequences) -> String {
    let mut out = String::new();
    for (node, states) in live {
        let empty = Vec::new();
        let simulated = sim.iter().find(|(name, _)| name == node).map_or(&empty, |(_, s)| s);
        out.push_str(&format!("{node}\n  {:<20} {}\n", "live", "simulated"));
        for i in 0..states.len().max(simulated.len()) {
            let cell = |side: &[String]| side.get(i).cloned().unwrap_or_else(|| "-".to_string());
            let mark = if states.get(i) == simulated.get(i) { "" } else { "   differs" };
            out.push_str(&format!("  {:<20} {}{mark}\n", cell(states), cell(simulated)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_simulators_trace_is_read_and_differences_are_marked() {
        let event = |node: &str, state: &str| json!({ "at": 1, "event": "node", "node": node, "reported": state });
        let step = json!({ "at": 1, "event": "step", "text": "kill a" });
        let events = json!([event("a", "single"), event("a", "single"), step, event("a", "primary")]);
        let sim = of_json(&json!({ "nodes": ["a"], "events": events })).unwrap();
        assert_eq!(sim, [("a".to_string(), vec!["single".to_string(), "primary".to_string()])]);
        let live = vec![("a".to_string(), vec!["single".to_string(), "wait_primary".to_string()])];
        let text = render(&live, &sim);
        assert!(text.contains("wait_primary         primary   differs"), "{text}");
        assert!(!render(&sim, &sim).contains("differs"));
        assert_eq!(of_json(&json!({})), None);
    }
}
