//! One service per directory. The lock on the pid file tells whether it lives, the number in the file
//! only which process it is: a number may be used again by another program, a lock can't outlive its process.

use crate::disk;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Held for the life of the service.
#[derive(Debug)]
pub struct PidFile {
    _locked: File,
}

#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    #[error("another pgbaton runs here already, with pid {0}")]
    Taken(u32),
    #[error("the pid file can't be used: {0}")]
    Io(#[from] io::Error),
}

impl PidFile {
    pub fn take(path: &Path) -> Result<PidFile, PidFileError> {
        let mut options = OpenOptions::new();
        let mut file = disk::open(path, options.read(true).write(true).create(true).truncate(false))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Err(PidFileError::Taken(read_pid(path).unwrap_or(0))),
            Err(e) => return Err(io::Error::from(e).into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        file.sync_all()?;
        Ok(PidFile { _locked: file })
    }
}

/// The pid of the service that runs here, if one does.
pub fn running(path: &Path) -> Option<u32> {
    let file = File::open(path).ok()?;
    let mut lock = whole_file(libc::F_RDLCK);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    (i32::from(lock.l_type) != libc::F_UNLCK).then(|| read_pid(path)).flatten()
}

/// A running service, held by a handle that its number's next owner can't be mistaken for.
#[derive(Debug)]
pub struct Service {
    pub pid: u32,
    handle: OwnedFd,
}

impl Service {
    /// The service that runs here, if one does.
    pub fn find(path: &Path) -> io::Result<Option<Service>> {
        let Some(pid) = running(path) else { return Ok(None) };
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let handle = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // Looked at again: it may have ended before the handle was taken.
        Ok((running(path) == Some(pid)).then_some(Service { pid, handle }))
    }

    /// Ends when the process has; false when `patience` ran out before. None waits for as long as it takes.
    pub fn wait_until_gone(&self, patience: Option<Duration>) -> io::Result<bool> {
        let patience = patience.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut exit = [PollFd::new(&self.handle, PollFlags::IN)];
        Ok(poll(&mut exit, patience.as_ref())? > 0)
    }
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Locks of the open file, not of the process: a second attempt within one process is refused too.
fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused_and_a_stale_pid_is_not_taken_for_alive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbaton.pid");
        assert_eq!(running(&path), None);
        let held = PidFile::take(&path).unwrap();
        assert_eq!(running(&path), Some(std::process::id()));
        let service = Service::find(&path).unwrap().unwrap();
        assert_eq!(service.pid, std::process::id());
        assert!(!service.wait_until_gone(Some(Duration::from_millis(1))).unwrap(), "this very process lives");
        let error = PidFile::take(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Taken(pid) if pid == std::process::id()), "{error}");
        drop(held);
        // The number in the file is that of a living process, this one, yet no service runs.
        assert!(std::fs::read_to_string(&path).unwrap().trim() == std::process::id().to_string());
        assert_eq!(running(&path), None);
        assert!(Service::find(&path).unwrap().is_none());
        PidFile::take(&path).unwrap();
    }
}
