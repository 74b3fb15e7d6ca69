//! S3: the epoch never falls, on the monitor or in what a keeper stores; it rises whenever the role moves; and nobody
//! is promoted before its keeper has stored the epoch in which it was told to open.

use super::roles::is_reset;
use super::trace::{Fault, Kind, Trace};
use crate::model::Epoch;
use crate::monitor::doubt::REGISTERS_AGAIN;
use std::collections::BTreeMap;

pub fn monitor(trace: &Trace) -> Result<(), String> {
    let mut log = Log::new(Epoch::ZERO);
    for event in &trace.events {
        match &event.kind {
            Kind::Stored { epoch, .. } => log.seen = log.seen.max(*epoch),
            Kind::Node { node, goal, epoch, description, .. } => {
                let told = goal.is_writable() && !description.contains(REGISTERS_AGAIN);
                log.row(node, told, *epoch).map_err(|how| format!("{how} at {:.3} s", event.at.seconds()))?;
            }
            kind if is_reset(kind) => log = Log::new(log.seen),
            _ => {}
        }
    }
    match log.last != Epoch::ZERO && log.last < log.past {
        true => Err(format!("the epoch was {} when the monitor got another store, and ends as {}", log.past, log.last)),
        false => Ok(()),
    }
}

/// What one store of the monitor has told.
struct Log<'a> {
    /// Zero before the first row.
    last: Epoch,
    holder: Option<(&'a str, Epoch)>,
    /// The highest epoch that a keeper has stored.
    seen: Epoch,
    /// The same, when the monitor got this store: decisions must be newer.
    past: Epoch,
}

impl<'a> Log<'a> {
    fn new(seen: Epoch) -> Log<'a> {
        Log { last: Epoch::ZERO, holder: None, seen, past: seen }
    }

    fn row(&mut self, node: &'a str, writable: bool, epoch: Epoch) -> Result<(), String> {
        if epoch < self.last {
            return Err(format!("epoch {epoch} after epoch {}", self.last));
        }
        self.last = epoch;
        if !writable {
            return Ok(());
        }
        let Some((old, then)) = self.holder.replace((node, epoch)).filter(|(old, _)| *old != node) else {
            return Ok(());
        };
        match epoch > then && epoch > self.past {
            true => Ok(()),
            false => Err(format!("the role moved from {old} to {node} in epoch {epoch}, which is no new one")),
        }
    }
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
            Kind::Fault { fault: Fault::Disk, nodes } => nodes.iter().for_each(|node| {
                stored.remove(node.as_str());
            }),
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
    use super::super::trace::Fault;
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
    fn a_monitor_with_an_older_store_must_rise_past_what_keepers_have_seen() {
        let then = |more: Vec<(u64, Kind)>| {
            let before = [
                (0, node("a", Primary, Primary, 1)),
                (1, stored("b", 5, WaitPrimary, None)),
                (1, node("b", WaitPrimary, WaitPrimary, 5)),
                (2, fault(Fault::MonitorStore, &[])),
                (3, node("a", Primary, Primary, 1)),
            ];
            monitor(&trace(before.into_iter().chain(more).collect()))
        };
        assert!(then(vec![]).unwrap_err().contains("epoch was 5"));
        assert_eq!(then(vec![(4, node("b", Primary, Primary, 6))]), Ok(()));
        assert!(then(vec![(4, node("b", Primary, Primary, 5))]).unwrap_err().contains("from a to b in epoch 5"));
        assert!(then(vec![(4, node("b", Primary, Primary, 6)), (5, node("a", Draining, Draining, 5))]).is_err());
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
