//! Start of a server, and its checkpoints.

use super::host::PgHost;
use super::knobs::NoDisk;
use super::replay::REDO;
use super::server::{Phase, ServerState};
use super::wal::Kind;
use crate::world::fate::either;
use futures_util::future::Either;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{ControlState, Timeline};
use std::sync::Arc;
use std::time::Duration;

/// `checkpoint_completion_target`
const COMPLETION_TARGET: f64 = 0.9;

/// How a checkpoint goes about its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once; one that is under way hurries from then on.
    Fast,
    /// Over part of the time until the next one is due.
    Spread,
}

/// What the newest history in a directory is to what else is there.
enum Target {
    Kin,
    /// No child of it: recovery ends at once.
    Foreign,
    /// It names no ancestor: recovery looks for its checkpoint there, for ever.
    Orphan,
}

impl PgHost {
    /// Starts the postmaster; what it becomes is decided by the signal files.
    ///
    /// # Panics
    /// When the directory is one that must never be started: the keeper's marker should have stopped it.
    pub fn launch(self: &Arc<Self>) {
        let started = {
            let mut pg = self.pg();
            let broken = pg.knobs.config_broken;
            let dir = pg.dir.as_ref().expect("a server needs a directory");
            assert!(!dir.half_rewound, "{}: a half rewound directory was started", self.name);
            assert!(pg.server.is_none(), "{}: one server per directory", self.name);
            let state = ServerState::new(dir, &pg.settings);
            let archives = pg.archive.is_some();
            !broken && state.map(|state| pg.server = Some(ServerState { archives, ..state })).is_ok()
        };
        if started {
            self.spawn(self.clone().postmaster());
            self.spawn(self.clone().recover());
        } else {
            self.bells.exits.ring();
        }
        self.bells.state.ring();
    }

    async fn postmaster(self: Arc<Self>) {
        let listener = self.net.listen(&self.name, self.port);
        let serve = async {
            loop {
                let end = listener.accept().await;
                self.spawn(self.clone().session(Arc::new(end)));
            }
        };
        let orphaned = || {
            let pg = self.pg();
            pg.server.as_ref().is_none_or(ServerState::is_headless).then_some(())
        };
        either(serve, self.bells.state.until(orphaned)).await;
    }

    /// Crash recovery takes time in proportion to the WAL since the last checkpoint. A standby is up before it has
    /// replayed all of it.
    async fn recover(self: Arc<Self>) {
        // The lock file is the first thing a postmaster writes.
        if self.disk_takes().await.is_err() {
            return self.exit_server();
        }
        if self.pg().dir.as_ref().is_some_and(|dir| dir.recovery_signal && !dir.standby_signal) {
            // "must specify restore_command when standby mode is not enabled"
            return self.exit_server();
        }
        if self.pg().dir.as_ref().is_some_and(|dir| dir.lacks_wal) {
            return std::future::pending().await;
        }
        match self.choose_target() {
            Target::Kin => {}
            Target::Foreign => return self.exit_server(),
            Target::Orphan => return std::future::pending().await,
        }
        let prelude = self.fate.draw_ms(20..60);
        let consistent = self.consistent_at();
        let (backlog, again) = {
            let mut pg = self.pg();
            let again = pg.knobs.checkpoint_takes;
            let (dir, _) = pg.running().expect("the server was just launched");
            let crashed = !dir.standby_signal && dir.state != ControlState::ShutDown;
            let behind = dir.wal.count_until(dir.checkpoint.lsn);
            (consistent.saturating_sub(behind), if crashed { again } else { Duration::ZERO })
        };
        let redo = REDO * u32::try_from(backlog).unwrap_or(u32::MAX);
        self.fate.sleep(prelude + redo + again).await;
        if self.disk_takes().await.is_err() {
            return self.exit_server();
        }
        let in_recovery = self.open_up(consistent);
        self.spawn(self.clone().write_behind());
        if self.pg().archive.is_some() {
            self.begin_archiving();
            self.spawn(self.clone().archive());
            self.spawn(self.clone().restore());
        }
        self.bells.wal.ring();
        self.bells.state.ring();
        if in_recovery {
            self.spawn(self.clone().replay());
            self.spawn(self.clone().receive());
        } else {
            self.note_open();
        }
        self.checkpoint_now_and_then().await;
    }

    /// Recovery aims at the newest timeline whose history file it finds; a start without the signal looks at none.
    fn choose_target(&self) -> Target {
        let mut pg = self.pg();
        let Some((dir, server)) = pg.running().filter(|(_, server)| server.in_recovery) else { return Target::Kin };
        let newest = Timeline(dir.next_tli().0 - 1);
        let Some(history) = dir.histories.get(&newest).filter(|_| newest != dir.history.tli) else {
            return Target::Kin;
        };
        if history.ancestors.is_empty() {
            return Target::Orphan;
        }
        if !history.contains(dir.checkpoint) {
            return Target::Foreign;
        }
        server.target = Some(history.clone());
        Target::Kin
    }

