//! The course of a live run: the cluster is made and settles, the clients begin, the steps are carried out,
//! the group settles again, and everything that was seen becomes a trace.

use super::clients::{self, Clients, Target};
use super::cluster::{Cluster, Node};
use super::ledger::Ledger;
use super::narrate::Narrator;
use super::outcome::Outcome;
use super::screen::Screen;
use super::watch::Watch;
use super::witness::{self, Seen, Witness};
use super::{blind, configured, hands, verbs};
use crate::ports::HttpLink;
use anyhow::{Context, Result, bail};
use pgbaton_core::check::{Event, Kind, Sense, Terms, Trace, are_settled, is_unsettled};
use pgbaton_core::model::{Epoch, FormationSettings, GroupKey, Moment, NodeId};
use pgbaton_core::scenario::words::PASSED_OVER;
use pgbaton_core::scenario::{self, Cast, Condition, Finally, Scenario, Step, Verb, expect, fault, is_rebuilt};
use pgbaton_core::wire::{Answer, Command, EventRow, FormationChange, Request};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A monitor and two nodes that are made and joined need far less, even on a slow machine.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// To make a cluster is the heaviest part of a story. With more of them at once, failovers beside them are late.
static BOOTS: Semaphore = Semaphore::const_new(2);
/// How long `until` may take when the step doesn't say.
const WITHIN: Duration = Duration::from_secs(60);
/// However much moves, a group that isn't settled after so long goes in circles.
const MOVES_MOST: Duration = Duration::from_secs(300);

pub struct Play<'a> {
    pub scenario: &'a Scenario,
    pub cluster: Cluster,
    pub watch: Watch,
    /// Commands go over the clients' link to the monitor.
    pub operator: Watch,
    pub narrator: Narrator,
    ledger: Arc<Ledger>,
    /// Of the clients of the second group.
    ledger_beside: Arc<Ledger>,
    cast: Cast,
    /// When the last deed began.
    acted: Instant,
    /// What was done to the cluster, and when.
    notes: Vec<(Moment, Kind)>,
    /// Whose data directory was removed, and when, in milliseconds since 1970.
    pub removed: Vec<(String, u64)>,
    unmet: Vec<String>,
    /// What every node was at when the group of a drawn story didn't settle: to be told unless it is lawful.
    unsettled: Option<String>,
}

