//! S12: nodes move along the edges of the shared table only. That every goal has a way is a test of the table.

use super::trace::{Kind, Trace};
use crate::model::NodeState;
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut last: BTreeMap<&str, NodeState> = BTreeMap::new();
    for event in &trace.events {
        let Kind::Node { node, reported, .. } = &event.kind else {
            continue;
        };
        let from = last.insert(node, *reported).unwrap_or(*reported);
        if from != *reported && !from.may_become(*reported) {
            return Err(format!("{node} went from {from} to {reported} at {:.3} s", event.at.seconds()));
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
    fn a_move_outside_the_table_is_found() {
        let went = |to| check(&trace(vec![(0, node("a", Secondary, to, 1)), (1, node("a", to, to, 1))]));
        assert_eq!(went(PreparePromotion), Ok(()));
        assert!(went(Primary).unwrap_err().contains("a went from secondary to primary"));
    }
}
