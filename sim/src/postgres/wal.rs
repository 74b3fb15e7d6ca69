//! The write-ahead log of one directory: its records, oldest first, whatever their timeline.

use super::directory::{Conninfo, Pages};
use pgbaton_core::model::{History, Lsn, Moment, Position, Timeline};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row and its commit. `feedback` asks standbys to say so once they have replayed it.
    Insert {
        id: u64,
        feedback: bool,
        /// What row and commit take in the log.
        bytes: u64,
    },
    Checkpoint,
    /// The checkpoint of an orderly shutdown.
    Shutdown,
    /// The first record of a new timeline.
    EndOfRecovery,
    /// Settings that a standby's control file takes over.
    Parameters {
        hints_logged: bool,
    },
    /// The rest of the segment stays unused.
    Switch {
        bytes: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Two records are the same only when this is: equal LSNs on equal timeline numbers may still
    /// come from different servers. It stands for the previous-record link that Postgres checks.
    pub uid: u64,
    pub tli: Timeline,
    pub start: Lsn,
    pub end: Lsn,
    /// The time in a commit record, by which a delayed standby goes.
    pub at: Moment,
    pub kind: Kind,
}

#[derive(Debug, Clone, Default)]
pub struct Wal {
    records: Vec<Record>,
    /// Segments before this one are removed. Their records stay in the list: the tables are made of them.
    held_from: Lsn,
}

/// Where the log of a new cluster starts.
pub const FIRST_LSN: Lsn = Lsn(0x0100_0028);

impl Wal {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    pub fn end(&self) -> Lsn {
        self.records.last().map_or(FIRST_LSN, |r| r.end)
    }

    /// End of the first `count` records.
    pub fn end_of(&self, count: usize) -> Lsn {
        match count {
            0 => FIRST_LSN,
            n => self.records[n - 1].end,
        }
    }

    pub fn tli_of(&self, count: usize) -> Timeline {
        match count {
            0 => Timeline(1),
            n => self.records[n - 1].tli,
        }
    }

    pub fn uid_of(&self, count: usize) -> u64 {
        match count {
            0 => 0,
            n => self.records[n - 1].uid,
        }
    }

    /// Writes a record and gives its start.
    pub fn write(&mut self, uid: u64, tli: Timeline, at: Moment, kind: Kind) -> Lsn {
        let start = self.end();
        let size = match kind {
            Kind::Insert { bytes, .. } | Kind::Switch { bytes } => bytes,
            Kind::Checkpoint | Kind::Shutdown => 0x78,
            Kind::EndOfRecovery => 0x30,
            Kind::Parameters { .. } => 0x38,
        };
        let end = Lsn(start.0 + size);
        self.records.push(Record { uid, tli, start, end, at, kind });
        start
    }

    /// Takes over what another server has sent.
    ///
    /// # Panics
    /// When it doesn't continue what is here: the handshake must have refused that.
    pub fn append(&mut self, records: &[Record]) {
        if let Some(first) = records.first() {
            assert_eq!(first.start, self.end(), "streamed WAL continues the WAL held");
        }
        self.records.extend_from_slice(records);
    }

    pub fn truncate(&mut self, count: usize) {
        self.records.truncate(count);
    }

    /// How many records end at or before `lsn`.
    pub fn count_until(&self, lsn: Lsn) -> usize {
        self.records.partition_point(|r| r.end <= lsn)
    }

    /// Whether the WAL from `lsn` on is still there.
    pub fn holds(&self, lsn: Lsn) -> bool {
        lsn >= self.held_from
    }

    pub fn held_from(&self) -> Lsn {
        self.held_from
    }

    pub fn bytes_held(&self) -> u64 {
        self.end().bytes_past(self.held_from.max(FIRST_LSN))
    }

    pub fn remove_before(&mut self, lsn: Lsn) {
        self.held_from = self.held_from.max(lsn);
    }

    /// The latest checkpoint among the first `count` records.
    pub fn last_checkpoint(&self, count: usize) -> Option<Position> {
        let is_one = |r: &&Record| matches!(r.kind, Kind::Checkpoint | Kind::Shutdown);
        let found = self.records[..count].iter().rev().find(is_one)?;
        Some(Position { tli: found.tli, lsn: found.start })
    }

    pub fn inserts(&self, count: usize) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.records[..count].iter().filter_map(|r| match r.kind {
            Kind::Insert { id, .. } => Some(id),
            _ => None,
        })
    }
}

/// What a rewind or a clone carries over.
#[derive(Debug, Clone)]
pub struct Image {
    pub system_id: u64,
    pub wal: Wal,
    pub history: History,
    pub histories: BTreeMap<Timeline, History>,
    pub pages: Pages,
    pub checkpoint: Position,
    pub standby_signal: bool,
    pub recovery_signal: bool,
    pub names: String,
    pub conninfo: Option<Conninfo>,
}
