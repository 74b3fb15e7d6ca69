//! The ways a server is stopped.

use super::host::PgHost;
use super::knobs::PgDisk;
use super::server::{Phase, ServerState};
use super::wal::Kind;
use futures_util::future::join;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::ControlState;
use std::sync::Arc;

impl PgHost {
    /// *Smart*: no new sessions; once the last one has ended of itself, the rest is as in a fast stop.
    pub fn begin_smart_stop(self: &Arc<Self>) {
        match self.pg().server.as_mut() {
            Some(server) if server.phase == Phase::Up => server.smart_stop = true,
            _ => return,
        }
        let host = self.clone();
        self.spawn(async move {
            let alone = || host.pg().server.as_ref().is_some_and(|s| s.sessions == 0).then_some(());
            host.bells.state.until(alone).await;
            host.begin_stop();
        });
    }

    /// *Fast*: begins an orderly shutdown; the server goes on with it whatever becomes of the caller.
    pub fn begin_stop(self: &Arc<Self>) {
        if self.close() {
            self.spawn(self.clone().shut_down());
        }
    }

    /// *Immediate*: SIGKILL to all of them. One that is in the middle of I/O dies when that ends, and does nothing more.
    pub fn stop_immediately(self: &Arc<Self>) {
        if self.pg().knobs.disk != PgDisk::Stalled {
            return self.kill_server();
        }
        let was = {
            let mut pg = self.pg();
            let Some(server) = pg.server.as_mut().filter(|server| server.phase != Phase::Killed) else { return };
            if server.is_open() {
                self.chronicle.note(Happened::Closed { node: self.name.clone() });
            }
            std::mem::replace(&mut server.phase, Phase::Killed)
        };
        self.bells.state.ring();
        self.bells.wal.ring();
        if was != Phase::Orphaned {
            self.bells.exits.ring();
        }
        let host = self.clone();
        self.spawn(async move {
            let thawed = || (host.pg().knobs.disk != PgDisk::Stalled).then_some(());
            host.bells.state.until(thawed).await;
            host.kill_server();
        });
    }

    /// Sessions end first. False when that has been done already, or nothing runs.
    fn close(&self) -> bool {
        {
            let mut pg = self.pg();
            let Some(server) = pg.server.as_mut() else { return false };
            if matches!(server.phase, Phase::Stopping | Phase::Orphaned | Phase::Killed) {
                return false;
            }
            if server.is_open() {
                self.chronicle.note(Happened::Closed { node: self.name.clone() });
            }
            server.phase = Phase::Stopping;
        }
        self.bells.state.ring();
        true
    }

    async fn shut_down(self: Arc<Self>) {
        let backends_gone = || (!self.has_sessions()).then_some(());
        self.bells.state.until(backends_gone).await;
        let takes = self.pg().knobs.checkpoint_takes;
        self.fate.sleep(self.fate.draw_ms(10..40) + takes).await;
        if self.disk_takes().await.is_err() || self.pg().server.as_ref().is_some_and(ServerState::is_headless) {
            return self.kill_server();
        }
        self.leave_segment();
        self.write_shutdown_checkpoint();
        self.bells.wal.ring();
        // A standby that goes silent is given up by its sender.
        let shipped = self.bells.acks.until(|| {
            let mut pg = self.pg();
            let (dir, server) = pg.running()?;
            let end = dir.wal.end();
            server.senders.values().all(|s| s.flushed >= end).then_some(())
        });
        let archived = self.bells.state.until(|| (!self.pg().knobs.archiver_hangs).then_some(()));
        join(shipped, archived).await;
        self.archive_what_is_full();
        self.fate.sleep(self.fate.draw_ms(10..50)).await;
        self.exit_server();
    }

    /// A server that is being stopped says so in its control file once there are none.
    fn has_sessions(&self) -> bool {
        let pg = self.pg();
        pg.server.as_ref().is_some_and(|server| server.sessions > 0) || pg.knobs.backend_stopped
    }

    /// The last of its sessions has ended.
    pub fn is_shutting_down(&self) -> bool {
        let stops = self.pg().server.as_ref().is_some_and(|server| server.phase == Phase::Stopping);
        stops && !self.has_sessions()
    }

    fn write_shutdown_checkpoint(&self) {
        let (uid, now) = (self.fate.random(), self.fate.now());
        let mut pg = self.pg();
        let (dir, server) = pg.running().expect("tasks of a dead server don't run");
        dir.flush();
        if server.in_recovery {
            dir.restartpoint(server.replayed);
            dir.state = ControlState::ShutDownInRecovery;
        } else {
            dir.write_checkpoint(uid, now, Kind::Shutdown);
            dir.state = ControlState::ShutDown;
        }
    }

    /// The server that runs now is gone, with its children; somebody may have started another since.
    pub async fn until_stopped(&self) {
        let exits = self.bells.exits.rings();
        let gone = || {
            let pg = self.pg();
            let Some(server) = &pg.server else { return Some(()) };
            (self.bells.exits.rings() > exits && !server.is_headless()).then_some(())
        };
        self.bells.state.until(gone).await;
    }
}
