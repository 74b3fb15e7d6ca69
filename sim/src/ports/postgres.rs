//! The keeper's hand on its local Postgres. It reaches the server without the network.

use crate::postgres::{Conninfo, PgDisk, PgHost, Phase, ServerState};
use futures_util::FutureExt;
use futures_util::future::join;
use pgbaton_core::check::Kind;
use pgbaton_core::model::{
    ControlState, Directory, Facts, Lsn, Moment, NodeId, Peer, Position, Server, Timeline, Upstream,
};
use pgbaton_core::mutant;
use pgbaton_core::ports::{Names, PgError, Postgres, Source, StartAs, StopMode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct SimPostgres {
    host: Arc<PgHost>,
    /// Exits of the postmaster this keeper has been told of.
    seen: AtomicU64,
    /// Since when the disk has taken no write.
    refused_since: Mutex<Option<Moment>>,
    /// A start has ended, or this keeper has given it up: one that dies meanwhile puts nothing back.
    started: AtomicBool,
    /// In which life of the server, counted by their ends, a checkpoint has proven that commits wait for somebody; nobody has
    /// said since that they need not.
    waits: Mutex<Option<u64>>,
}

/// How long a write may be under way.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a look at a directory that doesn't answer takes.
const LOOKUP: Duration = Duration::from_secs(5);

/// By then a server that was started has read its signals.
const SIGNAL_READ: Duration = Duration::from_millis(40);

struct Start<'a>(&'a AtomicBool);

impl Drop for Start<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn retry(what: &str) -> PgError {
    PgError::Retry(what.to_string())
}

impl SimPostgres {
    pub fn new(host: Arc<PgHost>) -> SimPostgres {
        let seen = AtomicU64::new(host.bells.exits.rings());
        SimPostgres {
            host,
            seen,
            refused_since: Mutex::new(None),
            started: AtomicBool::new(false),
            waits: Mutex::new(None),
        }
    }

    pub(super) fn note_failure(&self, step: &str) {
        let (node, step) = (self.host.name.clone(), step.to_string());
        self.host.chronicle.note(Kind::Failed { node, step });
    }

    /// Why commits can't succeed, as a probe that writes finds.
    fn disk_complaint(&self) -> Option<String> {
        let mut since = self.refused_since.lock().unwrap();
        if self.host.disk_takes().now_or_never() == Some(Ok(())) {
            *since = None;
            return None;
        }
        let now = self.host.fate.now();
        let waiting = now.since(*since.get_or_insert(now));
        (waiting > PATIENCE).then(|| format!("pg_wal has taken no write for {waiting:?}"))
    }

    /// What is to be written into files waits for their disk.
    async fn files(&self) {
        let moves = || (self.host.pg().knobs.disk != PgDisk::Stalled).then_some(());
        self.host.bells.state.until(moves).await;
    }

    fn put_signal_back(&self) {
        if let Some(dir) = &mut self.host.pg().dir {
            dir.standby_signal = true;
        }
    }

    async fn until_names(&self, are: impl Fn(&ServerState) -> bool) -> Result<(), PgError> {
        let done = || match (self.host.config_is_broken(), self.host.pg().server.as_ref()) {
            (_, None) => Some(Err(retry("the server is down"))),
            (true, _) => Some(Err(retry("the configuration contains errors"))),
            (false, Some(server)) => are(server).then_some(Ok(())),
        };
        self.host.bells.state.until(done).await
    }

    fn with_dir<T>(&self, work: impl FnOnce(&mut crate::postgres::DataDir) -> T) -> Result<T, PgError> {
        let mut pg = self.host.pg();
        let dir = pg.dir.as_mut().filter(|dir| !dir.unlinked);
        dir.map(work).ok_or_else(|| retry("there is no data directory"))
    }
}

