//! When things go wrong. What begins lasts for a while, and so does the calm after it: faults that come and go at every
//! moment average out, and nothing ever gets far enough to be interesting.

use super::beside;
use super::dice::Dice;
use super::hazard::{Hazard, Scene, Slot};
use super::manner::Manner;
use super::options::{self, Swarm};
use super::plot::{Cast, Plot};
use crate::model::{Durability, NodeState};
use crate::scenario::format::Invariants;
use crate::scenario::verb::{Maintenance, Nothing, Promote};
use crate::scenario::{Condition, FaultPoint, Finally, Scenario, Selector, Step, Verb, World};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long things go wrong in a simulated run.
pub const LENGTH: Duration = Duration::from_secs(540);
/// The longest time in which a group that has all it needs does nothing at all: a copy takes half as long.
const IDLE: Duration = Duration::from_secs(60);
/// How long data may be waited for that is to be taken away.
const GUARD: Duration = Duration::from_secs(15);
/// How long a moment in the course of a plot is waited for.
const MOMENT: Duration = Duration::from_secs(8);
/// A server notices that its directory is gone within a minute, and is copied anew after that.
const DATA_RETURNS: Duration = Duration::from_secs(120);
/// After everything was mended: when nodes come out of maintenance, and when the role is taken home.
const OUT_OF_MAINTENANCE: Duration = Duration::from_secs(5);
const HOMEWARD: Duration = Duration::from_secs(6);

pub fn plan(seed: u64, manner: &Manner) -> Scenario {
    let dice = &mut Dice::new(seed, 0);
    let size = options::group_size(dice, &mut Dice::new(seed, 4), manner);
    let mut swarm = Swarm::draw(dice, size, manner);
    let mut cluster = options::cluster(dice, size, &swarm, manner);
    let is_leased = cluster.settings.durability() == Durability::Async || swarm.hazards.contains(&Hazard::Async);
    if is_leased {
        swarm.keep_leases_minded();
    }
    let mut fault_points = options::fault_points(dice, manner);
    if swarm.fills_monitor() || is_leased && swarm.plots.contains(&Plot::StallingPrimary) {
        // The monitor doesn't start on a full disk, and whoever starts it after a death does so once. And what a postmaster
        // leaves amid a flush is ended by its keeper, unless that has died as well.
        fault_points.remove(&FaultPoint::DeathAfterCommit);
    }
    let (monitor, keeper) = options::timings(&mut Dice::new(seed, 1), manner);
    let workload = options::workload(&mut Dice::new(seed, 2), manner);
    let late: Vec<String> = cluster.node.iter().filter(|(_, o)| !o.join).map(|(name, _)| name.clone()).collect();
    let mut times = Times::new(Dice::new(seed, 3), &swarm, &cluster.nodes, manner);
    if is_leased {
        // Some of it goes by while the keeper starts and the clocks drift.
        let spent = monitor.async_lease / 20 + Duration::from_secs(1);
        times.grace = Some(monitor.async_lease.saturating_sub(spent));
    }
    times.join(&late);
    times.trouble();
    let mut elsewhere = Dice::new(seed, 5);
    let beside = beside::draw(&mut elsewhere, &cluster, is_leased, manner).map(|(beside, trouble)| {
        times.elsewhere(elsewhere, &beside.cluster.nodes, &trouble);
        beside
    });
    let (steps, core) = times.end();
    if swarm.hazards.contains(&Hazard::Quorum) {
        // Who is asked to leave the quorum has been in it.
        cluster.node.values_mut().for_each(|o| o.replication_quorum = true);
    }
    Scenario {
        title: format!("Drawn from seed {seed}"),
        worlds: if manner.live { vec![World::Sim, World::Live] } else { vec![World::Sim] },
        why: (!manner.live).then(|| "drawn for the simulated world".into()),
        seed,
        drawn: true,
        fault_points,
        cluster,
        beside,
        monitor,
        keeper,
        workload,
        steps,
        finally: Finally {
            converge: IDLE,
            while_it_moves: true,
            core,
            invariants: Invariants::All,
            roles: BTreeMap::new(),
            promotions: None,
            write_outage: None,
            stalled: None,
            max_warnings: None,
            long_fork: false,
            wal_held: None,
        },
    }
}

struct Times<'a> {
    dice: Dice,
    swarm: &'a Swarm,
    nodes: &'a [String],
    /// Those of the second formation.
    others: Vec<String>,
    manner: &'a Manner,
    length: Duration,
    steps: Vec<(Duration, Step)>,
    /// Until when a slot is taken.
    taken: BTreeMap<Slot, Duration>,
    bound: u32,
    /// See `Cast`.
    grace: Option<Duration>,
}

