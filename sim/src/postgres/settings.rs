//! Settings of a server, and sizes of its work, that a story may want otherwise. They stay with the machine: what a clone or a rewind
//! brings along is overruled by the file that each node has of its own.

use super::sync::SyncCommit;
use pgbaton_core::scenario::{PostgresOptions, Size};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Major version; what it changes is said where it matters.
    pub version: u32,
    pub restart_after_crash: bool,
    /// Unit in which WAL is kept, removed and asked for.
    pub segment_bytes: u64,
    pub wal_keep_size: u64,
    /// `None` sets slots no limit.
    pub max_slot_wal_keep_size: Option<u64>,
    pub recovery_min_apply_delay: Duration,
    pub default_transaction_read_only: bool,
    pub full_page_writes: bool,
    /// Taken up at a start.
    pub wal_log_hints: bool,
    pub synchronous_commit: SyncCommit,
    pub checkpoint_timeout: Duration,
    /// What each row, with its commit, adds to the log.
    pub row_bytes: u64,
    /// How long a base backup takes once its checkpoint is done, whatever there is to copy; drawn when none is set.
    pub base_backup_takes: Option<Duration>,
}

impl Settings {
    /// As a story wants them; what it leaves out is as usual.
    pub fn of_story(options: &PostgresOptions) -> Settings {
        let usual = Settings::default();
        let bytes = |size: Option<Size>| size.map(|Size(bytes)| bytes);
        Settings {
            wal_keep_size: bytes(options.wal_keep_size).unwrap_or(usual.wal_keep_size),
            max_slot_wal_keep_size: bytes(options.max_slot_wal_keep_size).or(usual.max_slot_wal_keep_size),
            checkpoint_timeout: options.checkpoint_timeout.unwrap_or(usual.checkpoint_timeout),
            version: options.version.unwrap_or(usual.version),
            row_bytes: bytes(options.row).unwrap_or(usual.row_bytes),
            base_backup_takes: options.base_backup_takes,
            ..usual
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            version: 15,
            restart_after_crash: false,
            segment_bytes: 16 << 20,
            wal_keep_size: 512 << 20,
            max_slot_wal_keep_size: Some(8 << 30),
            recovery_min_apply_delay: Duration::ZERO,
            default_transaction_read_only: false,
            full_page_writes: true,
            wal_log_hints: true,
            synchronous_commit: SyncCommit::On,
            checkpoint_timeout: Duration::from_secs(300),
            row_bytes: 0xa8,
            base_backup_takes: None,
        }
    }
}
