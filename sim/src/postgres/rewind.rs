//! pg_rewind: brings a stopped directory back to where its log leaves that of a running source.

use super::archive::Archive;
use super::directory::DataDir;
use super::host::PgHost;
use super::replay::REDO;
use super::settings::Settings;
use super::start::Pace;
use super::tools::retry;
use super::wal::Kind;
use crate::net::SourceInfo;
use pgbaton_core::model::{ControlState, Lsn};
use pgbaton_core::ports::{PgError, Source};
use std::time::Duration;

/// From this major version on it looks at where recovery has ended as well, not only at the last checkpoint.
const SEES_END_OF_RECOVERY: u32 = 16;

impl PgHost {
    /// # Panics
    /// When an earlier rewind broke off half-way: whatever comes of another, the keeper's marker should have stopped it.
    pub async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        self.rewind_with(source, false).await
    }

    /// With `--restore-target-wal`, it takes what it misses of the target's own WAL from the archive.
    pub(super) async fn rewind_with(&self, source: &Source, restore: bool) -> Result<(), PgError> {
        let again = self.pg().dir.as_ref().is_some_and(|dir| dir.half_rewound);
        assert!(!again, "{}: a half rewound directory was rewound again", self.name);
        let unclean =
            self.stopped(|dir| !matches!(dir.state, ControlState::ShutDown | ControlState::ShutDownInRecovery))?;
        let archive = restore.then(|| self.restorable()).transpose()?;
        let takes = self.fate.draw_ms(200..600);
        let (end, info) = self.open_source(source, None).await?;
        if !info.full_page_writes {
            return Err(PgError::Condemned("full_page_writes must be enabled in the source server".into()));
        }
        if unclean {
            self.recover_single_user().await?;
        }
        let Settings { version, segment_bytes, .. } = self.pg().settings;
        let has = |dir: &DataDir, from: Lsn| {
            dir.wal.holds(from) || archive.as_ref().is_some_and(|a| a.covers(dir, from, segment_bytes))
        };
        let Some(common) = self.stopped(|dir| common_checkpoint(dir, &info, version, has))?? else {
            return Ok(());
        };
        self.stopped(|dir| dir.half_rewound = true)?;
        // Whatever goes wrong from here on, the directory is neither the old one nor the new one.
        let image = self.fetch(end, takes, Pace::Fast).await.map_err(|e| PgError::Condemned(e.to_string()))?;
        // postgresql.conf is the source's now.
        self.break_config(false);
        self.stopped(|dir| {
            let before = std::mem::replace(dir, DataDir::from_image(image));
            dir.lacks_wal = !dir.wal.holds(common);
            self.note_rebuilt(&before, dir);
        })
    }

    fn restorable(&self) -> Result<Archive, PgError> {
        let pg = self.pg();
        let archive = pg.archive.clone().filter(|_| pg.restores());
        archive.ok_or_else(|| PgError::Operator("restore_command is not set in the target cluster".into()))
    }

    /// pg_rewind recovers an uncleanly stopped target in single-user mode, which writes WAL.
    pub async fn recover_single_user(&self) -> Result<(), PgError> {
        if self.stopped(|dir| dir.standby_signal || dir.recovery_signal)? {
            return Err(PgError::Condemned("standby mode is not supported by single-user servers".into()));
        }
        let again = self.pg().knobs.checkpoint_takes;
        let redo = self.stopped(|dir| {
            let behind = dir.wal.len() - dir.wal.count_until(dir.checkpoint.lsn);
            let redo = REDO * u32::try_from(behind).unwrap_or(u32::MAX);
            if dir.state == ControlState::ShutDown { Duration::ZERO } else { redo + again }
        })?;
        self.pg().single_user = true;
        let _lock = LockFile(self);
        self.fate.sleep(self.fate.draw_ms(40..120) + redo).await;
        if self.config_is_broken() {
            return Err(retry("single-user mode refuses the configuration"));
        }
        if self.disk_takes().await.is_err() {
            return Err(retry("single-user mode can't write"));
        }
        let (uid, now) = (self.fate.random(), self.fate.now());
        self.stopped(|dir| {
            dir.write_checkpoint(uid, now, Kind::Shutdown);
            dir.state = ControlState::ShutDown;
        })
    }
}

/// Of a single-user server, which ends with whoever has started it.
struct LockFile<'a>(&'a PgHost);

impl Drop for LockFile<'_> {
    fn drop(&mut self) {
        self.0.pg().single_user = false;
    }
}

/// The last checkpoint that both have, which recovery is to begin at; `None` when there is nothing to do. Numbers of timelines are all it compares at first:
/// two histories under one number are the same to it.
fn common_checkpoint(
    dir: &DataDir,
    info: &SourceInfo,
    version: u32,
    has_wal_from: impl Fn(&DataDir, Lsn) -> bool,
) -> Result<Option<Lsn>, PgError> {
    if dir.system_id != info.system_id {
        return Err(PgError::Operator("source and target are from different systems".into()));
    }
    if !dir.pages.checksums && !dir.pages.hints_logged {
        let why = "target server needs to use either data checksums or \"wal_log_hints = on\"";
        return Err(PgError::Condemned(why.into()));
    }
    let (mut here, mut there) = (dir.checkpoint.tli, info.checkpoint_tli);
    if version >= SEES_END_OF_RECOVERY {
        here = here.max(dir.recovery_ended_on.unwrap_or(here));
        there = there.max(info.recovery_ended_on.unwrap_or(there));
    }
    if here == there {
        return Ok(None);
    }
    let fork = info.history.fork(&dir.history);
    let fork = fork.ok_or_else(|| PgError::Condemned("no common ancestor timeline".into()))?;
    if dir.end().lsn <= fork.lsn {
        // Nothing of its own past the fork: the directory can follow as it is.
        return Ok(None);
    }
    let common = dir.wal.last_checkpoint(dir.wal.count_until(fork.lsn));
    let held = common.map(|common| common.lsn).filter(|lsn| has_wal_from(dir, *lsn));
    let missing = || PgError::Condemned("could not find previous WAL record before the fork".into());
    held.map(Some).ok_or_else(missing)
}
