//! A WAL sender: serves one follower for as long as their logs agree.

use super::host::{PgHost, SenderState};
use crate::net::{End, Follow, Packet};
use crate::world::fate::either;
use futures_util::future::Either;
use pgbaton_core::model::History;
use std::sync::Arc;
use std::time::Duration;

/// `wal_sender_timeout`.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Records in one message.
const BATCH: usize = 2000;

impl PgHost {
    pub(super) async fn send_wal(self: Arc<Self>, end: Arc<End>, follow: Follow) {
        let (connection, histories) = match self.admit_follower(&follow) {
            Ok(admitted) => admitted,
            Err(reason) => return end.send(Packet::Refused { reason }),
        };
        end.send(Packet::Histories(histories));
        self.bells.state.ring();
        self.spawn(self.clone().watch_follower(end.clone(), connection));
        let mut sent = {
            let pg = self.pg();
            let dir = pg.dir.as_ref().expect("a server runs on a directory");
            dir.wal.count_until(follow.end)
        };
        loop {
            let rings = self.bells.wal.rings();
            match self.next_batch(connection, sent) {
                None => break,
                Some(Some((packet, now_sent))) => {
                    sent = now_sent;
                    end.send(packet);
                }
                Some(None) => self.mark_streaming(connection),
            }
            match either(end.recv(), self.bells.wal.past(rings)).await {
                Either::Left(Some(Packet::Flushed(lsn))) => self.note_flushed(connection, lsn),
                Either::Left(_) => break,
                Either::Right(()) => {}
            }
        }
        self.forget_follower(connection);
        end.close();
    }

    /// What a server checks before it streams; the reasons are those Postgres gives.
    fn admit_follower(&self, follow: &Follow) -> Result<(u64, Vec<History>), String> {
        let now = self.fate.now();
        let mut pg = self.pg();
        let (dir, server) = pg.running().expect("tasks of a dead server don't run");
        if !dir.admitted.contains(&follow.node) {
            return Err(format!("no pg_hba.conf entry and no slot for node {}", follow.node));
        }
        if dir.system_id != follow.system_id {
            return Err("database system identifier differs".into());
        }
        if follow.end > dir.wal.end_of(dir.flushed) {
            return Err("requested starting point is ahead of the WAL flush position of this server".into());
        }
        let count = dir.wal.count_until(follow.end);
        if dir.wal.end_of(count) != follow.end || dir.wal.uid_of(count) != follow.last {
            return Err("requested starting point is not in this server's history".into());
        }
        server.connections += 1;
        let connection = server.connections;
        // A receiver that comes again replaces its predecessor: the slot is active once only.
        server.senders.retain(|_, s| s.node != follow.node);
        server.senders.insert(
            connection,
            SenderState { node: follow.node, streaming: false, flushed: follow.end, last_reply: now },
        );
        Ok((connection, dir.histories.values().cloned().collect()))
    }

    /// `None` when this connection is no longer served, `Some(None)` when all is sent.
    #[allow(clippy::option_option)]
    fn next_batch(&self, connection: u64, sent: usize) -> Option<Option<(Packet, usize)>> {
        let mut pg = self.pg();
        let (dir, server) = pg.running()?;
        if !server.senders.contains_key(&connection) {
            return None;
        }
        if sent >= dir.flushed {
            return Some(None);
        }
        let until = dir.flushed.min(sent + BATCH);
        let packet = Packet::Wal { records: dir.wal.records()[sent..until].to_vec(), history: dir.history.clone() };
        Some(Some((packet, until)))
    }

    /// Caught up once; from then on its acknowledgements count.
    fn mark_streaming(&self, connection: u64) {
        let newly = {
            let mut pg = self.pg();
            let sender = pg.server.as_mut().and_then(|s| s.senders.get_mut(&connection));
            sender.is_some_and(|s| !std::mem::replace(&mut s.streaming, true))
        };
        if newly {
            self.bells.acks.ring();
            self.bells.state.ring();
        }
    }

    fn note_flushed(&self, connection: u64, lsn: pgbaton_core::model::Lsn) {
        let now = self.fate.now();
        let news = {
            let mut pg = self.pg();
            let sender = pg.server.as_mut().and_then(|s| s.senders.get_mut(&connection));
            sender.is_some_and(|s| {
                s.last_reply = now;
                std::mem::replace(&mut s.flushed, lsn) != lsn
            })
        };
        if news {
            self.bells.acks.ring();
        }
    }

    fn forget_follower(&self, connection: u64) {
        if let Some(server) = self.pg().server.as_mut() {
            server.senders.remove(&connection);
        }
        self.bells.acks.ring();
        self.bells.state.ring();
    }

    /// Keepalives out, and an end to a follower that has gone silent.
    async fn watch_follower(self: Arc<Self>, end: Arc<End>, connection: u64) {
        loop {
            self.fate.sleep(KEEPALIVE).await;
            let last_reply = {
                let pg = self.pg();
                let sender = pg.server.as_ref().and_then(|s| s.senders.get(&connection));
                sender.map(|s| s.last_reply)
            };
            let Some(last_reply) = last_reply else { return };
            if self.fate.now().since(last_reply) > SILENCE_MAX {
                self.forget_follower(connection);
                return end.close();
            }
            end.send(Packet::Keepalive);
        }
    }
}
