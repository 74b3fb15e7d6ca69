//! Waiting for files to change and for processes to end without asking again and again.

use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Tells when something in a directory was written, made or moved there.
pub struct DirWatch {
    fd: AsyncFd<OwnedFd>,
}

impl DirWatch {
    /// What happens from now on is seen, so set it up before the first look at a file.
    pub fn new(dir: &Path) -> io::Result<DirWatch> {
        let watch = DirWatch::of_many()?;
        watch.add(dir)?;
        Ok(watch)
    }

    /// Of no directory yet. The kernel grants a user a hundred or so of these, each of as many directories as need be.
    pub fn of_many() -> io::Result<DirWatch> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        Ok(DirWatch { fd: registered(fd)? })
    }

    pub fn add(&self, dir: &Path) -> io::Result<()> {
        let events = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(self.fd.get_ref(), dir, events)?;
        Ok(())
    }

    /// Ends when there was an event since the last call.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut space = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(self.fd.get_ref(), &mut space);
            let mut any = false;
            loop {
                match events.next() {
                    Ok(_) => any = true,
                    Err(rustix::io::Errno::WOULDBLOCK) => break,
                    Err(e) => return Err(e.into()),
                }
            }
            ready.clear_ready();
            if any {
                return Ok(());
            }
        }
    }
}

/// A process by its pidfd, which names this very process even when its number is used again.
pub struct ProcessWatch {
    fd: AsyncFd<OwnedFd>,
}

impl ProcessWatch {
    pub fn new(pid: i32) -> io::Result<ProcessWatch> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(ProcessWatch { fd: registered(fd)? })
    }

    /// Ends at once when the process ends; that nobody has reaped it yet doesn't matter.
    pub async fn ended(&self) -> io::Result<()> {
        self.fd.readable().await.map(drop)
    }
}

#[allow(
    deprecated,
    reason = "its successor is unsafe, to make callers prove that the descriptor stays the same and open; that of its owner does"
)]
pub fn registered<T: AsRawFd>(fd: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(fd)
}
