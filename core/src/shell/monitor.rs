//! The monitor's loop: takes calls one by one, stores what was decided, then answers.

use super::agenda::Agenda;
use super::commit::Ledger;
use super::race::{Task, poll_list};
use crate::model::*;
use crate::monitor::state::{Effects, Input, Monitor, MonitorRecord};
use crate::monitor::{Group, rows};
use crate::mutant;
use crate::ports::{CallId, Change, Clock, Door, DoorEvent, Probe, Snapshot, Store, StoreError};
use crate::stored;
use crate::wire::{self, Answer, EventRow, Request};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// The monitor's loop ends only when its store can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MonitorExit {
    #[error(transparent)]
    Store(#[from] StoreError),
}

const MONITOR: &str = "monitor";

/// Pause before a decision that could not be stored is tried again.
const STORE_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs until the store fails for good.
pub async fn run_monitor<C: Clock, D: Door, S: Store>(
    clock: C,
    door: D,
    store: S,
    settings: MonitorSettings,
) -> MonitorExit {
    let snapshot = loop {
        match store.load().await {
            Ok(snapshot) => break snapshot,
            // A full disk at the start is what it is later: it may be freed.
            Err(StoreError::Io(why)) => tracing::warn!("the monitor's store can't be opened: {why}"),
            Err(error) => return error.into(),
        }
        clock.sleep_until(clock.now() + STORE_RETRY_PAUSE).await;
    };
    let mut shell = match Shell::load(clock, door, store, settings, snapshot).await {
        Ok(shell) => shell,
        Err(error) => return error.into(),
    };
    loop {
        if let Err(error) = shell.turn().await {
            return error.into();
        }
    }
}

/// A keeper's call that waits for news.
struct Held {
    call: CallId,
    until: Moment,
}

/// A command's call that waits for events.
struct Watcher {
    call: CallId,
    until: Moment,
    formation: Option<String>,
    group: Option<u32>,
    after: u64,
    count: u64,
}

enum Woke {
    Door(DoorEvent),
    Probed((NodeId, Probe)),
    Timer,
}

