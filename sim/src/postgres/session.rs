//! What the server does for a connection: answer a probe, serve a client, or hand out its directory.

use super::host::PgHost;
use super::knobs::PgDisk;
use super::server::{Interrupt, Phase};
use super::slots::missing;
use super::sync::SyncCommit;
use crate::net::packet::Setting;
use crate::net::{End, Packet, SourceInfo};
use crate::world::fate::either;
use futures_util::future::Either;
use std::sync::Arc;
use std::time::Duration;

/// Of the kernel, which answers for a server that is busy.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// pgbaton asks its base backups to say so often how far their WAL has come.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// One backend. Its end, also by the death of its task, takes it off the server's lists.
pub(super) struct Session<'a> {
    host: &'a PgHost,
    pub backend: u64,
    pub level: SyncCommit,
    /// What the session has set for itself.
    read_only: Option<bool>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(server) = self.host.pg().server.as_mut() {
            server.commits.remove(&self.backend);
            server.sessions = server.sessions.saturating_sub(1);
        }
        self.host.bells.state.ring();
    }
}

impl Session<'_> {
    /// Of the session or, as far as it has set nothing, of the server.
    pub fn read_only(&self, default: bool) -> bool {
        self.read_only.unwrap_or(default)
    }
}

impl PgHost {
    pub(super) async fn session(self: Arc<Self>, end: Arc<End>) {
        let Some(first) = end.recv().await else { return };
        match first {
            // Even a server that is starting says something.
            Packet::Ping => return end.send(Packet::Pong),
            Packet::Interrupt { backend, terminate } => return self.interrupt(backend, terminate),
            _ => {}
        }
        let opens_files = !matches!(first, Packet::Follow(_));
        if let Some(reason) = self.closed_because().or_else(|| self.unopened_because(opens_files)) {
            return end.send(Packet::Refused { reason });
        }
        match first {
            Packet::Hello => self.serve_client(&end).await,
            Packet::Follow(follow) => self.clone().send_wal(end, follow).await,
            Packet::Copy { slot } => self.copy_out(&end, slot).await,
            other => panic!("{}: a connection began with {other:?}", self.name),
        }
    }

    /// Why there are no new sessions.
    fn closed_because(&self) -> Option<String> {
        let pg = self.pg();
        match pg.server.as_ref().map(|s| (s.phase, s.smart_stop)) {
            Some((Phase::Up, false)) => None,
            Some((Phase::Starting, _)) => Some("the database system is starting up".into()),
            _ => Some("the database system is shutting down".into()),
        }
    }

    /// A new backend opens its tables for writing, and a base backup a file of its own; a WAL sender does neither.
    fn unopened_because(&self, opens_files: bool) -> Option<String> {
        let read_only = self.pg().knobs.disk == PgDisk::ReadOnly;
        (read_only && opens_files).then(|| "could not open file \"base/5/2601\": Read-only file system".into())
    }

    /// A shutdown and the death of the postmaster end sessions that wait for something; one amid a flush goes on as far
    /// as that.
    async fn until_ended(&self, backend: u64) {
        let ended = || {
            let pg = self.pg();
            let Some(server) = pg.server.as_ref() else { return Some(()) };
            let waits = server.commits.get(&backend).is_none_or(|commit| commit.waits);
            let over = match server.phase {
                Phase::Starting | Phase::Up => false,
                Phase::Stopping | Phase::Orphaned => waits,
                Phase::Killed => true,
            };
            over.then_some(())
        };
        self.bells.state.until(ended).await;
    }

    fn interrupt(&self, backend: u64, terminate: bool) {
        let how = if terminate { Interrupt::Terminate } else { Interrupt::Cancel };
        if let Some(commit) = self.pg().server.as_mut().and_then(|s| s.commits.get_mut(&backend)) {
            commit.interrupt = Some(how);
        }
        self.bells.acks.ring();
    }

    fn open_session(&self) -> Option<(Session<'_>, bool)> {
        let mut pg = self.pg();
        let backend = pg.next_backend();
        let level = pg.settings.synchronous_commit;
        let server = pg.server.as_mut()?;
        server.sessions += 1;
        let read_only = server.in_recovery || server.read_only_default;
        Some((Session { host: self, backend, level, read_only: None }, read_only))
    }