impl Postgres for SimPostgres {
    async fn look(&self) -> Facts {
        if self.started.swap(false, Ordering::Relaxed) {
            self.put_signal_back();
        }
        self.host.fate.sleep(Duration::from_millis(1)).await;
        self.host.renew_lost_slots();
        let mut facts = self.host.facts();
        if mutant!(FencedWhileBackendLives) && self.host.pg().server.as_ref().is_some_and(|s| s.smart_stop) {
            facts.server = Server::Down;
        }
        if facts.server == Server::Down && self.host.pg().knobs.disk == PgDisk::Stalled {
            // Even a file's name may take for ever to be looked up.
            self.host.fate.sleep(LOOKUP).await;
            facts.directory = Directory::Unusable { reason: "the directory doesn't answer: is its disk stuck?".into() };
        }
        if facts.is_open()
            && let Some(reason) = self.disk_complaint()
        {
            facts.server = Server::Stuck { reason };
        }
        facts
    }

    async fn changed(&self) {
        let exits = &self.host.bells.exits;
        exits.past(self.seen.load(Ordering::Relaxed)).await;
        self.seen.store(exits.rings(), Ordering::Relaxed);
    }

    async fn create(&self) -> Result<(), PgError> {
        self.host.initdb().await
    }

    async fn recover(&self) -> Result<(), PgError> {
        self.host.own_restore_command();
        self.with_dir(|dir| {
            dir.release_above();
            (dir.standby_signal, dir.recovery_signal) = (false, false);
        })?;
        let _alone = Start(&self.started);
        // It is read once, early.
        let put_back = async {
            self.host.fate.sleep(SIGNAL_READ).await;
            self.put_signal_back();
        };
        join(self.host.recover_single_user(), put_back).await.0
    }

    async fn start(&self, role: StartAs) -> Result<(), PgError> {
        if self.host.pg().server.is_none() {
            self.host.own_restore_command();
            self.with_dir(|dir| {
                dir.release_above();
                dir.standby_signal = role == StartAs::Standby;
                dir.recovery_signal = false;
            })?;
            self.host.launch();
        }
        let up = || match self.host.pg().server.as_ref().map(|s| s.phase) {
            None => Some(Err(retry("the server exited while it was starting"))),
            Some(Phase::Starting) => None,
            Some(Phase::Up) => Some(Ok(())),
            Some(Phase::Stopping) => Some(Err(retry("the server is shutting down"))),
            Some(Phase::Orphaned | Phase::Killed) => Some(Err(retry("children of the last server are still there"))),
        };
        let _start = Start(&self.started);
        let started = self.host.bells.state.until(up).await;
        self.put_signal_back();
        started
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        self.put_signal_back();
        if mutant!(FencedWhileBackendLives) && mode == StopMode::Fast {
            self.host.begin_smart_stop();
            return Ok(());
        }
        match mode {
            StopMode::Immediate if !self.host.is_shutting_down() => self.host.stop_immediately(),
            StopMode::Fast | StopMode::Immediate => {
                self.host.begin_stop();
                self.host.until_stopped().await;
            }
        }
        Ok(())
    }

