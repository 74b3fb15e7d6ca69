//! Settings of a server that a story may want otherwise. They stay with the machine: what a clone or a rewind
//! brings along is overruled by the file that each node has of its own.

use super::sync::SyncCommit;
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
    pub synchronous_commit: SyncCommit,
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
            synchronous_commit: SyncCommit::On,
        }
    }
}
