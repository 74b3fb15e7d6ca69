//! Clients that insert rows with ids of their own. They seek a node that is open for writes, on all at once, and stay
//! with it until something goes wrong; sticky ones until their connection ends.

mod reader;
mod standby_reader;

use crate::net::packet::Setting;
use crate::net::{End, Net, Packet};
use crate::postgres::SyncCommit;
use crate::world::machine::POSTGRES_PORT;
use crate::world::{CLIENTS, Chronicle, Fate, World};
use futures_util::future::select_all;
use pgbaton_core::check::Kind;
use pgbaton_core::model::Moment;
use pgbaton_core::scenario::{Size, SynchronousCommit, Workload, WorkloadKind};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A write that takes longer is given up; whether it was committed is then unknown.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a host was found not writable, at least and at most. In between it is a part of how long the search has
/// lasted, so that an outage is measured as exactly as its length deserves, and one of minutes doesn't cost a minute.
const PAUSE: Range<Duration> = Duration::from_millis(20)..Duration::from_millis(500);
const PAUSE_PART: u32 = 20;

/// How the latest writes went.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    pub acked: Option<Ack>,
    pub failed_at: Option<Moment>,
}

#[derive(Debug, Clone)]
pub struct Ack {
    pub node: String,
    pub sent: Moment,
    pub at: Moment,
}

#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    latest: Latest,
    stopped: bool,
}

impl Clients {
    /// Starts the clients of all workloads, on the machine of the clients. They write to these hosts, and their numbers
    /// begin with `first`.
    pub fn start(world: &World, hosts: &[String], workloads: &[Workload], first: u32) -> Clients {
        // Ids of two formations never meet.
        let last_id = u64::from(first - 1) << 32;
        let clients = Clients(Arc::new(Mutex::new(State { last_id, ..State::default() })));
        let mut number = first - 1;
        for workload in workloads {
            let period = Duration::from_secs_f64(f64::from(workload.clients) / workload.rate);
            if workload.kind == WorkloadKind::StandbyReads {
                for _ in 0..workload.clients {
                    let reader = Client { period, ..clients.reader(world, hosts) };
                    world.spawn(CLIENTS, reader.run_reading_on_standby());
                }
                continue;
            }
            for _ in 0..workload.clients {
                number += 1;
                let client = Client {
                    number,
                    period,
                    commit: workload.synchronous_commit,
                    sticky: workload.sticky,
                    row: workload.row,
                    hosts: hosts.to_vec(),
                    fate: world.fate.clone(),
                    net: world.net.clone(),
                    chronicle: world.chronicle.clone(),
                    all: clients.clone(),
                };
                world.spawn(CLIENTS, client.run());
            }
        }
        if number >= first {
            world.spawn(CLIENTS, clients.reader(world, hosts).run_reading());
        }
        clients
    }

    fn reader(&self, world: &World, hosts: &[String]) -> Client {
        Client {
            number: 0,
            period: Duration::ZERO,
            commit: SynchronousCommit::default(),
            sticky: false,
            row: None,
            hosts: hosts.to_vec(),
            fate: world.fate.clone(),
            net: world.net.clone(),
            chronicle: world.chronicle.clone(),
            all: self.clone(),
        }
    }

    /// After the write each of them is at.
    pub fn stop(&self) {
        self.0.lock().unwrap().stopped = true;
    }

    pub fn latest(&self) -> Latest {
        self.0.lock().unwrap().latest.clone()
    }

    fn next_id(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        state.last_id += 1;
        state.last_id
    }
}

struct Client {
    number: u32,
    period: Duration,
    commit: SynchronousCommit,
    sticky: bool,
    row: Option<Size>,
    hosts: Vec<String>,
    fate: Fate,
    net: Net,
    chronicle: Chronicle,
    all: Clients,
}

enum Outcome {
    Committed {
        warning: bool,
    },
    Refused,
    Unknown,
    /// As `Unknown`, and the connection has ended.
    Gone,
}

