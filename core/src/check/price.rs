//! What one fault alone costs in time without an acknowledged write. Where faults meet, nobody can say which of them an
//! outage belongs to; so only those count that struck a group in order, with nothing else going on.

use super::convergence::are_settled;
use super::outage::gaps;
use super::outage_budget::{QUIET, budget};
use super::roles::Role;
use super::trace::{Fault, Kind, Terms, Trace};
use crate::model::{Durability, KeeperSettings, Moment, MonitorSettings, NodeState};
use crate::scenario::{Scenario, words};
use std::collections::BTreeMap;
use std::time::Duration;

/// The price of one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// What was done, to whom by its role: `kill everything on the primary`.
    pub what: String,
    pub at: Moment,
    pub out: Duration,
    pub allowed: Duration,
}

/// A fault is given this long to cost what it costs, when nothing ends it before.
const WINDOW: Duration = Duration::from_secs(60);
/// A group is in order when it was settled, and nothing struck it, for so long.
const CALM: Duration = Duration::from_secs(5);

/// A group that is to lose no write time over one fault: with usual settings, with a node to spare, and with clients that
/// would tell.
pub fn is_priced(plan: &Scenario) -> bool {
    let cluster = &plan.cluster;
    let standbys = cluster.nodes.len() - 1;
    let spare = match cluster.settings.durability() {
        Durability::Strict => standbys > cluster.settings.acknowledgements() as usize,
        Durability::Degrade | Durability::Async => standbys > 0,
    };
    let usual = plan.monitor == MonitorSettings::default() && plan.keeper == KeeperSettings::default();
    // Who hangs on a machine that lost its power says nothing of the node that is open.
    let mobile = plan.workload.iter().any(|w| !w.sticky);
    spare && usual && mobile && plan.fault_points.is_empty() && cluster.postgres.is_none() && cluster.node.is_empty()
}

/// Prices of all faults that struck alone.
pub fn prices(trace: &Trace) -> Vec<Price> {
    let steps = steps(trace);
    let gaps = gaps(trace, Duration::from_millis(20));
    let longest = |from: Moment, to: Moment| {
        let within = gaps.iter().filter(|g| g.from < to && g.to > from);
        within.map(|g| g.to.min(to).since(g.from.max(from))).max().unwrap_or_default()
    };
    let healed = trace.events.iter().find(|e| matches!(e.kind, Kind::Healed)).map(|e| e.at);
    let mut prices = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let next = steps.get(i + 1).map(|next| next.at).or(healed).unwrap_or(step.at + WINDOW).min(step.at + WINDOW);
        if !step.alone {
            continue;
        }
        let out = longest(step.at, next);
        let allowed = QUIET + budget(step.fault, trace.terms.may_lose);
        // It was over before its price was paid.
        if out + QUIET >= next.since(step.at) && out < allowed {
            continue;
        }
        prices.push(Price { what: step.what.clone(), at: step.at, out, allowed });
    }
    prices
}

/// What a fault costs alone is within its budget.
pub(super) fn check(trace: &Trace) -> Result<(), String> {
    match prices(trace).into_iter().find(|price| price.out > price.allowed) {
        None => Ok(()),
        Some(Price { what, at, out, allowed }) => Err(format!(
            "{what} at {:.3} s cost {:.3} s without a write, {:.0} s are allowed",
            at.seconds(),
            out.as_secs_f64(),
            allowed.as_secs_f64()
        )),
    }
}

struct Struck {
    at: Moment,
    what: String,
    fault: Fault,
    /// The group was in order, and nothing else was broken.
    alone: bool,
}

/// Verbs that are over as soon as they are done.
const ONCE: [&str; 14] = [
    words::KILL_POSTGRES,
    words::CRASH_BACKEND,
    words::CLOCK_STEP,
    words::SWIZZLE,
    words::TEAR_STORE,
    words::ROGUE_PROMOTE,
    words::ROGUE_START,
    words::CANCEL_WAITERS,
    words::TERMINATE_WAITERS,
    words::LOSE_DIRECTORY,
    words::SMART_STOP,
    words::STOP_BY_HAND,
    words::RESTART_BY_HAND,
    words::SAVE_MONITOR,
];
/// Verbs that end what another has begun, besides those that count as mends.
const ENDS: [&str; 6] = [
    words::FREE_ARCHIVER,
    words::FREE_DISK,
    words::CONTINUE_BACKEND,
    words::MEND_CONFIG,
    words::START_MONITOR,
    words::RESTORE_MONITOR,
];

