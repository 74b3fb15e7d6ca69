//! The course of a run: boot, steps, the end.

use super::condition::Sight;
use super::harm;
use super::observer::Observer;
use super::outcome::Outcome;
use super::verb;
use crate::clients::Clients;
use crate::world::{NodeMachine, Points, World};
use pgbaton_core::check::{Fault, Kind, Sense, Terms, are_settled, is_unsettled, price};
use pgbaton_core::model::{Facts, FormationSettings, GroupKey, Moment, NodeId};
use pgbaton_core::scenario::words::PASSED_OVER;
use pgbaton_core::scenario::{Beside, Cast, Cluster, Condition, Scenario, Size, Step, expect, fault, is_rebuilt};
use pgbaton_core::wire::{Answer, Command, FormationChange, Request};
use std::sync::Arc;
use std::time::Duration;

/// Two nodes that are made and joined need no more than this.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How long `until` may take when the step doesn't say.
const WITHIN: Duration = Duration::from_secs(60);
/// However much moves, a group that isn't settled after so long goes in circles.
const MOVES_MOST: Duration = Duration::from_secs(900);
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(5);
/// What clients are given to end the write they are at: more than a statement may take.
const LAST_WRITES: Duration = Duration::from_millis(2500);

/// What a process that was started again needs to listen.
const BREATH: Duration = Duration::from_secs(1);

/// Every monitor has it.
const DEFAULT_FORMATION: &str = "default";

struct Play {
    scenario: Scenario,
    world: Arc<World>,
    observer: Observer,
    clients: Option<Clients>,
    clients_beside: Option<Clients>,
    cast: Cast,
    unmet: Vec<String>,
    /// What every node was at when the group of a drawn story didn't settle: to be told unless it is lawful.
    unsettled: Option<String>,
    began: Moment,
}

pub async fn play(scenario: Scenario, points: Points) -> Outcome {
    let world = Arc::new(World::new(&scenario, points));
    if world.points.are_counted() {
        harm::arm(&world);
    }
    let mut play = Play {
        observer: Observer::start(&world),
        scenario,
        world,
        clients: None,
        clients_beside: None,
        cast: Cast::default(),
        unmet: Vec::new(),
        unsettled: None,
        began: Moment::ZERO,
    };
    if play.boot().await {
        play.began = play.now();
        play.world.chronicle.note(Kind::ClientsBegan);
        play.world.fate.arm(true);
        play.start_clients();
        play.world.points.begin();
        play.steps().await;
        if !play.world.services_in_turn {
            verb::services_have_stopped(&play.world).await;
        }
        play.world.net.heal_all();
        play.world.fate.arm(false);
        if play.is_disturbed() {
            play.recover().await;
        } else {
            play.converge().await;
        }
    }
    play.end().await
}

impl Play {
    fn now(&self) -> Moment {
        self.world.fate.now()
    }

    /// The monitor, then one node after the other, until all is well.
    async fn boot(&mut self) -> bool {
        self.world.monitor.start();
        let scenario = self.scenario.clone();
        let mut joined = 0;
        for cluster in scenario.clusters() {
            if let Err(why) = self.create_formation(cluster).await {
                self.unmet.push(format!("the formation was not created: {why}"));
                return false;
            }
            for name in cluster.nodes.iter().filter(|name| cluster.options(name).join) {
                self.world.node(name).expect("every node has a machine").start_keeper();
                joined += 1;
                let limit = self.now() + BOOT_LIMIT;
                while !(self.observer.rows().len() == joined && self.sight(Moment::ZERO).is_settled(&cluster.key())) {
                    if self.now() > limit {
                        let what = format!("{name} did not join");
                        self.complain_about_nodes(&what);
                        return false;
                    }
                    self.world.fate.sleep(TICK).await;
                }
            }
        }
        true
    }

