//! What one node lets be seen.

use super::seen::{Seen, What};
use super::server_log::{Line, Names, Said};
use super::tail::Tail;
use super::{Place, keeper_log, server_log};
use crate::live::procs;
use crate::postgres::{control_file, find_installation, history_file, is_doomed, names_on_disk, parse_history};
use jiff::Timestamp;
use pgbaton_core::model::wal::SEGMENT;
use pgbaton_core::model::{Kept, Timeline};
use std::path::{Path, PathBuf};

pub struct Node {
    place: Place,
    keeper: Tail,
    servers: [Tail; 2],
    watched: Vec<PathBuf>,
    server: Server,
}

/// The server that runs, or ran last.
#[derive(Default)]
struct Server {
    postmaster: Option<u32>,
    open: bool,
    /// It takes no new sessions, and is closed once those it has are gone. Its last checkpoint may take long after that.
    ends_sessions: bool,
    names: Names,
    /// The timeline its end of recovery begins.
    begins: Option<Timeline>,
    /// When its recovery ended. From then on it takes writes, and some are acknowledged before its postmaster says so.
    recovered: Option<u64>,
    receiver: Option<u32>,
}

/// What a process of a server calls itself that serves no client's commits.
const NO_SESSIONS: [&str; 13] = [
    "checkpointer",
    "background writer",
    "walwriter",
    "walsender",
    "walreceiver",
    "archiver",
    "startup",
    "logger",
    "autovacuum launcher",
    "logical replication launcher",
    "slotsync worker",
    "walsummarizer",
    "io worker",
];

impl Server {
    /// A process without a title of its own is one that refuses a connection.
    fn has_sessions(&self) -> bool {
        let children = procs::all().into_iter().filter(|p| Some(p.parent) == self.postmaster && !p.zombie);
        children.filter(|p| !is_killed(p.pid)).map(|p| procs::title(p.pid)).any(|title| is_session(&title))
    }

    /// Nobody acknowledges any more: it ends its sessions and has none left, or all were killed, and some of them hang in
    /// the kernel.
    fn is_silent(&self) -> bool {
        (self.ends_sessions || self.postmaster.is_some_and(is_killed)) && !self.has_sessions()
    }
}

fn is_killed(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(is_doomed)
}

fn is_session(title: &str) -> bool {
    title.strip_prefix("postgres: ").is_some_and(|title| !NO_SESSIONS.iter().any(|other| title.starts_with(other)))
}

fn milliseconds(at: Timestamp) -> u64 {
    at.as_millisecond().try_into().unwrap_or_default()
}

impl Node {
    pub fn new(place: Place) -> Node {
        Node {
            keeper: Tail::of(place.keeper_log.clone()),
            servers: [Tail::of(place.state_dir().join("postgres.log")), Tail::of(place.by_hand_log.clone())],
            watched: Vec::new(),
            server: Server::default(),
            place,
        }
    }

