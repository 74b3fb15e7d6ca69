//! The files that decide how the server starts, and the data directory as a whole.

use super::PostgresConfig;
use crate::disk;
use pgbaton_core::ports::PgError;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What can't be done for want of a right needs a person; anything else may pass (a full disk).
pub fn failed(what: &str, path: &Path, e: &io::Error) -> PgError {
    let text = format!("can't {what} {}: {e}", path.display());
    match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => PgError::Operator(text),
        _ => PgError::Retry(text),
    }
}

/// Writes only when the text differs; tells whether it did.
pub fn update(path: &Path, text: &str) -> Result<bool, PgError> {
    if disk::read(path).is_ok_and(|now| now == text) {
        return Ok(false);
    }
    write(path, text)?;
    Ok(true)
}

/// It survives a power cut, whole.
pub fn write(path: &Path, text: &str) -> Result<(), PgError> {
    disk::replace(path, text.as_bytes(), 0o600).map_err(|e| failed("write", path, &e))
}

/// What need not outlive the machine.
pub fn write_for_now(path: &Path, text: &str) -> Result<(), PgError> {
    disk::replace_for_now(path, text.as_bytes(), 0o600).map_err(|e| failed("write", path, &e))
}

pub fn read(path: &Path) -> Result<String, PgError> {
    disk::read(path).map_err(|e| failed("read", path, &e))
}

/// Removes a file if it is there; tells whether it was.
pub fn remove(path: &Path) -> Result<bool, PgError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed("remove", path, &e)),
    }
}

pub fn remove_tree(path: &Path) -> Result<(), PgError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Makes a directory that only the user Postgres runs as can enter.
pub fn private_dir(config: &PostgresConfig, path: &Path) -> Result<(), PgError> {
    disk::private_dir(config.run_as.as_ref(), path).map_err(|e| failed("make", path, &e))
}

/// `standby.signal` decides the role at start. It stays in place whenever the server is down, so that a
/// start by anything else comes up read-only.
pub fn put_standby_signal(config: &PostgresConfig) -> Result<(), PgError> {
    let path = config.pgdata.join("standby.signal");
    if path.exists() || !config.pgdata.join("PG_VERSION").exists() {
        return Ok(());
    }
    write(&path, "")
}

/// A promotion takes `standby.signal` away, and leaves this one where both are there. A server that finds it alone
/// refuses to start, as it restores nothing from an archive; beside the other it says nothing. It need not be synced:
/// Postgres syncs the directory when it has removed the other.
pub fn put_recovery_signal(config: &PostgresConfig) -> Result<(), PgError> {
    write_for_now(&recovery_signal(config), "")
}

pub fn remove_recovery_signal(config: &PostgresConfig) -> Result<(), PgError> {
    remove(&recovery_signal(config)).map(drop)
}

fn recovery_signal(config: &PostgresConfig) -> PathBuf {
    config.pgdata.join("recovery.signal")
}

/// Takes `standby.signal` away for a while; it is back when this is dropped, also when the work was cancelled.
pub struct WithoutSignal<'a>(&'a PostgresConfig);

impl<'a> WithoutSignal<'a> {
    pub fn take(config: &'a PostgresConfig) -> Result<WithoutSignal<'a>, PgError> {
        let guard = WithoutSignal(config);
        if remove(&config.pgdata.join("standby.signal"))? {
            disk::sync_dir(&config.pgdata).map_err(|e| failed("sync", &config.pgdata, &e))?;
        }
        Ok(guard)
    }

    pub fn put_back(self) -> Result<(), PgError> {
        put_standby_signal(self.0)
    }
}

impl Drop for WithoutSignal<'_> {
    fn drop(&mut self) {
        if let Err(e) = put_standby_signal(self.0) {
            tracing::error!("standby.signal is not in place: {e}");
        }
    }
}

/// Puts a finished data directory in the place of the old one, which is gone afterwards.
pub fn swap_in(config: &PostgresConfig, staged: &Path) -> Result<(), PgError> {
    let (pgdata, state_dir) = (&config.pgdata, &config.state_dir);
    let old = state_dir.join("replaced");
    remove_tree(&old)?;
    if pgdata.exists() {
        fs::rename(pgdata, &old).map_err(|e| failed("move away", pgdata, &e))?;
    }
    fs::rename(staged, pgdata).map_err(|e| failed("move a new directory to", pgdata, &e))?;
    for dir in [parent(pgdata), state_dir.clone()] {
        disk::sync_dir(&dir).map_err(|e| failed("sync", &dir, &e))?;
    }
    remove_tree(&old)
}

/// A data directory that is replaced whole must not be a mount point, and must share its disk with the staging.
pub fn check_movable(config: &PostgresConfig) -> Result<(), PgError> {
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev());
    let staging = device(&config.state_dir).map_err(|e| failed("look at", &config.state_dir, &e))?;
    let home = device(&config.pgdata).or_else(|_| device(&parent(&config.pgdata)));
    let home = home.map_err(|e| failed("look at", &config.pgdata, &e))?;
    if staging == home {
        return Ok(());
    }
    Err(PgError::Operator(format!(
        "{} and {} are on different file systems, so a new directory can't be moved into place; use a subdirectory \
         of the mount point as data directory",
        config.pgdata.display(),
        config.state_dir.display()
    )))
}

pub fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_path_buf()
}

/// Runs work that waits for the disk where it holds up no timer and no connection.
pub async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PgError> + Send + 'static,
) -> Result<T, PgError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(PgError::Retry(format!("the file thread ended: {e}"))),
    }
}