impl<'a> Times<'a> {
    fn new(dice: Dice, swarm: &'a Swarm, nodes: &'a [String], manner: &'a Manner) -> Times<'a> {
        let length = manner.length;
        let (others, steps, taken) = (Vec::new(), Vec::new(), BTreeMap::new());
        Times { dice, swarm, nodes, others, manner, length, steps, taken, bound: 0, grace: None }
    }

    fn push(&mut self, at: Duration, verb: Verb) {
        self.steps.push((at, step(at, verb)));
    }

    /// Machines that come later.
    fn join(&mut self, late: &[String]) {
        for name in late {
            let at = self.dice.between(Duration::from_secs(1), self.length / 2);
            self.push(at, Verb::StartService(Selector::Name(name.clone())));
        }
    }

    fn trouble(&mut self) {
        let mut at = self.dice.seconds(self.manner.first.0, self.manner.first.1);
        while at + self.swarm.lasts + Duration::from_secs(5) < self.length {
            let mut until = at;
            if !self.swarm.plots.is_empty() && self.dice.chance(60) {
                until = self.plot(at);
            }
            // Beside a plot it is left to chance whether something more goes wrong.
            let least = u64::from(until == at);
            for _ in 0..least + self.dice.below(self.swarm.most_at_once as u64) {
                let begins = at + self.dice.seconds(0.01, 3.0);
                until = until.max(self.incident(begins));
            }
            let calm = self.dice.between(self.swarm.calm, self.swarm.calm * self.manner.calm_most);
            // At times the next thing begins while the last goes on.
            at = if self.dice.chance(25) { at + (until - at) / 2 } else { until } + calm;
        }
    }

    /// Gives the time at which it is over.
    fn plot(&mut self, begins: Duration) -> Duration {
        let plot: Plot = *self.dice.pick(&self.swarm.plots);
        let needed = plot.leaves_the_lineage() && self.is_taken(Slot::Data, begins);
        if needed || plot.slots().iter().any(|slot| self.is_taken(*slot, begins)) {
            return begins;
        }
        let cast = Cast { nodes: self.nodes, bound: self.bound, grace: self.grace };
        let mut ends = begins;
        for act in plot.draw(&mut self.dice, &cast) {
            let at = (begins + act.after).min(self.length);
            let mut step = guarded(at, act.verb);
            if let Some(condition) = act.until {
                step.until = Some(condition);
                step.within = Some(MOMENT);
            }
            self.bound += u32::from(act.bind.is_some());
            step.bind = act.bind;
            self.steps.push((at, step));
            ends = at;
        }
        plot.slots().iter().for_each(|slot| self.take(*slot, ends));
        ends
    }

    fn is_taken(&self, slot: Slot, begins: Duration) -> bool {
        // At the end others go away for good, and by then all data must be there twice again.
        if slot == Slot::Data && begins + DATA_RETURNS * 3 / 2 > self.length {
            return true;
        }
        slot != Slot::Free && self.taken.get(&slot).is_some_and(|until| *until >= begins)
    }

    fn take(&mut self, slot: Slot, ends: Duration) {
        let settles = if slot == Slot::Data { DATA_RETURNS } else { Duration::ZERO };
        self.taken.insert(slot, ends + settles);
    }

    /// Gives the time at which it is over.
    fn incident(&mut self, begins: Duration) -> Duration {
        if self.swarm.hazards.is_empty() {
            return begins;
        }
        let hazard = *self.dice.pick(&self.swarm.hazards);
        let slot = hazard.slot();
        let needed = hazard.leaves_the_lineage() && self.is_taken(Slot::Data, begins);
        if needed || self.is_taken(slot, begins) {
            return begins;
        }
        let ends = self.strike(hazard, self.nodes, false, begins);
        self.take(slot, ends);
        ends
    }

    /// Gives the time at which it is over.
    fn strike(&mut self, hazard: Hazard, nodes: &[String], by_name: bool, begins: Duration) -> Duration {
        self.bound += 1;
        let name = format!("n{}", self.bound);
        let scene = Scene { nodes, by_name, bound: Selector::Bound(name.clone()) };
        let incident = hazard.draw(&mut self.dice, &scene);
        let most = (self.swarm.lasts * 4).min(self.manner.lasts_most);
        let lasts = self.dice.between(self.swarm.lasts, most);
        let ends = (begins + lasts).min(self.length);
        for (at, verbs) in [(begins, incident.begin), (ends, incident.end)] {
            for verb in verbs {
                let mut step = guarded(at, verb);
                let about_one = step.verb.as_ref().is_some_and(|verb| verb.subject().is_some());
                step.bind = (at == begins && about_one).then(|| name.clone());
                self.steps.push((at, step));
            }
        }
        ends
    }

    /// What goes wrong in the second formation, whatever the first goes through. It has dice of its own.
    fn elsewhere(&mut self, dice: Dice, nodes: &[String], trouble: &beside::Trouble) {
        let of_first = std::mem::replace(&mut self.dice, dice);
        for _ in 0..trouble.incidents {
            let hazard = *self.dice.pick(&trouble.hazards);
            let begins = self.dice.between(Duration::from_secs(1), self.length);
            self.strike(hazard, nodes, true, begins);
        }
        self.dice = of_first;
        self.others = nodes.to_vec();
    }

    /// Everything is mended; the nodes that must settle, and those that stay away.
    fn end(mut self) -> (Vec<Step>, Vec<String>) {
        let at = self.length;
        if self.swarm.hazards.contains(&Hazard::FreezeMonitor) {
            self.push(at, Verb::Resume(Selector::Name("monitor".into())));
        }
        if self.swarm.hazards.contains(&Hazard::ExpireCertificate) {
            self.push(at, Verb::RenewCertificate(Nothing {}));
        }
        self.push(at, Verb::StartMonitor(Nothing {}));
        let away = match self.nodes.len() > 1 && self.dice.chance(35) {
            true => {
                let count = 1 + self.dice.below(self.nodes.len() as u64 / 2) as usize;
                self.dice.some(self.nodes, count)
            }
            false => vec![],
        };
        let core: Vec<String> = self.nodes.iter().filter(|n| !away.contains(n)).cloned().collect();
        for name in self.nodes {
            let node = Selector::Name(name.clone());
            self.push(at, Verb::Resume(node.clone()));
            self.push(at, Verb::StartService(node.clone()));
            // A copy takes over what was broken where it was made.
            for hazard in &self.swarm.hazards {
                let usual = hazard.usual(node.clone());
                self.steps.extend(usual.map(|verb| (at, step(at, verb))));
            }
            if self.swarm.maintains() {
                let off = Maintenance { node, on: false, allow_failover: false, refused: None };
                self.push(at + OUT_OF_MAINTENANCE, Verb::Maintenance(off));
            }
        }
        for name in std::mem::take(&mut self.others) {
            self.push(at, Verb::Resume(Selector::Name(name.clone())));
            self.push(at, Verb::StartService(Selector::Name(name)));
        }
        let at = if self.manner.live { self.take_home(at + HOMEWARD) } else { at };
        for name in away {
            let node = Selector::Name(name);
            let ways: &[fn(Selector) -> Verb] = match self.manner.live {
                true => &[Verb::KillNode, Verb::Pause],
                false => &[Verb::KillNode, Verb::Pause, Verb::PowerOff],
            };
            let verb = self.dice.pick(ways)(node);
            let wait = self.dice.seconds(self.manner.leaves.0, self.manner.leaves.1);
            self.push(at + wait, verb);
        }
        self.steps.sort_by_key(|(at, _)| *at);
        (self.steps.into_iter().map(|(_, step)| step).collect(), core)
    }

    /// Which way the role has gone is a matter of milliseconds, in which the worlds differ. An operator takes it to the
    /// first node, so that from here on the plan says who has which role.
    fn take_home(&mut self, at: Duration) -> Duration {
        let [first, _, ..] = self.nodes else { return at };
        let node = Selector::Name(first.clone());
        let promote = Promote { node: node.clone(), allow_data_loss: false, refused: None, may_be_refused: true };
        let covered = Condition::Covered { node: node.clone() };
        let ask = Step { until: Some(covered), within: Some(IDLE), ..step(at, Verb::Promote(promote)) };
        let is_home = Condition::State { node, state: NodeState::Primary };
        let wait =
            Step { at: Some(at), wait: None, until: Some(is_home), within: Some(IDLE / 2), verb: None, bind: None };
        self.steps.extend([(at, ask), (at, wait)]);
        at
    }
}

fn step(at: Duration, verb: Verb) -> Step {
    Step { at: Some(at), wait: None, until: None, within: None, verb: Some(verb), bind: None }
}

/// Taking data away waits until it is on another node as well, and leaving a group until somebody stays in it. What
/// doesn't come about is passed over.
fn guarded(at: Duration, verb: Verb) -> Step {
    let until = match &verb {
        Verb::LoseDisk(node) | Verb::LoseDirectory(node) => Condition::Covered { node: node.clone() },
        Verb::Drop(_) => Condition::State { node: Selector::Standby(1), state: NodeState::Secondary },
        _ => return step(at, verb),
    };
    Step { until: Some(until), within: Some(GUARD), ..step(at, verb) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::verb::Nothing;
    use crate::scenario::{parse, write};
    use std::collections::BTreeSet;

    fn all(seeds: u64) -> impl Iterator<Item = Scenario> {
        (0..seeds).map(|seed| plan(seed, &Manner::SIMULATED))
    }

    #[test]
    fn a_seed_is_one_plan_and_another_seed_another() {
        let plan = |seed| plan(seed, &Manner::SIMULATED);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7).steps, plan(8).steps);
    }

