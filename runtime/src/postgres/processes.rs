//! The postmaster as a process: spawned as a child of the keeper, or adopted when a killed keeper left
//! it behind. Its exit is an event.

use super::watch::ProcessWatch;
use super::{PostgresConfig, tool};
use crate::disk;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgbaton_core::ports::PgError;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PidFile {
    pub pid: i32,
    /// `starting`, `ready`, `standby`, `stopping`; empty right after its creation.
    pub status: String,
}

impl PidFile {
    pub fn read(pgdata: &Path) -> Option<PidFile> {
        let text = fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        // A stand-alone backend writes its number negated.
        let pid: i32 = lines.next()?.trim().parse().ok()?;
        let status = lines.nth(6).unwrap_or_default().trim().to_string();
        (pid > 0).then_some(PidFile { pid, status })
    }
}

/// A running postmaster.
#[derive(Debug, Clone)]
pub struct Postmaster {
    pub pid: i32,
    exit: watch::Receiver<bool>,
}

impl Postmaster {
    pub fn is_gone(&self) -> bool {
        *self.exit.borrow()
    }

    pub async fn gone(&self) {
        // The sender is dropped only after it has told the exit.
        let mut exit = self.exit.clone();
        let _told = exit.wait_for(|gone| *gone).await;
    }

    pub fn signal(&self, signal: Signal) {
        if !self.is_gone() {
            let _ended_meanwhile = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Knows the postmaster of one data directory and tells of its exit.
#[derive(Default)]
pub struct Processes {
    known: Mutex<Option<Postmaster>>,
    pub events: Arc<Notify>,
}

impl Processes {
    /// The live postmaster, which may be one that somebody else started.
    pub fn postmaster(&self, config: &PostgresConfig) -> Option<Postmaster> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(postmaster) = known.as_ref().filter(|p| !p.is_gone()) {
            // A killed process is a zombie for the instant until the watching task has run: it is dead already.
            if is_live(postmaster.pid) && !is_doomed(postmaster.pid) {
                return Some(postmaster.clone());
            }
        }
        *known = self.adopt(config);
        known.clone()
    }

    fn adopt(&self, config: &PostgresConfig) -> Option<Postmaster> {
        let pid = PidFile::read(&config.pgdata)?.pid;
        let watch = ProcessWatch::new(pid).ok()?;
        // Asked after the pidfd was opened: from here on the number can't come to mean another process.
        if !is_server_process(pid, &config.pgdata) || is_doomed(pid) {
            return None;
        }
        tracing::info!("adopted the running postmaster {pid} of {}", config.pgdata.display());
        Some(self.remember(pid, async move {
            if let Err(e) = watch.ended().await {
                tracing::error!("the postmaster {pid} can't be watched: {e}");
            }
        }))
    }

    /// Starts `postgres` on the data directory as a child of this process.
    pub async fn spawn(&self, config: &PostgresConfig) -> Result<Postmaster, PgError> {
        let log = open_log(config).map_err(|e| super::files::failed("open", &config.log_file(), &e))?;
        let log_too = log.try_clone().map_err(|e| super::files::failed("open", &config.log_file(), &e))?;
        // Whoever has given this start up meanwhile has begun to stop what there was.
        tokio::task::yield_now().await;
        let mut command = tool::command(config, "postgres");
        // Out of the keeper's process group, so that a Ctrl-C at its terminal isn't a shutdown of Postgres.
        command.arg("-D").arg(&config.pgdata).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too).kill_on_drop(false);
        let mut child = command.spawn().map_err(|e| tool::not_started("postgres", config, &e))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).expect("a child just started has a pid");
        let postmaster = self.remember(pid, async move {
            let status = child.wait().await;
            tracing::info!("the postmaster {pid} has ended: {status:?}");
        });
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(postmaster.clone());
        Ok(postmaster)
    }

    fn remember(&self, pid: i32, exit: impl Future<Output = ()> + Send + 'static) -> Postmaster {
        let (tell, told) = watch::channel(false);
        let events = self.events.clone();
        tokio::spawn(async move {
            exit.await;
            tell.send_replace(true);
            events.notify_one();
        });
        Postmaster { pid, exit: told }
    }
}

/// All text goes to one file, moved aside at a start when it has grown large.
fn open_log(config: &PostgresConfig) -> io::Result<fs::File> {
    const LARGE: u64 = 64 << 20;
    let path = config.log_file();
    if fs::symlink_metadata(&path).is_ok_and(|m| m.len() > LARGE) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    disk::open(&path, fs::OpenOptions::new().append(true).create(true))
}

/// The processes of a server, its postmaster or orphans of a killed one: every one of them works in the
/// data directory. Zombies don't count.
pub fn server_processes(pgdata: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_server_process(*pid, pgdata))
        .collect()
}

/// Processes of a server without a postmaster are told to quit, and killed if they can't hear it: what
/// they shared is lost already, and a new postmaster refuses to start beside them.
pub async fn end_orphans(pgdata: &Path) -> Result<(), PgError> {
    const HEARING: Duration = Duration::from_secs(2);
    for signal in [Signal::SIGQUIT, Signal::SIGKILL, Signal::SIGKILL] {
        let orphans = server_processes(pgdata);
        if orphans.is_empty() {
            return Ok(());
        }
        let watches: Vec<ProcessWatch> = orphans.iter().filter_map(|pid| ProcessWatch::new(*pid).ok()).collect();
        for pid in orphans.iter().filter(|pid| is_server_process(**pid, pgdata)) {
            let _ended_meanwhile = kill(Pid::from_raw(*pid), signal);
        }
        let all = async {
            for watch in &watches {
                let _ended = watch.ended().await;
            }
        };
        let _some_left = tokio::time::timeout(HEARING, all).await;
    }
    match server_processes(pgdata).as_slice() {
        [] => Ok(()),
        left => Err(PgError::Retry(format!(
            "processes {left:?} of {} don't end, not even when killed: is its disk stuck?",
            pgdata.display()
        ))),
    }
}