    async fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        self.files().await;
        let name = me.standby_name();
        let conninfo = upstream.map(|u| Conninfo {
            application: name.clone(),
            slot: Some(name),
            host: u.host.clone(),
            port: u.port,
        });
        self.with_dir(|dir| dir.conninfo = conninfo)?;
        self.host.reload_conninfo();
        match upstream.is_some() && self.host.pg().server.is_some() && self.host.config_is_broken() {
            true => Err(retry("the configuration contains errors")),
            false => Ok(()),
        }
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.files().await;
        self.host.set_apply_delay(Duration::ZERO);
        self.host.own_restore_command();
        self.host.sealed().await.map_err(|e| retry(&e))
    }

    async fn replayed_past(&self, lsn: Lsn) -> Result<(), PgError> {
        let past = || match self.host.pg().running() {
            None => Some(Err(retry("the server is down"))),
            Some((dir, server)) => (dir.wal.end_of(server.replayed) > lsn).then_some(Ok(())),
        };
        self.host.bells.replay.until(past).await
    }

    async fn set_names(&self, names: &Names) -> Result<(), PgError> {
        self.files().await;
        self.with_dir(|dir| dir.names.clone_from(&names.0))?;
        if names.0.is_empty() {
            *self.waits.lock().unwrap() = None;
        }
        self.host.reload_names();
        Ok(())
    }

    async fn names_shown(&self) -> Result<(), PgError> {
        self.until_names(|server| server.names_shown == server.names_asked).await
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        let life = Some(self.host.bells.exits.rings());
        let names_somebody = self.host.pg().dir.as_ref().is_some_and(|dir| !dir.names.is_empty());
        if names_somebody && *self.waits.lock().unwrap() != life {
            // One that is quick adds nothing to what the reload takes.
            let is_slow = !self.host.pg().knobs.checkpoint_takes.is_zero();
            if is_slow {
                self.checkpoint().await?;
            }
            *self.waits.lock().unwrap() = life;
        }
        self.until_names(|server| server.names_done == server.names_asked).await
    }

    async fn holds(&self, lsn: Lsn) -> Result<(), PgError> {
        let held = || match self.host.pg().running() {
            None => Some(Err(retry("the server is down"))),
            Some((dir, _)) => (dir.end().lsn >= lsn).then_some(Ok(())),
        };
        self.host.bells.wal.until(held).await
    }

    async fn advance_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.host.advance_slots(lsn).map_err(|e| retry(&e))
    }

    async fn promote(&self, timeline: Timeline) -> Result<(), PgError> {
        self.files().await;
        self.with_dir(|dir| dir.recovery_signal = !mutant!(PromotionUnguarded))?;
        if !self.host.pg().is_open() && !self.host.begin_promotion(timeline) {
            return Err(retry("there is no standby to promote"));
        }
        let open = || match self.host.pg().server.as_ref() {
            Some(s) if s.is_open() => Some(Ok(())),
            Some(s) if s.phase == Phase::Up => None,
            _ => Some(Err(retry("the server ended while it was promoted"))),
        };
        let opened = self.host.bells.state.until(open).await;
        self.put_signal_back();
        opened?;
        self.with_dir(|dir| dir.recovery_signal = false)
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        let done = self.host.checkpoint().await;
        if done { Ok(()) } else { Err(retry("the server doesn't answer")) }
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        self.files().await;
        let mut wanted: Vec<String> = peers.iter().map(|peer| peer.node.standby_name()).collect();
        if mutant!(SlotsOnlyAdded) {
            wanted.extend(self.with_dir(|dir| dir.slots.keys().cloned().collect::<Vec<_>>())?);
        }
        self.host.admit(&wanted).map_err(|e| retry(&e))?;
        // A standby proves its names where nobody waits for that.
        if self.host.pg().server.as_ref().is_some_and(|server| server.in_recovery) {
            let _later = self.names_in_force().await;
        }
        Ok(())
    }

    async fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.host.wal_past(fork)
    }

    async fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        self.host.fate.sleep(self.host.fate.draw_ms(5..30)).await;
        self.host.keep_aside(fork, end)
    }

    async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        // Single-user recovery, which a crashed directory needs first, refuses the signal.
        let unclean = self.with_dir(|dir| {
            let unclean = !matches!(dir.state, ControlState::ShutDown | ControlState::ShutDownInRecovery);
            dir.standby_signal &= !unclean;
            dir.recovery_signal = false;
            unclean
        })?;
        let done = self.host.rewind(source).await;
        self.put_signal_back();
        done?;
        // A copy of the source would be one that runs.
        if unclean && self.with_dir(|dir| dir.state == ControlState::ShutDown)? {
            let why =
                "pg_rewind had nothing to do, and its recovery has written a checkpoint that the source doesn't have";
            return Err(PgError::Condemned(why.into()));
        }
        match self.with_dir(|dir| dir.lacks_wal)? {
            true => Err(PgError::Condemned("the source has removed the WAL that recovery is to begin with".into())),
            false => Ok(()),
        }
    }

    async fn clone_from(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        self.host.base_backup(me, source).await
    }
}
