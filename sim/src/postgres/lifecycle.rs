//! Start, stop, promotion and checkpoints of a server.

use super::host::{PgHost, Phase, ServerState};
use super::wal::Kind;
use crate::world::fate::either;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::ControlState;
use std::sync::Arc;
use std::time::Duration;

/// `checkpoint_timeout`.
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(300);
/// `wal_sender_timeout`: how long a shutdown waits for a standby that doesn't confirm.
const SHIP_LIMIT: Duration = Duration::from_secs(5);

impl PgHost {
    /// Starts the postmaster; what it becomes is decided by `standby.signal`.
    ///
    /// # Panics
    /// When the directory is one that must never be started: the keeper's marker should have stopped it.
    pub fn launch(self: &Arc<Self>) {
        {
            let mut pg = self.pg();
            let dir = pg.dir.as_ref().expect("a server needs a directory");
            assert!(!dir.half_rewound, "{}: a half rewound directory was started", self.name);
            assert!(pg.server.is_none(), "{}: one server per directory", self.name);
            pg.server = Some(ServerState::new(dir));
        }
        self.bells.state.ring();
        self.spawn(self.clone().postmaster());
        self.spawn(self.clone().recover());
    }

    async fn postmaster(self: Arc<Self>) {
        let listener = self.net.listen(&self.name, self.port);
        loop {
            let end = listener.accept().await;
            self.spawn(self.clone().session(Arc::new(end)));
        }
    }

    /// Crash recovery takes time in proportion to the WAL since the last checkpoint.
    async fn recover(self: Arc<Self>) {
        let backlog = {
            let mut pg = self.pg();
            let (dir, _) = pg.running().expect("the server was just launched");
            dir.wal.len() - dir.wal.count_until(dir.checkpoint.lsn)
        };
        let redo = Duration::from_micros(20 * backlog as u64);
        self.fate.sleep(self.fate.draw_ms(20..60) + redo).await;
        let in_recovery = {
            let mut pg = self.pg();
            let uid = self.fate.random();
            let (dir, server) = pg.running().expect("tasks of a dead server don't run");
            if server.in_recovery {
                dir.state = ControlState::InRecovery;
                // Consistent, and about to replay the last of it.
                server.replayed = dir.flushed.saturating_sub(self.fate.below(5) as usize);
            } else {
                if dir.state != ControlState::ShutDown {
                    dir.write_checkpoint(uid, Kind::Checkpoint);
                }
                dir.state = ControlState::InProduction;
                server.replayed = dir.flushed;
            }
            if server.phase == Phase::Starting {
                server.phase = Phase::Up;
            }
            server.in_recovery
        };
        self.bells.wal.ring();
        self.bells.state.ring();
        if in_recovery {
            self.spawn(self.clone().replay());
            self.spawn(self.clone().receive());
        } else {
            self.note_open();
            self.spawn(self.clone().checkpointer(CHECKPOINT_PERIOD));
        }
    }

    fn note_open(&self) {
        let tli = self.pg().running().filter(|(_, server)| server.is_open()).map(|(dir, _)| dir.history.tli);
        if let Some(tli) = tli {
            self.note_names();
            self.chronicle.note(Happened::Opened { node: self.name.clone(), tli });
        }
    }

    async fn replay(self: Arc<Self>) {
        loop {
            let behind = || {
                let mut pg = self.pg();
                let (dir, server) = pg.running()?;
                (server.in_recovery && server.replayed < dir.flushed).then_some(())
            };
            self.bells.wal.until(behind).await;
            self.fate.sleep(self.fate.draw_ms(1..3)).await;
            if let Some((dir, server)) = self.pg().running()
                && server.in_recovery
            {
                server.replayed = dir.flushed;
            }
            self.bells.replay.ring();
        }
    }

    async fn checkpointer(self: Arc<Self>, first: Duration) {
        let mut pause = first;
        loop {
            self.fate.sleep(pause).await;
            self.write_checkpoint();
            pause = CHECKPOINT_PERIOD;
        }
    }

    fn write_checkpoint(&self) {
        let uid = self.fate.random();
        if let Some((dir, server)) = self.pg().running()
            && server.is_open()
        {
            dir.write_checkpoint(uid, Kind::Checkpoint);
        }
        self.bells.wal.ring();
    }

