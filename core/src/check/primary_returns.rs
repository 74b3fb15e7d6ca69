//! L1: soon after the last fault is gone one node is the primary, says so, and nobody else does.

use super::stall;
use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that is down is judged lost after seconds, sealed and opened in one; a crash recovery may come on top.
const BOUND: Duration = Duration::from_secs(30);

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut primaries: BTreeSet<&str> = BTreeSet::new();
    let mut without: Option<Moment> = None;
    let mut healed = false;
    for event in &trace.events {
        if let Some(since) = without.filter(|s| event.at.since(*s) > BOUND) {
            return late(trace, since, &primaries);
        }
        match &event.kind {
            Kind::Node { node, reported, goal, .. } => {
                match reported.is_writable() && goal.is_writable() {
                    true => primaries.insert(node),
                    false => primaries.remove(node.as_str()),
                };
            }
            Kind::Healed => healed = true,
            _ => continue,
        }
        without = match (healed, primaries.len()) {
            (false, _) | (true, 1) => None,
            (true, _) => without.or(Some(event.at)),
        };
    }
    Ok(())
}

fn late(trace: &Trace, since: Moment, primaries: &BTreeSet<&str>) -> Result<(), String> {
    // A group that waits for a lawful reason may have none.
    if stall::reason(trace).is_ok() {
        return Ok(());
    }
    Err(format!("from {:.3} s on there was no single primary for {BOUND:?}, but {primaries:?}", since.seconds()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_primary_that_comes_late_or_never_is_found() {
        let comes = |at| {
            check(&trace(vec![
                (0, node("a", Primary, Draining, 1)),
                (1000, Kind::Healed),
                (at, node("b", WaitPrimary, WaitPrimary, 2)),
                (90_000, Kind::ClientsStopped),
            ]))
        };
        assert_eq!(comes(30_000), Ok(()));
        assert!(comes(32_000).is_err());
        let two = vec![
            (0, node("a", Primary, Primary, 1)),
            (0, node("b", Primary, Primary, 1)),
            (1, Kind::Healed),
            (40_000, Kind::ClientsStopped),
        ];
        assert!(check(&trace(two)).unwrap_err().contains("\"a\", \"b\""));
    }
}