    async fn serve_client(&self, end: &End) {
        let Some((mut session, read_only)) = self.open_session() else { return };
        let backend = session.backend;
        end.send(Packet::Welcome { read_only, backend });
        let talk = async {
            while let Some(packet) = end.recv().await {
                let answer = match packet {
                    Packet::Insert { id, bytes } => self.insert(&session, id, bytes).await,
                    Packet::Select { most } => Some(Packet::Rows(self.latest_rows(most))),
                    Packet::Set(Setting::SynchronousCommit(level)) => {
                        session.level = level;
                        Some(Packet::Done)
                    }
                    Packet::Set(Setting::ReadOnly(read_only)) => {
                        session.read_only = Some(read_only);
                        Some(Packet::Done)
                    }
                    _ => None,
                };
                let Some(answer) = answer else { break };
                end.send(answer);
            }
        };
        // A backend looks for its end before it takes what its client has sent.
        either(self.until_ended(backend), talk).await;
        end.close();
    }

    /// The source's part in a rewind or a base backup; a base backup brings the slot of its node.
    async fn copy_out(&self, end: &End, slot: Option<String>) {
        let info = {
            let mut pg = self.pg();
            let full_page_writes = pg.settings.full_page_writes;
            let Some((dir, _)) = pg.running() else { return };
            if let Some(name) = slot.as_ref().filter(|name| !dir.slots.contains_key(*name)) {
                let reason = missing(name);
                return end.send(Packet::Refused { reason });
            }
            SourceInfo {
                system_id: dir.system_id,
                history: dir.history.clone(),
                checkpoint_tli: dir.checkpoint.tli,
                recovery_ended_on: dir.recovery_ended_on,
                full_page_writes,
                bytes: dir.bytes(),
            }
        };
        end.send(Packet::Source(info));
        let copy = async {
            // The reader says whether it wants a copy at all.
            let Some(Packet::Fetch { takes, pace }) = end.recv().await else { return };
            if slot.is_some() && self.write_checkpoint(pace).await.is_err() {
                return self.kill_server();
            }
            let read = async {
                self.fate.sleep(takes).await;
                // Reading comes to no end either.
                let _full_is_no_trouble = self.disk_takes().await;
                let mut pg = self.pg();
                Packet::Copied(Box::new(pg.dir.as_mut().expect("a server runs on a directory").image()))
            };
            let copied = async {
                let Some(name) = &slot else { return read.await };
                let Some(stream) = Stream::under(self, name) else {
                    return Packet::Refused { reason: format!("replication slot \"{name}\" is active") };
                };
                match either(read, stream.goes_on()).await {
                    Either::Left(copied) if !stream.is_cut() => copied,
                    _ => Packet::Refused { reason: format!("terminated to release replication slot \"{name}\"") },
                }
            };
            // For a reader that is gone nothing is read.
            if let Either::Left(copied) = either(copied, end.recv()).await {
                end.send(copied);
                end.recv().await;
            }
        };
        // However long that takes, the reader hears from the machine.
        let alive = async {
            loop {
                self.fate.sleep(KEEPALIVE).await;
                end.send(Packet::Keepalive);
            }
        };
        if let Either::Right(_) = either(copy, either(self.until_ended(0), alive)).await {
            end.close();
        }
    }
}

/// A base backup streams its WAL beside the copy, and tells its slot from time to time how far it has come. When that slot
/// is lost, whoever uses it is terminated.
struct Stream<'a> {
    host: &'a PgHost,
    slot: &'a String,
    backend: u64,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let cut = self.is_cut();
        if let Some(server) = self.host.pg().server.as_mut().filter(|_| !cut) {
            server.backups.remove(self.slot);
        }
    }
}

impl<'a> Stream<'a> {
    fn under(host: &'a PgHost, slot: &'a String) -> Option<Stream<'a>> {
        let mut pg = host.pg();
        let backend = pg.next_backend();
        let server = pg.server.as_mut().filter(|server| !server.uses(slot))?;
        server.backups.insert(slot.clone(), backend);
        Some(Stream { host, slot, backend })
    }

    fn is_cut(&self) -> bool {
        self.host.pg().server.as_ref().is_none_or(|server| server.backups.get(self.slot) != Some(&self.backend))
    }

    /// Until it is cut.
    async fn goes_on(&self) {
        while !self.is_cut() {
            {
                let mut pg = self.host.pg();
                let version = pg.settings.version;
                if let Some(dir) = &mut pg.dir {
                    let end = dir.end().lsn;
                    dir.confirm_slot(self.slot, end, version);
                }
            }
            self.host.fate.sleep(STATUS_INTERVAL).await;
        }
    }
}