impl Client {
    async fn run(self) {
        let mut due = self.fate.now() + self.fate.draw(Duration::ZERO..self.period);
        let mut connection = None;
        loop {
            self.fate.sleep_until(due).await;
            if self.all.0.lock().unwrap().stopped {
                return;
            }
            if connection.is_none() {
                connection = self.seek().await;
            }
            let Some(end) = &connection else { return };
            if !self.write(end).await {
                connection = None;
            }
            // Late writes are not made up for.
            due = (due + self.period).max(self.fate.now());
        }
    }

    /// All hosts at once, each again and again: the first that takes the session for writes has it, whoever opened it.
    /// None when the clients are told to stop.
    async fn seek(&self) -> Option<End> {
        self.seek_one(false).await
    }

    async fn seek_one(&self, read_only: bool) -> Option<End> {
        let tries = self.hosts.iter().map(|host| Box::pin(self.seek_on(host, read_only)));
        select_all(tries).await.0
    }

    async fn seek_on(&self, host: &str, read_only: bool) -> Option<End> {
        let began = self.fate.now();
        while !self.all.0.lock().unwrap().stopped {
            if let Some(Some(end)) = self.fate.timeout(CONNECT_TIMEOUT, self.open(host, read_only)).await {
                return Some(end);
            }
            let lasts = self.fate.now().since(began);
            self.fate.sleep((lasts / PAUSE_PART).clamp(PAUSE.start, PAUSE.end)).await;
        }
        None
    }

    async fn open(&self, host: &str, read_only: bool) -> Option<End> {
        let end = self.net.connect(CLIENTS, host, POSTGRES_PORT).await.ok()?;
        end.send(Packet::Hello);
        let Some(Packet::Welcome { read_only: found, .. }) = end.recv().await else { return None };
        let wanted = found == read_only;
        if wanted && self.commit != SynchronousCommit::default() {
            end.send(Packet::Set(Setting::SynchronousCommit(level(self.commit))));
            end.recv().await?;
        }
        wanted.then_some(end)
    }

    /// One insert; false when the connection is of no more use.
    async fn write(&self, end: &End) -> bool {
        let (id, sent) = (self.all.next_id(), self.fate.now());
        end.send(Packet::Insert { id, bytes: self.row.map(|Size(bytes)| bytes) });
        let answer = match self.sticky {
            true => Some(end.recv().await),
            false => self.fate.timeout(STATEMENT_TIMEOUT, end.recv()).await,
        };
        let outcome = match answer {
            Some(Some(Packet::Committed { id: done, warning })) => {
                assert_eq!(done, id, "answers come in order");
                // Its session forwent the promise.
                Outcome::Committed { warning: warning || self.commit.forgoes_standbys() }
            }
            Some(Some(_)) => Outcome::Refused,
            Some(None) => Outcome::Gone,
            None => Outcome::Unknown,
        };
        let (client, node) = (self.number, end.peer().to_string());
        let at = self.fate.now();
        let mut state = self.all.0.lock().unwrap();
        match outcome {
            Outcome::Committed { warning } => {
                let ack = Ack { node: node.clone(), sent, at };
                state.latest.acked = Some(ack);
                self.chronicle.note(Kind::Acked { client, id, node, sent, warning });
                true
            }
            Outcome::Refused | Outcome::Unknown | Outcome::Gone => {
                state.latest.failed_at = Some(at);
                self.chronicle.note(Kind::NotAcked {
                    client,
                    id,
                    known_failed: matches!(outcome, Outcome::Refused),
                    unpromised: self.commit.forgoes_standbys(),
                    sent,
                });
                self.sticky && matches!(outcome, Outcome::Refused)
            }
        }
    }
}

fn level(commit: SynchronousCommit) -> SyncCommit {
    match commit {
        SynchronousCommit::On => SyncCommit::On,
        SynchronousCommit::Off => SyncCommit::Off,
        SynchronousCommit::Local => SyncCommit::Local,
        SynchronousCommit::RemoteWrite => SyncCommit::RemoteWrite,
        SynchronousCommit::RemoteApply => SyncCommit::RemoteApply,
    }
}
