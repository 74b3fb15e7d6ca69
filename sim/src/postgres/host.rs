//! One machine's Postgres: its directory, its server while there is one, and those who wait for news of either.

use super::directory::{Conninfo, DataDir};
use super::sync::SyncNames;
use super::wal::{Kind as WalKind, Record};
use crate::net::Net;
use crate::world::{Bell, Chronicle, Fate};
use madsim::runtime::Handle;
use madsim::task::NodeId as ProcessId;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{Directory, Facts, Lsn, Moment, NodeId, Position, Receiver, Running, Sender, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

pub struct PgHost {
    pub name: String,
    pub port: u16,
    pub fate: Fate,
    pub net: Net,
    pub chronicle: Chronicle,
    pub bells: Bells,
    handle: Handle,
    /// The process of the server. All its tasks die together.
    process: ProcessId,
    pg: Mutex<Pg>,
}

#[derive(Debug, Default)]
pub struct Bells {
    /// More WAL is on disk.
    pub wal: Bell,
    /// A standby acknowledged, or the names in force changed.
    pub acks: Bell,
    /// More WAL is replayed.
    pub replay: Bell,
    /// The server or one of its connections changed.
    pub state: Bell,
    /// The postmaster exited.
    pub exits: Bell,
}

#[derive(Debug, Default)]
pub struct Pg {
    pub dir: Option<DataDir>,
    pub server: Option<ServerState>,
    /// What `keep_aside` has saved: how many records, by the place's name.
    pub kept: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Up,
    Stopping,
}

#[derive(Debug)]
pub struct ServerState {
    pub phase: Phase,
    pub in_recovery: bool,
    pub promoting: bool,
    /// How many records are replayed.
    pub replayed: usize,
    /// Until a receiver has streamed, nobody can ask the server how much WAL it holds.
    pub received: bool,
    /// What the backends work under.
    pub names: SyncNames,
    /// Reloads of the names asked for, and done.
    pub names_asked: u64,
    pub names_done: u64,
    /// What the receiver works under, and how often that changed.
    pub conninfo: Option<Conninfo>,
    pub conninfo_changes: u64,
    pub receiver: Option<ReceiverState>,
    pub senders: BTreeMap<u64, SenderState>,
    pub connections: u64,
    /// Rows that are durable here and wait for standbys: no other session sees them yet.
    pub waiting: BTreeSet<u64>,
    /// Has promised to receive no more, and was told nothing else since.
    pub sealed: bool,
}

#[derive(Debug, Clone)]
pub struct ReceiverState {
    pub streaming: bool,
    pub last_message: Moment,
}

#[derive(Debug, Clone)]
pub struct SenderState {
    pub node: NodeId,
    pub streaming: bool,
    pub flushed: Lsn,
    pub last_reply: Moment,
}

impl ServerState {
    pub fn new(dir: &DataDir) -> ServerState {
        ServerState {
            phase: Phase::Starting,
            in_recovery: dir.standby_signal,
            promoting: false,
            replayed: 0,
            received: false,
            names: SyncNames::read(&dir.names),
            names_asked: 0,
            names_done: 0,
            conninfo: dir.conninfo.clone(),
            conninfo_changes: 0,
            receiver: None,
            senders: BTreeMap::new(),
            connections: 0,
            waiting: BTreeSet::new(),
            sealed: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Up && !self.in_recovery
    }
}

impl Pg {
    /// Both halves, when a server runs.
    pub fn running(&mut self) -> Option<(&mut DataDir, &mut ServerState)> {
        let server = self.server.as_mut()?;
        let dir = self.dir.as_mut().expect("a server runs on a directory");
        Some((dir, server))
    }

    pub fn is_open(&self) -> bool {
        self.server.as_ref().is_some_and(ServerState::is_open)
    }
}

impl PgHost {
    pub fn new(name: &str, port: u16, net: &Net, chronicle: &Chronicle) -> Arc<PgHost> {
        let handle = Handle::current();
        let process = handle.create_node().name(format!("postgres:{name}")).build().id();
        Arc::new(PgHost {
            name: name.to_string(),
            port,
            fate: net.fate().clone(),
            net: net.clone(),
            chronicle: chronicle.clone(),
            bells: Bells::default(),
            handle,
            process,
            pg: Mutex::default(),
        })
    }

    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Never held over an await.
    pub fn pg(&self) -> MutexGuard<'_, Pg> {
        self.pg.lock().unwrap()
    }

    /// Runs a task of the server's process.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let process = self.handle.get_node(self.process).expect("it was made with the host");
        process.spawn(task);
    }

    /// SIGKILL to the postmaster and all its children, or the power.
    pub fn kill_server(&self) {
        if let Some(dir) = self.end_server() {
            dir.crash();
        }
        self.bury();
    }

    /// The last act of an orderly stop; may be called by a task of the dying process.
    pub fn exit_server(&self) {
        self.end_server();
        self.bury();
    }

    fn end_server(&self) -> Option<DirGuard<'_>> {
        let mut pg = self.pg();
        let server = pg.server.take()?;
        if server.is_open() {
            self.chronicle.note(Happened::Closed { node: self.name.clone() });
        }
        Some(DirGuard { pg })
    }

    /// No task of the process runs again, and its connections end.
    fn bury(&self) {
        self.handle.kill(self.process);
        self.handle.restart(self.process);
        let Bells { wal, acks, replay, state, exits } = &self.bells;
        for bell in [wal, acks, replay, state, exits] {
            bell.ring();
        }
    }

    pub fn facts(&self) -> Facts {
        let mut pg = self.pg();
        let now = self.fate.now();
        let server = match pg.running() {
            None => Server::Down,
            Some((_, s)) if s.phase != Phase::Up => Server::Starting,
            Some((dir, s)) => Server::Up(running(dir, s, now)),
        };
        let directory = match &pg.dir {
            None => Directory::Absent,
            Some(dir) => Directory::Present(dir.control()),
        };
        Facts { directory, server }
    }

    /// The latest rows a session on a primary sees.
    pub fn latest_rows(&self, most: usize) -> BTreeSet<u64> {
        let mut pg = self.pg();
        let Some((dir, server)) = pg.running() else { return BTreeSet::new() };
        let flushed = &dir.wal.records()[..dir.flushed];
        let seen = |record: &Record| match record.kind {
            WalKind::Insert(id) if !server.waiting.contains(&id) => Some(id),
            _ => None,
        };
        flushed.iter().rev().filter_map(seen).take(most).collect()
    }

    /// What the backends of an open server work under.
    pub fn note_names(&self) {
        if let Some((_, server)) = self.pg().running()
            && server.is_open()
        {
            let (k, of) = server.names.parts();
            self.chronicle.note(Happened::Names { node: self.name.clone(), k, of });
        }
    }

    /// How the server is configured, for the end of a run. `id` is the node's, which only its keeper knows.
    pub fn configured(&self, id: NodeId) -> Option<Happened> {
        let pg = self.pg();
        let dir = pg.dir.as_ref()?;
        Some(Happened::Configured {
            node: self.name.clone(),
            id,
            system_id: dir.system_id,
            names: SyncNames::read(&dir.names).parts().1,
            slots: dir.admitted.clone(),
            follows: dir.conninfo.as_ref().map(|c| c.host.clone()),
        })
    }

    /// Ids of the rows a client could read.
    pub fn visible_rows(&self) -> BTreeSet<u64> {
        let pg = self.pg();
        let count = match (&pg.server, &pg.dir) {
            (Some(s), Some(_)) if s.in_recovery => s.replayed,
            (_, Some(dir)) => dir.flushed,
            _ => 0,
        };
        pg.dir.as_ref().map(|d| d.rows(count)).unwrap_or_default()
    }
}

/// The directory of a server that has just ended, still locked.
struct DirGuard<'a> {
    pg: MutexGuard<'a, Pg>,
}

impl DirGuard<'_> {
    fn crash(mut self) {
        self.pg.dir.as_mut().expect("a server ran on a directory").crash();
    }
}

fn running(dir: &DataDir, s: &ServerState, now: Moment) -> Running {
    let replayed = dir.wal.end_of(s.replayed);
    let position = match (s.in_recovery, s.received) {
        (true, false) => Position { tli: dir.wal.tli_of(s.replayed), lsn: replayed },
        _ => dir.end(),
    };
    let receiver = s.receiver.as_ref().map(|r| Receiver {
        streaming: r.streaming,
        tli: dir.history.tli,
        last_message: now.since(r.last_message),
    });
    let senders = s.senders.values().map(|s| Sender { node: s.node, streaming: s.streaming, flushed: s.flushed });
    Running {
        in_recovery: s.in_recovery,
        position,
        replayed: if s.in_recovery { replayed } else { position.lsn },
        checkpoint_tli: dir.checkpoint.tli,
        receiver,
        stranded: None,
        senders: senders.collect(),
    }
}
