//! One service per directory. The lock on the pid file tells whether it lives, the number in the file
//! only which process it is: a number may be used again by another program, a lock can't outlive its process.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
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

/// Ends when no service runs here any more; false when `patience` ran out before.
pub fn wait_until_gone(path: &Path, patience: Duration) -> bool {
    let tick = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    while running(path).is_some() {
        if waited >= patience {
            return false;
        }
        std::thread::sleep(tick);
        waited += tick;
    }
    true
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
        let error = PidFile::take(&path).unwrap_err();
        assert!(matches!(error, PidFileError::Taken(pid) if pid == std::process::id()), "{error}");
        drop(held);
        // The number in the file is that of a living process, this one, yet no service runs.
        assert!(std::fs::read_to_string(&path).unwrap().trim() == std::process::id().to_string());
        assert_eq!(running(&path), None);
        assert!(wait_until_gone(&path, Duration::ZERO));
        PidFile::take(&path).unwrap();
    }
}
