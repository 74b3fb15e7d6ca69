//! What a running server knows and a crash destroys.

use super::directory::{Conninfo, DataDir};
use super::settings::Settings;
use super::sync::{SyncCommit, SyncNames};
use pgbaton_core::model::{History, Lsn, Moment, Stranded, Timeline};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Up,
    Stopping,
    /// The postmaster is dead, and its children are about to notice.
    Orphaned,
    /// All of them were sent a signal that ends them before they do anything more; one amid I/O is still there.
    Killed,
}

#[derive(Debug)]
pub struct ServerState {
    pub phase: Phase,
    pub in_recovery: bool,
    pub promoting: bool,
    /// Sessions may go on, and new ones are refused; when the last one has ended the server stops.
    pub smart_stop: bool,
    /// What recovery aims at, since its start: the newest history there was.
    pub target: Option<History>,
    /// How many records are replayed.
    pub replayed: usize,
    /// How far this life's receivers came, and on which timeline.
    pub received: Option<(Timeline, Lsn)>,
    /// What the backends work under.
    pub names: SyncNames,
    /// Reloads of the names asked for, and done.
    pub names_asked: u64,
    pub names_shown: u64,
    pub names_done: u64,
    pub checkpoints: Checkpoints,
    pub read_only_default: bool,
    /// What the receiver works under, and how often that changed.
    pub conninfo: Option<Conninfo>,
    pub conninfo_changes: u64,
    pub receiver: Option<ReceiverState>,
    /// Why an upstream let the receiver go last.
    pub refusal: Option<Refusal>,
    pub senders: BTreeMap<u64, SenderState>,
    /// Slots under which base backups stream their WAL, each with its backend.
    pub backups: BTreeMap<String, u64>,
    /// Open sessions of clients.
    pub sessions: usize,
    /// Commits under way, by their backend: in the log, and hidden from all other sessions.
    pub commits: BTreeMap<u64, Commit>,
    /// The WAL writer is about to flush what asynchronous commits have left.
    pub walwriter_due: bool,
    /// Has promised to receive no more, and was told nothing else since.
    pub sealed: bool,
    /// `archive_mode`, as it was when this server started.
    pub archives: bool,
    /// Recovery has found nothing in the archive since its last receiver ended.
    pub archive_tried: bool,
}

/// Those that take their time. There is one checkpointer: whoever asks amid one waits for the next, as whoever else does.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoints {
    first_ends: Moment,
    /// The same, unless another was asked for meanwhile.
    last_ends: Moment,
}

impl Checkpoints {
    pub const NONE: Checkpoints = Checkpoints { first_ends: Moment::ZERO, last_ends: Moment::ZERO };

    /// When the one is done that is asked for now.
    pub fn ask(&mut self, now: Moment, takes: Duration) -> Moment {
        if now >= self.last_ends {
            (self.first_ends, self.last_ends) = (now + takes, now + takes);
        } else if now >= self.first_ends {
            (self.first_ends, self.last_ends) = (self.last_ends, self.last_ends + takes);
        } else if self.first_ends == self.last_ends {
            self.last_ends = self.first_ends + takes;
        }
        self.last_ends
    }

    /// When the one ends that is under way.
    pub fn ends(&self, now: Moment) -> Option<Moment> {
        [self.first_ends, self.last_ends].into_iter().find(|ends| *ends > now)
    }
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub id: u64,
    /// Flushed here, and waiting for standbys.
    pub waits: bool,
    pub interrupt: Option<Interrupt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    Cancel,
    Terminate,
}

#[derive(Debug, Clone)]
pub struct Refusal {
    pub reason: String,
    /// Whether it is for good.
    pub stranded: Option<Stranded>,
}

#[derive(Debug, Clone)]
pub struct ReceiverState {
    pub pid: u64,
    pub streaming: bool,
    /// Its timeline has ended upstream, and it waits to be told where to go on.
    pub waiting: bool,
    pub last_message: Moment,
}

#[derive(Debug, Clone)]
pub struct SenderState {
    pub application: String,
    pub slot: Option<String>,
    /// Its place in the names in force.
    pub rank: Option<usize>,
    pub streaming: bool,
    /// As the follower says; zero until it has said something.
    pub written: Lsn,
    pub flushed: Lsn,
    pub applied: Lsn,
    pub last_reply: Moment,
}

impl ServerState {
    /// Somebody streams under this slot.
    pub fn uses(&self, slot: &str) -> bool {
        self.backups.contains_key(slot) || self.senders.values().any(|s| s.slot.as_deref() == Some(slot))
    }

    /// The error is why a server would not start.
    pub fn new(dir: &DataDir, settings: &Settings) -> Result<ServerState, String> {
        Ok(ServerState {
            phase: Phase::Starting,
            in_recovery: dir.standby_signal,
            promoting: false,
            smart_stop: false,
            target: None,
            replayed: 0,
            received: None,
            names: SyncNames::read(&dir.names)?,
            names_asked: 0,
            names_shown: 0,
            names_done: 0,
            checkpoints: Checkpoints::NONE,
            read_only_default: settings.default_transaction_read_only,
            conninfo: dir.conninfo.clone(),
            conninfo_changes: 0,
            receiver: None,
            refusal: None,
            senders: BTreeMap::new(),
            backups: BTreeMap::new(),
            sessions: 0,
            commits: BTreeMap::new(),
            walwriter_due: false,
            sealed: false,
            archives: false,
            archive_tried: false,
        })
    }

    /// The postmaster is dead.
    pub fn is_headless(&self) -> bool {
        matches!(self.phase, Phase::Orphaned | Phase::Killed)
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Up && !self.in_recovery
    }

    /// Where the target begins at the end of the log, it is asked for what comes on that timeline.
    pub fn timeline_to_ask_for(&self, dir: &DataDir) -> Timeline {
        let own = dir.history.tli;
        let begins = |target: &&History| target.end_of(own) == Some(dir.wal.end());
        self.target.as_ref().filter(begins).map_or(own, |target| target.tli)
    }

    pub fn use_names(&mut self, names: SyncNames) {
        for sender in self.senders.values_mut() {
            sender.rank = names.rank(&sender.application);
        }
        self.names = names;
    }

    /// Whether the commit of this backend may be answered, and what broke its wait off.
    pub fn verdict(&self, backend: u64, level: SyncCommit, lsn: Lsn) -> Option<Option<Interrupt>> {
        let interrupt = self.commits.get(&backend).and_then(|commit| commit.interrupt);
        let done = interrupt.is_some() || self.names.satisfied(level, lsn, &self.senders);
        done.then_some(interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_checkpoint_amid_another_waits_for_the_next_as_all_others_do() {
        let second = |n: u64| Moment(n * 1_000_000);
        let takes = Duration::from_secs(10);
        let mut checkpoints = Checkpoints::NONE;
        let asked: Vec<Moment> = [0, 1, 2, 9, 10, 15].map(|at| checkpoints.ask(second(at), takes)).into();
        assert_eq!(asked, [10, 20, 20, 20, 30, 30].map(second));
        assert_eq!([20, 29, 30].map(|at| checkpoints.ends(second(at))), [Some(second(30)), Some(second(30)), None]);
        assert_eq!(checkpoints.ask(second(40), takes), second(50));
    }
}
