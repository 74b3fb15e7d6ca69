//! What can be seen of a machine's Postgres.

use super::directory::{DataDir, prefix};
use super::host::PgHost;
use super::server::{Phase, ServerState};
use super::sync::SyncNames;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{Directory, Facts, Moment, NodeId, Position, Receiver, Running, Sender, Server};
use std::collections::BTreeSet;

impl PgHost {
    pub fn facts(&self) -> Facts {
        let mut pg = self.pg();
        let now = self.fate.now();
        let mut directory = match &pg.dir {
            Some(dir) if !dir.unlinked => Directory::Present(dir.control()),
            _ => Directory::Absent,
        };
        let server = match pg.running() {
            None => Server::Down,
            Some((_, s)) if s.is_headless() => Server::Down,
            Some((_, s)) if s.phase != Phase::Up => Server::Starting,
            Some((dir, _)) if dir.unlinked => {
                let reason = "could not open file \"global/pg_control\": No such file or directory".into();
                Server::Stuck { reason }
            }
            Some((dir, s)) => Server::Up(running(dir, s, now)),
        };
        if let (Directory::Present(control), Server::Up(running)) = (&mut directory, &server) {
            control.history = prefix(&control.history, running.position.tli);
        }
        Facts { directory, server }
    }

    /// The most WAL it ever held.
    pub fn most_wal_held(&self) -> u64 {
        let pg = self.pg();
        pg.dir.as_ref().map_or(0, |dir| dir.wal.bytes_held()).max(pg.most_wal_held)
    }

    /// Ids of the rows that a new session could read; without a server those it would find after recovery.
    pub fn visible_rows(&self) -> BTreeSet<u64> {
        self.latest_rows(usize::MAX)
    }

    /// Of these the ones committed last, at most so many.
    pub(super) fn latest_rows(&self, most: usize) -> BTreeSet<u64> {
        let pg = self.pg();
        let Some(dir) = &pg.dir else { return BTreeSet::new() };
        let (applied, underway) = match &pg.server {
            Some(s) if s.in_recovery => (s.replayed, BTreeSet::new()),
            Some(s) => (dir.wal.len(), s.commits.values().map(|commit| commit.id).collect()),
            None => (dir.written, BTreeSet::new()),
        };
        dir.wal.inserts(applied).rev().filter(|id| !underway.contains(id)).take(most).collect()
    }

    /// What the backends of an open server work under.
    pub(super) fn note_names(&self) {
        if let Some((_, server)) = self.pg().running()
            && server.is_open()
        {
            let (k, of) = server.names.parts();
            self.chronicle.note(Happened::Names { node: self.name.clone(), k, of });
        }
    }

    /// How the server is configured, for the end of a run. `id` is the node's, which only its keeper knows.
    ///
    /// # Panics
    /// On names that no server could load: nobody writes them.
    pub fn configured(&self, id: NodeId) -> Option<Happened> {
        let pg = self.pg();
        let dir = pg.dir.as_ref().filter(|dir| !dir.unlinked)?;
        Some(Happened::Configured {
            node: self.name.clone(),
            id,
            system_id: dir.system_id,
            names: SyncNames::read(&dir.names).expect("the names can be loaded").parts().1,
            slots: dir.slots.keys().filter_map(|slot| NodeId::from_standby_name(slot)).collect(),
            follows: dir.conninfo.as_ref().map(|c| c.host.clone()),
            keeps_from: dir.slots.values().filter_map(|slot| slot.restart).min(),
            end: dir.end().lsn,
        })
    }
}

/// A standby holds what it has replayed, and what receivers of this life have flushed: what lies in its log
/// beyond that nobody can ask it for.
fn running(dir: &DataDir, s: &ServerState, now: Moment) -> Running {
    let replayed = dir.wal.end_of(s.replayed);
    let position = match s.in_recovery {
        false => dir.end(),
        true => {
            let lsn = s.received.map_or(replayed, |(_, lsn)| lsn.max(replayed));
            let count = dir.wal.count_until(lsn);
            let tli = if count == dir.wal.len() { dir.history.tli } else { dir.wal.tli_of(count) };
            Position { tli, lsn }
        }
    };
    let receiver = s.receiver.as_ref().map(|r| Receiver {
        streaming: r.streaming,
        tli: dir.history.tli,
        last_message: now.since(r.last_message),
    });
    let member = |s: &super::server::SenderState| {
        let node = NodeId::from_standby_name(&s.application)?;
        Some(Sender { node, streaming: s.streaming, flushed: s.flushed })
    };
    Running {
        in_recovery: s.in_recovery,
        position,
        replayed: if s.in_recovery { replayed } else { position.lsn },
        checkpoint_tli: dir.checkpoint.tli,
        receiver,
        stranded: s.refusal.as_ref().filter(|_| s.in_recovery).and_then(|refusal| refusal.stranded),
        senders: s.senders.values().filter_map(member).collect(),
        stopping: s.smart_stop,
    }
}