#[derive(Default)]
struct Course<'a> {
    role: Role<'a>,
    rows: BTreeMap<&'a str, (NodeState, NodeState)>,
    settled: Option<Moment>,
    /// What lasts, and of whom.
    open: Vec<(&'a str, &'a [String])>,
    latest: Option<Moment>,
}

impl<'a> Course<'a> {
    fn row(&mut self, at: Moment, node: &'a str, states: (NodeState, NodeState), of: usize) {
        match states.1 == NodeState::Dropped {
            true => self.rows.remove(node),
            false => self.rows.insert(node, states),
        };
        let all = self.rows.iter().map(|(node, (reported, goal))| (*node, *reported, *goal));
        let settled = self.rows.len() == of && are_settled(all, &Terms::default()).is_ok();
        self.settled = settled.then_some(self.settled.unwrap_or(at));
    }

    fn is_in_order(&self, at: Moment) -> bool {
        let calm = |since: Moment| at.since(since) >= CALM;
        self.open.is_empty() && self.settled.is_some_and(calm) && self.latest.is_none_or(calm)
    }

    fn fault(&mut self, at: Moment, text: &'a str, fault: Fault, nodes: &'a [String]) {
        self.latest = Some(at);
        let begun = self.open.iter().position(|(t, of)| *t == text && *of == nodes);
        if fault == Fault::Mend && nodes.is_empty() {
            let of_links = |text: &str| text.contains("link") || text.contains("packets") || text.contains("calls");
            self.open.retain(|(text, _)| !of_links(text));
        } else if fault == Fault::Mend || ENDS.iter().any(|e| text.starts_with(e)) {
            self.open.retain(|(text, of)| *of != nodes || text.starts_with(words::SETTINGS));
        } else if let Some(i) = begun {
            // Said a second time, with nothing in it: as usual again. What was set may have met with other settings.
            if !text.starts_with(words::SETTINGS) {
                self.open.remove(i);
            }
        } else if text.starts_with(words::SETTINGS)
            || fault != Fault::Order && !ONCE.iter().any(|o| text.starts_with(o))
        {
            self.open.push((text, nodes));
        }
    }
}

fn steps(trace: &Trace) -> Vec<Struck> {
    let mut course = Course::default();
    let mut struck: Vec<Struck> = Vec::new();
    let mut text = "";
    for event in &trace.events {
        course.role.follow(event.at, &event.kind);
        match &event.kind {
            Kind::Healed => break,
            Kind::Step { text: t } => text = t,
            Kind::Node { node, reported, goal, .. } => {
                course.row(event.at, node, (*reported, *goal), trace.nodes.len());
            }
            Kind::Fault { fault, nodes } => {
                let ends = *fault == Fault::Mend || ENDS.iter().any(|e| text.starts_with(e));
                let what = in_roles(text, nodes, course.role.holder);
                // With a node to spare, and no more, a group stands the loss of one.
                let of_one = *fault == Fault::Link || nodes.len() <= 1;
                let alone = !ends && of_one && course.is_in_order(event.at);
                struck.push(Struck { at: event.at, what, fault: *fault, alone });
                course.fault(event.at, text, *fault, nodes);
            }
            _ => {}
        }
    }
    struck
}

