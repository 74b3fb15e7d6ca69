//! S14: what the group keeps and repeats is bounded: slots at the end, and the rows of the event log in any minute.

use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::collections::VecDeque;
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
/// Rows per node in a window, without any cause. A node that fails, comes back and catches up leaves about fifteen.
const ROWS_MAX: usize = 120;
/// Rows more per node for each fault and order in it.
const ROWS_PER_CAUSE: usize = 15;

pub fn check(trace: &Trace) -> Result<(), String> {
    let nodes = trace.nodes.len().max(1);
    let (mut rows, mut causes) = (Recent::default(), Recent::default());
    for event in &trace.events {
        match &event.kind {
            Kind::Node { .. } => {
                let count = rows.and(event.at);
                if count > nodes * (ROWS_MAX + ROWS_PER_CAUSE * causes.until(event.at)) {
                    return Err(format!("{count} events in the minute before {:.3} s", event.at.seconds()));
                }
            }
            Kind::Fault { .. } => {
                causes.and(event.at);
            }
            Kind::Configured { node, slots, .. } if slots.len() >= nodes => {
                return Err(format!("{node} keeps {} slots in a group of {nodes}", slots.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What came in the last minute.
#[derive(Default)]
struct Recent(VecDeque<Moment>);

impl Recent {
    fn and(&mut self, at: Moment) -> usize {
        self.0.push_back(at);
        self.until(at)
    }

    fn until(&mut self, at: Moment) -> usize {
        while self.0.front().is_some_and(|first| at.since(*first) > WINDOW) {
            self.0.pop_front();
        }
        self.0.len()
    }
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
        let caused = |causes: u64| {
            let faults = (0..causes).map(|i| (i, fault(super::super::trace::Fault::Order, &[])));
            check(&trace(faults.chain((0..300).map(|i| (100 + i, node("a", Primary, Primary, 1)))).collect()))
        };
        assert!(caused(1).is_err());
        assert_eq!(caused(2), Ok(()), "many orders make many rows");
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