    /// The monitor is born with a formation of the usual kind; what is unusual is said before a node registers.
    async fn create_formation(&self, cluster: &Cluster) -> Result<(), String> {
        if cluster.settings == FormationSettings::default() || cluster.group != 0 {
            return Ok(());
        }
        let (formation, settings) = (cluster.formation.clone(), cluster.settings.clone());
        let command = match formation.as_str() {
            DEFAULT_FORMATION => {
                let change = FormationChange {
                    number_sync_standbys: Some(settings.number_sync_standbys),
                    durability: settings.durability,
                    secondary: Some(settings.secondary),
                };
                Command::SetFormation { formation, change }
            }
            _ => Command::CreateFormation { formation, settings },
        };
        match verb::ask_as_operator(&self.world, &Request::Command(command)).await.map_err(|e| e.to_string())? {
            Answer::Accepted { .. } => Ok(()),
            other => Err(format!("answered with {other:?}")),
        }
    }

    fn start_clients(&mut self) {
        let Scenario { cluster, workload, beside, .. } = &self.scenario;
        self.clients = Some(Clients::start(&self.world, &cluster.nodes, workload, 1));
        let first = self.scenario.first_client_beside();
        let start = |beside: &Beside| Clients::start(&self.world, &beside.cluster.nodes, &beside.workload, first);
        self.clients_beside = beside.as_ref().map(start);
    }

