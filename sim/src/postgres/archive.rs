//! A WAL archive that several servers share: `archive_command` fills it, `restore_command` reads from it. It knows
//! nothing of who is right: the last segment of a dead branch is kept there like any other.

use super::directory::DataDir;
use super::host::{PgHost, until_either};
use super::receiver::RETRY;
use super::server::{Phase, ServerState};
use super::wal::{Kind, Record};
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{History, Lsn, Timeline};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What recovery calls the source of what it restores.
const NAME: &str = "archive";

#[derive(Debug, Clone, Default)]
pub struct Archive(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    /// Full segments, by timeline and number.
    segments: BTreeMap<(Timeline, u64), Vec<Record>>,
    histories: BTreeMap<Timeline, History>,
}

impl Archive {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }

    /// Whether some segment holds this row.
    #[cfg(test)]
    pub fn holds(&self, row: u64) -> bool {
        let is_it = |record: &Record| matches!(record.kind, Kind::Insert { id, .. } if id == row);
        self.files().segments.values().any(|records| records.iter().any(is_it))
    }

    /// Whether it has all that this directory has removed of its own timeline's WAL from there on.
    pub(super) fn covers(&self, dir: &DataDir, from: Lsn, segment_bytes: u64) -> bool {
        let removed = from.0 / segment_bytes..dir.wal.held_from().0.div_ceil(segment_bytes);
        let files = self.files();
        removed.into_iter().all(|number| files.segments.contains_key(&(dir.history.tli, number)))
    }

    /// A file that is there already stays.
    fn keep_segment(&self, tli: Timeline, number: u64, records: &[Record]) {
        self.files().segments.entry((tli, number)).or_insert_with(|| records.to_vec());
    }

    pub(super) fn keep_history(&self, history: &History) {
        self.files().histories.entry(history.tli).or_insert_with(|| history.clone());
    }

    /// The history that recovery aims at: numbers are tried one after the other, here and in the directory, and the
    /// newest counts if it is a child of what is replayed. The histories on the way come along.
    fn aim(&self, dir: &mut DataDir) -> History {
        let files = self.files();
        let mut newest = dir.history.clone();
        for tli in (dir.history.tli.0 + 1..).map(Timeline) {
            let Some(next) = files.histories.get(&tli).or_else(|| dir.histories.get(&tli)).cloned() else { break };
            dir.histories.insert(tli, next.clone());
            newest = next;
        }
        if newest.contains(dir.end()) { newest } else { dir.history.clone() }
    }

    /// What goes on where the directory ends. Within one segment the newest timeline that has it is taken, and no look
    /// is had at where the timeline before was left.
    fn next(&self, dir: &DataDir, aim: &History, segment_bytes: u64) -> Option<Vec<Record>> {
        let files = self.files();
        let end = dir.wal.end();
        let number = end.0 / segment_bytes;
        let begins = |tli: Timeline| {
            let parent = aim.ancestors.iter().rposition(|switch| switch.tli < tli);
            parent.map_or(0, |i| aim.ancestors[i].at.0 / segment_bytes)
        };
        let timelines = [aim.tli].into_iter().chain(aim.ancestors.iter().rev().map(|switch| switch.tli));
        let found =
            timelines.filter(|tli| number >= begins(*tli)).find_map(|tli| files.segments.get(&(tli, number)))?;
        let next = found.iter().position(|record| record.start == end)?;
        // Each record names the one before it.
        let continues = next == 0 || found[next - 1].uid == dir.wal.uid_of(dir.wal.len());
        continues.then(|| found[next..].to_vec())
    }
}

impl PgHost {
    /// `archive_mode`, `archive_command` and `restore_command` of an operator, written and reloaded. A server takes up
    /// archiving when it is started next.
    pub fn use_archive(self: &Arc<Self>, archive: &Archive) {
        let recovers = {
            let mut pg = self.pg();
            let first = pg.archive.replace(archive.clone()).is_none();
            first && pg.server.as_ref().is_some_and(|server| server.in_recovery)
        };
        if recovers {
            self.spawn(self.clone().restore());
        }
        self.bells.state.ring();
    }

