//! L4: the role moves only after something happened to the node that holds it, or an operator asked.

use super::roles::Role;
use super::trace::{Fault, Kind, Trace};
use crate::model::{Moment, NodeState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const MONITOR: &str = "monitor";
/// What names nobody, an order above all, is a reason for so long; so is what is over, once its node is open again, or if it
/// stayed open all the time: silence is judged, or forgotten, and a lease ends, within less.
const RECENT: Duration = Duration::from_secs(60);

/// What has happened to a node.
#[derive(Default, Clone)]
struct Touched<'a> {
    /// Since it was chosen for the role, or it still lasts.
    hit: bool,
    /// When it opened first after that.
    back: Option<Moment>,
    /// Its server is open.
    open: bool,
    /// When it was mended, open, and it has not closed soon after.
    mended: Option<Moment>,
    /// Told to hand the role on while there was a reason: however long that takes.
    leaves: bool,
    /// Frozen, cut off, or hampered in another way until it is mended.
    lasts: bool,
    /// The machines to which it has no link.
    cut_from: BTreeSet<&'a str>,
    /// When it was cut off from the monitor last, or that was mended.
    unheard: Option<Moment>,
}

#[derive(Default)]
struct Excuses<'a> {
    nodes: BTreeMap<&'a str, Touched<'a>>,
    /// An order, or something that happened to no node in particular.
    anyone: Option<Moment>,
    /// Those that vote, are being promoted or hold the role, as the monitor has told them.
    chosen: BTreeSet<&'a str>,
    /// When the monitor was killed or started last, and when any node was hit.
    monitor: Option<Moment>,
    latest_hit: Option<Moment>,
    fault_points: bool,
    /// A primary under a lease needs its keeper and the monitor; for others neither's death is a reason.
    leased: bool,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let (leased, fault_points) = (trace.terms.may_lose, trace.terms.fault_points);
    let mut excuses = Excuses { leased, fault_points, ..Excuses::default() };
    for event in &trace.events {
        match &event.kind {
            Kind::Fault { fault, nodes } => excuses.note(event.at, *fault, nodes),
            Kind::Node { node, goal, .. } => {
                excuses.choose(node, *goal);
                excuses.leave(event.at, node, *goal);
            }
            Kind::Opened { node, .. } => excuses.open(event.at, node),
            Kind::Closed { node } => excuses.close(event.at, node),
            _ => {}
        }
        let Some(moved) = role.follow(event.at, &event.kind) else { continue };
        if !excuses.has(event.at, moved.from) {
            return Err(format!(
                "the role moved from {} to {} at {:.3} s, and nothing had happened to {}",
                moved.from,
                moved.to,
                event.at.seconds(),
                moved.from
            ));
        }
    }
    Ok(())
}

impl<'a> Excuses<'a> {
    fn note(&mut self, at: Moment, fault: Fault, nodes: &'a [String]) {
        if matches!(fault, Fault::Monitor | Fault::MonitorStore) {
            self.monitor = Some(at);
        } else if !nodes.is_empty() && !matches!(fault, Fault::Mend | Fault::Link | Fault::Order) {
            self.latest_hit = Some(at);
        }
        let names_monitor = nodes.is_empty() || nodes.iter().any(|n| n == MONITOR);
        match fault {
            Fault::Monitor | Fault::MonitorStore if !self.leased => {}
            Fault::Keeper if !self.leased => {}
            Fault::Monitor | Fault::MonitorStore | Fault::Order => self.anyone = Some(at),
            Fault::Rogue | Fault::Other if nodes.is_empty() => self.anyone = Some(at),
            Fault::Mend => {
                // A monitor that is heard again decides what it could not.
                self.anyone = if self.leased && names_monitor { Some(at) } else { self.anyone };
                self.mend(at, nodes);
            }
            Fault::Link => self.cut(at, nodes),
            _ => nodes.iter().for_each(|node| self.hit(node, matches!(fault, Fault::Pause | Fault::Other))),
        }
    }

    fn hit(&mut self, node: &'a str, lasts: bool) {
        let touched = self.nodes.entry(node).or_default();
        (touched.hit, touched.back, touched.mended) = (true, None, None);
        touched.lasts |= lasts;
    }

    /// With neither the monitor nor enough of its standbys a primary closes by itself. What goes wrong at points in the
    /// code may keep it from both.
    fn close(&mut self, at: Moment, node: &'a str) {
        let recent = |then: Option<Moment>| then.is_some_and(|then| at.since(then) <= RECENT);
        let touched = self.nodes.entry(node).or_default();
        touched.open = false;
        if recent(touched.mended) {
            // It ends as what befell it may make it end, and has to open again.
            touched.mended = None;
        }
        if self.fault_points || (recent(self.monitor) && recent(self.latest_hit)) {
            self.hit(node, false);
        }
    }