    fn sight(&self, since: Moment) -> Sight<'_> {
        Sight {
            scenario: &self.scenario,
            machines: &self.world.nodes,
            observer: &self.observer,
            clients: self.clients.as_ref(),
            cast: &self.cast,
            began: self.began,
            since,
            now: self.now(),
        }
    }

    async fn steps(&mut self) {
        let mut before = self.began;
        for (i, step) in self.scenario.steps.clone().iter().enumerate() {
            if let Some(at) = step.at {
                self.world.fate.sleep_until(self.began + at).await;
            }
            if let Some(wait) = step.wait {
                self.world.fate.sleep_until(before + wait).await;
            }
            if let Some(condition) = &step.until
                && !self.wait_for(condition, step.within.unwrap_or(WITHIN)).await
            {
                if self.scenario.drawn {
                    before = self.now();
                    self.pass_over(&format!("step {}, without {condition:?}", i + 1));
                    continue;
                }
                let what = format!("step {}: not reached in time: {condition:?}", i + 1);
                if !self.forgives(&what) {
                    self.complain_about_nodes(&what);
                }
            }
            before = self.now();
            match self.act(step).await {
                Ok(()) => {}
                Err(why) if self.scenario.drawn => self.pass_over(&why),
                Err(why) => {
                    let what = format!("step {}: {why}", i + 1);
                    if !self.forgives(&what) {
                        self.unmet.push(what);
                    }
                }
            }
        }
    }

    fn pass_over(&self, what: &str) {
        self.world.chronicle.note(Kind::Step { text: format!("{PASSED_OVER}: {what}") });
    }

    async fn wait_for(&mut self, condition: &Condition, within: Duration) -> bool {
        let since = self.now();
        while !self.sight(since).holds(condition).unwrap_or(false) {
            if self.now().since(since) >= within {
                return false;
            }
            self.world.fate.sleep(TICK).await;
        }
        true
    }

    async fn act(&mut self, step: &Step) -> Result<(), String> {
        let Some(verb) = &step.verb else { return Ok(()) };
        let goals = self.observer.goals(&self.scenario.cluster.nodes);
        let cast = self.cast.clone();
        let name = |selector: &_| cast.resolve(selector, &goals).map_err(|e| e.to_string());
        let names = verb.selectors().into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
        if let (Some(bind), Some(subject)) = (&step.bind, names.first()) {
            self.cast.bind(bind, subject);
        }
        let text = [&[verb.describe().to_string()], &names[..]].concat().join(" ");
        self.world.chronicle.note(Kind::Step { text });
        let fault = fault::event(verb, &names);
        let is_order = matches!(&fault, Kind::Fault { fault: Fault::Order, .. });
        self.world.chronicle.note(fault.clone());
        let group = self.scenario.group_of(names.first().map(String::as_str));
        let mut done = verb::perform(&self.world, &group, verb, &names, name).await;
        // An operator whose order came to nothing because of the harm gives it again.
        if done.is_err() && is_order && self.world.points.has_sprung() {
            self.world.points.until_mended().await;
            self.world.fate.sleep(BREATH).await;
            self.world.chronicle.note(fault);
            done = verb::perform(&self.world, &group, verb, &names, name).await;
        }
        done.map_err(|why| format!("{} {}: {why}", verb.describe(), names.join(" ")))
    }

    /// Only the network is mended: what the story left down stays down.
    async fn converge(&mut self) {
        self.world.chronicle.note(Kind::Healed);
        let within = self.scenario.finally.converge;
        if let Some(pending) = self.scenario.finally.stalled.clone() {
            // All the time it has to settle, to see that it doesn't.
            self.world.fate.sleep(within).await;
            let waits = self.sight(self.now()).holds(&Condition::Pending { pending }).unwrap_or(false);
            if self.sight(Moment::ZERO).is_settled(&self.scenario.cluster.key()) || !waits {
                self.complain_about_nodes("the group was to wait, and doesn't, or for another reason");
            }
            return;
        }
        if self.scenario.finally.while_it_moves {
            if !self.core_settles(within).await {
                self.unsettled = Some(self.describe_nodes("the group did not settle"));
            }
        } else if !self.wait_for(&Condition::Settled, within).await {
            self.complain_about_nodes("the group did not settle");
        }
    }

    /// Waits for those that must settle as long as anything happens.
    async fn core_settles(&self, idle: Duration) -> bool {
        let beside = self.scenario.of_beside();
        let stories = [&self.scenario].into_iter().chain(&beside);
        let groups: Vec<(GroupKey, Terms)> = stories.map(|s| (s.cluster.key(), expect::terms(s))).collect();
        let began = self.now();
        let (mut moved, mut told) = (began, self.observer.events());
        loop {
            let rows = self.observer.rows();
            let are_settled = |(group, terms): &(GroupKey, Terms)| {
                let rows = rows.iter().filter(|row| row.key() == *group);
                let states = rows.map(|r| (r.nodename.as_str(), r.current_group_state, r.assigned_group_state));
                are_settled(states, terms).is_ok()
            };
            // What the last fault leads to may be yet to come.
            if self.now().since(moved) >= expect::AFTERMATH && groups.iter().all(are_settled) {
                return true;
            }
            let copies = rows.iter().any(|row| self.scenario.must_settle(&row.nodename) && is_rebuilt(row));
            if self.observer.events() != told || copies {
                (moved, told) = (self.now(), self.observer.events());
            }
            if self.now().since(moved) >= idle || self.now().since(began) >= MOVES_MOST {
                return false;
            }
            self.world.fate.sleep(TICK * 20).await;
        }
    }

    /// Something may be done to the run that the story knows nothing of.
    fn is_disturbed(&self) -> bool {
        self.world.points.are_counted()
    }

    /// A run that is disturbed may leave the course of its story.
    fn forgives(&self, what: &str) -> bool {
        if self.is_disturbed() {
            self.world.chronicle.note(Kind::Step { text: format!("not as written, {what}") });
        }
        self.is_disturbed()
    }

    /// The harm may come as late as the group settles. When it is undone the group has its time anew, and the checkers
    /// alone say whether it has settled, or waits for a lawful reason.
    async fn recover(&mut self) {
        let within = self.scenario.finally.converge;
        self.wait_for(&Condition::Settled, within).await;
        let points = self.world.points.clone();
        points.end();
        if points.has_sprung() {
            points.until_mended().await;
            self.world.net.heal_all();
        }
        self.world.chronicle.note(Kind::Healed);
        self.world.fate.sleep(expect::AFTERMATH).await;
        self.wait_for(&Condition::Settled, within).await;
    }

    fn complain_about_nodes(&mut self, what: &str) {
        let complaint = self.describe_nodes(what);
        self.unmet.push(complaint);
    }

    fn describe_nodes(&self, what: &str) -> String {
        let of = |node: &Arc<NodeMachine>| {
            let state = match self.observer.row(&node.name) {
                Some(r) => format!(
                    "{} -> {}{}",
                    r.current_group_state,
                    r.assigned_group_state,
                    r.pending.map(|p| format!(" ({p})")).unwrap_or_default()
                ),
                None => "unknown to the monitor".to_string(),
            };
            format!("{}: {state}, {}, {}", node.name, node.keeper.describe(), describe(&node.pg.facts()))
        };
        let nodes: Vec<String> = self.world.nodes.iter().map(of).collect();
        format!("{what}; {}", nodes.join("; "))
    }

    async fn end(mut self) -> Outcome {
        if let Some(clients) = &self.clients {
            self.world.chronicle.note(Kind::ClientsStopped);
            clients.stop();
            self.clients_beside.iter().for_each(Clients::stop);
            self.world.fate.sleep(LAST_WRITES).await;
        }
        self.note_found();
        self.judge_wal();
        let chronicle = self.world.chronicle.clone();
        for (at, kind) in self.observer.event_log() {
            chronicle.note_at(at, kind);
        }
        let (mut trace, complaints) = chronicle.take();
        trace.nodes = self.scenario.nodes();
        trace.terms = expect::terms(&self.scenario);
        trace.terms.priced = self.scenario.drawn && price::is_priced(&self.scenario);
        trace.beside = expect::beside(&self.scenario);
        trace.sees = Sense::ALL.into();
        self.unmet.extend(expect::unmet(&self.scenario, &trace));
        self.unmet.extend(complaints);
        self.unmet.extend(self.unsettled.filter(|_| is_unsettled(&trace)));
        let outcome = Outcome {
            trace,
            unmet: self.unmet,
            simulated: self.world.fate.now().since(Moment::ZERO),
            unseed: self.world.fate.random(),
            messages: self.world.net.sent(),
        };
        self.world.end().await;
        outcome
    }

    /// No node may have kept more of its log than the story allows.
    fn judge_wal(&mut self) {
        let Some(Size(most)) = self.scenario.finally.wal_held else { return };
        for node in &self.world.nodes {
            let held = Size(node.pg.most_wal_held());
            if held > Size(most) {
                self.unmet.push(format!("{} held {held} of WAL, and at most {} was allowed", node.name, Size(most)));
            }
        }
    }

    fn note_found(&self) {
        for node in &self.world.nodes {
            if let Some(row) = self.observer.row(&node.name) {
                let (reported, goal) = (row.current_group_state, row.assigned_group_state);
                if reported.is_writable() && goal.is_writable() && node.pg.pg().dir.is_some() {
                    self.world.chronicle.note(Kind::Found { node: node.name.clone(), ids: node.pg.visible_rows() });
                }
                let runs = node.keeper.is_running();
                let name = node.name.clone();
                self.world.chronicle.note(Kind::Ended { node: name, reported, goal, pending: row.pending, runs });
                if let Some(configured) = node.pg.configured(NodeId(row.node_id)) {
                    self.world.chronicle.note(configured);
                }
            }
        }
    }
}

/// The server of a node in a few words.
fn describe(facts: &Facts) -> String {
    let Some(running) = facts.running() else {
        let end = facts.control().map_or("no directory".to_string(), |c| format!("checkpoint {:?}", c.checkpoint));
        return format!("its Postgres doesn't answer ({end})");
    };
    let receiver = match &running.receiver {
        Some(r) if r.streaming => "streams",
        Some(_) => "asks for WAL",
        None => "receives nothing",
    };
    let stranded = running.stranded.map(|s| format!(", stranded: {s:?}")).unwrap_or_default();
    match running.in_recovery {
        true => format!("its Postgres stands by at {:?}, {receiver}{stranded}", running.position),
        false => format!("its Postgres is open at {:?}", running.position),
    }
}