/// Those that are stuck in the kernel are not waited for: they do nothing more. The postmaster goes first, lest it start
/// others.
pub async fn kill_server(pgdata: &Path, postmaster: Option<Postmaster>) {
    const DYING: Duration = Duration::from_millis(200);
    if let Some(postmaster) = &postmaster {
        postmaster.signal(Signal::SIGKILL);
    }
    let left = server_processes(pgdata);
    let watches: Vec<ProcessWatch> = left.iter().filter_map(|pid| ProcessWatch::new(*pid).ok()).collect();
    for pid in left.iter().filter(|pid| is_server_process(**pid, pgdata)) {
        tracing::warn!("process {pid} of {} is killed", pgdata.display());
        let _ended_meanwhile = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    let all = async {
        for watch in &watches {
            let _ended = watch.ended().await;
        }
        if let Some(postmaster) = postmaster {
            postmaster.gone().await;
        }
    };
    let _stuck_at_worst = tokio::time::timeout(DYING, all).await;
}

/// Before a server or a tool that starts one: nobody else is at work on this directory, and nothing says that somebody is.
pub async fn clear_the_way(config: &PostgresConfig) -> Result<(), PgError> {
    end_tools(&config.pgdata).await?;
    end_orphans(&config.pgdata).await?;
    let socket_lock = config.socket_dir().join(format!(".s.PGSQL.{}.lock", config.port));
    for lock in [config.pgdata.join("postmaster.pid"), socket_lock] {
        release_stale_lock(&lock, &config.pgdata)?;
    }
    Ok(())
}

/// Postgres takes any process that has the number in a dead server's lock file for that server if it runs as the same
/// user, also a zombie that nobody buries, and refuses to start for as long as it is there. Where no process has the
/// number it sees that by itself.
fn release_stale_lock(lock: &Path, pgdata: &Path) -> Result<(), PgError> {
    let text = fs::read_to_string(lock).unwrap_or_default();
    let number: Option<i32> = text.lines().next().and_then(|line| line.trim().parse().ok());
    let taken = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists() && !is_server_process(*pid, pgdata);
    // A stand-alone backend writes its number negated.
    let Some(pid) = number.map(i32::wrapping_abs).filter(taken) else {
        return Ok(());
    };
    tracing::warn!("{} names process {pid}, which is no server of this directory, and is removed", lock.display());
    super::files::remove(lock).map(drop)
}

/// Programs that a killed keeper left at work on this directory; they would go on writing into it.
pub async fn end_tools(dir: &Path) -> Result<(), PgError> {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let named = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let works_here = || arguments.split(|b| *b == 0).any(|word| word == dir.as_os_str().as_bytes());
        if !["pg_basebackup", "pg_rewind", "initdb"].contains(&named.trim()) || !works_here() {
            continue;
        }
        let Ok(watch) = ProcessWatch::new(pid) else { continue };
        tracing::warn!("{} {pid}, left over from an earlier keeper, is killed", named.trim());
        let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGKILL);
        if tokio::time::timeout(Duration::from_secs(5), watch.ended()).await.is_err() {
            return Err(PgError::Retry(format!("{} {pid} doesn't end: is its disk stuck?", named.trim())));
        }
    }
    Ok(())
}

pub fn is_server_process(pid: i32, pgdata: &Path) -> bool {
    let named = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim().starts_with("postgres"));
    named && is_live(pid) && works_in(pid, pgdata)
}

fn works_in(pid: i32, pgdata: &Path) -> bool {
    let Ok(here) = fs::read_link(format!("/proc/{pid}/cwd")) else {
        return false;
    };
    // A directory that was removed under its server is still where it works; the kernel says so behind the name.
    let removed = here.to_str().and_then(|name| name.strip_suffix(" (deleted)"));
    let home = fs::canonicalize(pgdata).unwrap_or_else(|_| pgdata.to_path_buf());
    here == home || removed.is_some_and(|name| Path::new(name) == home)
}

/// SIGKILL waits for it: amid I/O it is there until that ends, and then it does nothing more.
pub fn is_doomed(pid: i32) -> bool {
    const KILL: u64 = 1 << (Signal::SIGKILL as u64 - 1);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = |line: &str| {
        line.strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))
            .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
    };
    status.lines().filter_map(pending).any(|signals| signals & KILL != 0)
}

/// Alive and no zombie. The state follows the name in brackets, which may hold anything.
fn is_live(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_dead_and_a_used_again_pid_is_no_server() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(is_live(me));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while is_live(pid) && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(!is_live(pid), "not reaped yet, but dead");
        child.wait().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postmaster.pid"), format!("{me}\n/x\n1\n5432\n/s\n*\n1 2\nready   \n")).unwrap();
        let file = PidFile::read(dir.path()).unwrap();
        assert_eq!((file.pid, file.status.as_str()), (me, "ready"));
        assert!(!is_server_process(me, dir.path()));
        let lock = dir.path().join("postmaster.pid");
        release_stale_lock(&lock, dir.path()).unwrap();
        assert!(!lock.exists(), "this program is none of its servers");
        fs::write(&lock, format!("{pid}\n")).unwrap();
        release_stale_lock(&lock, dir.path()).unwrap();
        assert!(lock.exists(), "nobody has the number: Postgres knows what to do");
    }
}
