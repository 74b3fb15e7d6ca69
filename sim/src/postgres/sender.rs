//! A WAL sender: serves one follower for as long as their logs agree.

use super::host::PgHost;
use super::server::SenderState;
use super::slots::{missing, removed};
use crate::net::{End, Follow, Packet};
use crate::world::fate::either;
use futures_util::future::Either;
use pgbaton_core::model::{History, Lsn, Stranded, Timeline};
use std::sync::Arc;
use std::time::Duration;

/// `wal_sender_timeout`.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Records in one message.
const BATCH: usize = 2000;

/// How far a follower is served.
struct Progress {
    connection: u64,
    /// Records sent; `None` until it was sent the segment it began at anew.
    sent: Option<usize>,
    follow: Follow,
}

enum Batch {
    Send(Packet, usize),
    /// All that is flushed here has been sent.
    Nothing,
    /// The WAL it needs is gone.
    Removed(String),
    /// This connection is no longer served.
    Over,
}

impl PgHost {
    pub(super) async fn send_wal(self: Arc<Self>, end: Arc<End>, mut follow: Follow) {
        // The session is there, whatever is asked of it.
        end.send(Packet::Histories(Vec::new()));
        let connection = loop {
            match self.histories_for(&follow) {
                Ok(histories) => end.send(Packet::Histories(histories)),
                Err(reason) => return end.send(Packet::Refused { reason }),
            }
            match self.admit_follower(&follow) {
                Ok(connection) => break connection,
                Err(ends @ Packet::TimelineEnds { .. }) => end.send(ends),
                Err(refused) => return end.send(refused),
            }
            match end.recv().await {
                Some(Packet::Follow(again)) => follow = again,
                _ => return,
            }
        };
        self.bells.state.ring();
        self.spawn(self.clone().watch_follower(end.clone(), connection));
        let mut progress = Progress { connection, sent: None, follow };
        loop {
            let rings = self.bells.wal.rings();
            match self.next_batch(&progress) {
                Batch::Over => break,
                Batch::Removed(reason) => {
                    end.send(Packet::Stranded { how: Stranded::WalRemoved, reason });
                    break;
                }
                Batch::Send(packet, sent) => {
                    progress.sent = Some(sent);
                    end.send(packet);
                }
                Batch::Nothing => self.mark_streaming(connection),
            }
            match either(end.recv(), self.bells.wal.past(rings)).await {
                Either::Left(Some(Packet::Reply { written, flushed, applied })) => {
                    self.note_reply(connection, [written, flushed, applied]);
                }
                Either::Left(_) => break,
                Either::Right(()) => {}
            }
        }
        self.forget_follower(connection);
        end.close();
    }

    /// What a follower fetches first: every history from its own timeline up to this server's.
    fn histories_for(&self, follow: &Follow) -> Result<Vec<History>, String> {
        let mut pg = self.pg();
        let (dir, _) = pg.running().expect("tasks of a dead server don't run");
        if dir.system_id != follow.system_id {
            return Err("database system identifier differs".into());
        }
        if follow.tli > dir.history.tli {
            return Err(format!("timeline {} is behind recovery timeline {}", dir.history.tli, follow.tli));
        }
        let asked = (follow.tli.0 + 1..=dir.history.tli.0).map(Timeline);
        let missing = |tli: Timeline| format!("could not receive timeline history file {tli}");
        asked.map(|tli| dir.histories.get(&tli).cloned().ok_or_else(|| missing(tli))).collect()
    }

    /// What a server checks before it streams; the reasons are those Postgres gives.
    fn admit_follower(&self, follow: &Follow) -> Result<u64, Packet> {
        let refused = |reason: String| Packet::Refused { reason };
        let now = self.fate.now();
        let mut pg = self.pg();
        let connection = pg.next_backend();
        let (dir, server) = pg.running().expect("tasks of a dead server don't run");
        if let Some(slot) = &follow.slot {
            if !dir.slots.contains_key(slot) {
                return Err(refused(missing(slot)));
            }
            if server.uses(slot) {
                return Err(refused(format!("replication slot \"{slot}\" is active for another sender")));
            }
        }
        if follow.end > dir.wal.end_of(dir.flushed) && follow.tli == dir.history.tli {
            let reason = "requested starting point is ahead of the WAL flush position of this server";
            return Err(refused(reason.into()));
        }
        if dir.history.end_of(follow.tli).is_none() {
            return Err(refused(format!("timeline {} is not in this server's history", follow.tli)));
        }
        let count = dir.wal.count_until(follow.end);
        if dir.wal.end_of(count) != follow.end || dir.wal.uid_of(count) != follow.last {
            if dir.history.end_of(follow.tli).is_some_and(|end| follow.start <= end && end < follow.end) {
                let (new, old) = (dir.history.tli, follow.tli);
                let reason = format!("timeline {new} forked off timeline {old} before the current recovery point");
                return Err(Packet::TimelineEnds { reason });
            }
            let reason = "requested starting point is not in this server's history".into();
            return Err(Packet::Stranded { how: Stranded::Forked, reason });
        }
        let state = SenderState {
            application: follow.application.clone(),
            slot: follow.slot.clone(),
            rank: server.names.rank(&follow.application),
            streaming: false,
            written: Lsn::ZERO,
            flushed: Lsn::ZERO,
            applied: Lsn::ZERO,
            last_reply: now,
        };
        server.senders.insert(connection, state);
        Ok(connection)
    }

    fn next_batch(&self, progress: &Progress) -> Batch {
        let mut pg = self.pg();
        let segment_bytes = pg.settings.segment_bytes;
        let Some((dir, server)) = pg.running() else { return Batch::Over };
        if server.is_headless() || !server.senders.contains_key(&progress.connection) {
            return Batch::Over;
        }
        let (sent, next) = match progress.sent {
            Some(sent) if sent >= dir.flushed => return Batch::Nothing,
            Some(sent) => (sent, dir.wal.end_of(sent)),
            None => (dir.wal.count_until(progress.follow.end), progress.follow.start),
        };
        if !dir.wal.holds(next) {
            return Batch::Removed(removed(next, segment_bytes));
        }
        let until = dir.flushed.min(sent + BATCH);
        let records = dir.wal.records()[sent..until].to_vec();
        Batch::Send(Packet::Wal { records, history: dir.history.clone() }, until)
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

    fn note_reply(&self, connection: u64, [written, flushed, applied]: [Lsn; 3]) {
        let now = self.fate.now();
        let news = {
            let mut pg = self.pg();
            let version = pg.settings.version;
            let Some((dir, server)) = pg.running() else { return };
            let Some(s) = server.senders.get_mut(&connection) else { return };
            s.last_reply = now;
            let news = (s.written, s.flushed, s.applied) != (written, flushed, applied);
            (s.written, s.flushed, s.applied) = (written, flushed, applied);
            if let Some(slot) = &s.slot {
                dir.confirm_slot(slot, flushed, version);
            }
            news
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