    fn open(&mut self, at: Moment, node: &'a str) {
        let touched = self.nodes.entry(node).or_default();
        touched.open = true;
        if touched.hit {
            touched.back.get_or_insert(at);
        }
    }

    /// A node that the monitor hears is not gone because another doesn't; nor is one that only the monitor doesn't hear,
    /// but for its lease, or while those that could hear it are away themselves.
    fn cut(&mut self, at: Moment, nodes: &'a [String]) {
        let [one, other] = nodes else { return nodes.iter().for_each(|node| self.hit(node, true)) };
        for (node, from) in [(one, other), (other, one)] {
            let touched = self.nodes.entry(node).or_default();
            touched.cut_from.insert(from);
            if from == MONITOR {
                touched.unheard = Some(at);
            }
            let off = touched.cut_from.contains(MONITOR) && (self.leased || touched.cut_from.len() > 1);
            if off {
                self.hit(node, true);
            }
        }
    }

    fn mend(&mut self, at: Moment, nodes: &'a [String]) {
        let mended = |node: &str| nodes.is_empty() || nodes.iter().any(|n| n == node);
        for (node, touched) in &mut self.nodes {
            if touched.lasts && mended(node) {
                (touched.lasts, touched.back) = (false, None);
                touched.mended = touched.open.then_some(at);
            }
            touched.cut_from.retain(|from| !mended(node) && !mended(from));
        }
    }

    /// What befell it before it was chosen didn't keep it from being so.
    fn choose(&mut self, node: &'a str, goal: NodeState) {
        let votes = goal.is_being_promoted() || goal == NodeState::ReportLsn;
        if !votes && !goal.belongs_to_primary() {
            self.chosen.remove(node);
        } else if self.chosen.insert(node)
            && let Some(touched) = self.nodes.get_mut(node)
        {
            touched.hit = touched.lasts;
        }
    }

    /// A move that has begun for a reason may wait for votes until that is long ago.
    fn leave(&mut self, at: Moment, node: &'a str, goal: NodeState) {
        let leaves = !goal.is_writable() && (self.nodes.get(node).is_some_and(|t| t.leaves) || self.has(at, node));
        self.nodes.entry(node).or_default().leaves = leaves;
    }

