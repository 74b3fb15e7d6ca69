//! Checkpoints that take long, as on a disk that is busy. Each checkpoint opens the directory of the logical snapshots
//! before it writes any buffer; the kernel asks whoever watches that directory (fanotify) whether it may be opened, and
//! the checkpointer is answered late. All other processes are answered at once. Only root may watch so.

use super::cluster::Cluster;
use super::procs;
use crate::postgres::registered;
use anyhow::{Context, Result, bail};
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyEvent, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use pgbaton_core::scenario::{Scenario, Verb};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

/// A clone brings another directory; no checkpoint of its server begins as soon as this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What makes the checkpoints of a node slow, if anything does.
pub type Watcher = JoinSet<io::Error>;

/// Whether the story can be played here; else the error says why not.
pub fn check(scenario: &Scenario) -> Result<()> {
    if scenario.does(|verb| matches!(verb, Verb::SlowCheckpoint(_))) {
        Watch::new()?;
    }
    Ok(())
}

/// Checkpoints are slow for as long as the watcher lives; when it ends, one that waits goes on at once.
pub async fn slow(cluster: &mut Cluster, name: &str, by: Duration) -> Result<()> {
    let dir = cluster.node(name)?.pgdata.join("pg_logical/snapshots");
    let watcher = cluster.slowed(name)?;
    failed(watcher).map_or(Ok(()), Err)?;
    watcher.shutdown().await;
    if !by.is_zero() {
        let watch = Watch::new()?;
        watch.mark(&dir).with_context(|| format!("{} can't be watched", dir.display()))?;
        watcher.spawn(delay(registered(watch)?, dir, by));
    }
    Ok(())
}

/// Why checkpoints are no longer slow, if they should be.
pub fn failed(watcher: &mut Watcher) -> Option<anyhow::Error> {
    let ended = watcher.try_join_next()?;
    Some(anyhow::Error::from(ended.unwrap_or_else(io::Error::from)).context("checkpoints can't be slowed any more"))
}

/// Ends when it is told nothing more, and says why.
async fn delay(watch: AsyncFd<Watch>, dir: PathBuf, by: Duration) -> io::Error {
    let watch = Arc::new(watch);
    let mut delayed = JoinSet::new();
    loop {
        let events = match tokio::time::timeout(LOOK_AGAIN, taken(&watch, Watch::events)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return error,
            Err(_) => {
                // There may be none just now.
                let _gone = watch.get_ref().mark(&dir);
                continue;
            }
        };
        for event in events {
            let wait = if is_checkpointer(event.pid()) { by } else { Duration::ZERO };
            let watch = Arc::clone(&watch);
            delayed.spawn(async move {
                tokio::time::sleep(wait).await;
                watch.get_ref().allow(&event);
            });
        }
        while delayed.try_join_next().is_some() {}
    }
}

/// What there is to be read, once there is any. What can't be read now can't be read later: nothing has been taken away.
async fn taken<W: AsRawFd, E>(watch: &AsyncFd<W>, read: impl Fn(&W) -> io::Result<Vec<E>>) -> io::Result<Vec<E>> {
    loop {
        let mut ready = watch.readable().await?;
        if let Ok(read) = ready.try_io(|watch| read(watch.get_ref())) {
            return read;
        }
    }
}

fn is_checkpointer(pid: i32) -> bool {
    u32::try_from(pid).is_ok_and(|pid| procs::is_server(pid) && procs::title(pid).contains("checkpointer"))
}

struct Watch(Fanotify);

impl Watch {
    fn new() -> Result<Watch> {
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        match Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC) {
            Ok(group) => Ok(Watch(group)),
            Err(e) => bail!("to slow a checkpoint, files are watched in a way only root may; run this as root: {e}"),
        }
    }

    /// What is watched already stays so.
    fn mark(&self, dir: &Path) -> nix::Result<()> {
        self.0.mark(MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR, AT_FDCWD, Some(dir))
    }

    fn events(&self) -> io::Result<Vec<FanotifyEvent>> {
        Ok(self.0.read_events()?)
    }

    /// A process that was killed meanwhile needs no answer.
    fn allow(&self, event: &FanotifyEvent) {
        if let Some(fd) = event.fd() {
            let _gone = self.0.write_response(FanotifyResponse::new(fd, Response::FAN_ALLOW));
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// As often as it is asked: whoever goes on asking does nothing else any more.
    #[tokio::test]
    async fn what_can_not_be_read_is_told() {
        let (watched, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        watched.set_nonblocking(true).unwrap();
        std::io::Write::write_all(&mut other, b"x").unwrap();
        let watched = registered(watched).unwrap();
        let limit = Duration::from_secs(60);
        let error = || io::Error::from(io::ErrorKind::InvalidInput);
        let read = tokio::time::timeout(limit, taken::<_, ()>(&watched, |_| Err(error()))).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), error().kind());
        let mut watcher = Watcher::new();
        watcher.spawn(async move { error() });
        watcher.spawn(std::future::pending());
        while watcher.len() == 2 {
            tokio::task::yield_now().await;
            if let Some(why) = failed(&mut watcher) {
                assert!(format!("{why:#}").contains("slowed any more: invalid input"), "{why:#}");
            }
        }
        assert!(failed(&mut watcher).is_none(), "the other one watches");
    }

    /// Whoever is no checkpointer is answered at once.
    #[tokio::test]
    async fn others_are_not_held_up() {
        let dir = tempfile::tempdir().unwrap();
        let watch = match Watch::new() {
            Ok(watch) => watch,
            Err(why) => return assert!(why.to_string().contains("only root may"), "{why}"),
        };
        watch.mark(dir.path()).unwrap();
        let mut watcher = JoinSet::new();
        watcher.spawn(delay(registered(watch).unwrap(), dir.path().to_path_buf(), Duration::from_secs(3600)));
        let (path, began) = (dir.path().to_path_buf(), Instant::now());
        let read = tokio::task::spawn_blocking(move || std::fs::read_dir(path).unwrap().count()).await.unwrap();
        assert_eq!(read, 0);
        assert!(began.elapsed() < Duration::from_secs(60));
        // Else nobody answers when the directory is removed.
        watcher.shutdown().await;
    }
}
