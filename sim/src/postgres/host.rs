//! One machine's Postgres: its directory, its server while there is one, and those who wait for news of either.

use super::directory::{Conninfo, DataDir};
use super::knobs::{Interrupt, Knobs};
use super::sync::SyncNames;
use crate::net::Net;
use crate::world::{Bell, Chronicle, Fate};
use madsim::runtime::Handle;
use madsim::task::NodeId as ProcessId;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{Directory, Facts, Lsn, Moment, NodeId, Position, Receiver, Running, Sender, Server};
use std::collections::BTreeMap;
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
    /// Somebody has turned a knob.
    pub knobs: Bell,
}

#[derive(Debug, Default)]
pub struct Pg {
    pub dir: Option<DataDir>,
    pub server: Option<ServerState>,
    pub knobs: Knobs,
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
    /// Commits under way, by their backend: in the log, and hidden from all other sessions.
    pub commits: BTreeMap<u64, Commit>,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub id: u64,
    pub interrupt: Option<Interrupt>,
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
            commits: BTreeMap::new(),
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
        let Bells { wal, acks, replay, state, exits, knobs: _ } = &self.bells;
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

    /// Ids of the rows a client could read.
    pub fn visible_rows(&self) -> std::collections::BTreeSet<u64> {
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
