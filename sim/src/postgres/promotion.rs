//! The end of recovery.

use super::host::{PgHost, until_either};
use super::server::Phase;
use super::start::Pace;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::Timeline;
use std::sync::Arc;

impl PgHost {
    /// Begins a promotion to a timeline whose number is at least `minimum`; false when there is nothing to promote.
    pub fn begin_promotion(self: &Arc<Self>, minimum: Timeline) -> bool {
        {
            let mut pg = self.pg();
            let Some((dir, server)) = pg.running() else { return false };
            if server.phase != Phase::Up || !server.in_recovery {
                return false;
            }
            dir.reserve_below(minimum);
            if std::mem::replace(&mut server.promoting, true) {
                return true;
            }
        }
        self.bells.state.ring();
        self.spawn(self.clone().promote());
        true
    }

    /// The receiver is ended, what it received is replayed without further delay, and only then does the new
    /// timeline begin: in files first, and several syncs later in the control file.
    async fn promote(self: Arc<Self>) {
        let replayed = || {
            let mut pg = self.pg();
            let (dir, server) = pg.running()?;
            (server.receiver.is_none() && server.replayed == dir.wal.len()).then_some(())
        };
        until_either(&self.bells.replay, &self.bells.state, replayed).await;
        self.fate.sleep(self.fate.draw_ms(10..20)).await;
        if self.disk_takes().await.is_err() {
            return self.kill_server();
        }
        match self.pg().running() {
            Some((dir, server)) if server.phase == Phase::Up => dir.begin_branch(),
            _ => return,
        }
        self.fate.sleep(self.fate.draw_ms(10..20)).await;
        if self.disk_takes().await.is_err() {
            return self.kill_server();
        }
        {
            let (uid, now) = (self.fate.random(), self.fate.now());
            let mut pg = self.pg();
            let hints_logged = pg.settings.wal_log_hints;
            let (dir, server) = pg.running().expect("tasks of a dead server don't run");
            if server.phase != Phase::Up {
                return;
            }
            let fork = dir.end();
            dir.branch(uid, now);
            dir.report_parameters(!uid, now, hints_logged);
            let (node, tli) = (self.name.clone(), dir.history.tli);
            self.chronicle.note(Happened::Branched { node, tli, parent: fork.tli, fork: fork.lsn });
            server.in_recovery = false;
            server.promoting = false;
            server.replayed = dir.flushed;
            // Followers come again and find the new timeline.
            server.senders.clear();
        }
        self.begin_archiving();
        self.note_open();
        self.bells.wal.ring();
        self.bells.state.ring();
        self.fate.sleep(self.fate.draw_ms(1000..5000)).await;
        if self.write_checkpoint(Pace::Fast).await.is_err() {
            self.kill_server();
        }
    }
}
