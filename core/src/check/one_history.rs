//! S4: a timeline number stands for one history, and an epoch sees one promotion.

use super::rogues::Rogues;
use super::trace::{Kind, Trace};
use crate::model::Epoch;
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut epochs: BTreeMap<&str, Epoch> = BTreeMap::new();
    let mut timelines = BTreeMap::new();
    let mut promoted: BTreeMap<Epoch, &str> = BTreeMap::new();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        rogues.follow(&event.kind);
        match &event.kind {
            Kind::Stored { node, epoch, .. } => {
                epochs.insert(node, *epoch);
            }
            Kind::Branched { node, tli, parent, fork } if !rogues.has(node) => {
                if let Some((other, from, there)) = timelines.insert(*tli, (node, parent, fork)) {
                    return Err(format!(
                        "timeline {tli} was begun by {other} off {from} at {there}, and by {node} off {parent} at {fork}"
                    ));
                }
                let epoch = epochs.get(node.as_str()).copied().unwrap_or(Epoch::ZERO);
                if let Some(other) = promoted.insert(epoch, node) {
                    return Err(format!("{other} and {node} were both promoted in epoch {epoch}"));
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
    use super::super::trace::Fault;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_number_twice_and_an_epoch_twice_are_found() {
        let first = || vec![(0, stored("a", 2, WaitPrimary, None)), (1, branched("a", 2, 1, 100))];
        let then = |epoch, tli| {
            let second = vec![(2, stored("b", epoch, WaitPrimary, None)), (3, branched("b", tli, 1, 90))];
            check(&trace(first().into_iter().chain(second).collect()))
        };
        assert_eq!(then(3, 3), Ok(()));
        assert!(then(3, 2).unwrap_err().contains("timeline 2 was begun by a off 1"));
        assert!(then(2, 3).unwrap_err().contains("both promoted in epoch 2"));
        let hand = [(0, fault(Fault::Rogue, &["b"])), (0, branched("b", 2, 1, 90))];
        assert_eq!(check(&trace(hand.into_iter().chain(first()).collect())), Ok(()));
    }
}
