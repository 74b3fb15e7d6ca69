//! S3: the epoch never falls, on the monitor or in what a keeper stores; it rises whenever the role moves; and nobody
//! is promoted before its keeper has stored the epoch in which it was told to open.

use super::trace::{Kind, Trace};
use crate::model::Epoch;
use std::collections::BTreeMap;

pub fn monitor(trace: &Trace) -> Result<(), String> {
    let mut last = Epoch::ZERO;
    let mut holder: Option<(&str, Epoch)> = None;
    for event in &trace.events {
        let Kind::Node { node, goal, epoch, .. } = &event.kind else {
            continue;
        };
        if *epoch < last {
            return Err(format!("epoch {epoch} at {:.3} s, after epoch {last}", event.at.seconds()));
        }
        last = *epoch;
        if !goal.is_writable() {
            continue;
        }
        if let Some((old, then)) = holder
            && old != node
            && then >= *epoch
        {
            return Err(format!(
                "the role moved from {old} to {node} at {:.3} s within epoch {epoch}",
                event.at.seconds()
            ));
        }
        holder = Some((node, *epoch));
    }
    Ok(())
}

pub fn keepers(trace: &Trace) -> Result<(), String> {
    let mut stored: BTreeMap<&str, Epoch> = BTreeMap::new();
    let mut granted: BTreeMap<&str, Epoch> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Stored { node, epoch, .. } => {
                if let Some(before) = stored.insert(node, *epoch).filter(|before| before > epoch) {
                    let at = event.at.seconds();
                    return Err(format!("{node} stored epoch {epoch} at {at:.3} s, after epoch {before}"));
                }
            }
            Kind::Node { node, goal, epoch, .. } if goal.is_writable() => {
                granted.entry(node).or_insert(*epoch);
            }
            Kind::Node { node, .. } => {
                granted.remove(node.as_str());
            }
            Kind::Branched { node, .. } => {
                let (stored, granted) = (stored.get(node.as_str()), granted.get(node.as_str()));
                if stored < granted {
                    let shown = |e: Option<&Epoch>| e.map_or("none".into(), Epoch::to_string);
                    return Err(format!(
                        "{node} was promoted at {:.3} s with epoch {} on its disk, told in epoch {}",
                        event.at.seconds(),
                        shown(stored),
                        shown(granted)
                    ));
                }
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
    fn a_fall_and_a_move_within_one_epoch_are_found() {
        let first = || (0, node("a", Single, Single, 1));
        assert_eq!(monitor(&trace(vec![first(), (1, node("b", StopReplication, WaitPrimary, 2))])), Ok(()));
        assert!(monitor(&trace(vec![first(), (1, node("b", StopReplication, WaitPrimary, 1))])).is_err());
        assert!(
            monitor(&trace(vec![(0, node("a", Single, Single, 2)), (1, node("b", Secondary, Secondary, 1))])).is_err()
        );
    }

    #[test]
    fn a_keeper_that_goes_back_or_acts_before_it_stores_is_found() {
        let start =
            || vec![(0, stored("b", 2, StopReplication, None)), (1, node("b", StopReplication, WaitPrimary, 3))];
        let then = |more: Vec<_>| keepers(&trace(start().into_iter().chain(more).collect()));
        assert_eq!(then(vec![(2, stored("b", 3, WaitPrimary, None)), (3, branched("b", 2, 1, 100))]), Ok(()));
        assert!(
            then(vec![(3, branched("b", 2, 1, 100))]).unwrap_err().contains("epoch 2 on its disk, told in epoch 3")
        );
        assert!(then(vec![(2, stored("b", 1, Secondary, None))]).unwrap_err().contains("after epoch 2"));
    }
}
