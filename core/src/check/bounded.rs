//! S14: what the group keeps and repeats is bounded: slots at the end, and the rows of the event log in any minute.

use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::collections::VecDeque;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
/// Rows per node in a window. A node that fails, comes back and catches up leaves about fifteen.
const ROWS_MAX: usize = 120;

pub fn check(trace: &Trace) -> Result<(), String> {
    let nodes = trace.nodes.len().max(1);
    let mut recent: VecDeque<Moment> = VecDeque::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Node { .. } => {
                recent.push_back(event.at);
                while recent.front().is_some_and(|first| event.at.since(*first) > WINDOW) {
                    recent.pop_front();
                }
                if recent.len() > nodes * ROWS_MAX {
                    return Err(format!("{} events in the minute before {:.3} s", recent.len(), event.at.seconds()));
                }
            }
            Kind::Configured { node, slots, .. } if slots.len() >= nodes => {
                return Err(format!("{node} keeps {} slots in a group of {nodes}", slots.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_flood_of_events_and_a_slot_too_many_are_found() {
        let rows = |pause: u64| check(&trace((0..300).map(|i| (i * pause, node("a", Primary, Primary, 1))).collect()));
        assert_eq!(rows(1000), Ok(()));
        assert!(rows(100).unwrap_err().contains("events in the minute before"));
        let slots = |slots: &[&str]| Kind::Configured {
            node: "a".into(),
            id: id("a"),
            system_id: 7,
            names: [].into(),
            slots: slots.iter().map(|n| id(n)).collect(),
            follows: None,
        };
        assert_eq!(check(&trace(vec![(0, slots(&["b"]))])), Ok(()));
        assert!(check(&trace(vec![(0, slots(&["b", "c"]))])).is_err());
    }
}
