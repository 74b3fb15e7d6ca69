//! S11: what was kept of WAL that a rewind or a clone takes away is in the monitor's log, with its range and its place: who
//! looks for it knows neither the node nor the directory. What a crash cut short is kept, and told, once more.

use super::trace::{Fault, Kind, Trace};
use crate::model::{KEPT_IN, Moment};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut last: BTreeMap<&str, Kept> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            // What is kept twice is told once.
            Kind::KeptAside { node, ids } if last.get(node.as_str()).is_some_and(|kept| kept.ids == ids) => {}
            Kind::KeptAside { node, ids } => {
                last.insert(node, Kept { ids, at: event.at, told: false, gone: false });
            }
            Kind::Node { node, description, .. } if description.contains(KEPT_IN) => {
                last.entry(node).and_modify(|kept| kept.told = true);
            }
            Kind::Rebuilt { node, .. } => {
                last.entry(node).and_modify(|kept| kept.gone = true);
            }
            Kind::Fault { fault: Fault::Disk, nodes } => last.retain(|node, _| !nodes.iter().any(|n| n == node)),
            _ => {}
        }
    }
    let settled = trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Ended { node, reported, goal, runs: true, .. } if reported == goal => Some(node.as_str()),
        _ => None,
    });
    let mut untold = settled.filter_map(|node| Some((node, last.get(node).filter(|kept| kept.gone && !kept.told)?)));
    untold.next().map_or(Ok(()), |(node, kept)| {
        Err(format!("what {node} kept aside of its WAL at {:.3} s is in no event", kept.at.seconds()))
    })
}

/// What a node kept last.
struct Kept<'a> {
    ids: &'a BTreeSet<u64>,
    at: Moment,
    told: bool,
    /// A rewind or a clone has been made since: the copy is all there is.
    gone: bool,
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn what_is_kept_is_told() {
        let kept = || Kind::KeptAside { node: "a".into(), ids: [7].into() };
        let told = |of: &str| match node(of, Catchingup, Secondary, 1) {
            Kind::Node { node, id, reported, goal, epoch, in_force, rule, .. } => {
                let description = format!("of {node} WAL from 0/1 to 0/2 on timeline 1 {KEPT_IN}/srv/kept/1");
                Kind::Node { node, id, reported, goal, epoch, in_force, rule, description }
            }
            _ => unreachable!(),
        };
        let rebuilt = || Kind::Rebuilt { node: "a".into(), gone: [7].into() };
        let lost = Kind::Fault { fault: Fault::Disk, nodes: vec!["a".into()] };
        let end = |goal| (9, ended("a", Secondary, goal));
        let settled = |events: Vec<(u64, Kind)>| check(&trace([events, vec![end(Secondary)]].concat()));
        assert_eq!(settled(vec![(1, kept()), (2, told("a")), (3, rebuilt())]), Ok(()));
        assert_eq!(settled(vec![(1, kept()), (2, rebuilt()), (3, told("a"))]), Ok(()));
        assert_eq!(settled(vec![(1, kept()), (2, rebuilt()), (3, lost)]), Ok(()));
        assert_eq!(
            settled(vec![(1, kept()), (2, told("a")), (3, kept()), (4, rebuilt())]),
            Ok(()),
            "the same once more"
        );
        assert_eq!(settled(vec![(1, kept())]), Ok(()), "it is still where it was");
        let other = || Kind::KeptAside { node: "a".into(), ids: [8].into() };
        for untold in [
            vec![(1, kept()), (2, rebuilt())],
            vec![(1, kept()), (2, told("b")), (3, rebuilt())],
            vec![(1, told("a")), (2, kept()), (3, rebuilt())],
            vec![(1, other()), (1, told("a")), (2, kept()), (3, rebuilt())],
        ] {
            assert!(settled(untold).unwrap_err().contains("what a kept aside of its WAL at 0.00"));
        }
        assert_eq!(check(&trace(vec![(1, kept()), (2, rebuilt()), end(Catchingup)])), Ok(()), "on its way still");
    }
}
