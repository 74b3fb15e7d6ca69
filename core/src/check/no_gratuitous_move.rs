//! L4: the role moves only after something happened to the node that holds it, or an operator asked.

use super::roles::Role;
use super::trace::{Fault, Kind, Trace};
use std::collections::BTreeMap;

/// What has happened to a node.
#[derive(Default, Clone, Copy)]
struct Touched {
    /// Since it took the role, or it still lasts.
    hit: bool,
    /// Frozen or cut off until it is mended.
    lasts: bool,
}

#[derive(Default)]
struct Excuses<'a> {
    nodes: BTreeMap<&'a str, Touched>,
    /// An order, or a fault of an unknown kind, that no move has used yet.
    anyone: bool,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let mut excuses = Excuses::default();
    for event in &trace.events {
        if let Kind::Fault { fault, nodes } = &event.kind {
            excuses.note(*fault, nodes, trace.terms.may_lose);
        }
        let Some(moved) = role.follow(event.at, &event.kind) else { continue };
        let excused = std::mem::take(&mut excuses.anyone) || excuses.nodes.get(moved.from).is_some_and(|t| t.hit);
        if !excused {
            return Err(format!(
                "the role moved from {} to {} at {:.3} s, and nothing had happened to {}",
                moved.from,
                moved.to,
                event.at.seconds(),
                moved.from
            ));
        }
        if let Some(new) = excuses.nodes.get_mut(moved.to) {
            new.hit = new.lasts;
        }
    }
    Ok(())
}

impl<'a> Excuses<'a> {
    /// A primary under a lease needs its keeper and the monitor; for others neither's death is a reason.
    fn note(&mut self, fault: Fault, nodes: &'a [String], leased: bool) {
        match fault {
            Fault::Monitor | Fault::MonitorStore => self.anyone |= leased,
            Fault::Keeper if !leased => {}
            Fault::Order | Fault::Rogue | Fault::Other => self.anyone = true,
            Fault::Mend if nodes.is_empty() => self.nodes.values_mut().for_each(|t| t.lasts = false),
            Fault::Mend => {
                for node in nodes {
                    self.nodes.entry(node).or_default().lasts = false;
                }
            }
            Fault::Postgres
            | Fault::Machine
            | Fault::Disk
            | Fault::Service
            | Fault::Pause
            | Fault::Link
            | Fault::Keeper => {
                let lasts = matches!(fault, Fault::Pause | Fault::Link);
                // A cut between a node and the monitor alone is the monitor's trouble.
                if !leased && fault == Fault::Link && nodes.iter().any(|n| n == "monitor") {
                    return;
                }
                for node in nodes {
                    let touched = self.nodes.entry(node).or_default();
                    touched.hit = true;
                    touched.lasts |= lasts;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    fn after(faults: Vec<Kind>) -> Result<(), String> {
        let faults = faults.into_iter().map(|f| (1, f));
        let start = (0, node("a", Primary, Primary, 1));
        let moved = (2, node("b", StopReplication, WaitPrimary, 2));
        check(&trace([start].into_iter().chain(faults).chain([moved]).collect()))
    }

    #[test]
    fn harmless_things_move_no_role() {
        for harmless in [
            vec![],
            vec![fault(Fault::Monitor, &[])],
            vec![fault(Fault::Keeper, &["a"])],
            vec![fault(Fault::Machine, &["b"]), fault(Fault::Mend, &["b"])],
            vec![fault(Fault::Link, &["a", "monitor"])],
        ] {
            assert!(after(harmless).unwrap_err().contains("nothing had happened to a"));
        }
        for grave in [Fault::Postgres, Fault::Machine, Fault::Service, Fault::Pause, Fault::Link] {
            assert_eq!(after(vec![fault(grave, &["a"])]), Ok(()), "{grave:?}");
        }
        assert_eq!(after(vec![fault(Fault::Order, &[])]), Ok(()));
    }

    #[test]
    fn what_happened_before_a_node_took_the_role_counts_only_while_it_lasts() {
        let moves = |first| {
            check(&trace(vec![
                (0, node("a", Primary, Primary, 1)),
                (1, fault(first, &["b"])),
                (2, fault(Fault::Machine, &["a"])),
                (3, node("b", StopReplication, WaitPrimary, 2)),
                (4, node("a", StopReplication, WaitPrimary, 3)),
            ]))
        };
        assert_eq!(moves(Fault::Link), Ok(()));
        assert!(moves(Fault::Machine).is_err());
    }
}
