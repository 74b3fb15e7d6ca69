//! What a scenario can do to a Postgres from outside: to its disk, to its processes, behind its keeper's back.

use super::host::{PgHost, Phase};
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
    /// What each checkpoint takes on top.
    pub checkpoint_takes: Duration,
    /// `recovery_min_apply_delay`.
    pub apply_delay: Duration,
}

impl PgHost {
    pub fn set_disk(&self, disk: PgDisk) {
        self.pg().knobs.disk = disk;
        self.bells.knobs.ring();
    }

    pub fn hang_archiver(&self, hangs: bool) {
        self.pg().knobs.archiver_hangs = hangs;
        self.bells.knobs.ring();
    }

    /// SIGSTOP to one backend, or SIGCONT.
    pub fn stop_backend(&self, stopped: bool) {
        self.pg().knobs.backend_stopped = stopped;
        self.bells.knobs.ring();
    }

    pub fn slow_checkpoint(&self, takes: Duration) {
        self.pg().knobs.checkpoint_takes = takes;
    }

    /// `recovery_min_apply_delay`.
    pub fn set_apply_delay(&self, delay: Duration) {
        self.pg().knobs.apply_delay = delay;
        self.bells.knobs.ring();
    }

    /// `pg_ctl promote` by hand: nobody puts `standby.signal` back.
    pub fn rogue_promote(self: &Arc<Self>) -> Result<(), String> {
        let begun = self.begin_promotion();
        begun.then_some(()).ok_or_else(|| format!("{} has no standby to promote", self.name))
    }

    /// What an init system does: starts a server on the directory as it is.
    pub fn rogue_start(self: &Arc<Self>) -> Result<(), String> {
        {
            let pg = self.pg();
            if pg.server.is_some() {
                return Err(format!("the server of {} runs already", self.name));
            }
            if pg.dir.is_none() {
                return Err(format!("{} has no data directory", self.name));
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
        self.kill_server();
        Ok(())
    }

    /// `rm -rf` of the data directory.
    pub fn lose_directory(&self) {
        self.kill_server();
        self.pg().dir = None;
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
            server.commits.values_mut().for_each(|commit| commit.interrupt = Some(how));
        }
        self.bells.acks.ring();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    Cancel,
    Terminate,
}