    /// How many records recovery replays before it lets anybody in: on a standby those that pages on the medium may have
    /// seen, else all.
    fn consistent_at(&self) -> usize {
        let mut pg = self.pg();
        let (dir, server) = pg.running().expect("tasks of a dead server don't run");
        let perhaps = (dir.applied - dir.consistent) as u64;
        if server.in_recovery { dir.consistent + self.fate.below(perhaps + 1) as usize } else { dir.wal.len() }
    }

    fn open_up(&self, consistent: usize) -> bool {
        let (uid, now) = (self.fate.random(), self.fate.now());
        let mut pg = self.pg();
        let hints_logged = pg.settings.wal_log_hints;
        let (dir, server) = pg.running().expect("tasks of a dead server don't run");
        if server.in_recovery {
            dir.state = ControlState::InRecovery;
            server.replayed = consistent;
            dir.consistent = consistent;
        } else {
            if dir.state != ControlState::ShutDown {
                dir.write_checkpoint(uid, now, Kind::Checkpoint);
            }
            dir.state = ControlState::InProduction;
            dir.report_parameters(!uid, now, hints_logged);
            server.replayed = dir.flushed;
        }
        if server.phase == Phase::Starting {
            server.phase = Phase::Up;
        }
        server.in_recovery
    }

    pub(super) fn note_open(&self) {
        let tli = self.pg().running().filter(|(_, server)| server.is_open()).map(|(dir, _)| dir.history.tli);
        if let Some(tli) = tli {
            self.note_names();
            self.chronicle.note(Happened::Opened { node: self.name.clone(), tli });
        }
    }

    async fn checkpoint_now_and_then(&self) {
        loop {
            let period = self.pg().settings.checkpoint_timeout;
            self.fate.sleep(period).await;
            if self.write_checkpoint(Pace::Spread).await.is_err() {
                return self.kill_server();
            }
        }
    }

    /// A checkpoint, or on a standby a restartpoint; then WAL that nothing asks for is removed.
    pub(super) async fn write_checkpoint(&self, pace: Pace) -> Result<(), NoDisk> {
        match pace {
            Pace::Fast => self.bells.hurry.ring(),
            Pace::Spread => {
                let rings = self.bells.hurry.rings();
                let most = self.pg().settings.checkpoint_timeout.mul_f64(COMPLETION_TARGET);
                let drawn = self.fate.draw(Duration::ZERO..most);
                either(self.fate.sleep(drawn), self.bells.hurry.past(rings)).await;
            }
        }
        if self.has_its_restartpoint() {
            if let Some((dir, server)) = self.pg().running() {
                dir.is_consistent_at(server.replayed);
            }
            return Ok(());
        }
        let takes = self.pg().knobs.checkpoint_takes;
        if !takes.is_zero() {
            self.write_slowly(takes).await;
        }
        self.disk_takes().await?;
        let (uid, now) = (self.fate.random(), self.fate.now());
        {
            let mut pg = self.pg();
            let settings = pg.settings.clone();
            let held = pg.dir.as_ref().map_or(0, |dir| dir.wal.bytes_held());
            pg.most_wal_held = pg.most_wal_held.max(held);
            let Some((dir, server)) = pg.running() else { return Ok(()) };
            match (server.phase, server.in_recovery) {
                (Phase::Up, false) => dir.write_checkpoint(uid, now, Kind::Checkpoint),
                (Phase::Up, true) => dir.restartpoint(server.replayed),
                _ => return Ok(()),
            }
            let lost = dir.recycle(&settings);
            // Who uses a slot that is lost is terminated.
            server.senders.retain(|_, s| !s.slot.as_ref().is_some_and(|slot| lost.contains(slot)));
            server.backups.retain(|slot, _| !lost.contains(slot));
        }
        self.bells.wal.ring();
        Ok(())
    }

    /// It is a standby, and has replayed no checkpoint since the one of its last restartpoint.
    fn has_its_restartpoint(&self) -> bool {
        let mut pg = self.pg();
        let Some((dir, server)) = pg.running().filter(|(_, server)| server.in_recovery) else { return false };
        dir.wal.last_checkpoint(server.replayed).is_none_or(|last| last.lsn <= dir.checkpoint.lsn)
    }

    async fn write_slowly(&self, takes: Duration) {
        let now = self.fate.now();
        let ends = self.pg().server.as_mut().map_or(now + takes, |server| server.checkpoints.ask(now, takes));
        self.fate.sleep_until(ends).await;
    }

    /// `CHECKPOINT` by the keeper. False when no server answers.
    pub async fn checkpoint(&self) -> bool {
        let exits = self.bells.exits.rings();
        let work = async {
            self.fate.sleep(self.fate.draw_ms(5..20)).await;
            self.write_checkpoint(Pace::Fast).await
        };
        match either(work, self.bells.exits.past(exits)).await {
            Either::Left(Err(NoDisk)) => self.kill_server(),
            Either::Left(Ok(())) | Either::Right(()) => {}
        }
        self.pg().server.as_ref().is_some_and(|s| s.phase == Phase::Up)
    }
}
