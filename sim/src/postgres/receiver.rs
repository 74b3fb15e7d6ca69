//! The WAL receiver of a server in recovery.

use super::directory::Conninfo;
use super::host::{PgHost, ReceiverState};
use crate::net::{End, Follow, Packet};
use crate::world::fate::either;
use futures_util::future::Either;
use pgbaton_core::check::Kind as Happened;
use std::sync::Arc;
use std::time::Duration;

/// `wal_receiver_timeout`, and the limit for a connection attempt.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// `wal_retrieve_retry_interval`.
const RETRY: Duration = Duration::from_millis(100);

impl PgHost {
    pub(super) async fn receive(self: Arc<Self>) {
        loop {
            let (conninfo, changes) = self.bells.state.until(|| self.upstream()).await;
            let moved = || match self.upstream() {
                Some((_, now)) if now == changes => None,
                _ => Some(()),
            };
            let stream = self.stream_from(&conninfo);
            let ended = either(stream, self.bells.state.until(moved)).await;
            self.end_receiver();
            if matches!(ended, Either::Left(())) {
                self.fate.sleep(RETRY).await;
            }
        }
    }

    /// Where to stream from; nowhere once a promotion has begun.
    fn upstream(&self) -> Option<(Conninfo, u64)> {
        let mut pg = self.pg();
        let (_, server) = pg.running()?;
        if !server.in_recovery || server.promoting {
            return None;
        }
        Some((server.conninfo.clone()?, server.conninfo_changes))
    }

    /// A receiver that ends flushes what it has written.
    fn end_receiver(&self) {
        if let Some((dir, server)) = self.pg().running() {
            server.receiver = None;
            dir.flush();
        }
        self.bells.wal.ring();
        self.bells.replay.ring();
        self.bells.state.ring();
    }

    async fn stream_from(&self, from: &Conninfo) {
        let now = self.fate.now();
        if let Some((_, server)) = self.pg().running() {
            server.receiver = Some(ReceiverState { streaming: false, last_message: now });
        }
        let connect = self.net.connect(&self.name, &from.host, from.port);
        let Some(Ok(end)) = self.fate.timeout(SILENCE_MAX, connect).await else {
            return;
        };
        end.send(Packet::Follow(self.whereabouts(from)));
        let Some(Some(Packet::Histories(histories))) = self.fate.timeout(SILENCE_MAX, end.recv()).await else {
            return;
        };
        {
            let mut pg = self.pg();
            let Some((dir, server)) = pg.running() else { return };
            dir.histories.extend(histories.into_iter().map(|h| (h.tli, h)));
            server.received = true;
            if let Some(receiver) = &mut server.receiver {
                receiver.streaming = true;
            }
        }
        self.bells.state.ring();
        self.heard();
        let mut first = true;
        while let Some(Some(packet)) = self.fate.timeout(SILENCE_MAX, end.recv()).await {
            self.heard();
            let sealed = || self.pg().server.as_ref().is_some_and(|s| s.sealed);
            if matches!(packet, Packet::Wal { .. }) && (std::mem::take(&mut first) || sealed()) {
                let (node, from) = (self.name.clone(), from.host.clone());
                self.chronicle.note(Happened::Received { node, from });
            }
            self.take(&end, packet).await;
        }
    }

    fn whereabouts(&self, from: &Conninfo) -> Follow {
        let mut pg = self.pg();
        let (dir, _) = pg.running().expect("tasks of a dead server don't run");
        Follow { node: from.me, system_id: dir.system_id, end: dir.wal.end(), last: dir.wal.uid_of(dir.wal.len()) }
    }

    fn heard(&self) {
        let now = self.fate.now();
        if let Some(receiver) = self.pg().server.as_mut().and_then(|s| s.receiver.as_mut()) {
            receiver.last_message = now;
        }
    }

    async fn take(&self, end: &End, packet: Packet) {
        match packet {
            Packet::Wal { records, history } => {
                if let Some((dir, _)) = self.pg().running() {
                    dir.receive(&records, &history);
                }
                let flush = Duration::from_micros(200)..Duration::from_millis(1);
                self.fate.sleep(self.fate.draw(flush)).await;
                if let Some((dir, _)) = self.pg().running() {
                    dir.flush();
                }
                self.bells.wal.ring();
            }
            Packet::Keepalive => {}
            other => panic!("{}: a WAL receiver was sent {other:?}", self.name),
        }
        let flushed = self.pg().running().map(|(dir, _)| dir.end().lsn);
        if let Some(lsn) = flushed {
            end.send(Packet::Flushed(lsn));
        }
    }
}