    fn has(&self, at: Moment, node: &str) -> bool {
        let recent = |then: Moment| at.since(then) <= RECENT;
        let is_hit = |t: &Touched| t.hit && (t.lasts || t.back.or(t.mended).is_none_or(recent));
        let of = |node: &str| self.nodes.get(node).is_some_and(|t| t.leaves || is_hit(t));
        let unheard = |node: &str| self.nodes.get(node).and_then(|t| t.unheard).is_some_and(recent);
        let lately = self.anyone.is_some_and(recent) || (unheard(node) && self.latest_hit.is_some_and(recent));
        lately || of(node) || (self.leased && self.nodes.get(MONITOR).is_some_and(|t| t.lasts))
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
            vec![fault(Fault::Link, &["a", "b"])],
            vec![fault(Fault::Other, &["b"])],
            vec![fault(Fault::Rogue, &["b"])],
            vec![fault(Fault::Link, &["a", "monitor"]), fault(Fault::Mend, &[]), fault(Fault::Link, &["a", "b"])],
        ] {
            assert!(after(harmless).unwrap_err().contains("nothing had happened to a"));
        }
        for grave in
            [Fault::Postgres, Fault::Machine, Fault::Service, Fault::Pause, Fault::Link, Fault::Other, Fault::Rogue]
        {
            assert_eq!(after(vec![fault(grave, &["a"])]), Ok(()), "{grave:?}");
        }
        assert_eq!(after(vec![fault(Fault::Order, &[])]), Ok(()));
        let alone = vec![fault(Fault::Link, &["a", "b"]), fault(Fault::Link, &["a", "monitor"])];
        assert_eq!(after(alone), Ok(()), "nobody hears it");
        let witness = vec![fault(Fault::Link, &["a", "monitor"]), fault(Fault::Machine, &["b"])];
        assert_eq!(after(witness), Ok(()), "who could is away");
    }

    #[test]
    fn a_primary_that_lost_both_the_monitor_and_a_standby_may_close_by_itself() {
        let (monitor, standby) = (fault(Fault::Monitor, &[]), fault(Fault::Machine, &["b"]));
        assert_eq!(after(vec![monitor.clone(), standby.clone(), closed("a")]), Ok(()));
        for one in [monitor, standby] {
            assert!(after(vec![one, closed("a")]).is_err());
        }
    }

    #[test]
    fn an_order_and_what_befell_nobody_are_a_reason_for_a_minute() {
        for of_anyone in [fault(Fault::Order, &[]), fault(Fault::Other, &[])] {
            let moves = |at| {
                check(&trace(vec![
                    (0, node("a", Primary, Primary, 1)),
                    (1000, of_anyone.clone()),
                    (at, node("b", StopReplication, WaitPrimary, 2)),
                ]))
            };
            assert_eq!(moves(61_000), Ok(()));
            assert!(moves(61_001).is_err());
        }
    }

    #[test]
    fn under_a_lease_a_monitor_that_is_away_is_a_reason() {
        let moves = |may_lose, more: Vec<(u64, Kind)>| {
            let moved = (90_000, node("b", StopReplication, WaitPrimary, 2));
            let begin = [(0, node("a", Primary, Primary, 1)), (1, fault(Fault::Link, &["monitor"]))];
            let mut trace = trace(begin.into_iter().chain(more).chain([moved]).collect());
            trace.terms.may_lose = may_lose;
            check(&trace)
        };
        assert_eq!(moves(true, vec![]), Ok(()));
        assert_eq!(moves(true, vec![(40_000, fault(Fault::Mend, &[]))]), Ok(()), "it decides when it is back");
        assert!(moves(true, vec![(20_000, fault(Fault::Mend, &[]))]).is_err());
        assert!(moves(false, vec![]).is_err());
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

    #[test]
    fn what_is_over_is_no_reason_a_minute_after_the_node_is_open_again() {
        let moves = |first, at| {
            check(&trace(vec![
                (0, node("a", Primary, Primary, 1)),
                (1000, fault(first, &["a"])),
                (2000, opened("a", 1)),
                (50_000, opened("a", 1)),
                (at, node("b", StopReplication, WaitPrimary, 2)),
            ]))
        };
        assert_eq!(moves(Fault::Machine, 62_000), Ok(()));
        assert!(moves(Fault::Machine, 62_001).unwrap_err().contains("nothing had happened to a"));
        assert_eq!(moves(Fault::Pause, 90_000), Ok(()), "it lasts");
        let mended = trace(vec![
            (0, node("a", Primary, Primary, 1)),
            (1000, fault(Fault::Pause, &["a"])),
            (2000, opened("a", 1)),
            (80_000, fault(Fault::Mend, &["a"])),
            (81_000, node("b", StopReplication, WaitPrimary, 2)),
        ]);
        assert_eq!(check(&mended), Ok(()), "it has lasted until now");
    }

    #[test]
    fn what_is_mended_is_no_reason_a_minute_later_for_a_node_that_stayed_open() {
        let moves = |more: Vec<(u64, Kind)>, at| {
            let begin = [(0, node("a", Primary, Primary, 1)), (1, opened("a", 1)), (1000, fault(Fault::Link, &["a"]))];
            let mended = [(5000, fault(Fault::Mend, &[]))];
            let moved = [(at, node("b", StopReplication, WaitPrimary, 2))];
            let mut run = trace(begin.into_iter().chain(mended).chain(moved).chain(more).collect());
            run.sort();
            check(&run)
        };
        assert_eq!(moves(vec![], 65_000), Ok(()));
        assert!(moves(vec![], 65_001).unwrap_err().contains("nothing had happened to a"));
        let told = (64_000, node("a", Primary, Draining, 2));
        assert_eq!(moves(vec![told.clone()], 300_000), Ok(()), "it waited for votes since then");
        assert!(moves(vec![told, (70_000, node("a", Primary, Primary, 2))], 300_000).is_err(), "it kept the role");
        assert_eq!(moves(vec![(6000, closed("a"))], 300_000), Ok(()), "it has not opened since");
        let came_back = || vec![(6000, closed("a")), (9000, opened("a", 1))];
        assert_eq!(moves(came_back(), 69_000), Ok(()));
        assert!(moves(came_back(), 69_001).is_err());
        assert_eq!(moves(vec![(4000, closed("a"))], 300_000), Ok(()), "it was closed when that was mended");
    }

    #[test]
    fn what_befalls_a_node_that_is_just_being_promoted_counts() {
        let moves = |stopped| {
            let mut trace = trace(vec![
                (0, node("a", Primary, Primary, 1)),
                (2, fault(Fault::Machine, &["a"])),
                (5, node("b", StopReplication, StopReplication, 2)),
                (7, node("b", StopReplication, WaitPrimary, 2)),
                (8, node("a", StopReplication, WaitPrimary, 3)),
                (stopped, fault(Fault::Service, &["b"])),
            ]);
            trace.sort();
            check(&trace)
        };
        assert_eq!(moves(6), Ok(()));
        assert!(moves(4).is_err(), "it was chosen in spite of that");
    }

    #[test]
    fn who_is_given_its_role_back_is_in_as_bad_a_way_as_before() {
        let run = trace(vec![
            (0, node("a", Primary, Primary, 1)),
            (1, fault(Fault::Service, &["a"])),
            (2, node("a", Primary, Draining, 2)),
            (3, node("a", Draining, Primary, 3)),
            (9, node("b", StopReplication, WaitPrimary, 4)),
        ]);
        assert_eq!(check(&run), Ok(()));
    }
}