impl<'a> Play<'a> {
    pub fn new(scenario: &'a Scenario, cluster: Cluster, narrator: Narrator) -> Result<Play<'a>> {
        let ledger = Ledger::begin();
        Ok(Play {
            operator: watch(scenario, &cluster, cluster.operators_link()),
            watch: watch(scenario, &cluster, cluster.observers_link()?),
            scenario,
            cluster,
            narrator,
            ledger_beside: Arc::new(ledger.beside()),
            ledger: Arc::new(ledger),
            cast: Cast::default(),
            acted: Instant::now(),
            notes: Vec::new(),
            removed: Vec::new(),
            unmet: Vec::new(),
            unsettled: None,
        })
    }

    pub async fn run(mut self) -> Result<Outcome> {
        let witness = Witness::start(self.cluster.traces()).context("the servers can't be watched")?;
        self.boot().await?;
        let all: Vec<Arc<Vec<Target>>> =
            self.scenario.clusters().map(|cluster| Arc::new(self.targets(cluster))).collect();
        for targets in &all {
            clients::make_table(targets).await?;
        }
        self.narrator.settled(&self.cluster, &self.watch).await?;
        let clients = self.start_clients(&all);
        let eyes = watch(self.scenario, &self.cluster, self.cluster.observers_link()?);
        let screen = Screen::watched(eyes, Arc::clone(&self.ledger));
        self.carry_out().await?;
        // Only the network is mended: what the story left down stays down.
        self.cluster.network.links.heal();
        self.note(Kind::Healed);
        self.converge().await;
        self.ledger.stop();
        for clients in clients {
            clients.stop().await?;
        }
        self.narrator.ended(&self.cluster).await?;
        if self.cluster.harmed_a_stranger() {
            self.unmet.push("a program was ended that has nothing to do with the group".to_string());
        }
        self.unmet.extend(self.cluster.not_slowed());
        self.unmet.extend(self.cluster.fallen());
        self.notes.extend(screen.shown());
        let targets: Vec<Target> = all.iter().flat_map(|targets| targets.iter().cloned()).collect();
        let (ends, decided) = self.ends_undisturbed(&targets).await;
        let trace = self.trace(&witness.finish()?, decided, ends);
        self.unmet.extend(expect::unmet(self.scenario, &trace));
        self.unmet.extend(self.unsettled.filter(|_| is_unsettled(&trace)));
        self.unmet.extend(blind::spots(&trace));
        Ok(Outcome::of(trace, self.unmet))
    }

    /// Those of each group, who begin at the same moment.
    fn start_clients(&mut self, targets: &[Arc<Vec<Target>>]) -> Vec<Clients> {
        let ledger = Ledger::begin();
        (self.ledger_beside, self.ledger) = (Arc::new(ledger.beside()), Arc::new(ledger));
        let first = Clients::start(&self.scenario.workload, &targets[0], &self.ledger, 1);
        let number = self.scenario.first_client_beside();
        let beside = self.scenario.beside.as_ref().zip(targets.get(1));
        let beside =
            beside.map(|(beside, targets)| Clients::start(&beside.workload, targets, &self.ledger_beside, number));
        [first].into_iter().chain(beside).collect()
    }

    fn targets(&self, cluster: &scenario::Cluster) -> Vec<Target> {
        let (dbname, key) = (&self.scenario.settings(cluster).dbname, cluster.key());
        let address = |i| self.cluster.addresses.node_for_clients(i);
        let nodes = self.cluster.nodes.iter().enumerate().filter(|(_, node)| node.group == key);
        nodes.map(|(i, n)| Target { node: n.name.clone(), address: address(i), dbname: dbname.clone() }).collect()
    }

    /// The monitor, of each group the first node, then all others, until all is well.
    pub async fn boot(&mut self) -> Result<()> {
        let _turn = BOOTS.acquire().await?;
        self.narrator.progress("creating the monitor");
        self.cluster.create_monitor()?;
        let limit = Instant::now() + BOOT_LIMIT;
        self.until(limit, "monitor", |watch, answered| answered && watch.rows().is_empty()).await?;
        for cluster in self.scenario.clusters() {
            self.found_formation(cluster).await?;
        }
        let joining = (0..self.cluster.nodes.len()).filter(|i| self.cluster.nodes[*i].options.join);
        for (joined, index) in joining.collect::<Vec<_>>().into_iter().enumerate() {
            let Node { name, group, .. } = &self.cluster.nodes[index];
            let (name, group) = (name.clone(), group.clone());
            self.narrator.progress(&format!("creating node {name}"));
            self.cluster.create_node(index)?;
            // The first one makes what all others clone, which they do at the same time. Numbers go by order.
            let first = self.scenario.clusters().any(|cluster| cluster.primary == name);
            let done = |watch: &Watch, answered| {
                answered && watch.rows().len() > joined && (!first || watch.is_settled(&group))
            };
            self.until(limit, &name, done).await?;
            if first {
                hands::log_replication(&self.cluster, &name).await?;
                if self.scenario.does(|verb| matches!(verb, Verb::HangArchiver(_))) {
                    // Copies have the same settings.
                    hands::archive_from_now_on(&mut self.cluster, &name).await?;
                }
            }
        }
        self.until(limit, "the group", |watch, answered| answered && watch.settled()).await?;
        Ok(())
    }

    /// A formation that is as usual comes into being with its first node.
    async fn found_formation(&self, cluster: &scenario::Cluster) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let settings = cluster.settings.clone();
        if settings == FormationSettings::default() || cluster.group != 0 {
            return Ok(());
        }
        let formation = cluster.formation.clone();
        let command = match formation.as_str() {
            "default" => {
                let change = FormationChange {
                    number_sync_standbys: Some(settings.number_sync_standbys),
                    durability: settings.durability,
                    secondary: Some(settings.secondary),
                };
                Command::SetFormation { formation, change }
            }
            _ => Command::CreateFormation { formation, settings },
        };
        match self.watch.ask(&Request::Command(command), PATIENCE).await? {
            Answer::Accepted { .. } => Ok(()),
            other => bail!("the formation can't be set up: {other:?}"),
        }
    }

