//! What the server does for a connection: answer a probe, commit for a client, or hand out its directory.

use super::host::{Commit, PgHost, Phase};
use super::knobs::Interrupt;
use super::wal::Kind;
use crate::net::{End, Packet, SourceInfo};
use crate::world::fate::either;
use futures_util::future::Either;
use pgbaton_core::model::NodeId;
use pgbaton_core::scenario::SynchronousCommit;
use std::sync::Arc;
use std::time::Duration;

impl PgHost {
    pub(super) async fn session(self: Arc<Self>, end: Arc<End>) {
        let Some(first) = end.recv().await else { return };
        if matches!(first, Packet::Ping) {
            // Even a server that is starting says something.
            return end.send(Packet::Pong);
        }
        if let Some(reason) = self.closed_because() {
            return end.send(Packet::Refused { reason });
        }
        match first {
            Packet::Hello => self.clone().serve_client(&end).await,
            Packet::Follow(follow) => self.clone().send_wal(end, follow).await,
            Packet::Copy { node, takes } => self.copy_out(&end, node, takes).await,
            other => panic!("{}: a connection began with {other:?}", self.name),
        }
    }

    fn closed_because(&self) -> Option<String> {
        let pg = self.pg();
        match pg.server.as_ref().map(|s| s.phase) {
            Some(Phase::Up) => None,
            Some(Phase::Starting) => Some("the database system is starting up".into()),
            Some(Phase::Stopping) | None => Some("the database system is shutting down".into()),
        }
    }

    /// Ends when a shutdown begins: a fast one ends sessions first.
    async fn until_stopping(&self) {
        let stopping = || self.closed_because().map(|_| ());
        self.bells.state.until(stopping).await;
    }

    async fn serve_client(self: Arc<Self>, end: &End) {
        let read_only = !self.pg().is_open();
        end.send(Packet::Welcome { read_only });
        let talk = async {
            let mut commit = SynchronousCommit::default();
            while let Some(packet) = end.recv().await {
                let id = match packet {
                    Packet::Set(other) => {
                        commit = other;
                        continue;
                    }
                    Packet::Insert { id } => id,
                    _ => break,
                };
                let Some(answer) = self.insert(id, commit).await else { return end.close() };
                end.send(answer);
            }
        };
        either(talk, self.until_stopping()).await;
    }

    /// Insert, flush here, then wait for the standbys: a crash while waiting leaves the row in the log.
    async fn insert(&self, id: u64, commit: SynchronousCommit) -> Option<Packet> {
        let (backend, count) = {
            let uid = self.fate.random();
            let mut pg = self.pg();
            match pg.running() {
                Some((dir, server)) if server.is_open() => {
                    server.connections += 1;
                    server.commits.insert(server.connections, Commit { id, interrupt: None });
                    (server.connections, dir.write(uid, Kind::Insert(id)))
                }
                _ => {
                    let reason = "cannot execute INSERT in a read-only transaction".into();
                    return Some(Packet::Refused { reason });
                }
            }
        };
        let flush = Duration::from_micros(200)..Duration::from_millis(1);
        self.fate.sleep(self.fate.draw(flush)).await;
        let lsn = {
            let mut pg = self.pg();
            let (dir, _) = pg.running().expect("tasks of a dead server don't run");
            dir.flushed = dir.flushed.max(count);
            dir.wal.end_of(count)
        };
        self.bells.wal.ring();
        let confirmed = || {
            let mut pg = self.pg();
            let (_, server) = pg.running()?;
            let interrupt = server.commits.get(&backend).and_then(|c| c.interrupt);
            let done = interrupt.is_some() || commit.forgoes_standbys() || server.names.satisfied(lsn, &server.senders);
            done.then_some(interrupt)
        };
        let interrupt = self.bells.acks.until(confirmed).await;
        if let Some(server) = self.pg().server.as_mut() {
            server.commits.remove(&backend);
        }
        (interrupt != Some(Interrupt::Terminate)).then_some(Packet::Committed { id, warning: interrupt.is_some() })
    }

    /// The source's part in a rewind or a base backup.
    async fn copy_out(&self, end: &End, node: Option<NodeId>, takes: Duration) {
        let info = {
            let pg = self.pg();
            let dir = pg.dir.as_ref().expect("a server runs on a directory");
            if node.is_some_and(|n| !dir.admitted.contains(&n)) {
                drop(pg);
                let reason = "no pg_hba.conf entry for replication connection".into();
                return end.send(Packet::Refused { reason });
            }
            SourceInfo { system_id: dir.system_id, history: dir.history.clone(), checkpoint_tli: dir.checkpoint.tli }
        };
        end.send(Packet::Source(info));
        let copy = async {
            // The reader says whether it wants a copy at all.
            if !matches!(end.recv().await, Some(Packet::Keepalive)) {
                return;
            }
            self.fate.sleep(takes).await;
            let image = self.pg().dir.as_ref().map(|d| d.image());
            end.send(Packet::Copied(Box::new(image.expect("a server runs on a directory"))));
            // Until the reader has it all.
            end.recv().await;
        };
        if let Either::Right(()) = either(copy, self.until_stopping()).await {
            end.close();
        }
    }
}
