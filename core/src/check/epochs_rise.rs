//! S3: the epoch never falls, on the monitor or in what a keeper stores; it rises whenever the role moves; and nobody
//! opens but by a keeper that has stored the order to, and is promoted in an epoch in which the monitor gave it.

use super::rogues::Rogues;
use super::roles::is_reset;
use super::trace::{Fault, Kind, Trace};
use crate::model::{Epoch, Moment, NodeState};
use crate::monitor::doubt::REGISTERS_AGAIN;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest that a start of a server takes, or a promotion.
const STARTS: Duration = Duration::from_secs(10);

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
    let mut disks: BTreeMap<&str, Disk> = BTreeMap::new();
    // An order that was taken back since was an order all the same: its keeper may not have heard of it yet.
    let mut granted: BTreeSet<(&str, Epoch)> = BTreeSet::new();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        rogues.follow(&event.kind);
        let at = event.at.seconds();
        match &event.kind {
            Kind::Stored { node, epoch, goal, .. } => {
                let disk = disks.entry(node).or_insert(Disk::EMPTY);
                if *epoch < disk.epoch {
                    return Err(format!("{node} stored epoch {epoch} at {at:.3} s, after epoch {}", disk.epoch));
                }
                disk.store(event.at, *epoch, *goal);
            }
            Kind::Node { node, goal, epoch, .. } if goal.is_writable() => {
                granted.insert((node, *epoch));
            }
            Kind::Fault { fault: Fault::Disk, nodes } => nodes.iter().for_each(|node| {
                disks.remove(node.as_str());
            }),
            Kind::Opened { node, .. } if !rogues.has(node) => {
                let disk = disks.get(node.as_str()).copied().unwrap_or(Disk::EMPTY);
                if !disk.may_open(event.at) {
                    let is = disk.goal.map_or("nothing".into(), |goal| goal.to_string());
                    return Err(format!("{node} opened at {at:.3} s, and is to be {is} by what is on its disk"));
                }
            }
            Kind::Branched { node, .. } if !rogues.has(node) => {
                let disk = disks.get(node.as_str()).copied().unwrap_or(Disk::EMPTY);
                let Some(goal) = disk.goal else {
                    return Err(format!("{node} was promoted at {at:.3} s with no order on its disk"));
                };
                let Some(epoch) = disk.promotes(event.at) else {
                    return Err(format!(
                        "{node} was promoted at {at:.3} s, and is to be {goal} by what is on its disk"
                    ));
                };
                if !granted.contains(&(node.as_str(), epoch)) {
                    return Err(format!("{node} was promoted at {at:.3} s in epoch {epoch}, as it was never told"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a keeper has stored.
#[derive(Clone, Copy)]
struct Disk {
    epoch: Epoch,
    goal: Option<NodeState>,
    /// Until when it was to be the primary, if it was and is to be another.
    led: Option<Moment>,
    /// The last epoch in which it was to open, and until when, if it was and isn't to.
    opens: Option<(Epoch, Moment)>,
}

impl Disk {
    const EMPTY: Disk = Disk { epoch: Epoch::ZERO, goal: None, led: None, opens: None };

    fn leads(&self) -> bool {
        self.goal.is_some_and(NodeState::belongs_to_primary)
    }

    fn store(&mut self, at: Moment, epoch: Epoch, goal: Option<NodeState>) {
        let led = if self.leads() { Some(at) } else { self.led };
        let opens = if self.is_to_open() { Some((self.epoch, at)) } else { self.opens };
        *self = Disk { epoch, goal, led, opens };
    }

    fn is_to_open(&self) -> bool {
        self.goal.is_some_and(NodeState::is_writable)
    }

    /// In which epoch it is promoted. A signal can't be taken back: what it has begun ends after the next order came.
    fn promotes(&self, at: Moment) -> Option<Epoch> {
        if self.is_to_open() {
            return Some(self.epoch);
        }
        self.opens.filter(|(_, until)| at.since(*until) <= STARTS).map(|(epoch, _)| epoch)
    }

    /// A start that is under way goes on when its order is taken back.
    fn may_open(&self, at: Moment) -> bool {
        self.leads() || self.led.is_some_and(|led| at.since(led) <= STARTS)
    }
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
        let promoted = || (9, branched("b", 2, 1, 100));
        let obeys = || (2, stored("b", 3, WaitPrimary, None));
        assert_eq!(then(vec![obeys(), promoted()]), Ok(()));
        assert!(then(vec![promoted()]).unwrap_err().contains("is to be stop_replication by what is on its disk"));
        assert!(then(vec![(2, stored("b", 1, Secondary, None))]).unwrap_err().contains("after epoch 2"));
        let revoked = (3, node("b", StopReplication, ReportLsn, 4));
        assert_eq!(then(vec![obeys(), revoked.clone(), promoted()]), Ok(()), "it has not heard of that");
        let obeyed = || vec![obeys(), revoked.clone(), (4, stored("b", 4, ReportLsn, None))];
        assert_eq!(then([obeyed(), vec![promoted()]].concat()), Ok(()), "its promotion was under way");
        let later = then([obeyed(), vec![(12_000, branched("b", 2, 1, 100))]].concat());
        assert!(later.unwrap_err().contains("is to be report_lsn"));
    }

    #[test]
    fn a_server_opens_only_by_an_order_that_is_stored() {
        let opens =
            |before: Vec<(u64, Kind)>| keepers(&trace(before.into_iter().chain([(9000, opened("b", 1))]).collect()));
        let leads = || (0, stored("b", 1, Primary, None));
        assert!(opens(vec![]).unwrap_err().contains("is to be nothing by what is on its disk"));
        assert_eq!(opens(vec![leads()]), Ok(()));
        assert!(opens(vec![(0, stored("b", 1, Secondary, None))]).unwrap_err().contains("is to be secondary"));
        assert_eq!(opens(vec![leads(), (8000, stored("b", 2, Demoted, None))]), Ok(()), "its start was under way");
        let long_ago = vec![leads(), (1, stored("b", 2, Demoted, None)), (12_000, opened("b", 1))];
        assert!(keepers(&trace(long_ago)).unwrap_err().contains("is to be demoted"));
        assert_eq!(opens(vec![(0, fault(Fault::Rogue, &["b"]))]), Ok(()), "by hand");
    }

    #[test]
    fn a_promotion_that_nobody_granted_is_found() {
        let promoted =
            |before: Vec<_>| keepers(&trace(before.into_iter().chain([(9, branched("b", 2, 1, 100))]).collect()));
        let told = || (0, node("b", StopReplication, WaitPrimary, 3));
        assert!(promoted(vec![told()]).unwrap_err().contains("no order on its disk"));
        assert!(promoted(vec![(1, stored("b", 3, WaitPrimary, None))]).unwrap_err().contains("never told"));
        let older = promoted(vec![told(), (1, stored("b", 4, WaitPrimary, None))]);
        assert!(older.unwrap_err().contains("in epoch 4, as it was never told"));
        let lost = (2, fault(Fault::Disk, &["b"]));
        assert!(promoted(vec![told(), (1, stored("b", 3, WaitPrimary, None)), lost]).is_err());
        assert_eq!(promoted(vec![(0, fault(Fault::Rogue, &["b"]))]), Ok(()), "by hand");
    }
}
