//! What a scenario can do to a Postgres from outside: to its disk, to its processes, behind its keeper's back.

use super::host::PgHost;
use super::server::{Interrupt, Phase};
use super::settings::Settings;
use pgbaton_core::model::Timeline;
use std::sync::Arc;
use std::time::Duration;

/// The file system of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PgDisk {
    #[default]
    Ok,
    /// No room for a single block.
    Full,
    /// Neither reads from the medium nor writes come to an end; what is cached is still there.
    Stalled,
    ReadOnly,
}

/// They belong to the machine: a server that is started again finds them as they were.
#[derive(Debug, Clone, Default)]
pub struct Knobs {
    pub disk: PgDisk,
    /// `archive_command` doesn't end.
    pub archiver_hangs: bool,
    /// The kernel has stopped one of the backends.
    pub backend_stopped: bool,
    /// `postgresql.conf` holds a line that no server takes.
    pub config_broken: bool,
    /// A file that is read after the operator's empties `restore_command`.
    pub restore_emptied: bool,
    /// What each checkpoint takes on top.
    pub checkpoint_takes: Duration,
}

/// A write fails for good: Postgres panics when that write was WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDisk;

impl PgHost {
    /// Changes settings and reloads them.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        {
            let mut pg = self.pg();
            change(&mut pg.settings);
            let read_only = pg.settings.default_transaction_read_only;
            if let Some(server) = pg.server.as_mut() {
                server.read_only_default = read_only;
            }
        }
        self.bells.state.ring();
    }

    fn turn(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.pg().knobs);
        self.bells.state.ring();
    }

    pub fn set_disk(&self, disk: PgDisk) {
        self.turn(|knobs| knobs.disk = disk);
    }

    /// Ends once a write has come to its end.
    pub async fn disk_takes(&self) -> Result<(), NoDisk> {
        let write = || match self.pg().knobs.disk {
            PgDisk::Ok => Some(Ok(())),
            PgDisk::Stalled => None,
            PgDisk::Full | PgDisk::ReadOnly => Some(Err(NoDisk)),
        };
        self.bells.state.until(write).await
    }

    pub fn hang_archiver(&self, hangs: bool) {
        self.turn(|knobs| knobs.archiver_hangs = hangs);
    }

    /// SIGSTOP to one backend, or SIGCONT.
    pub fn stop_backend(&self, stopped: bool) {
        self.turn(|knobs| knobs.backend_stopped = stopped);
    }

    /// A server that runs goes on with what it has read; it notices when it is asked to read again.
    pub fn break_config(&self, broken: bool) {
        self.turn(|knobs| knobs.config_broken = broken);
    }

    pub fn slow_checkpoint(&self, takes: Duration) {
        self.turn(|knobs| knobs.checkpoint_takes = takes);
    }

    /// `recovery_min_apply_delay`.
    pub fn set_apply_delay(&self, delay: Duration) {
        self.configure(|settings| settings.recovery_min_apply_delay = delay);
    }

    /// `pg_ctl promote` by hand: nobody puts `standby.signal` back.
    pub fn rogue_promote(self: &Arc<Self>) -> Result<(), String> {
        let begun = self.begin_promotion(Timeline(1));
        begun.then_some(()).ok_or_else(|| format!("{} has no standby to promote", self.name))
    }

    /// What an init system does: starts a server on the directory as it is.
    pub fn rogue_start(self: &Arc<Self>) -> Result<(), String> {
        {
            let pg = self.pg();
            if pg.server.is_some() || pg.single_user {
                return Err(format!("the server of {} runs already", self.name));
            }
            match &pg.dir {
                None => return Err(format!("{} has no data directory", self.name)),
                Some(dir) if dir.half_rewound => {
                    return Err(format!("{}: could not locate a valid checkpoint record", self.name));
                }
                Some(_) => {}
            }
        }
        self.launch();
        Ok(())
    }

    /// SIGKILL to one backend.
    pub fn crash_backend(self: &Arc<Self>) -> Result<(), String> {
        let up = self.pg().server.as_ref().is_some_and(|s| s.phase == Phase::Up);
        if !up {
            return Err(format!("{} has no backend to kill", self.name));
        }
        self.crash();
        Ok(())
    }

    /// `rm -rf` of the data directory. A server goes on with the files it has open until its postmaster looks for
    /// its lock file, once a minute.
    pub fn lose_directory(self: &Arc<Self>) {
        {
            let mut pg = self.pg();
            if pg.server.is_none() {
                pg.dir = None;
                return;
            }
            let dir = pg.dir.as_mut().expect("a server runs on a directory");
            dir.unlinked = true;
        }
        let host = self.clone();
        self.spawn(async move {
            host.fate.sleep(host.fate.draw_ms(0..60_000)).await;
            host.kill_server();
        });
    }

    /// `pg_cancel_backend` for every commit that waits for a standby.
    pub fn cancel_waiters(&self) {
        self.interrupt_waiters(Interrupt::Cancel);
    }

    /// `pg_terminate_backend` for every commit that waits for a standby.
    pub fn terminate_waiters(&self) {
        self.interrupt_waiters(Interrupt::Terminate);
    }

    fn interrupt_waiters(&self, how: Interrupt) {
        if let Some(server) = self.pg().server.as_mut() {
            let waiting = server.commits.values_mut().filter(|commit| commit.waits);
            waiting.for_each(|commit| commit.interrupt = Some(how));
        }
        self.bells.acks.ring();
    }
}
