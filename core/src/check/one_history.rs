//! S4: a timeline number stands for one history, and an epoch sees one promotion. So nobody but who began it writes on a
//! timeline: whoever takes the role over begins a new one.

use super::rogues::Rogues;
use super::trace::{Kind, Trace};
use crate::model::{Epoch, NodeState, Timeline};
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    // In which each was to open last: what a promotion has begun ends after the next order came.
    let mut epochs: BTreeMap<&str, Epoch> = BTreeMap::new();
    let mut timelines = BTreeMap::new();
    let mut promoted: BTreeMap<Epoch, (&str, Timeline)> = BTreeMap::new();
    let mut systems: BTreeMap<&str, u64> = BTreeMap::new();
    let mut writers: BTreeMap<(u64, Timeline), &str> = BTreeMap::new();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        rogues.follow(&event.kind);
        match &event.kind {
            Kind::Stored { node, epoch, goal, system_id, .. } => {
                if goal.is_some_and(NodeState::is_writable) {
                    epochs.insert(node, *epoch);
                }
                systems.extend(system_id.map(|id| (node.as_str(), id)));
            }
            Kind::Opened { node, tli } if !rogues.has(node) => {
                // A database that is being made has no number yet.
                let Some(system) = systems.get(node.as_str()) else { continue };
                if let Some(other) = writers.insert((*system, *tli), node).filter(|other| other != node) {
                    return Err(format!("{other} and {node} both opened on timeline {tli}"));
                }
            }
            Kind::Branched { node, tli, parent, fork } if !rogues.has(node) => {
                if let Some((other, from, there)) = timelines.insert(*tli, (node, parent, fork)) {
                    return Err(format!(
                        "timeline {tli} was begun by {other} off {from} at {there}, and by {node} off {parent} at {fork}"
                    ));
                }
                let epoch = epochs.get(node.as_str()).copied().unwrap_or(Epoch::ZERO);
                // A hand restarted the new primary, as a standby, before its keeper had seen it open.
                let goes_on = |before: (&str, Timeline)| before == (node.as_str(), *parent);
                if let Some((other, _)) = promoted.insert(epoch, (node, *tli)).filter(|before| !goes_on(*before)) {
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
        let again = |parent| check(&trace(first().into_iter().chain([(2, branched("a", 3, parent, 120))]).collect()));
        assert_eq!(again(2), Ok(()), "it goes on from where it was");
        assert!(again(1).unwrap_err().contains("a and a were both promoted in epoch 2"));
        let late = vec![(2, stored("b", 3, WaitPrimary, None)), (3, branched("b", 3, 1, 90))];
        let overtaken = [(0, stored("c", 1, WaitPrimary, None)), (3, stored("c", 3, Demoted, None))];
        let late = late.into_iter().chain(overtaken).chain([(4, branched("c", 4, 1, 90))]);
        assert_eq!(check(&trace(first().into_iter().chain(late).collect())), Ok(()), "it was signalled before");
        let taken_over = |tli| {
            let opens = vec![(2, opened("a", 2)), (3, stored("b", 3, WaitPrimary, None)), (4, opened("b", tli))];
            check(&trace(first().into_iter().chain(opens).collect()))
        };
        assert_eq!(taken_over(3), Ok(()));
        assert!(taken_over(2).unwrap_err().contains("a and b both opened on timeline 2"));
        let hand = [(0, fault(Fault::Rogue, &["b"])), (0, branched("b", 2, 1, 90))];
        assert_eq!(check(&trace(hand.into_iter().chain(first()).collect())), Ok(()));
    }
}