    #[test]
    fn plans_come_to_every_group_size_policy_and_hazard() {
        let mut drawn = BTreeSet::new();
        let (mut sizes, mut policies, mut points) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for plan in all(400) {
            sizes.insert(plan.cluster.nodes.len());
            policies.insert(plan.cluster.settings.durability());
            points.extend(plan.fault_points.keys().copied());
            // Before all is mended.
            let steps = plan.steps.iter().take_while(|s| s.at.is_none_or(|at| at < LENGTH));
            drawn.extend(steps.filter_map(|s| s.verb.as_ref()).map(kind));
        }
        assert!(sizes.is_superset(&[1, 2, 3, 4, 5].into()), "{sizes:?}");
        assert_eq!((policies.len(), points), (3, FaultPoint::ALL.into()));
        let nodes = ["a", "b", "c"].map(String::from);
        let scene = Scene { nodes: &nodes, by_name: false, bound: Selector::Bound("n".into()) };
        let begins_with = |hazard: Hazard| {
            let incidents = (0..50).map(|seed| hazard.draw(&mut Dice::new(seed, 0), &scene));
            incidents.flat_map(|incident| incident.begin).map(|verb| kind(&verb)).collect::<BTreeSet<_>>()
        };
        let never: Vec<_> = Hazard::ALL.iter().filter(|hazard| begins_with(**hazard).is_disjoint(&drawn)).collect();
        assert!(never.is_empty(), "never drawn: {never:?}");
    }