/// Names change from run to run, roles don't.
fn in_roles(text: &str, nodes: &[String], holder: Option<&str>) -> String {
    let mut words = text.to_string();
    for node in nodes {
        let role = match node.as_str() {
            "monitor" | "clients" => continue,
            name if Some(name) == holder => "the primary",
            _ => "a standby",
        };
        if let Some(head) = words.strip_suffix(&format!(" {node}")) {
            words = format!("{head} {role}");
        } else {
            words = words.replacen(&format!(" {node} "), &format!(" {role} "), 1);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::outage_budget;
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    fn run(killed_at: u64, more: Vec<(u64, Kind)>) -> Vec<Price> {
        until(14, killed_at, more)
    }

    /// Writes are out from the tenth second to this one.
    fn until(second: u64, killed_at: u64, more: Vec<(u64, Kind)>) -> Vec<Price> {
        prices(&told(second, killed_at, more))
    }

    fn told(second: u64, killed_at: u64, more: Vec<(u64, Kind)>) -> Trace {
        let step = |text: &str| Kind::Step { text: text.into() };
        let settled = [(1, node("a", Primary, Primary, 1)), (0, node("b", Secondary, Secondary, 1))];
        let acks = (2..30).filter(|s| !(10..second).contains(s)).map(|s| (s * 1000, acked(s, "a", s * 1000 - 1)));
        let kill = [(killed_at, step("kill everything on a")), (killed_at, fault(Fault::Machine, &["a"]))];
        let mut trace = trace(settled.into_iter().chain(acks).chain(kill).chain(more).collect());
        trace.sort();
        trace
    }

    #[test]
    fn a_fault_that_strikes_alone_has_the_outage_after_it_as_its_price() {
        let prices = run(9500, vec![]);
        assert_eq!(prices.len(), 1);
        assert_eq!(
            (prices[0].what.as_str(), prices[0].out),
            ("kill everything on the primary", Duration::from_millis(4500))
        );
        assert_eq!(prices[0].allowed, Duration::from_secs(11));
    }

    #[test]
    fn faults_that_meet_have_no_price() {
        let cut = || (9000, fault(Fault::Link, &["a", "b"]));
        assert!(run(9500, vec![cut()]).iter().all(|p| !p.what.contains("kill")));
        let unsettled = (9000, node("b", Catchingup, Secondary, 1));
        assert!(run(9500, vec![unsettled]).is_empty());
    }

    #[test]
    fn what_strikes_several_nodes_at_once_has_no_price() {
        let mut run = told(23, 9500, vec![]);
        assert_eq!(prices(&run).len(), 1);
        for event in &mut run.events {
            if let Kind::Fault { nodes, .. } = &mut event.kind {
                nodes.push("b".into());
            }
        }
        assert!(prices(&run).is_empty());
    }

    #[test]
    fn what_is_ended_before_its_price_is_paid_has_none_but_a_broken_budget_counts() {
        let back = |at| vec![(at, fault(Fault::Mend, &["a"]))];
        assert!(run(9500, back(12_000)).is_empty());
        let prices = until(23, 9500, back(21_500));
        assert_eq!(prices.len(), 1);
        assert_eq!(prices[0].out, Duration::from_secs(12));
        assert!(prices[0].out > prices[0].allowed);
    }

    #[test]
    fn nothing_has_a_price_while_settings_are_others_than_those_of_the_plan() {
        let set = |text: &str, of: &'static [&'static str], at: u64| {
            vec![(at, Kind::Step { text: text.into() }), (at, fault(Fault::Order, of))]
        };
        let priority = |at| set("change the settings of b", &["b"], at);
        assert!(run(19_500, priority(3000)).is_empty());
        assert!(run(19_500, [priority(3000), priority(4000)].concat()).is_empty(), "perhaps of another kind");
        assert!(run(19_500, set("change the settings of the formation", &[], 3000)).is_empty());
    }

    #[test]
    fn a_fault_that_costs_too_much_alone_breaks_a_drawn_run() {
        let judged = |out_until| {
            let mut run = told(out_until, 9500, vec![]);
            (run.terms.drawn, run.terms.priced) = (true, true);
            outage_budget::check(&run)
        };
        assert_eq!(judged(20), Ok(()));
        let broken = "kill everything on the primary at 9.500 s cost 13.500 s without a write, 11 s are allowed";
        assert_eq!(judged(23).unwrap_err(), broken);
    }
}