    /// `CHECKPOINT`; on a standby a restartpoint, which changes nothing here. False when no server answers.
    pub async fn checkpoint(&self) -> bool {
        self.fate.sleep(self.fate.draw_ms(5..20)).await;
        self.write_checkpoint();
        self.pg().server.as_ref().is_some_and(|s| s.phase == Phase::Up)
    }

    /// Begins an orderly shutdown; the server goes on with it whatever becomes of the caller.
    pub fn begin_stop(self: &Arc<Self>) {
        {
            let mut pg = self.pg();
            let Some((_, server)) = pg.running() else { return };
            if server.phase == Phase::Stopping {
                return;
            }
            if server.is_open() {
                self.chronicle.note(Happened::Closed { node: self.name.clone() });
            }
            server.phase = Phase::Stopping;
        }
        // Sessions see this and end first.
        self.bells.state.ring();
        self.spawn(self.clone().shut_down());
    }

    async fn shut_down(self: Arc<Self>) {
        self.fate.sleep(self.fate.draw_ms(10..40)).await;
        {
            let uid = self.fate.random();
            let mut pg = self.pg();
            let (dir, server) = pg.running().expect("tasks of a dead server don't run");
            dir.flush();
            if server.in_recovery {
                if let Some(checkpoint) = dir.wal.last_checkpoint(server.replayed) {
                    dir.checkpoint = checkpoint;
                }
                dir.state = ControlState::ShutDownInRecovery;
            } else {
                dir.write_checkpoint(uid, Kind::Shutdown);
                dir.state = ControlState::ShutDown;
            }
        }
        self.bells.wal.ring();
        let shipped = self.bells.acks.until(|| {
            let mut pg = self.pg();
            let (dir, server) = pg.running()?;
            let end = dir.wal.end();
            server.senders.values().all(|s| s.flushed >= end).then_some(())
        });
        let _ = self.fate.timeout(SHIP_LIMIT, shipped).await;
        self.fate.sleep(self.fate.draw_ms(10..50)).await;
        self.exit_server();
    }

    pub async fn until_stopped(&self) {
        let gone = || self.pg().server.is_none().then_some(());
        self.bells.state.until(gone).await;
    }

    /// Begins a promotion; false when there is nothing to promote.
    pub fn begin_promotion(self: &Arc<Self>) -> bool {
        {
            let mut pg = self.pg();
            let Some((_, server)) = pg.running() else { return false };
            if server.phase != Phase::Up || !server.in_recovery {
                return false;
            }
            if std::mem::replace(&mut server.promoting, true) {
                return true;
            }
        }
        self.bells.state.ring();
        self.spawn(self.clone().promote());
        true
    }

    /// The receiver is ended, what it received is replayed, and only then does the new timeline begin.
    async fn promote(self: Arc<Self>) {
        let replayed = || {
            let mut pg = self.pg();
            let (dir, server) = pg.running()?;
            (server.receiver.is_none() && server.replayed == dir.wal.len()).then_some(())
        };
        loop {
            let (replays, states) = (self.bells.replay.rings(), self.bells.state.rings());
            if replayed().is_some() {
                break;
            }
            either(self.bells.replay.past(replays), self.bells.state.past(states)).await;
        }
        self.fate.sleep(self.fate.draw_ms(20..40)).await;
        {
            let uid = self.fate.random();
            let mut pg = self.pg();
            let (dir, server) = pg.running().expect("tasks of a dead server don't run");
            if server.phase != Phase::Up {
                return;
            }
            let fork = dir.end();
            dir.branch(uid);
            let (node, tli) = (self.name.clone(), dir.history.tli);
            self.chronicle.note(Happened::Branched { node, tli, parent: fork.tli, fork: fork.lsn });
            server.in_recovery = false;
            server.promoting = false;
            server.replayed = dir.flushed;
            // Followers come again and find the new timeline.
            server.senders.clear();
        }
        self.note_open();
        self.bells.wal.ring();
        self.bells.state.ring();
        self.spawn(self.clone().checkpointer(self.fate.draw_ms(1000..5000)));
    }
}