    /// Its name, whatever it is done to.
    fn kind(verb: &Verb) -> String {
        format!("{verb:?}").split(['(', ' ']).next().unwrap_or_default().into()
    }

    #[test]
    fn now_and_then_a_group_is_large_and_its_standbys_are_counted_on() {
        let mut sizes = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        for plan in all(1000).filter(|plan| plan.cluster.nodes.len() > 5) {
            *sizes.entry(plan.cluster.nodes.len()).or_insert(0) += 1;
            let (size, number) = (plan.cluster.nodes.len(), plan.cluster.settings.number_sync_standbys as usize);
            assert!(number + 1 < size, "seed {}", plan.seed);
            numbers.insert(number);
        }
        let all: u32 = sizes.values().sum();
        assert!((20..70).contains(&all), "{sizes:?}");
        assert!((6..10).all(|size| sizes.contains_key(&size)) && sizes.keys().any(|size| *size > 9), "{sizes:?}");
        assert!(numbers.iter().any(|number| *number > 3), "{numbers:?}");
    }

    #[test]
    fn at_times_another_formation_is_beside_it_and_only_its_nodes_are_hit_there() {
        let (mut beside, mut groups, mut hit) = (0, 0, 0);
        for plan in all(400) {
            let Some(other) = &plan.beside else { continue };
            beside += 1;
            groups += usize::from(other.cluster.group == 1 && other.cluster.formation == plan.cluster.formation);
            let read = parse("plan.toml", &write(&plan, "")).unwrap_or_else(|e| panic!("seed {}: {e}", plan.seed));
            assert_eq!(read, plan);
            let mended = plan.steps.iter().position(|s| s.at == Some(LENGTH)).unwrap();
            let named = |step: &&Step| {
                let selectors = step.verb.as_ref().map(Verb::selectors).unwrap_or_default();
                selectors.into_iter().any(|s| matches!(s, Selector::Name(n) if other.cluster.nodes.contains(n)))
            };
            hit += plan.steps[..mended].iter().filter(named).count();
            // And in the end they are there.
            assert!(plan.steps[mended..].iter().filter(named).count() >= 2 * other.cluster.nodes.len());
        }
        assert!((25..60).contains(&beside), "{beside}");
        assert!((5..beside / 2).contains(&groups), "{groups} of {beside}");
        assert!(hit > 3 * beside, "{hit} in {beside}");
    }