    async fn until(&mut self, limit: Instant, who: &str, done: impl Fn(&Watch, bool) -> bool) -> Result<()> {
        loop {
            let answered = self.watch.look().await;
            if done(&self.watch, answered) {
                return Ok(());
            }
            if let Some(name) = self.cluster.ended() {
                bail!("the service of {name} has ended by itself:\n{}", self.cluster.last_words(&name));
            }
            if Instant::now() > limit {
                let states = self.watch.describe();
                bail!("{who} isn't ready after {BOOT_LIMIT:?}; {states}\n{}", self.cluster.last_words(who));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn carry_out(&mut self) -> Result<()> {
        let mut before = Instant::now();
        for (i, step) in self.scenario.steps.iter().enumerate() {
            if let Some(at) = step.at {
                tokio::time::sleep_until(self.ledger.instant(at).into()).await;
            }
            if let Some(wait) = step.wait {
                tokio::time::sleep_until((before + wait).into()).await;
            }
            if let Some(condition) = &step.until
                && !self.wait_for(condition, step.within.unwrap_or(WITHIN)).await
            {
                if self.scenario.drawn {
                    before = Instant::now();
                    self.pass_over(&format!("step {}, without {condition:?}", i + 1));
                    continue;
                }
                let states = self.watch.describe();
                self.unmet.push(format!("step {}: not reached in time: {condition:?}; {states}", i + 1));
            }
            before = Instant::now();
            if step.until.is_some() {
                self.narrator.reached(&self.cluster, &self.ledger).await?;
            }
            match self.act(step).await {
                Ok(()) => {}
                // A plan doesn't know what makes sense at its moment.
                Err(why) if self.scenario.drawn => self.pass_over(&format!("{why:#}")),
                Err(why) => self.unmet.push(format!("step {}: {why:#}", i + 1)),
            }
        }
        Ok(())
    }

    fn pass_over(&mut self, what: &str) {
        self.note(Kind::Step { text: format!("{PASSED_OVER}: {what}") });
    }

    async fn converge(&mut self) {
        let Finally { converge, while_it_moves, stalled, .. } = &self.scenario.finally;
        if *while_it_moves {
            if !self.core_settles(*converge).await {
                self.unsettled = Some(format!("the group did not settle; {}", self.watch.describe()));
            }
        } else if !self.settles(*converge).await && stalled.is_none() {
            self.unmet.push(format!("the group did not settle; {}", self.watch.describe()));
        }
    }

    /// Waits for those that must settle as long as anything happens.
    async fn core_settles(&mut self, idle: Duration) -> bool {
        let scenario = self.scenario;
        let beside = scenario.of_beside();
        let stories = [scenario].into_iter().chain(&beside);
        let groups: Vec<(GroupKey, Terms)> = stories.map(|s| (s.cluster.key(), expect::terms(s))).collect();
        let began = Instant::now();
        let (mut moved, mut shown) = (began, self.watch.describe());
        loop {
            let answered = self.watch.look().await;
            let is_settled = |(group, terms): &(GroupKey, Terms)| {
                let rows = self.watch.rows().iter().filter(|row| row.key() == *group);
                let all = rows.map(|r| (r.nodename.as_str(), r.current_group_state, r.assigned_group_state));
                are_settled(all, terms).is_ok()
            };
            // What the last fault leads to may be yet to come.
            let quiet = moved.elapsed() >= expect::AFTERMATH;
            let settled = quiet && answered && groups.iter().all(is_settled);
            if settled && !self.is_news_missing(began, |node| scenario.must_settle(node)) {
                return true;
            }
            let now_shown = self.watch.describe();
            let copies = self.watch.rows().iter().any(|row| scenario.must_settle(&row.nodename) && is_rebuilt(row));
            if now_shown != shown || copies {
                (moved, shown) = (Instant::now(), now_shown);
            }
            if moved.elapsed() >= idle || began.elapsed() >= MOVES_MOST {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the monitor shows right after a fault may be older than the fault: whoever is open must have said so since.
    pub async fn settles(&mut self, within: Duration) -> bool {
        let since = Instant::now();
        while self.wait_for(&Condition::Settled, within.saturating_sub(since.elapsed())).await {
            if !self.is_news_missing(since, |_| true) && !self.has_closed_meanwhile().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Whether one that is open by what the monitor heard last is closed in fact: a report that was under way in a link
    /// that was cut is old news when it comes.
    async fn has_closed_meanwhile(&mut self) -> bool {
        let open = self.watch.rows().iter().filter(|row| row.current_group_state.is_writable());
        let open: Vec<String> = open.map(|row| row.nodename.clone()).collect();
        for name in open {
            if !self.cluster.keeper_runs(&name) {
                continue;
            }
            let Ok(server) = self.cluster.server(&name) else { return true };
            let recovers = hands::sql(server, "SELECT pg_is_in_recovery()").await;
            if recovers.is_ok_and(|answer| answer == ["f"]) {
                continue;
            }
            return true;
        }
        false
    }

    /// Whether one of those that must settle is open by what it said before, and has said nothing since.
    fn is_news_missing(&mut self, since: Instant, must_settle: impl Fn(&str) -> bool) -> bool {
        let must = self.watch.rows().iter().filter(|row| must_settle(&row.nodename));
        let open = must.filter(|row| row.current_group_state.is_writable());
        let mut silent =
            open.filter(|row| row.report_age_ms.is_none_or(|age| u128::from(age) >= since.elapsed().as_millis()));
        silent.any(|row| self.cluster.keeper_runs(&row.nodename))
    }

    async fn wait_for(&mut self, condition: &Condition, within: Duration) -> bool {
        let cast = self.cast.clone();
        let ledger = Arc::clone(&self.ledger);
        self.watch.wait_for(condition, within, self.acted, &ledger, &cast).await
    }

    async fn act(&mut self, step: &Step) -> Result<()> {
        let Some(verb) = &step.verb else { return Ok(()) };
        self.acted = Instant::now();
        self.watch.look().await;
        let goals = self.watch.goals();
        let resolve = |selector: &_| self.cast.resolve(selector, &goals);
        let names = verb.selectors().into_iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
        if let (Some(bind), Some(subject)) = (&step.bind, names.first()) {
            self.cast.bind(bind, subject);
        }
        let text = [&[verb.describe().to_string()], &names[..]].concat().join(" ");
        self.narrator.begins(&text, &self.ledger);
        self.note(Kind::Step { text: text.clone() });
        self.note(fault::event(verb, &names));
        verbs::perform(self, verb, &names).await.context(text)
    }

    pub fn note(&mut self, kind: Kind) {
        let dated = self.dated(kind);
        self.notes.push(dated);
    }

    /// For those who do several things at once, and note them afterwards.
    pub fn dated(&self, kind: Kind) -> (Moment, Kind) {
        (self.ledger.now(), kind)
    }

    pub fn note_dated(&mut self, notes: Vec<(Moment, Kind)>) {
        self.notes.extend(notes);
    }

    /// `ends` is how things are after all has happened.
    fn trace(&mut self, seen: &[Seen], decided: Result<Vec<EventRow>>, ends: Vec<Kind>) -> Trace {
        let mut trace = Trace {
            nodes: self.scenario.nodes(),
            beside: expect::beside(self.scenario),
            // Real servers and keepers log all that the checkers want to know. Two things are seen less finely than in
            // a simulation: `Names` is what the postmaster has read, a moment before its backends have; and of a rebuilt
            // directory only those writes are known that its own node had acknowledged.
            sees: Sense::ALL.into(),
            terms: expect::terms(self.scenario),
            events: std::mem::take(&mut self.notes).into_iter().map(|(at, kind)| Event { at, kind }).collect(),
        };
        let nodes = |cluster: Option<&scenario::Cluster>| cluster.map(|c| c.nodes.clone()).unwrap_or_default();
        let missing = self.ledger.missing_from(&nodes(self.scenario.clusters().next()), &ends);
        let missing_beside = self.ledger_beside.missing_from(&nodes(self.scenario.clusters().nth(1)), &ends);
        let until = |node: &str, at| {
            let at = self.ledger.wall_moment(at);
            &missing(node, at) | &missing_beside(node, at)
        };
        let gone = |node: &str, at: u64| {
            let removed = self.removed.iter().filter(|(name, removed)| name == node && *removed <= at);
            removed.fold(until(node, at), |gone, (_, removed)| {
                &gone - &until(node, witness::opens_anew(node, *removed, seen).unwrap_or(at))
            })
        };
        let mut dated = witness::events(seen, gone);
        match decided {
            Ok(rows) => {
                let of_nodes = rows.into_iter().filter(EventRow::is_of_a_node);
                dated.extend(of_nodes.map(|row| (row.eventtime, narrated(row))));
            }
            Err(e) => self.unmet.push(format!("the monitor's events can't be read: {e:#}")),
        }
        // Also those before the clients began, which all come to be at zero.
        dated.sort_by_key(|(at, kind)| (*at, rank(kind)));
        dated.into_iter().for_each(|(at, kind)| trace.push(self.ledger.wall_moment(at), kind));
        self.ledger.write_into(&mut trace);
        self.ledger_beside.write_answers_into(&mut trace);
        trace.sort();
        let at = self.ledger.now().max(trace.end());
        ends.into_iter().for_each(|kind| trace.push(at, kind));
        trace
    }

    /// How things are at the end, and what the monitor has decided until then. Both must be of one moment: while it decides
    /// anything they are read again.
    async fn ends_undisturbed(&mut self, targets: &[Target]) -> (Vec<Kind>, Result<Vec<EventRow>>) {
        let limit = Instant::now() + expect::AFTERMATH;
        let mut decided = self.watch.all_events().await;
        loop {
            let unmet = self.unmet.len();
            let ends = self.ends(targets).await;
            let decided_since = self.watch.all_events().await;
            let (rests, late) = (decided.as_ref().ok() == decided_since.as_ref().ok(), Instant::now() > limit);
            if late && !rests {
                self.unmet.push("the monitor decides and decides: how things are at the end can't be told".into());
            }
            if rests || late {
                return (ends, decided_since);
            }
            self.unmet.truncate(unmet);
            decided = decided_since;
        }
    }

    async fn ends(&mut self, targets: &[Target]) -> Vec<Kind> {
        self.watch.look().await;
        let mut ends = Vec::new();
        for row in self.watch.rows() {
            let (node, reported, goal) = (row.nodename.clone(), row.current_group_state, row.assigned_group_state);
            // One that is frozen, say, and stays so in a drawn story, is another's former primary.
            let open = reported.is_writable() && (goal.is_writable() || !self.scenario.drawn);
            if let Some(target) = targets.iter().find(|t| t.node == node && open) {
                match clients::ids_on(target).await {
                    Ok(ids) => ends.push(Kind::Found { node: node.clone(), ids }),
                    Err(_) if !self.scenario.must_settle(&node) => {}
                    Err(e) => self.unmet.push(format!("the writes on {node} can't be read: {e:#}")),
                }
            }
            match configured::of(&self.cluster, &node, NodeId(row.node_id)).await {
                Ok(configured) => ends.extend(configured),
                Err(_) if !self.scenario.must_settle(&node) => {}
                Err(e) => self.unmet.push(format!("{e:#}")),
            }
            let (pending, runs) = (row.pending.clone(), self.cluster.keeper_runs(&node));
            ends.push(Kind::Ended { node, reported, goal, pending, runs });
        }
        ends
    }
}

fn watch(scenario: &Scenario, cluster: &Cluster, link: HttpLink) -> Watch {
    let servers = cluster.nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), cluster.addresses.server(i)));
    Watch::new(link, servers.collect(), scenario.clusters().map(scenario::Cluster::key).collect())
}

fn narrated(row: EventRow) -> Kind {
    Kind::Node {
        node: row.nodename,
        id: NodeId(row.nodeid),
        reported: row.reportedstate,
        goal: row.goalstate,
        epoch: Epoch(row.epoch),
        in_force: row.in_force,
        rule: row.rule_pos,
        description: row.description,
    }
}

/// Logs count milliseconds. Of what happened within the same one, causes come before effects.
fn rank(kind: &Kind) -> u8 {
    match kind {
        Kind::Node { .. } => 0,
        Kind::Closed { .. } => 1,
        Kind::Stored { .. } => 2,
        Kind::Names { .. } => 3,
        Kind::Branched { .. } => 4,
        _ => 5,
    }
}
