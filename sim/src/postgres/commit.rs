//! A commit: into the log, onto the disk, then past the standbys, and only then into everybody's sight.

use super::host::{Pg, PgHost};
use super::knobs::NoDisk;
use super::server::{Commit, Interrupt, Phase};
use super::session::Session;
use super::sync::SyncCommit;
use super::wal::Kind;
use crate::net::Packet;
use std::sync::Arc;
use std::time::Duration;

/// `wal_writer_delay`, three times: an asynchronous commit is flushed by then.
const WALWRITER_MAX_MS: u64 = 600;

impl PgHost {
    /// `None` when the backend ends without an answer.
    pub(super) async fn insert(&self, session: &Session<'_>, id: u64, bytes: Option<u64>) -> Option<Packet> {
        let count = match self.begin_commit(session, id, bytes) {
            Ok(count) => count,
            Err(reason) => return Some(Packet::Refused { reason: reason.into() }),
        };
        if session.level == SyncCommit::Off {
            self.end_commit(session);
            if let Some(server) = self.pg().server.as_mut() {
                server.walwriter_due = true;
            }
            self.bells.walwriter.ring();
            return Some(Packet::Committed { id, warning: false });
        }
        if self.flush_until(count).await.is_err() {
            self.kill_server();
            return None;
        }
        let (lsn, ends) = {
            let mut pg = self.pg();
            let (dir, server) = pg.running()?;
            if let Some(commit) = server.commits.get_mut(&session.backend) {
                commit.waits = !server.names.satisfied(session.level, dir.wal.end_of(count), &server.senders);
            }
            (dir.wal.end_of(count), server.phase != Phase::Up)
        };
        self.bells.wal.ring();
        if ends {
            self.bells.state.ring();
        }
        let verdict = || self.pg().server.as_ref()?.verdict(session.backend, session.level, lsn);
        let interrupt = self.bells.acks.until(verdict).await;
        self.end_commit(session);
        (interrupt != Some(Interrupt::Terminate)).then_some(Packet::Committed { id, warning: interrupt.is_some() })
    }

    fn begin_commit(&self, session: &Session, id: u64, bytes: Option<u64>) -> Result<usize, &'static str> {
        let (uid, now) = (self.fate.random(), self.fate.now());
        let mut pg = self.pg();
        let Pg { dir: Some(dir), server: Some(server), settings, .. } = &mut *pg else {
            return Err("the database system is shutting down");
        };
        if server.phase != Phase::Up || server.in_recovery || session.read_only(server.read_only_default) {
            return Err("cannot execute INSERT in a read-only transaction");
        }
        server.commits.insert(session.backend, Commit { id, waits: false, interrupt: None });
        let feedback = session.level == SyncCommit::RemoteApply;
        let bytes = bytes.unwrap_or(settings.row_bytes);
        Ok(dir.write(uid, now, Kind::Insert { id, feedback, bytes }))
    }

    /// From here on every session sees it.
    fn end_commit(&self, session: &Session) {
        if let Some(server) = self.pg().server.as_mut() {
            server.commits.remove(&session.backend);
        }
    }

    /// Write and sync, of this backend's records and all before them.
    async fn flush_until(&self, count: usize) -> Result<(), NoDisk> {
        self.disk_takes().await?;
        if let Some((dir, _)) = self.pg().running() {
            dir.written = dir.written.max(count);
        }
        let sync = Duration::from_micros(200)..Duration::from_millis(1);
        self.fate.sleep(self.fate.draw(sync)).await;
        self.disk_takes().await?;
        if let Some((dir, _)) = self.pg().running() {
            dir.flushed = dir.flushed.max(count);
        }
        Ok(())
    }

    /// The WAL writer, once there is something that no backend will flush.
    pub(super) async fn write_behind(self: Arc<Self>) {
        loop {
            let unflushed = || {
                let mut pg = self.pg();
                let (_, server) = pg.running()?;
                std::mem::take(&mut server.walwriter_due).then_some(())
            };
            self.bells.walwriter.until(unflushed).await;
            self.fate.sleep(self.fate.draw_ms(0..WALWRITER_MAX_MS)).await;
            let count = self.pg().dir.as_ref().map_or(0, |dir| dir.wal.len());
            if self.flush_until(count).await.is_err() {
                return self.kill_server();
            }
            self.bells.wal.ring();
        }
    }
}
