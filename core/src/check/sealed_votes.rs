//! S7: who has sealed what it holds, for an epoch, takes no WAL that was written in an older one: not even when it lifts
//! the seal to fetch what a peer has sealed. The promise ends with its epoch, or with the disk that it was on; an election
//! that its source knows to be over is won by nobody.

use super::trace::{Fault, Kind, Trace};
use crate::model::Epoch;
use std::collections::BTreeMap;

#[derive(Default, Clone, Copy)]
struct Keeper {
    /// Sealed once, and still in the epoch of the seal.
    sealed: Option<Epoch>,
    /// The epoch in which it was told last to be open.
    writes: Option<Epoch>,
    /// The newest it has heard of.
    epoch: Option<Epoch>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut keepers: BTreeMap<&str, Keeper> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Stored { node, epoch, goal, .. } => {
                let keeper = keepers.entry(node).or_default();
                keeper.epoch = Some(*epoch);
                let seal = event.kind.promise().and_then(|(_, seal)| seal).map(|seal| seal.epoch);
                keeper.sealed = seal.or(keeper.sealed.filter(|sealed| sealed == epoch));
                if goal.is_some_and(|g| g.is_writable()) {
                    keeper.writes = Some(*epoch);
                }
            }
            Kind::Fault { fault: Fault::Disk, nodes } => keepers.retain(|node, _| !nodes.iter().any(|n| n == node)),
            Kind::Received { node, from } => {
                let of = |name: &str| keepers.get(name).copied().unwrap_or_default();
                let Some(sealed) = of(node).sealed else { continue };
                let source = of(from);
                let is_over = source.writes < source.epoch && source.epoch > Some(sealed);
                if source.sealed != Some(sealed) && !is_over && source.writes.is_none_or(|written| written < sealed) {
                    let at = event.at.seconds();
                    return Err(format!("{node}, sealed for epoch {sealed}, took WAL of {from} at {at:.3} s"));
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
    fn a_sealed_node_takes_wal_of_its_own_epoch_only() {
        let received = || Kind::Received { node: "b".into(), from: "a".into() };
        let sealed = || vec![(0, stored("a", 1, Primary, None)), (1, stored("b", 2, StopReplication, Some(100)))];
        let then = |more: Vec<_>| check(&trace(sealed().into_iter().chain(more).collect()));
        assert!(then(vec![(2, received())]).unwrap_err().contains("sealed for epoch 2, took WAL of a"));
        assert_eq!(then(vec![(2, stored("a", 2, WaitPrimary, None)), (3, received())]), Ok(()));
        assert_eq!(then(vec![(2, stored("b", 3, Catchingup, None)), (3, received())]), Ok(()), "the seal is history");
        assert_eq!(then(vec![(2, stored("a", 2, ReportLsn, Some(120))), (3, received())]), Ok(()), "sealed as well");
        let lifted = || (2, stored("b", 2, FastForward, None));
        assert!(then(vec![lifted(), (3, received())]).unwrap_err().contains("took WAL of a"));
        assert_eq!(then(vec![lifted(), (3, stored("a", 2, ReportLsn, Some(120))), (4, received())]), Ok(()));
        let knows_better = (3, stored("a", 3, Secondary, None));
        assert_eq!(then(vec![lifted(), knows_better, (4, received())]), Ok(()), "its election is over");
        let lost = (3, fault(Fault::Disk, &["b"]));
        assert_eq!(then(vec![lifted(), lost, (4, stored("b", 2, Catchingup, None)), (5, received())]), Ok(()));
    }
}
