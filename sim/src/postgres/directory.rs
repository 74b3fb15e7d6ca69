//! A data directory: all that survives the server.

use super::wal::{Image, Kind, Wal};
use pgbaton_core::model::{Control, ControlState, History, Lsn, NodeId, Position, Timeline};
use std::collections::{BTreeMap, BTreeSet};

/// `primary_conninfo` and `primary_slot_name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conninfo {
    pub me: NodeId,
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone)]
pub struct DataDir {
    pub system_id: u64,
    pub wal: Wal,
    /// How many records of the log are on disk; a crash loses the rest.
    pub flushed: usize,
    /// Lineage of the end of the log.
    pub history: History,
    /// The history files in `pg_wal`: the newest one decides the number of the next timeline.
    pub histories: BTreeMap<Timeline, History>,
    pub state: ControlState,
    /// Where the latest checkpoint record starts. Its timeline is the one the control file shows: the
    /// old one until the first checkpoint after a promotion.
    pub checkpoint: Position,
    pub standby_signal: bool,
    pub conninfo: Option<Conninfo>,
    /// `synchronous_standby_names` as written; what a running server works under may differ.
    pub names: String,
    /// Nodes with a slot and a line in `pg_hba.conf`.
    pub admitted: BTreeSet<NodeId>,
    /// A rewind began and didn't end: such a directory must never be started.
    pub half_rewound: bool,
}

impl DataDir {
    /// What initdb and a first, orderly shutdown leave.
    pub fn new(system_id: u64) -> DataDir {
        let mut dir = DataDir {
            system_id,
            wal: Wal::default(),
            flushed: 0,
            history: History::root(Timeline(1)),
            histories: BTreeMap::new(),
            state: ControlState::ShutDown,
            checkpoint: Position::new(1, 0),
            standby_signal: true,
            conninfo: None,
            names: String::new(),
            admitted: BTreeSet::new(),
            half_rewound: false,
        };
        dir.write_checkpoint(system_id ^ 1, Kind::Shutdown);
        dir
    }

    pub fn end(&self) -> Position {
        Position { tli: self.history.tli, lsn: self.wal.end_of(self.flushed) }
    }

    /// Writes a record on the current timeline; it is not on disk yet. Gives the number of records.
    pub fn write(&mut self, uid: u64, kind: Kind) -> usize {
        self.wal.write(uid, self.history.tli, kind);
        self.wal.len()
    }

    pub fn flush(&mut self) {
        self.flushed = self.wal.len();
    }

    pub fn write_checkpoint(&mut self, uid: u64, kind: Kind) {
        let lsn = self.wal.write(uid, self.history.tli, kind);
        self.flush();
        self.checkpoint = Position { tli: self.history.tli, lsn };
    }

    /// What was not on disk is gone.
    pub fn crash(&mut self) {
        self.wal.truncate(self.flushed);
        self.set_history_of_end();
    }

    /// The log may end on an ancestor of the newest timeline it was told of.
    fn set_history_of_end(&mut self) {
        let tli = self.wal.tli_of(self.wal.len());
        self.history = prefix(&self.history, tli);
    }

    /// Takes over streamed records of a server with this lineage.
    pub fn receive(&mut self, records: &[super::wal::Record], lineage: &History) {
        self.wal.append(records);
        self.history = prefix(lineage, self.wal.tli_of(self.wal.len()));
    }

    /// The number a promotion gives the new timeline.
    pub fn next_tli(&self) -> Timeline {
        let newest = self.histories.keys().next_back().copied().unwrap_or(Timeline(1));
        Timeline(newest.max(self.history.tli).0 + 1)
    }

    /// Takes every number below `least` for itself, with history files that nobody follows.
    pub fn reserve_timelines(&mut self, least: Timeline) {
        for number in self.next_tli().0..least.0 {
            self.histories.insert(Timeline(number), History::root(Timeline(number)));
        }
    }

    /// Ends recovery: a new timeline with its history file and first record. The control file keeps
    /// the old timeline.
    pub fn branch(&mut self, uid: u64) {
        let tli = self.next_tli();
        self.history = self.history.branch(tli, self.wal.end());
        self.histories.insert(tli, self.history.clone());
        self.write(uid, Kind::EndOfRecovery);
        self.flush();
        self.state = ControlState::InProduction;
        self.standby_signal = false;
    }

    pub fn control(&self) -> Control {
        Control {
            system_id: self.system_id,
            state: self.state,
            checkpoint: self.checkpoint,
            history: self.history.clone(),
        }
    }

    pub fn image(&self) -> Image {
        let mut wal = self.wal.clone();
        wal.truncate(self.flushed);
        Image {
            system_id: self.system_id,
            wal,
            history: self.history.clone(),
            histories: self.histories.clone(),
            checkpoint: self.checkpoint,
            names: self.names.clone(),
            conninfo: self.conninfo.clone(),
        }
    }

    /// A finished base backup. Slots are not copied.
    pub fn from_image(image: Image) -> DataDir {
        let flushed = image.wal.len();
        DataDir {
            system_id: image.system_id,
            wal: image.wal,
            flushed,
            history: image.history,
            histories: image.histories,
            state: ControlState::InRecovery,
            checkpoint: image.checkpoint,
            standby_signal: true,
            conninfo: image.conninfo,
            names: image.names,
            admitted: BTreeSet::new(),
            half_rewound: false,
        }
    }

    /// The end of the log on `fork`'s timeline, when there is a record past `fork`.
    pub fn wal_past(&self, fork: Position) -> Option<Lsn> {
        let past = |r: &&super::wal::Record| r.tli == fork.tli && r.end > fork.lsn;
        self.wal.records()[..self.flushed].iter().rev().find(past).map(|r| r.end)
    }

    /// Ids of the rows visible once the first `count` records are applied.
    pub fn rows(&self, count: usize) -> BTreeSet<u64> {
        self.wal.inserts(count).collect()
    }
}

/// The lineage up to `tli`, which is part of `history` or newer than all of it.
pub fn prefix(history: &History, tli: Timeline) -> History {
    match history.ancestors.iter().position(|s| s.tli == tli) {
        Some(i) => History { tli, ancestors: history.ancestors[..i].to_vec() },
        None => history.clone(),
    }
}
