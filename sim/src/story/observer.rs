//! Watches the monitor as an operator's screen would, through a link that no fault touches, and
//! gathers its event log while it is written, and what it shows of each node beside.

use crate::ports::{SimClock, SimLink};
use crate::world::{Bell, Fate, MONITOR, OBSERVER, World};
use pgbaton_core::check::{Kind, Screen};
use pgbaton_core::model::{Epoch, GroupKey, Moment, NodeId, NodeState};
use pgbaton_core::ports::{Link, LinkError};
use pgbaton_core::wire::{Answer, EventRow, Request, StateRow, decode, encode};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest time between two looks, should nothing happen.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Pause after a look that brought nothing: the monitor is down, or holds no calls.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Default)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    pub bell: Bell,
}

#[derive(Debug, Default)]
struct Seen {
    rows: Vec<StateRow>,
    events: Vec<(Moment, EventRow)>,
    /// Numbers and times of these, as they were told.
    told: BTreeSet<(u64, u64)>,
    shown: Vec<(Moment, Kind)>,
    screen: Screen,
}

impl Seen {
    fn note(&mut self, at: Moment, rows: Vec<StateRow>) {
        self.shown.extend(self.screen.note(at, &rows).into_iter().map(|kind| (at, kind)));
        self.rows = rows;
    }
}

/// Asks the monitor and decodes what it says.
pub async fn ask(link: &SimLink, request: &Request, patience: Duration) -> Result<Answer, LinkError> {
    let answer = link.call(encode(request), patience).await?;
    decode(&answer).map_err(|e| LinkError::Rejected(e.to_string()))
}

impl Observer {
    pub fn start(world: &World) -> Observer {
        let observer = Observer::default();
        let link = || SimLink::new(&world.net, OBSERVER, MONITOR);
        let (events, states) = (observer.clone(), observer.clone());
        let (clock, reborn) = (world.monitor.clock.clone(), world.monitor.reborn.clone());
        world.spawn(OBSERVER, events.watch_events(link(), world.fate.clone(), clock, reborn));
        world.spawn(OBSERVER, states.watch_states(link(), world.fate.clone()));
        observer
    }

    /// Events have the time of the monitor's wall clock; whatever that was moved by is taken back.
    /// With another store the monitor counts anew, and tells some of it twice.
    async fn watch_events(self, link: SimLink, fate: Fate, clock: SimClock, reborn: Bell) {
        let (mut last, mut store) = (0, reborn.rings());
        loop {
            if reborn.rings() != store {
                (last, store) = (0, reborn.rings());
            }
            let request = Request::Events { formation: None, group: None, after: Some(last), count: 1000, wait: true };
            match ask(&link, &request, LOOK_PERIOD * 30).await {
                Ok(Answer::Events(rows)) if !rows.is_empty() => {
                    last = rows.last().map_or(last, |row| row.eventid);
                    let mut seen = self.seen.lock().unwrap();
                    for row in rows {
                        if seen.told.insert((row.eventid, row.eventtime)) {
                            seen.events.push((clock.when(row.eventtime), row));
                        }
                    }
                    drop(seen);
                    self.bell.ring();
                }
                _ => fate.sleep(PAUSE).await,
            }
        }
    }

    /// States are asked for anew with each event, and now and then.
    async fn watch_states(self, link: SimLink, fate: Fate) {
        loop {
            let events = self.bell.rings();
            if self.look(&link, &fate).await {
                let _ = fate.timeout(LOOK_PERIOD, self.bell.past(events)).await;
            } else {
                fate.sleep(PAUSE).await;
            }
        }
    }

    async fn look(&self, link: &SimLink, fate: &Fate) -> bool {
        let request = Request::State { formation: None, group: None };
        match ask(link, &request, LOOK_PERIOD).await {
            Ok(Answer::State(rows)) => {
                self.seen.lock().unwrap().note(fate.now(), rows);
                true
            }
            _ => false,
        }
    }

    /// How many events the monitor has told of.
    pub fn events(&self) -> usize {
        self.seen.lock().unwrap().events.len()
    }

    pub fn rows(&self) -> Vec<StateRow> {
        self.seen.lock().unwrap().rows.clone()
    }

    pub fn row(&self, node: &str) -> Option<StateRow> {
        let seen = self.seen.lock().unwrap();
        seen.rows.iter().find(|r| r.nodename == node).cloned()
    }

    /// Every node with its goal, in the order of the cluster.
    pub fn goals(&self, nodes: &[String]) -> Vec<(String, NodeState)> {
        let of = |name: &String| Some((name.clone(), self.row(name)?.assigned_group_state));
        nodes.iter().filter_map(of).collect()
    }

    /// Whether commits of this group wait for a standby, by its latest event.
    pub fn waits_for_standbys(&self, group: &GroupKey) -> bool {
        let seen = self.seen.lock().unwrap();
        let latest = seen.events.iter().rev().find(|(_, row)| row.key() == *group);
        latest.is_some_and(|(_, row)| row.waits_for_standbys())
    }

    /// Whether the monitor told of this at or after a moment.
    pub fn told_since(&self, since: Moment, text: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.events.iter().rev().take_while(|(at, _)| *at >= since).any(|(_, e)| e.description.contains(text))
    }

    /// The event log as the trace wants it, in simulated time, and after it what was shown.
    pub fn event_log(&self) -> Vec<(Moment, Kind)> {
        let seen = self.seen.lock().unwrap();
        let log = seen.events.iter().filter(|(_, row)| row.is_of_a_node()).map(|(at, row)| (*at, kind(row)));
        log.chain(seen.shown.iter().cloned()).collect()
    }
}

fn kind(row: &EventRow) -> Kind {
    Kind::Node {
        node: row.nodename.clone(),
        id: NodeId(row.nodeid),
        reported: row.reportedstate,
        goal: row.goalstate,
        epoch: Epoch(row.epoch),
        in_force: row.in_force.clone(),
        rule: row.rule_pos,
        description: row.description.clone(),
    }
}
