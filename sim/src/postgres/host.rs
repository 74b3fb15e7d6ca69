//! One machine's Postgres: its directory, its server while there is one, and those who wait for news of either.

use super::archive::Archive;
use super::directory::DataDir;
use super::knobs::Knobs;
use super::server::{Phase, ServerState};
use super::settings::Settings;
use crate::net::Net;
use crate::world::fate::either;
use crate::world::{Bell, Chronicle, Fate};
use madsim::runtime::Handle;
use madsim::task::NodeId as ProcessId;
use pgbaton_core::check::Kind as Happened;
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
    /// A commit whose client waits for replay is replayed.
    pub feedback: Bell,
    /// The server, one of its connections or a knob changed.
    pub state: Bell,
    /// A checkpoint is asked for at once.
    pub hurry: Bell,
    /// An asynchronous commit is left to the WAL writer.
    pub walwriter: Bell,
    /// The postmaster exited.
    pub exits: Bell,
}

#[derive(Debug, Default)]
pub struct Pg {
    pub dir: Option<DataDir>,
    pub server: Option<ServerState>,
    pub settings: Settings,
    pub knobs: Knobs,
    /// Where the operator has this server archive its WAL, and restore it from.
    pub archive: Option<Archive>,
    /// The most WAL that a checkpoint has found, before it removed some.
    pub most_wal_held: u64,
    /// A single-user server holds the lock file.
    pub single_user: bool,
    /// Backends and WAL senders started so far: their numbers never come again.
    backends: u64,
}

impl Pg {
    /// Both halves, when a server runs.
    pub fn running(&mut self) -> Option<(&mut DataDir, &mut ServerState)> {
        let server = self.server.as_mut()?;
        let dir = self.dir.as_mut().expect("a server runs on a directory");
        Some((dir, server))
    }

    /// `restore_command` is in force.
    pub fn restores(&self) -> bool {
        self.archive.is_some() && !self.knobs.restore_emptied
    }

    pub fn is_open(&self) -> bool {
        self.server.as_ref().is_some_and(ServerState::is_open)
    }

    pub fn next_backend(&mut self) -> u64 {
        self.backends += 1;
        self.backends
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

    /// SIGKILL to the postmaster and all its children: what was handed to the kernel stays.
    pub fn kill_server(&self) {
        self.end_server(|dir, _| dir.crash(dir.written));
    }

    /// The power goes: of what was not synced some may be on the medium all the same.
    pub fn lose_power(&self) {
        self.end_server(|dir, fate| {
            let unsynced = dir.written.saturating_sub(dir.flushed) as u64;
            dir.crash(dir.flushed + fate.below(unsynced + 1) as usize);
        });
    }

    /// The last act of an orderly stop; may be called by a task of the dying process.
    pub fn exit_server(&self) {
        self.end_server(|_, _| {});
    }

    fn end_server(&self, leave: impl FnOnce(&mut DataDir, &Fate)) {
        let was = self.take_server(leave);
        self.bury();
        // Of a postmaster that died before its children this is no news.
        if !matches!(was, Some(Phase::Orphaned | Phase::Killed)) {
            self.bells.exits.ring();
        }
    }

    /// The server is no more; `leave` says what becomes of its directory.
    fn take_server(&self, leave: impl FnOnce(&mut DataDir, &Fate)) -> Option<Phase> {
        let mut pg = self.pg();
        let server = pg.server.take()?;
        if server.is_open() {
            self.chronicle.note(Happened::Closed { node: self.name.clone() });
        }
        let dir = pg.dir.as_mut().expect("a server ran on a directory");
        leave(dir, &self.fate);
        if server.in_recovery {
            dir.applied = dir.applied.max(server.replayed);
        } else {
            dir.count_all_as_applied();
        }
        if dir.unlinked {
            pg.dir = None;
        }
        Some(server.phase)
    }

    /// No task of the process runs again, and its connections end.
    fn bury(&self) {
        self.handle.kill(self.process);
        self.handle.restart(self.process);
        let Bells { wal, acks, replay, feedback, walwriter, state, hurry: _, exits: _ } = &self.bells;
        for bell in [wal, acks, replay, feedback, walwriter, state] {
            bell.ring();
        }
    }

    /// SIGKILL to one child: the postmaster ends all others, and itself unless it is set to begin anew.
    pub(super) fn crash(self: &Arc<Self>) {
        let again = self.pg().settings.restart_after_crash;
        if !again {
            return self.kill_server();
        }
        self.take_server(|dir, _| dir.crash(dir.written));
        self.bury();
        self.launch();
    }

    /// SIGKILL to the postmaster alone. Idle children end at once, one that commits does so when it waits next.
    pub fn kill_postmaster(self: &Arc<Self>) {
        {
            let mut pg = self.pg();
            let Some(server) = pg.server.as_mut() else { return };
            if server.is_open() {
                self.chronicle.note(Happened::Closed { node: self.name.clone() });
            }
            server.phase = Phase::Orphaned;
        }
        for bell in [&self.bells.state, &self.bells.wal, &self.bells.exits] {
            bell.ring();
        }
        let host = self.clone();
        self.spawn(async move {
            host.fate.sleep(host.fate.draw_ms(1..20)).await;
            // Those that are killed meanwhile go with the disk.
            let gone = || {
                host.pg().server.as_ref().is_none_or(|s| s.phase == Phase::Orphaned && s.sessions == 0).then_some(())
            };
            host.bells.state.until(gone).await;
            host.kill_server();
        });
    }
}

/// Looks again after each ring of either bell until there is something to give back.
pub(super) async fn until_either<T>(a: &Bell, b: &Bell, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        let (rings_a, rings_b) = (a.rings(), b.rings());
        if let Some(found) = look() {
            return found;
        }
        either(a.past(rings_a), b.past(rings_b)).await;
    }
}