    /// Those that have come into being since the last call.
    pub fn dirs_to_watch(&mut self, mut watch: impl FnMut(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
        let log_dir = self.place.keeper_log.parent().unwrap_or(Path::new("/")).to_path_buf();
        for dir in [log_dir, self.place.home().to_path_buf(), self.place.state_dir()] {
            if dir.exists() && !self.watched.contains(&dir) {
                watch(&dir)?;
                self.watched.push(dir);
            }
        }
        Ok(())
    }

    /// Reads on; gives the postmasters that were started.
    pub fn look(&mut self, seen: &mut Vec<Seen>) -> Vec<u32> {
        let now = Timestamp::now();
        for (at, said) in self.keeper.lines().iter().filter_map(|line| keeper_log::read(line, now)) {
            match said {
                keeper_log::Said::Stored(record) => self.note(seen, at, What::Stored(record)),
                // Its word alone is no proof.
                keeper_log::Said::KeptIn(kept) if holds_end(&kept) => self.note(seen, at, What::KeptAside),
                keeper_log::Said::KeptIn(_) => {}
                keeper_log::Said::Failed(step) => self.note(seen, at, What::Failed(step)),
            }
        }
        let lines: Vec<String> = self.servers.iter_mut().flat_map(Tail::lines).collect();
        let mut started = Vec::new();
        for line in lines.iter().filter_map(|line| server_log::read(line)) {
            if line.said == Said::Starts {
                started.push(line.pid);
            }
            self.follow(line, seen);
        }
        if self.server.open && self.server.is_silent() {
            self.server.open = false;
            self.note(seen, milliseconds(Timestamp::now()), What::Closed);
        }
        started
    }

    /// The end of a postmaster. What it wrote last is read first, as it knows best when it ended; by then the next one
    /// may have been started.
    pub fn exit(&mut self, pid: u32, seen: &mut Vec<Seen>) -> Vec<u32> {
        let now = milliseconds(Timestamp::now());
        let started = self.look(seen);
        if self.server.postmaster == Some(pid) {
            self.close(now, seen);
        }
        started
    }

    fn follow(&mut self, line: Line, seen: &mut Vec<Seen>) {
        let at = line.at;
        match line.said {
            Said::Starts => {
                self.close(at, seen);
                let names = Names::read(&names_on_disk(&self.place.state_dir()));
                self.server = Server { postmaster: Some(line.pid), names, ..Server::default() };
            }
            Said::TakesWrites => {
                self.server.open = true;
                let at = self.server.recovered.take().unwrap_or(at);
                let begun = self.server.begins.take();
                let tli = begun.or_else(|| self.timeline_on_disk()).unwrap_or(Timeline(1));
                self.note(seen, at, What::Names(self.server.names.clone()));
                self.note(seen, at, What::Opened(tli));
            }
            Said::EndsSessions => self.server.ends_sessions = true,
            Said::ShutDown => self.close(at, seen),
            Said::Names(names) => {
                self.server.names = names;
                if self.server.open {
                    self.note(seen, at, What::Names(self.server.names.clone()));
                }
            }
            Said::Begins(tli) => self.server.begins = Some(tli),
            Said::HasBegun => {
                self.server.recovered = Some(at);
                if let Some(tli) = self.server.begins {
                    self.note_branch(at, tli, seen);
                }
            }
            Said::Asked(standby) => self.note(seen, at, What::AskedBy(standby)),
            Said::Receives => {
                self.server.receiver = Some(line.pid);
                self.note(seen, at, What::Receives);
            }
            Said::Dies if self.server.receiver == Some(line.pid) => self.end_receiver(at, seen),
            Said::Dies => {}
        }
    }

    /// A server that opens without a promotion has written a checkpoint on its timeline.
    fn timeline_on_disk(&self) -> Option<Timeline> {
        let installation = find_installation(None).ok()?;
        control_file(&installation.bin_dir, &self.place.pgdata).map(|control| control.checkpoint.tli)
    }

    fn close(&mut self, at: u64, seen: &mut Vec<Seen>) {
        self.end_receiver(at, seen);
        if std::mem::take(&mut self.server.open) {
            self.note(seen, at, What::Closed);
        }
        self.server.postmaster = None;
    }

    fn end_receiver(&mut self, at: u64, seen: &mut Vec<Seen>) {
        if self.server.receiver.take().is_some() {
            self.note(seen, at, What::ReceivesNoMore);
        }
    }

    fn note_branch(&self, at: u64, tli: Timeline, seen: &mut Vec<Seen>) {
        let history = std::fs::read_to_string(history_file(&self.place.pgdata, tli)).unwrap_or_default();
        if let Some(fork) = parse_history(tli, &history).ancestors.last() {
            self.note(seen, at, What::Branched { tli, parent: fork.tli, fork: fork.at });
        }
    }

    fn note(&self, seen: &mut Vec<Seen>, at: u64, what: What) {
        seen.push(Seen { at, node: self.place.name.clone(), what });
    }
}

/// The segment with the last of it is there, on whatever timeline it ended.
fn holds_end(kept: &Kept) -> bool {
    let last = kept.end.0.saturating_sub(1);
    let segment = format!("{:08X}{:08X}", last >> 32, (last & 0xFFFF_FFFF) / SEGMENT);
    let files = std::fs::read_dir(&kept.place).into_iter().flatten().flatten();
    files
        .into_iter()
        .any(|file| file.file_name().to_string_lossy().get(8..).is_some_and(|name| name.starts_with(&segment)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{Lsn, Position};

    #[test]
    fn what_is_kept_without_its_end_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("0000000300000001000000A2"), "").unwrap();
        let holds = |end| {
            let place = dir.path().to_string_lossy().into_owned();
            holds_end(&Kept { fork: Position::new(1, 7), end: Lsn(end), place })
        };
        assert!(holds(0x1_A234_5678) && holds(0x1_A300_0000), "its last record may end the segment");
        assert!(!holds(0x1_A300_0001) && !holds(0x1_A200_0000) && !holds(0xA234_5678));
    }

    #[test]
    fn sessions_are_told_from_what_else_a_server_runs() {
        for title in ["postgres: checkpointer ", "postgres: walsender postgres 127.0.0.1(7) streaming 0/3", "postgres"]
        {
            assert!(!is_session(title), "{title}");
        }
        assert!(is_session("postgres: postgres postgres 127.0.0.1(7) idle"));
    }

    #[test]
    fn a_promoted_server_is_open_from_the_end_of_its_recovery_on_and_a_restarted_one_from_its_word_on() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            name: "a".into(),
            pgdata: dir.path().join("main"),
            keeper_log: dir.path().join("keeper.log"),
            by_hand_log: dir.path().join("by-hand.log"),
        };
        let mut node = Node::new(place);
        let mut seen = Vec::new();
        let promotion =
            [(1, Said::Starts), (5, Said::Begins(Timeline(2))), (6, Said::HasBegun), (9, Said::TakesWrites)];
        let restart = [(20, Said::Starts), (25, Said::TakesWrites)];
        for (at, said) in promotion.into_iter().chain(restart) {
            node.follow(Line { at, pid: 7, said }, &mut seen);
        }
        let opened = seen.iter().filter_map(|s| match s.what {
            What::Opened(tli) => Some((s.at, tli)),
            _ => None,
        });
        assert_eq!(opened.collect::<Vec<_>>(), [(6, Timeline(2)), (25, Timeline(1))]);
    }
}