struct Shell<C, D, S> {
    clock: C,
    door: D,
    store: S,
    ledger: Ledger,
    monitor: Monitor,
    events: VecDeque<EventRow>,
    held: BTreeMap<NodeId, Held>,
    /// The last call of each keeper, held or answered: the end of its connection tells of the keeper's.
    lines: BTreeMap<NodeId, CallId>,
    watchers: Vec<Watcher>,
    probes: Vec<(NodeId, Task<'static, Probe>)>,
    agenda: Agenda,
    timer: Option<(Moment, Task<'static, ()>)>,
    /// A decision could not be stored; it is taken anew then.
    retry_at: Option<Moment>,
}

impl<C: Clock, D: Door, S: Store> Shell<C, D, S> {
    async fn load(
        clock: C,
        door: D,
        store: S,
        settings: MonitorSettings,
        snapshot: Snapshot,
    ) -> Result<Self, StoreError> {
        let damaged = |key: &str, e: stored::UnreadableRecord| StoreError::Damaged(format!("record {key}: {e}"));
        let (mut record, mut groups, mut events) = (None, BTreeMap::new(), VecDeque::new());
        let now = clock.now();
        for (key, bytes) in &snapshot.records {
            if key == MONITOR {
                record = Some(stored::decode::<MonitorRecord>(bytes).map_err(|e| damaged(key, e))?);
            } else if key.starts_with("group/") {
                let group: GroupRecord = stored::decode(bytes).map_err(|e| damaged(key, e))?;
                groups.insert(group.key.clone(), Group::new(group, now));
            } else if key.starts_with("event/") {
                events.push_back(stored::decode::<EventRow>(bytes).map_err(|e| damaged(key, e))?);
            }
        }
        let fresh = || MonitorRecord {
            identity: clock.random(),
            next_node: 1,
            replication_password: format!("{:016x}{:016x}", clock.random(), clock.random()),
            formations: BTreeMap::from([("default".to_string(), FormationSettings::default())]),
        };
        let next_event = events.back().map_or(1, |e: &EventRow| e.eventid + 1);
        let is_new = record.is_none();
        let monitor = Monitor::new(settings, now, record.unwrap_or_else(fresh), groups, next_event);
        let mut shell = Shell {
            clock,
            door,
            store,
            ledger: Ledger::at(snapshot.version),
            monitor,
            events,
            held: BTreeMap::new(),
            lines: BTreeMap::new(),
            watchers: Vec::new(),
            probes: Vec::new(),
            agenda: Agenda::default(),
            timer: None,
            retry_at: None,
        };
        for key in shell.all_groups() {
            shell.look_ahead(&key, now);
        }
        if is_new {
            let record = Some(shell.monitor.record.clone());
            shell.persist(&Effects { record, ..Effects::default() }).await?;
        }
        Ok(shell)
    }

    /// Waits for one thing to happen and deals with it.
    async fn turn(&mut self) -> Result<(), StoreError> {
        match self.wait().await {
            Woke::Door(DoorEvent::Call { id, message }) => self.called(id, &message).await,
            Woke::Door(DoorEvent::Hangup { id }) => self.hung_up(id).await,
            Woke::Probed((node, probe)) => match self.key_of(node) {
                Some(key) => self.run(Input::Probed(key, node, probe)).await.map(drop),
                None => Ok(()),
            },
            Woke::Timer => self.time_passed().await,
        }
    }

    async fn wait(&mut self) -> Woke {
        let next = self.next_moment();
        match (&self.timer, next) {
            (Some((at, _)), Some(next)) if *at == next => {}
            (_, next) => {
                let clock = self.clock.clone();
                self.timer = next.map(|at| -> (Moment, Task<'static, ()>) {
                    (at, Box::pin(async move { clock.sleep_until(at).await }))
                });
            }
        }
        let Shell { door, probes, timer, .. } = self;
        let mut call = std::pin::pin!(door.next());
        let woke = poll_fn(|cx| {
            if let Poll::Ready(event) = call.as_mut().poll(cx) {
                return Poll::Ready(Woke::Door(event));
            }
            if let Poll::Ready(done) = poll_list(probes, cx) {
                return Poll::Ready(Woke::Probed(done));
            }
            match timer {
                Some((_, task)) => task.as_mut().poll(cx).map(|()| Woke::Timer),
                None => Poll::Pending,
            }
        });
        let woke = woke.await;
        if matches!(woke, Woke::Timer) {
            self.timer = None;
        }
        woke
    }

    /// When something is to be done though nobody calls.
    fn next_moment(&self) -> Option<Moment> {
        let watchers = self.watchers.iter().map(|w| w.until);
        self.agenda.first().into_iter().chain(watchers).chain(self.retry_at).min()
    }

    /// After a group was judged at `now`: probes that are due begin, and it is noted when it is to be judged again. A
    /// time that has come since then is noted as well, and not forgotten.
    fn look_ahead(&mut self, key: &GroupKey, now: Moment) {
        self.start_probes(key, now);
        let next = self.next_moment_of(key, now);
        self.agenda.set(key, next);
    }

    /// The same for a group that was changed and not judged.
    fn look_ahead_too(&mut self, key: &GroupKey, now: Moment) {
        if let Some(next) = self.next_moment_of(key, now) {
            self.agenda.advance(key, next);
        }
    }

    fn next_moment_of(&self, key: &GroupKey, now: Moment) -> Option<Moment> {
        let group = self.monitor.groups.get(key)?;
        let asked = |id| self.probes.iter().any(|(of, _)| of == id);
        let silent = group.pulses.iter().filter(|(id, _)| !asked(*id));
        let probes = silent.filter_map(|(_, p)| p.next_probe(&self.monitor.settings));
        let held = group.pulses.keys().filter_map(|id| self.held.get(id)).map(|h| h.until).filter(|at| *at > now);
        probes.chain(self.monitor.next_deadline(group, now)).chain(held).min()
    }

    fn start_probes(&mut self, key: &GroupKey, now: Moment) {
        let Monitor { groups, settings, .. } = &mut self.monitor;
        let Some(group) = groups.get_mut(key) else { return };
        for (id, pulse) in &mut group.pulses {
            let running = self.probes.iter().any(|(of, _)| of == id);
            if running || !pulse.probe_due(now, settings) {
                continue;
            }
            let Some(node) = group.record.nodes.get(id) else {
                continue;
            };
            pulse.probe_asked = Some(now);
            let probe = self.door.probe(&node.host, node.port, settings.probe_timeout);
            self.probes.push((*id, Box::pin(probe)));
        }
    }

    fn key_of(&self, node: NodeId) -> Option<GroupKey> {
        self.monitor.key_of(node).cloned()
    }

    fn all_groups(&self) -> Vec<GroupKey> {
        self.monitor.groups.keys().cloned().collect()
    }

    async fn time_passed(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let retried = self.retry_at.take_if(|at| *at <= now).is_some();
        let keys = if retried { self.all_groups() } else { self.agenda.due(now) };
        for key in keys {
            let nodes: Vec<NodeId> = self.monitor.groups[&key].pulses.keys().copied().collect();
            self.run(Input::Tick(key)).await?;
            let now = self.clock.now();
            for node in nodes {
                if self.held.get(&node).is_some_and(|h| h.until <= now) {
                    self.answer_held(node);
                }
            }
        }
        let (late, waiting): (Vec<Watcher>, Vec<Watcher>) =
            std::mem::take(&mut self.watchers).into_iter().partition(|w| w.until <= now);
        self.watchers = waiting;
        for watcher in late {
            self.answer(watcher.call, &Answer::Events(vec![]));
        }
        Ok(())
    }

    async fn hung_up(&mut self, call: CallId) -> Result<(), StoreError> {
        self.watchers.retain(|w| w.call != call);
        let Some(node) = self.lines.iter().find(|(_, last)| **last == call).map(|(id, _)| *id) else {
            return Ok(());
        };
        self.lines.remove(&node);
        self.held.remove(&node);
        match self.key_of(node) {
            Some(key) => self.run(Input::Hangup(key, node)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Decides, stores, makes current, and tells everyone whose assignment changed. `None` when the
    /// decision could not be stored: nothing has happened then.
    async fn run(&mut self, input: Input) -> Result<Option<Effects>, StoreError> {
        let now = self.clock.now();
        self.monitor.note(now, &input);
        let effects = self.monitor.step(now, self.clock.wall_ms(), &input);
        let done = self.carry_out(now, &effects).await?;
        match &input {
            Input::Report(key, _) | Input::Hangup(key, _) | Input::Probed(key, _, _) | Input::Tick(key) => {
                self.look_ahead(key, now);
            }
            // Nobody has judged the rest of the group: what is noted for it stays.
            Input::Register(_) | Input::Command(_) => {
                for group in &effects.groups {
                    self.look_ahead_too(&group.key, now);
                }
            }
        }
        Ok(done.then_some(effects))
    }

    /// False when it could not be stored.
    async fn carry_out(&mut self, now: Moment, effects: &Effects) -> Result<bool, StoreError> {
        if mutant!(TellsBeforeStoring) {
            self.make_current(now, effects);
        }
        match self.persist(effects).await {
            Ok(()) if mutant!(TellsBeforeStoring) => return Ok(true),
            Ok(()) => {}
            Err(StoreError::Io(why)) => {
                tracing::error!("a decision could not be stored, it is not carried out: {why}");
                self.retry_at = Some(now + STORE_RETRY_PAUSE);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        for event in &effects.events {
            tracing::info!(rule = event.rule_pos, node = event.nodename, "{}", event.description);
        }
        self.make_current(now, effects);
        Ok(true)
    }

    fn make_current(&mut self, now: Moment, effects: &Effects) {
        let before = effects.groups.iter().filter_map(|after| Some((after, self.monitor.groups.get(&after.key)?)));
        let gone = |(after, before): (&GroupRecord, &Group)| {
            let nodes = before.record.nodes.keys().filter(|id| !after.nodes.contains_key(id));
            nodes.copied().collect::<Vec<_>>()
        };
        let gone: Vec<NodeId> = before.flat_map(gone).collect();
        self.monitor.settle(now, effects);
        self.announce(effects, &gone);
    }

    async fn persist(&mut self, effects: &Effects) -> Result<(), StoreError> {
        if effects.is_empty() {
            return Ok(());
        }
        let mut changes = Vec::new();
        if let Some(record) = &effects.record {
            changes.push(Change::Put(MONITOR.into(), stored::encode(record)));
        }
        for group in &effects.groups {
            changes.push(Change::Put(format!("group/{}", group.key), stored::encode(group)));
        }
        for event in &effects.events {
            changes.push(Change::Put(event_key(event.eventid), stored::encode(event)));
        }
        let kept = self.monitor.settings.events_kept;
        let last = self.monitor.next_event + effects.events.len() as u64;
        let old = self.events.iter().take_while(|e| e.eventid + kept < last);
        changes.extend(old.map(|e| Change::Remove(event_key(e.eventid))));
        self.ledger.commit(&self.store, changes).await
    }

    fn announce(&mut self, effects: &Effects, gone: &[NodeId]) {
        let kept = self.monitor.settings.events_kept as usize;
        self.events.extend(effects.events.iter().cloned());
        while self.events.len() > kept {
            self.events.pop_front();
        }
        for record in &effects.groups {
            for id in record.nodes.keys() {
                self.answer_held_if_stale(*id);
            }
        }
        for node in gone {
            self.answer_held(*node);
            self.lines.remove(node);
        }
        if !effects.events.is_empty() {
            self.feed_watchers();
        }
    }

    fn feed_watchers(&mut self) {
        for watcher in std::mem::take(&mut self.watchers) {
            let news = self.events_after(&watcher.formation, watcher.group, watcher.after, watcher.count);
            if news.is_empty() {
                self.watchers.push(watcher);
            } else {
                self.answer(watcher.call, &Answer::Events(news));
            }
        }
    }

    fn events_after(&self, formation: &Option<String>, group: Option<u32>, after: u64, count: u64) -> Vec<EventRow> {
        let wanted = |e: &&EventRow| {
            e.eventid > after
                && formation.as_ref().is_none_or(|f| *f == e.formationid)
                && group.is_none_or(|g| g == e.groupid)
        };
        self.events.iter().filter(wanted).take(count as usize).cloned().collect()
    }

    fn last_events(&self, formation: &Option<String>, group: Option<u32>, count: u64) -> Vec<EventRow> {
        let all = self.events_after(formation, group, 0, u64::MAX >> 1);
        let skipped = all.len().saturating_sub(count as usize);
        all[skipped..].to_vec()
    }

    fn answer(&mut self, call: CallId, answer: &Answer) {
        self.door.answer(call, wire::encode(answer));
    }

    fn unknown(&self, node: NodeId) -> Answer {
        let MonitorRecord { identity, next_node, .. } = self.monitor.record;
        Answer::Unknown { node, monitor: identity, next_node: Some(next_node) }
    }

    fn assignment_of(&self, node: NodeId) -> Answer {
        let record = self.monitor.group_of(node).map(|g| &g.record.nodes[&node]);
        record.map_or(self.unknown(node), |n| Answer::Assignment(Box::new(n.assignment.clone())))
    }

    fn answer_held(&mut self, node: NodeId) {
        if let Some(held) = self.held.remove(&node) {
            let answer = self.assignment_of(node);
            self.answer(held.call, &answer);
        }
    }

    fn answer_held_if_stale(&mut self, node: NodeId) {
        let known = self.monitor.group_of(node).and_then(|g| g.pulses[&node].report.as_ref()).map(|r| r.serial);
        let current = self.monitor.group_of(node).map(|g| g.record.nodes[&node].assignment.serial);
        if known != current {
            self.answer_held(node);
        }
    }

    async fn called(&mut self, call: CallId, message: &[u8]) -> Result<(), StoreError> {
        let request = match wire::decode::<Request>(message) {
            Ok(request) => request,
            Err(error) => {
                let remedy = "use the same version of pgbaton on both sides".into();
                self.answer(call, &Answer::Refused { reason: error.to_string(), remedy });
                return Ok(());
            }
        };
        let now = self.clock.now();
        let m = &self.monitor;
        let answer = match request {
            Request::Report(report) => return self.reported(call, report).await,
            Request::Register(ask) => return self.commanded(call, Input::Register(ask)).await,
            Request::Command(command) => return self.commanded(call, Input::Command(command)).await,
            Request::Events { formation, group, after: Some(after), count, wait: true } => {
                let until = now + m.settings.hold;
                self.watchers.push(Watcher { call, until, formation, group, after, count });
                self.feed_watchers();
                return Ok(());
            }
            Request::Events { formation, group, after, count, .. } => Answer::Events(match after {
                Some(after) => self.events_after(&formation, group, after, count),
                None => self.last_events(&formation, group, count),
            }),
            Request::State { formation, group } => Answer::State(rows::state(m, now, formation.as_deref(), group)),
            Request::Settings { formation } => Answer::Settings(rows::settings(m, &formation)),
            Request::Uri { formation } => Answer::Uri(rows::uri(m, formation.as_deref())),
            Request::Formation { formation } => rows::formation(m, &formation),
            Request::Timelines { key } => rows::timelines(m, &key),
            Request::StandbyNames { key } => match m.groups.get(&key) {
                Some(group) => Answer::StandbyNames(rows::standby_names(group)),
                None => Answer::Refused { reason: format!("there is no group {key}"), remedy: "see show state".into() },
            },
        };
        self.answer(call, &answer);
        Ok(())
    }

    async fn commanded(&mut self, call: CallId, input: Input) -> Result<(), StoreError> {
        let answer = match self.run(input).await? {
            Some(effects) => effects.answer.expect("every command is answered"),
            None => Answer::Unavailable { reason: "the monitor can't write to its store".into() },
        };
        self.answer(call, &answer);
        Ok(())
    }

    async fn reported(&mut self, call: CallId, report: Box<Report>) -> Result<(), StoreError> {
        let (node, serial, asks) = (report.node, report.serial, report.asks);
        let said = (report.session, report.seq);
        let Some(key) = self.key_of(node) else {
            let answer = self.unknown(node);
            self.answer(call, &answer);
            return Ok(());
        };
        if self.run(Input::Report(key.clone(), report)).await?.is_none() {
            let reason = "the monitor can't write to its store".into();
            self.answer(call, &Answer::Unavailable { reason });
            return Ok(());
        }
        let last = self.monitor.group_of(node).and_then(|g| g.pulses[&node].report.as_ref());
        // One that came late takes nobody's place: its connection says nothing about the keeper that speaks now.
        let is_last = last.is_some_and(|r| (r.session, r.seq) == said);
        if is_last {
            // The older report needn't wait any longer.
            self.answer_held(node);
            self.lines.insert(node, call);
        }
        let current = self.monitor.group_of(node).map(|g| g.record.nodes[&node].assignment.serial);
        if asks || !is_last || current != Some(serial) {
            let answer = self.assignment_of(node);
            self.answer(call, &answer);
        } else {
            let until = self.clock.now() + self.monitor.settings.hold;
            self.held.insert(node, Held { call, until });
            self.agenda.advance(&key, until);
        }
        Ok(())
    }
}

fn event_key(id: u64) -> String {
    format!("event/{id:020}")
}
