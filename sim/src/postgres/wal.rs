//! The write-ahead log of one directory: the records it holds, oldest first, whatever their timeline.

use super::directory::Conninfo;
use pgbaton_core::model::{History, Lsn, Position, Timeline};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Insert(u64),
    Checkpoint,
    /// The checkpoint of an orderly shutdown.
    Shutdown,
    /// The first record of a new timeline.
    EndOfRecovery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Two records are the same only when this is: equal LSNs on equal timeline numbers may still
    /// come from different servers. It stands for the previous-record link that Postgres checks.
    pub uid: u64,
    pub tli: Timeline,
    pub start: Lsn,
    pub end: Lsn,
    pub kind: Kind,
}

#[derive(Debug, Clone, Default)]
pub struct Wal {
    records: Vec<Record>,
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
    pub fn write(&mut self, uid: u64, tli: Timeline, kind: Kind) -> Lsn {
        let start = self.end();
        let size = match kind {
            Kind::Insert(_) => 0xa8,
            Kind::Checkpoint | Kind::Shutdown => 0x78,
            Kind::EndOfRecovery => 0x30,
        };
        let end = Lsn(start.0 + size);
        let record = Record { uid, tli, start, end, kind };
        self.records.push(record);
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

    /// The latest checkpoint among the first `count` records.
    pub fn last_checkpoint(&self, count: usize) -> Option<Position> {
        let is_one = |r: &&Record| matches!(r.kind, Kind::Checkpoint | Kind::Shutdown);
        let found = self.records[..count].iter().rev().find(is_one)?;
        Some(Position { tli: found.tli, lsn: found.start })
    }

    pub fn inserts(&self, count: usize) -> impl Iterator<Item = u64> + '_ {
        self.records[..count].iter().filter_map(|r| match r.kind {
            Kind::Insert(id) => Some(id),
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
    pub checkpoint: Position,
    pub names: String,
    pub conninfo: Option<Conninfo>,
}
