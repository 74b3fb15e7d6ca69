//! Starts processes and buries the orphans they leave. A postmaster whose keeper was killed becomes a child of
//! the live run, and must not stay a zombie when it is killed too: a keeper that looks for it would find it.

use super::procs;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpgrp};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Clone)]
pub struct Reaper {
    /// Children that tokio waits for; everything else that ends is an orphan.
    ours: Arc<Mutex<BTreeSet<u32>>>,
}

impl Reaper {
    pub fn start() -> io::Result<Reaper> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let reaper = Reaper { ours: Arc::default() };
        let mut child_ended = signal(SignalKind::child())?;
        let orphans = reaper.clone();
        tokio::spawn(async move {
            while child_ended.recv().await.is_some() {
                orphans.bury();
            }
        });
        Ok(reaper)
    }

    /// The lock keeps a child that ends at once from being taken for an orphan.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        ours.extend(child.id());
        Ok(child)
    }

    fn bury(&self) {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let me = std::process::id();
        // Keepers have groups of their own, and so has all they start. A tool of this process is in its group, and is
        // waited for by whoever started it.
        let group = u32::try_from(getpgrp().as_raw()).unwrap_or_default();
        let orphaned = |p: &procs::Proc| p.zombie && p.parent == me && p.group != group && !ours.contains(&p.pid);
        let orphans = procs::all().into_iter().filter(orphaned);
        for pid in orphans.filter_map(|p| i32::try_from(p.pid).ok()) {
            let _buried = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Whatever way a run ends, a panic included, nothing it started lives on.
#[derive(Debug)]
pub enum KillAtTheEnd {
    /// Every descendant of this process.
    All,
    /// What works in the directory of one run: others may go on beside it.
    AtHome(PathBuf),
}

/// A killed server leaves its shared memory behind, for good once its directory is gone; one that is told to quit takes
/// it along.
const QUITS: Duration = Duration::from_secs(4);

impl Drop for KillAtTheEnd {
    fn drop(&mut self) {
        let began = Instant::now();
        let mut told = BTreeSet::new();
        loop {
            let left = match self {
                KillAtTheEnd::All => procs::descendants(),
                KillAtTheEnd::AtHome(base) => procs::at_home(base),
            };
            if left.is_empty() || began.elapsed() > Duration::from_secs(10) {
                return;
            }
            let quits = |pid: &u32| began.elapsed() < QUITS && procs::is_server(*pid);
            let (servers, others): (Vec<u32>, Vec<u32>) = left.into_iter().partition(quits);
            procs::signal_all(&others, Signal::SIGKILL);
            let news: Vec<u32> = servers.into_iter().filter(|pid| told.insert(*pid)).collect();
            procs::signal_all(&news, Signal::SIGCONT);
            procs::signal_all(&news, Signal::SIGQUIT);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
