//! S6: what the open primary enforces is on record, as the names its backends work under and not only as what it was
//! told: no set of standbys may acknowledge a commit that the monitor doesn't count on.

use super::contracts::{self, Demand};
use super::rogues::Rogues;
use super::roles::{Role, is_reset};
use super::trace::{Kind, Trace};
use crate::model::Epoch;
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut enforced: BTreeMap<&str, Demand> = BTreeMap::new();
    let mut role = Role::default();
    let mut recorded: Option<&str> = None;
    let (mut stored, mut past) = (Epoch::ZERO, Epoch::ZERO);
    let mut rogues = Rogues::default();
    for event in &trace.events {
        // Another store learns what is in force from the primary, and says so in a newer epoch.
        if is_reset(&event.kind) {
            (recorded, past) = (None, stored);
        }
        role.follow(event.at, &event.kind);
        rogues.follow(&event.kind);
        match &event.kind {
            Kind::Names { node, k, of } => {
                enforced.insert(node, Demand { k: *k, members: of.clone() });
            }
            Kind::Closed { node } => {
                enforced.remove(node.as_str());
            }
            Kind::Stored { epoch, .. } => {
                stored = stored.max(*epoch);
                continue;
            }
            Kind::Node { in_force, epoch, .. } if *epoch > past => recorded = Some(in_force),
            _ => continue,
        }
        let (Some(recorded), Some(node)) = (recorded, role.holder.filter(|holder| rogues.is_told(holder))) else {
            continue;
        };
        let Some(terms) = enforced.get(node) else { continue };
        if !rogues.has(node) && !contracts::read(recorded)?.iter().any(|c| c.covers(terms)) {
            let at = event.at.seconds();
            let Demand { k, members } = terms;
            return Err(format!("{node} enforces {k} of {members:?} at {at:.3} s, on record is \"{recorded}\""));
        }
    }
    Ok(())
}

impl Demand {
    /// Whether every set able to acknowledge under `other` is able to under this.
    fn covers(&self, other: &Demand) -> bool {
        let strangers = other.members.difference(&self.members).count();
        self.k == 0 || other.k >= self.k + strangers
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
    use super::*;
    use crate::model::NodeState::Primary;

    #[test]
    fn names_that_no_contract_on_record_covers_are_found() {
        let run = |in_force: &str, k, of: &[&str]| {
            check(&trace(vec![(0, under("a", Primary, Primary, 1, in_force)), (1, names("a", k, of))]))
        };
        assert_eq!(run("any 1 of (2, 3)", 1, &["b", "c"]), Ok(()));
        assert_eq!(run("any 1 of (2, 3)", 2, &["b", "c"]), Ok(()), "stricter than told");
        assert_eq!(run("any 1 of (2); any 1 of (2, 3)", 1, &["b", "c"]), Ok(()));
        assert_eq!(run("none", 1, &["b"]), Ok(()));
        assert!(run("any 1 of (2)", 1, &["b", "c"]).unwrap_err().contains("a enforces 1 of"));
        assert!(run("any 1 of (2)", 0, &[]).is_err(), "alone");
        assert_eq!(run("any 1 of (2)", 1, &[]), Ok(()), "it waits for nobody there is");
    }

    #[test]
    fn a_contract_that_leaves_the_record_too_early_is_found_and_only_the_holder_is_judged() {
        let early = |events: Vec<(u64, Kind)>| {
            let begin = vec![(0, under("a", Primary, Primary, 1, "any 1 of (2, 3)")), (1, names("a", 1, &["b", "c"]))];
            check(&trace(begin.into_iter().chain(events).collect()))
        };
        let shrunk = || under("a", Primary, Primary, 1, "any 1 of (2)");
        assert!(early(vec![(2, shrunk())]).is_err());
        assert_eq!(early(vec![(2, names("a", 1, &["b"])), (3, shrunk())]), Ok(()));
        assert_eq!(early(vec![(2, closed("a")), (3, shrunk())]), Ok(()));
        assert_eq!(early(vec![(2, under("b", Primary, Primary, 2, "none"))]), Ok(()), "a is the old one now");
        let reset = |epoch| {
            let row = under("a", Primary, Primary, epoch, "any 1 of (2)");
            early(vec![(2, stored("a", 4, Primary, None)), (2, fault(Fault::MonitorStore, &[])), (3, row)])
        };
        assert_eq!(reset(4), Ok(()), "what it once knew");
        assert!(reset(5).is_err(), "by then it has been told");
        assert_eq!(early(vec![(2, fault(Fault::Rogue, &["b"])), (3, names("b", 0, &[]))]), Ok(()));
    }
}
