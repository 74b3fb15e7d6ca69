//! A data directory: all that survives the server.

use super::slots::Slot;
use super::wal::{Image, Kind, Record, Wal};
use pgbaton_core::model::wal::Switch;
use pgbaton_core::model::{Control, ControlState, History, Lsn, Moment, Position, Timeline};
use std::collections::BTreeMap;

/// Where no timeline ever ended: by this a number that is only taken is told from a real history.
const RESERVED: Lsn = Lsn(1);
/// What initdb makes, in bytes.
pub(super) const NEW_CLUSTER: u64 = 32 << 20;

/// `primary_conninfo` and `primary_slot_name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conninfo {
    pub application: String,
    pub slot: Option<String>,
    pub host: String,
    pub port: u16,
}

/// What the control file says of how pages are written.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    pub checksums: bool,
    /// `wal_log_hints`, as the primary had it that wrote the log.
    pub hints_logged: bool,
}

#[derive(Debug, Clone)]
pub struct DataDir {
    pub system_id: u64,
    pub wal: Wal,
    /// How many records of the log the kernel has; the death of the server loses the rest.
    pub written: usize,
    /// How many are on the medium; a loss of power spares no more than these.
    pub flushed: usize,
    /// How many records a standby's pages may have seen: so many at least (`minRecoveryPoint`), those that the last
    /// server had replayed at most. Before that recovery isn't consistent.
    pub consistent: usize,
    pub applied: usize,
    /// Lineage of the end of the log.
    pub history: History,
    /// The history files in `pg_wal`: they decide the number of the next timeline.
    pub histories: BTreeMap<Timeline, History>,
    pub state: ControlState,
    pub pages: Pages,
    /// Where the latest checkpoint record starts. Its timeline is the one the control file shows: the
    /// old one until the first checkpoint after a promotion.
    pub checkpoint: Position,
    /// The timeline of `minRecoveryPoint`: set by the end of a recovery, cleared by the checkpoint after it.
    pub recovery_ended_on: Option<Timeline>,
    /// The lineage whose first segment and history file a promotion has made before it came to anything else: the
    /// control file shows nothing of it.
    pub begun: Option<History>,
    pub standby_signal: bool,
    /// Counts where there is no `standby.signal`: a server that restores nothing from an archive refuses to start.
    pub recovery_signal: bool,
    pub conninfo: Option<Conninfo>,
    /// `synchronous_standby_names` as written; what a running server works under may differ.
    pub names: String,
    pub slots: BTreeMap<String, Slot>,
    /// The first segment that is not archived yet; what a standby has received its upstream archives.
    pub archived: u64,
    /// A rewind began and didn't end: such a directory must never be started.
    pub half_rewound: bool,
    /// It was rewound, and the WAL from the last common checkpoint on is nowhere: recovery looks for it for ever.
    pub lacks_wal: bool,
    /// Somebody has removed it under a running server, whose open files are all that is left.
    pub unlinked: bool,
}

impl DataDir {
    /// What initdb and a first, orderly shutdown leave.
    pub fn new(system_id: u64, now: Moment) -> DataDir {
        let mut dir = DataDir {
            system_id,
            wal: Wal::default(),
            written: 0,
            flushed: 0,
            consistent: 0,
            applied: 0,
            history: History::root(Timeline(1)),
            histories: BTreeMap::new(),
            state: ControlState::ShutDown,
            pages: Pages { checksums: true, hints_logged: true },
            checkpoint: Position::new(1, 0),
            recovery_ended_on: None,
            begun: None,
            standby_signal: true,
            recovery_signal: false,
            conninfo: None,
            names: String::new(),
            slots: BTreeMap::new(),
            archived: 0,
            half_rewound: false,
            lacks_wal: false,
            unlinked: false,
        };
        dir.write_checkpoint(system_id ^ 1, now, Kind::Shutdown);
        dir
    }

    pub fn end(&self) -> Position {
        Position { tli: self.history.tli, lsn: self.wal.end_of(self.flushed) }
    }

    /// Puts a record into the buffers, on the current timeline. Gives the number of records.
    pub fn write(&mut self, uid: u64, now: Moment, kind: Kind) -> usize {
        self.wal.write(uid, self.history.tli, now, kind);
        self.wal.len()
    }

    pub fn flush(&mut self) {
        self.written = self.wal.len();
        self.flushed = self.wal.len();
    }

    pub fn write_checkpoint(&mut self, uid: u64, now: Moment, kind: Kind) {
        let lsn = self.wal.write(uid, self.history.tli, now, kind);
        self.flush();
        self.checkpoint = Position { tli: self.history.tli, lsn };
        self.recovery_ended_on = None;
        self.count_all_as_applied();
    }

    /// Of a primary it isn't known how much of its log pages have seen: recovery begins with all of it.
    pub fn count_all_as_applied(&mut self) {
        self.consistent = self.wal.len();
        self.applied = self.wal.len();
    }

    /// Only the first `count` records are left of the log. Recovery syncs what it finds.
    pub fn crash(&mut self, count: usize) {
        self.wal.truncate(count);
        self.flush();
        let tli = self.wal.tli_of(self.wal.len());
        self.history = prefix(&self.history, tli);
    }

    /// Takes over streamed records of a server with this lineage.
    pub fn receive(&mut self, records: &[Record], lineage: &History) {
        self.wal.append(records);
        self.written = self.wal.len();
        self.history = prefix(lineage, self.wal.tli_of(self.wal.len()));
    }

