//! S6: whoever is promoted was chosen by a sealed set that meets every set able to acknowledge a commit, under
//! every contract that may have been in force.

use super::contracts;
use super::roles::Role;
use super::trace::{Kind, Trace};
use crate::model::{Epoch, NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let mut sealed: BTreeMap<NodeId, Epoch> = BTreeMap::new();
    // What was on record before the role moved: the move itself ends the old contracts.
    let mut in_force = "";
    let mut before = ("", crate::model::Moment::ZERO);
    let mut consented = false;
    for event in &trace.events {
        if let Kind::Asked { order } = &event.kind {
            consented |= order.contains(CONSENT);
        }
        let Kind::Node { id, reported, epoch, in_force: now, .. } = &event.kind else {
            continue;
        };
        match seals(*reported) {
            true => sealed.insert(*id, *epoch),
            false => sealed.remove(id),
        };
        if in_force != now {
            before = (in_force, event.at);
            in_force = now;
        }
        let Some(moved) = role.follow(event.at, &event.kind) else { continue };
        if std::mem::take(&mut consented) {
            continue;
        }
        let electing = sealed.iter().filter(|(_, e)| **e == moved.epoch).map(|(id, _)| *id).collect::<BTreeSet<_>>();
        let old = if before.1 == event.at { before.0 } else { in_force };
        let open = contracts::read(old)?.into_iter().find(|c| c.can_acknowledge_without(&electing));
        if let Some(contract) = open {
            return Err(format!(
                "{} took over from {} at {:.3} s while {} of {:?} could still acknowledge without {electing:?}",
                moved.to,
                moved.from,
                event.at.seconds(),
                contract.k,
                contract.members
            ));
        }
    }
    Ok(())
}

/// What an order says that gives up commits on purpose.
pub const CONSENT: &str = "allow data loss";

/// Who reports this has promised to receive nothing from an older primary.
pub fn seals(state: NodeState) -> bool {
    matches!(state, NodeState::StopReplication | NodeState::ReportLsn | NodeState::FastForward)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    fn elected(in_force: &str, sealed: &[&str]) -> Result<(), String> {
        let mut events = vec![(0, under("a", Primary, Primary, 1, in_force))];
        events.extend(sealed.iter().map(|n| (5, under(n, ReportLsn, ReportLsn, 2, in_force))));
        events.push((6, under("b", ReportLsn, WaitPrimary, 2, "none")));
        check(&trace(events))
    }

    #[test]
    fn a_set_that_misses_a_set_able_to_acknowledge_may_not_elect() {
        assert_eq!(elected("any 1 of (2)", &["b"]), Ok(()));
        assert_eq!(elected("any 1 of (2, 3)", &["b", "c"]), Ok(()));
        assert_eq!(elected("any 2 of (2, 3)", &["b"]), Ok(()));
        assert!(elected("any 1 of (2, 3)", &["b"]).is_err());
        assert!(elected("any 1 of (2); any 1 of (2, 3)", &["b"]).is_err());
        assert!(elected("none", &["b", "c"]).is_err());
        assert!(elected("any 1 of (2)", &[]).is_ok(), "its own last row shows it sealed");
        assert!(elected("any 1 of (3)", &[]).is_err());
    }

    #[test]
    fn an_operator_may_give_commits_up() {
        let order = Kind::Asked { order: format!("failover, {CONSENT}") };
        let events = vec![
            (0, under("a", Primary, Primary, 1, "none")),
            (1, order),
            (6, under("b", ReportLsn, WaitPrimary, 2, "none")),
        ];
        assert_eq!(check(&trace(events)), Ok(()));
    }
}
