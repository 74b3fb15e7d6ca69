//! S11: what was kept of WAL that a rewind or a clone takes away is in the monitor's log, with its range and its place: who
//! looks for it knows neither the node nor the directory. What a crash cut short is kept, and told, once more.

use super::trace::{Fault, Kind, Trace};
use crate::model::{KEPT_IN, Moment};
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut untold: BTreeMap<&str, Moment> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::KeptAside { node, .. } => _ = untold.insert(node, event.at),
            Kind::Node { node, description, .. } if description.contains(KEPT_IN) => _ = untold.remove(node.as_str()),
            Kind::Fault { fault: Fault::Disk, nodes } => untold.retain(|node, _| !nodes.iter().any(|n| n == node)),
            _ => {}
        }
    }
    let settled = trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Ended { node, reported, goal, runs: true, .. } if reported == goal => Some(node.as_str()),
        _ => None,
    });
    match settled.filter_map(|node| Some((node, untold.get(node)?))).next() {
        Some((node, at)) => Err(format!("what {node} kept aside of its WAL at {:.3} s is in no event", at.seconds())),
        None => Ok(()),
    }
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
        let lost = Kind::Fault { fault: Fault::Disk, nodes: vec!["a".into()] };
        let end = |goal| (9, ended("a", Secondary, goal));
        let settled = |events: Vec<(u64, Kind)>| check(&trace([events, vec![end(Secondary)]].concat()));
        assert_eq!(settled(vec![(1, kept()), (2, told("a"))]), Ok(()));
        assert_eq!(settled(vec![(1, kept()), (2, lost)]), Ok(()));
        assert_eq!(settled(vec![(1, kept()), (2, kept()), (3, told("a"))]), Ok(()), "cut short and done again");
        for untold in [vec![(1, kept())], vec![(1, kept()), (2, told("b"))], vec![(1, told("a")), (2, kept())]] {
            assert!(settled(untold).unwrap_err().contains("what a kept aside of its WAL at 0.00"));
        }
        assert_eq!(check(&trace(vec![(1, kept()), end(Catchingup)])), Ok(()), "on its way still");
    }
}
