//! Whether the disk under WAL takes writes. A server on one that doesn't answers queries all the same, while every
//! commit hangs; the only way to see that is to write.

use super::PostgresConfig;
use crate::disk;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);
/// A disk that is merely busy takes a block within this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes on a thread of its own: one that hangs in the kernel holds up neither a look nor the end of the keeper.
#[derive(Default)]
pub struct DiskProbe {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    under_way: bool,
    refusal: Option<String>,
}

impl DiskProbe {
    /// Why commits can't succeed, as far as is known; starts another write when one is due.
    pub fn complaint(&self, config: &Arc<PostgresConfig>) -> Option<String> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let since_last = state.begun.map(|begun| now - begun);
        if !state.under_way && since_last.is_none_or(|since| since >= PERIOD) {
            let (config, shared) = (config.clone(), self.state.clone());
            let thread = std::thread::Builder::new().name("disk-probe".into());
            match thread.spawn(move || probe(&config, &shared)) {
                Ok(_detached) => (state.begun, state.under_way) = (Some(now), true),
                Err(e) => tracing::warn!("the disk can't be probed: {e}"),
            }
        }
        state.complaint(now)
    }
}

impl State {
    fn complaint(&self, now: Instant) -> Option<String> {
        let since = self.begun.filter(|_| self.under_way).map_or(Duration::ZERO, |begun| now - begun);
        match since > PATIENCE {
            true => Some(format!("a write to pg_wal has been under way for {:.1} s", since.as_secs_f64())),
            false => self.refusal.clone(),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn probe(config: &PostgresConfig, shared: &Mutex<State>) {
    let written = write(&config.pgdata.join("pg_wal/pgbaton-probe"));
    let mut state = lock(shared);
    state.under_way = false;
    state.refusal = match written {
        Err(e) if refuses(e.kind()) => Some(format!("pg_wal takes no writes: {e}")),
        // The directory may just be replaced; what else is wrong with it others see.
        Err(e) => {
            tracing::debug!("the disk could not be probed: {e}");
            None
        }
        Ok(()) => None,
    };
}

fn refuses(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Beside the file of the last time, which goes only then: its block would be room enough on a full disk.
fn write(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = disk::create_anew(&new, 0o600)?;
    file.write_all(b"pgbaton\n")?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_takes_long_and_one_that_was_refused_are_complaints() {
        let begun = Instant::now();
        let under_way = State { begun: Some(begun), under_way: true, refusal: None };
        assert_eq!(under_way.complaint(begun + PATIENCE), None);
        assert!(under_way.complaint(begun + PATIENCE + PERIOD).unwrap().contains("3.0 s"));
        let done = State { under_way: false, ..under_way };
        assert_eq!(done.complaint(begun + PATIENCE + PERIOD), None);
        let refused = State { refusal: Some("no".into()), ..done };
        assert_eq!(refused.complaint(begun).as_deref(), Some("no"));
        assert!(refuses(ErrorKind::ReadOnlyFilesystem) && !refuses(ErrorKind::NotFound));
    }
}
