//! L3: a node that is not what it shall be has a published reason, and nobody goes in circles once all is mended. That it
//! is on its way is no reason for one that runs, unless it waits, as others do, for a lawful one.

use super::stall::Excuse;
use super::trace::{Kind, Trace};
use crate::monitor::rows::ON_ITS_WAY;
use std::collections::BTreeMap;

/// More rows of one node than the longest lawful way needs: a failover, a rebuild and a contract.
const ROWS_MAX: usize = 40;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut healed = false;
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Healed => healed = true,
            Kind::Node { node, .. } if healed => {
                let count = rows.entry(node).or_default();
                *count += 1;
                if *count > ROWS_MAX {
                    return Err(format!("{node} does not come to rest: {ROWS_MAX} events after the last fault"));
                }
            }
            Kind::Ended { node, reported, goal, pending: None, .. } if reported != goal => {
                return Err(format!("{node} is {reported}, is to be {goal}, and nothing says what it waits for"));
            }
            Kind::Ended { node, pending: Some(text), runs: true, .. }
                if text.starts_with(ON_ITS_WAY) && trace.terms.must_settle(node) && !Excuse::of(trace).covers(node) =>
            {
                return Err(format!("{node} ends {text}, and nothing keeps it from getting there"));
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
    fn a_node_without_a_reason_or_without_rest_is_found() {
        let end = |pending| check(&trace(vec![(0, waiting("a", Catchingup, Secondary, pending))]));
        assert_eq!(end(Some("waits for the backup")), Ok(()));
        assert!(end(None).unwrap_err().contains("nothing says"));
        let way = Some("on its way from catchingup to secondary");
        assert!(end(way).unwrap_err().contains("nothing keeps it from getting there"));
        let down = Kind::Ended { node: "b".into(), reported: Secondary, goal: Secondary, pending: None, runs: false };
        let stalled = (0, waiting("c", Primary, Primary, Some("waits for nodes: b is lost")));
        let with_stall = vec![(0, waiting("a", Catchingup, Secondary, way)), (0, down), stalled];
        assert_eq!(check(&trace(with_stall)), Ok(()));
        let commits_wait = "commits wait: on c any 1 of b must acknowledge and the formation is strict";
        let down = Kind::Ended { node: "b".into(), reported: Secondary, goal: Secondary, pending: None, runs: false };
        let stalled = (0, waiting("c", Primary, Primary, Some(commits_wait)));
        let beside = vec![(0, waiting("a", Catchingup, Secondary, way)), (0, down), stalled];
        assert!(check(&trace(beside)).is_err(), "a could follow c");
        let mut outside = trace(vec![(0, waiting("a", Catchingup, Secondary, way))]);
        outside.terms.core = ["b".to_string()].into();
        assert_eq!(check(&outside), Ok(()));
        let rows = |n: u64| {
            let rows = (0..n).map(|i| (i, node("a", Secondary, Catchingup, 1)));
            check(&trace([(0, Kind::Healed)].into_iter().chain(rows).collect()))
        };
        assert_eq!(rows(40), Ok(()));
        assert!(rows(41).unwrap_err().contains("does not come to rest"));
    }
}