    /// pgbaton's own file, which is read after the operator's, empties `restore_command`.
    pub fn own_restore_command(&self) {
        self.pg().knobs.restore_emptied = true;
    }

    /// What was there before a server became a primary is its predecessor's to archive.
    pub(super) fn begin_archiving(&self) {
        let mut pg = self.pg();
        let size = pg.settings.segment_bytes;
        let Some(archive) = pg.archive.clone() else { return };
        if let Some((dir, _)) = pg.running().filter(|(_, server)| server.archives && !server.in_recovery) {
            dir.archived = dir.archived.max(dir.wal.end().0 / size);
            if !dir.history.ancestors.is_empty() {
                archive.keep_history(&dir.history);
            }
        }
    }

    pub(super) async fn archive(self: Arc<Self>) {
        loop {
            let rings = self.bells.wal.rings();
            self.archive_what_is_full();
            self.bells.wal.past(rings).await;
        }
    }

    pub(super) fn archive_what_is_full(&self) {
        let mut pg = self.pg();
        if pg.knobs.archiver_hangs {
            return;
        }
        let Some(archive) = pg.archive.clone() else { return };
        let size = pg.settings.segment_bytes;
        let Some((dir, _)) = pg.running().filter(|(_, server)| server.archives && !server.in_recovery) else { return };
        let current = dir.wal.end_of(dir.flushed).0 / size;
        for number in dir.archived..current {
            let of_it = |record: &&Record| record.start.0 / size == number;
            let records: Vec<Record> = dir.wal.records()[..dir.flushed].iter().filter(of_it).copied().collect();
            archive.keep_segment(dir.history.tli, number, &records);
        }
        dir.archived = dir.archived.max(current);
    }

    /// An orderly stop of a server that archives leaves its segment first, so that all of it is archived.
    pub(super) fn leave_segment(&self) {
        let now = self.fate.now();
        let mut pg = self.pg();
        let size = pg.settings.segment_bytes;
        if let Some((dir, _)) = pg.running().filter(|(_, server)| server.archives && !server.in_recovery) {
            let uid = self.fate.random();
            let bytes = size - dir.wal.end().0 % size;
            dir.write(uid, now, Kind::Switch { bytes });
            dir.flush();
        }
    }

    /// Recovery turns to the archive whenever it has replayed all it has and no receiver is at work, before it asks for
    /// one.
    pub(super) async fn restore(self: Arc<Self>) {
        loop {
            let turn = || self.turns_to_archive().then_some(());
            until_either(&self.bells.state, &self.bells.replay, turn).await;
            self.fate.sleep(self.fate.draw_ms(2..10)).await;
            if self.take_from_archive() {
                self.bells.wal.ring();
                continue;
            }
            self.mark_archive_tried(true);
            self.fate.sleep(RETRY).await;
            if self.pg().server.as_ref().is_some_and(|server| server.receiver.is_none()) {
                self.mark_archive_tried(false);
            }
        }
    }

    fn turns_to_archive(&self) -> bool {
        let mut pg = self.pg();
        let restores = pg.restores();
        pg.running().is_some_and(|(dir, server)| restores && may_turn(dir, server))
    }

    fn mark_archive_tried(&self, tried: bool) {
        if let Some(server) = self.pg().server.as_mut() {
            server.archive_tried = tried;
        }
        self.bells.state.ring();
    }

    fn take_from_archive(&self) -> bool {
        {
            let mut pg = self.pg();
            let size = pg.settings.segment_bytes;
            let (Some(archive), true) = (pg.archive.clone(), pg.restores()) else { return false };
            let Some((dir, server)) = pg.running() else { return false };
            if !may_turn(dir, server) {
                return false;
            }
            let aim = archive.aim(dir);
            let Some(records) = archive.next(dir, &aim, size) else { return false };
            dir.receive(&records, &aim);
            dir.flush();
        }
        self.chronicle.note(Happened::Received { node: self.name.clone(), from: NAME.into() });
        true
    }
}

fn may_turn(dir: &DataDir, server: &ServerState) -> bool {
    let idle = server.receiver.as_ref().is_none_or(|receiver| receiver.waiting) && server.replayed == dir.wal.len();
    server.in_recovery && server.phase == Phase::Up && !server.promoting && idle && !server.archive_tried
}