    #[test]
    fn steps_come_in_order_and_what_begins_ends_before_the_group_must_settle() {
        for plan in all(200) {
            let times: Vec<Duration> = plan.steps.iter().filter_map(|s| s.at).collect();
            assert!(times.is_sorted(), "seed {}", plan.seed);
            let mended =
                plan.steps.iter().position(|s| s.verb == Some(Verb::StartMonitor(Nothing {})) && s.at == Some(LENGTH));
            let mended = mended.unwrap_or_else(|| panic!("seed {} doesn't end in order", plan.seed));
            let cut = |s: &&Step| matches!(s.verb, Some(Verb::Cut(_) | Verb::Isolate(_) | Verb::HalfOpen(_)));
            let heal = |s: &&Step| matches!(s.verb, Some(Verb::Heal(_)));
            let (cuts, heals) =
                (plan.steps[..mended].iter().filter(cut).count(), plan.steps.iter().filter(heal).count());
            assert!(heals >= cuts, "seed {}: {cuts} cuts and {heals} mends", plan.seed);
            assert!(!plan.finally.core.is_empty());
        }
    }

    #[test]
    fn no_link_joins_a_machine_with_itself() {
        let aside = |end: &Selector| matches!(end, Selector::Name(name) if name == "monitor" || name == "clients");
        let is_named = |end: &Selector| matches!(end, Selector::Name(_));
        let mut links = 0;
        for plan in all(400) {
            for verb in plan.steps.iter().filter_map(|s| s.verb.as_ref()) {
                if matches!(verb, Verb::KillGroup(_) | Verb::AtOnce(_)) {
                    continue;
                }
                let [one, other] = verb.selectors()[..] else { continue };
                // A name and a role may be of the same machine.
                let apart = one != other && (aside(one) || aside(other) || is_named(one) == is_named(other));
                assert!(apart, "seed {}: {verb:?}", plan.seed);
                links += 1;
            }
        }
        assert!(links > 100, "{links}");
    }

    #[test]
    fn data_is_taken_only_from_a_settled_group_and_not_twice_in_a_row() {
        let mut taken = 0;
        for plan in all(600) {
            let takes_data = |verb: &Verb| matches!(verb, Verb::LoseDisk(_) | Verb::LoseDirectory(_));
            let takes = plan.steps.iter().filter(|s| s.verb.as_ref().is_some_and(takes_data));
            let takes: Vec<&Step> = takes.collect();
            let guarded = |s: &&Step| matches!(&s.until, Some(Condition::Covered { .. }));
            assert!(takes.iter().all(guarded), "seed {}", plan.seed);
            let close = takes.windows(2).find(|w| w[1].at < w[0].at.map(|at| at + DATA_RETURNS / 2));
            assert!(close.is_none(), "seed {}: {close:?}", plan.seed);
            if !takes.is_empty() {
                assert!(plan.cluster.node.values().all(|o| o.replication_quorum), "seed {}", plan.seed);
            }
            taken += takes.len();
        }
        assert!(taken > 20, "{taken}");
    }

    #[test]
    fn a_story_for_both_worlds_is_one_that_live_runs_can_play() {
        let mut verbs = BTreeSet::new();
        for seed in 0..400 {
            let plan = plan(seed, &Manner::live(true));
            let read = parse("plan.toml", &write(&plan, "")).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(read, plan, "seed {seed}");
            verbs.extend(plan.steps.iter().filter_map(|s| Some(s.verb.as_ref()?.describe())));
            let latest = plan.steps.iter().filter_map(|s| s.at).max().unwrap();
            assert!(latest < Duration::from_secs(80), "seed {seed} has a step at {latest:?}");
        }
        assert!(verbs.len() >= 38, "{}: {verbs:?}", verbs.len());
        let without = |seed| plan(seed, &Manner::live(false));
        let fills = |plan: Scenario| plan.steps.iter().any(|s| matches!(s.verb, Some(Verb::FillDisk(_))));
        assert!(!(0..400).map(without).any(fills));
    }

    #[test]
    fn the_role_is_taken_home_before_nodes_go_away_for_good() {
        for seed in 0..200 {
            let plan = plan(seed, &Manner::live(true));
            let home = |s: &Step| matches!(&s.verb, Some(Verb::Promote(p)) if p.may_be_refused && s.until.is_some());
            let at = plan.steps.iter().position(home);
            assert_eq!(at.is_some(), plan.cluster.nodes.len() > 1, "seed {seed}");
            let stay = plan.cluster.nodes.len() - plan.finally.core.len();
            let after = at.map_or(0, |at| plan.steps[at + 2..].len());
            assert!(at.is_none() || after == stay, "seed {seed}: {after} steps after it, and {stay} nodes stay away");
        }
    }
}
