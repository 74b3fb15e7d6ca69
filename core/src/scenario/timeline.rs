//! The timeline of a run: for a reader, and as the order of each node's states, which is what a simulated
//! and a live run of one file must share.

use crate::check::{Kind, Trace};
use crate::model::{Moment, NodeState};
use crate::monitor::rules::OPENED;
use crate::view::words::{Part, Words};

/// Every event but the clients', a line each: seconds, who, what.
pub fn render_full(trace: &Trace) -> String {
    render_painted(trace, |part| part.text.clone())
}

/// The same with each part of a line as `paint` writes it.
pub fn render_painted(trace: &Trace, paint: impl Fn(&Part) -> String) -> String {
    let words = Words::of(trace);
    let mut out = String::new();
    for event in trace.events.iter().filter(|e| is_told(&e.kind)) {
        out.extend(words.line(event).iter().map(&paint));
        out.push('\n');
    }
    out
}

/// The rest is what only the checkers read.
fn is_told(kind: &Kind) -> bool {
    matches!(kind, Kind::Step { .. } | Kind::Node { .. } | Kind::Opened { .. } | Kind::Closed { .. })
}

/// The states each node reported, in order, without repetition.
pub fn sequences(trace: &Trace) -> Vec<(String, Vec<NodeState>)> {
    let of = |name: &String| {
        let mut states: Vec<NodeState> = Vec::new();
        for event in &trace.events {
            if let Kind::Node { node, reported, .. } = &event.kind
                && node == name
                && states.last() != Some(reported)
            {
                states.push(*reported);
            }
        }
        states
    };
    trace.nodes.iter().map(|name| (name.clone(), of(name))).collect()
}

/// What the monitor says of each time the role moved: how long it took, and where the time went.
pub fn transfers(trace: &Trace) -> Vec<(Moment, &str)> {
    let mut told = Vec::new();
    for event in &trace.events {
        if let Kind::Node { rule: Some(OPENED), description, .. } = &event.kind {
            told.push((event.at, description.as_str()));
        }
    }
    told
}

/// A line for each node.
pub fn render_states(trace: &Trace) -> String {
    let line = |(name, states): (String, Vec<NodeState>)| {
        let states: Vec<&str> = states.iter().map(|s| s.name()).collect();
        format!("{name}: {}\n", states.join(", "))
    };
    sequences(trace).into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, NodeId};

    #[test]
    fn states_are_listed_once_each_time_they_are_entered() {
        use NodeState::*;
        let mut trace = Trace { nodes: vec!["mdw".into()], ..Trace::default() };
        for (ms, reported, goal) in
            [(0, Init, Single), (1, Single, Single), (2, Single, WaitPrimary), (3, WaitPrimary, WaitPrimary)]
        {
            let kind = Kind::Node {
                node: "mdw".into(),
                id: NodeId(1),
                reported,
                goal,
                epoch: Epoch(1),
                in_force: "none".into(),
                rule: None,
                description: "x".into(),
            };
            trace.push(Moment(ms * 1000), kind);
        }
        assert_eq!(render_states(&trace), "mdw: init, single, wait_primary\n");
        assert_eq!(render_full(&trace).lines().count(), 4);
    }
}