    /// The number a promotion gives the new timeline. Postgres looks for history files one number after the
    /// other and stops at the first that is missing.
    pub fn next_tli(&self) -> Timeline {
        let newer = (self.history.tli.0 + 1..).map(Timeline);
        newer.into_iter().find(|tli| !self.histories.contains_key(tli)).expect("numbers don't end")
    }

    /// Takes all numbers below `minimum` by history files of timelines that never were: they leave this one before
    /// its first record.
    pub fn reserve_below(&mut self, minimum: Timeline) {
        let own = self.history.tli;
        for tli in (own.0 + 1..minimum.0).map(Timeline) {
            let ancestors = vec![Switch { tli: own, at: RESERVED }];
            self.histories.entry(tli).or_insert(History { tli, ancestors });
        }
    }

    /// Beside such a number above its own a server doesn't start.
    pub fn release_above(&mut self) {
        let own = self.history.tli;
        let reserved = |history: &History| history.ancestors.last().is_some_and(|switch| switch.at == RESERVED);
        self.histories.retain(|tli, history| *tli <= own || !reserved(history));
    }

    /// The first half of the end of a recovery: the first segment of a new timeline and its history file are there,
    /// and the signal that recovery was begun with is gone.
    pub fn begin_branch(&mut self) {
        let tli = self.next_tli();
        let history = self.history.branch(tli, self.wal.end());
        self.histories.insert(tli, history.clone());
        self.begun = Some(history);
        self.standby_signal = false;
    }

    /// The second half: the first record of that timeline, and a control file that shows it. The checkpoint in there
    /// stays on the old one.
    pub fn branch(&mut self, uid: u64, now: Moment) {
        self.history = self.begun.take().expect("a promotion begins with a history file");
        self.write(uid, now, Kind::EndOfRecovery);
        self.flush();
        self.state = ControlState::InProduction;
        self.recovery_ended_on = Some(self.history.tli);
    }

    /// A server that opens says in the log which settings standbys have to keep to; only where one has changed.
    pub fn report_parameters(&mut self, uid: u64, now: Moment, hints_logged: bool) {
        if self.pages.hints_logged != hints_logged {
            self.write(uid, now, Kind::Parameters { hints_logged });
            self.flush();
            self.pages.hints_logged = hints_logged;
        }
    }

    /// What the files say of the end of the log: segments of a timeline that descends from the latest checkpoint
    /// count, whatever is in them.
    fn newest_history(&self) -> &History {
        let newer = |begun: &&History| begun.tli > self.history.tli && begun.contains(self.checkpoint);
        self.begun.as_ref().filter(newer).unwrap_or(&self.history)
    }

    /// A restartpoint at the latest checkpoint record among the first `count`.
    pub fn restartpoint(&mut self, count: usize) {
        if let Some(checkpoint) = self.wal.last_checkpoint(count) {
            self.checkpoint = checkpoint;
        }
        self.is_consistent_at(count);
    }

    /// All pages that so many records have changed are on the medium.
    pub fn is_consistent_at(&mut self, count: usize) {
        self.consistent = self.consistent.max(count);
        self.applied = self.applied.max(count);
    }

    pub fn control(&self) -> Control {
        Control {
            system_id: self.system_id,
            state: self.state,
            checkpoint: self.checkpoint,
            history: self.newest_history().clone(),
        }
    }

    /// What a base backup copies: a cluster as initdb makes it, and what was written since.
    pub fn bytes(&self) -> u64 {
        let written = self.wal.records().iter().map(|record| match record.kind {
            Kind::Insert { bytes, .. } => bytes,
            _ => 0,
        });
        NEW_CLUSTER + written.sum::<u64>()
    }

    pub fn image(&self) -> Image {
        let mut wal = self.wal.clone();
        wal.truncate(self.flushed);
        Image {
            system_id: self.system_id,
            wal,
            history: self.history.clone(),
            histories: self.histories.clone(),
            pages: self.pages,
            checkpoint: self.checkpoint,
            standby_signal: self.standby_signal,
            recovery_signal: self.recovery_signal,
            names: self.names.clone(),
            conninfo: self.conninfo.clone(),
        }
    }

    /// A copy of another server's directory. Slots are not copied.
    pub fn from_image(image: Image) -> DataDir {
        let count = image.wal.len();
        DataDir {
            system_id: image.system_id,
            wal: image.wal,
            written: count,
            flushed: count,
            consistent: count,
            applied: count,
            history: image.history,
            histories: image.histories,
            state: ControlState::InRecovery,
            pages: image.pages,
            checkpoint: image.checkpoint,
            recovery_ended_on: None,
            begun: None,
            standby_signal: image.standby_signal,
            recovery_signal: image.recovery_signal,
            conninfo: image.conninfo,
            names: image.names,
            slots: BTreeMap::new(),
            archived: 0,
            half_rewound: false,
            lacks_wal: false,
            unlinked: false,
        }
    }

    /// The end of the log on `fork`'s timeline, when there is a record past `fork`.
    pub fn wal_past(&self, fork: Position) -> Option<Lsn> {
        let past = |r: &&Record| r.tli == fork.tli && r.end > fork.lsn && self.wal.holds(r.start);
        self.wal.records()[..self.flushed].iter().rev().find(past).map(|r| r.end)
    }
}

/// The lineage up to `tli`, which is part of `history` or newer than all of it.
pub fn prefix(history: &History, tli: Timeline) -> History {
    match history.ancestors.iter().position(|s| s.tli == tli) {
        Some(i) => History { tli, ancestors: history.ancestors[..i].to_vec() },
        None => history.clone(),
    }
}
