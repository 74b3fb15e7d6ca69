//! S13: before a server opens, every other that is open can gather no acknowledgement any more: too few of those
//! its backends wait for are neither sealed nor the new one itself. One that itself can gather none harms nobody: its
//! members had vouched for it while it was closed, and have gone to another since. At the end one server is open at most.

use super::reach::Reach;
use super::rogues::Rogues;
use super::trace::{Kind, Trace};
use std::collections::BTreeSet;

#[derive(Default)]
struct World<'a> {
    open: BTreeSet<&'a str>,
    /// Open, and denied by a sealed set once: its members have gone on to newer epochs since.
    fenced: BTreeSet<&'a str>,
    reach: Reach<'a>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut world = World::default();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        rogues.follow(&event.kind);
        world.reach.follow(&event.kind);
        match &event.kind {
            Kind::Closed { node } => {
                world.open.remove(node.as_str());
                world.fenced.remove(node.as_str());
            }
            // Nobody could fence it, nor wait for it.
            Kind::Opened { node, .. } if rogues.has(node) => {
                world.open.insert(node);
                world.fenced.insert(node);
            }
            // The members of a new primary are sealed as well, and are about to follow it.
            Kind::Opened { node, .. } if !rogues.is_told(node) && !world.reach.can_acknowledge(node, &[]) => {
                world.open.insert(node);
                world.fenced.insert(node);
            }
            Kind::Opened { node, .. } => {
                if let Some(other) = world.could_acknowledge_beside(node) {
                    let at = event.at.seconds();
                    return Err(format!("{node} opened at {at:.3} s while {other} could acknowledge writes"));
                }
                world.fenced.extend(world.open.iter().filter(|other| *other != node));
                world.open.insert(node);
            }
            _ => {}
        }
    }
    let settled =
        trace.events.iter().all(|e| !matches!(&e.kind, Kind::Ended { reported, goal, .. } if reported != goal));
    match settled && world.open.len() > 1 {
        true => Err(format!("at the end {:?} are all open", world.open)),
        false => Ok(()),
    }
}

impl World<'_> {
    fn could_acknowledge_beside(&self, node: &str) -> Option<&str> {
        let could = |other: &&&str| {
            **other != node && !self.fenced.contains(**other) && self.reach.can_acknowledge(other, &[node])
        };
        self.open.iter().find(could).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
    use super::*;
    use crate::model::NodeState::*;

    fn opens(names_of_a: Kind, more: Vec<(u64, Kind)>) -> Result<(), String> {
        let start = vec![
            (0, node("a", Primary, Primary, 1)),
            (0, node("b", Secondary, Secondary, 1)),
            (0, node("c", Secondary, Secondary, 1)),
            (1, names_of_a),
            (1, opened("a", 1)),
        ];
        check(&trace(start.into_iter().chain(more).chain([(9, opened("b", 2)), (10, closed("a"))]).collect()))
    }

    #[test]
    fn the_old_server_must_be_closed_or_without_voters() {
        assert_eq!(opens(names("a", 1, &["b"]), vec![]), Ok(()), "b won't acknowledge for a any more");
        assert!(opens(names("a", 1, &["b", "c"]), vec![]).unwrap_err().contains("while a could acknowledge"));
        let sealed = (2, stored("c", 2, ReportLsn, Some(100)));
        assert_eq!(opens(names("a", 1, &["b", "c"]), vec![sealed]), Ok(()));
        assert!(opens(names("a", 0, &[]), vec![]).is_err());
        assert_eq!(opens(names("a", 0, &[]), vec![(2, fault(Fault::Rogue, &["b"]))]), Ok(()));
        assert_eq!(opens(names("a", 0, &[]), vec![(2, closed("a"))]), Ok(()));
        let mute = vec![(2, names("b", 1, &["c"])), (3, stored("c", 2, ReportLsn, Some(100)))];
        assert_eq!(opens(names("a", 0, &[]), mute.clone()), Ok(()), "b itself can acknowledge nothing");
        let told = [(4, node("b", StopReplication, WaitPrimary, 2))];
        let told = mute.into_iter().chain(told).collect();
        assert!(opens(names("a", 0, &[]), told).is_err(), "c is about to follow it");
    }

    #[test]
    fn two_open_servers_at_the_end_are_found() {
        let both = vec![
            (0, node("b", Secondary, Secondary, 1)),
            (1, names("a", 1, &["b"])),
            (1, opened("a", 1)),
            (2, opened("b", 2)),
        ];
        assert!(check(&trace(both)).unwrap_err().contains("are all open"));
    }
}
