//! The WAL receiver of a server in recovery.

use super::directory::Conninfo;
use super::host::{PgHost, until_either};
use super::server::{Phase, ReceiverState, Refusal};
use crate::net::{End, Follow, Packet};
use crate::world::fate::either;
use futures_util::future::Either;
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{Lsn, Stranded};
use std::sync::Arc;
use std::time::Duration;

/// `wal_receiver_timeout`, and the limit for a connection attempt.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// `wal_retrieve_retry_interval`.
pub const RETRY: Duration = Duration::from_millis(100);

impl PgHost {
    pub(super) async fn receive(self: Arc<Self>) {
        loop {
            let exhausted = || self.upstream().filter(|_| self.has_replayed_all() && self.has_asked_archive());
            let (conninfo, changes) = until_either(&self.bells.state, &self.bells.replay, exhausted).await;
            let moved = || match self.upstream() {
                Some((_, now)) if now == changes => None,
                _ => Some(()),
            };
            let stream = self.stream_from(&conninfo);
            let ended = either(stream, self.bells.state.until(moved)).await;
            self.end_receiver().await;
            if matches!(ended, Either::Left(())) {
                self.fate.sleep(RETRY).await;
            }
        }
    }

    /// Where to stream from; nowhere once a promotion has begun.
    fn upstream(&self) -> Option<(Conninfo, u64)> {
        let mut pg = self.pg();
        let (_, server) = pg.running()?;
        // A stop ends it before the last of the log is flushed.
        if !server.in_recovery || server.promoting || server.phase == Phase::Stopping {
            return None;
        }
        Some((server.conninfo.clone()?, server.conninfo_changes))
    }

    /// A receiver is asked for only when the log in the directory is read to its end.
    fn has_replayed_all(&self) -> bool {
        self.pg().running().is_some_and(|(dir, server)| server.replayed == dir.wal.len())
    }

    /// The archive comes before the upstream.
    fn has_asked_archive(&self) -> bool {
        let pg = self.pg();
        !pg.restores() || pg.server.as_ref().is_some_and(|server| server.archive_tried)
    }

    /// A receiver that ends flushes what it has written.
    async fn end_receiver(&self) {
        if self.disk_takes().await.is_err() {
            return self.kill_server();
        }
        if let Some((dir, server)) = self.pg().running() {
            server.receiver = None;
            server.archive_tried = false;
            dir.flush();
        }
        self.bells.wal.ring();
        self.bells.replay.ring();
        self.bells.state.ring();
    }

    async fn stream_from(&self, from: &Conninfo) {
        let ask = self.begin_to_receive(from);
        let connect = self.net.connect(&self.name, &from.host, from.port);
        let Some(Ok(end)) = self.fate.timeout(SILENCE_MAX, connect).await else {
            return;
        };
        end.send(Packet::Follow(ask));
        self.heard();
        let mut first = true;
        loop {
            let replayed = self.bells.feedback.rings();
            let news = self.fate.timeout(SILENCE_MAX, end.recv());
            match either(news, self.bells.feedback.past(replayed)).await {
                Either::Left(Some(Some(packet))) => {
                    self.heard();
                    if matches!(packet, Packet::Wal { .. }) {
                        self.note_received(from, std::mem::take(&mut first));
                    }
                    if !self.take(&end, from, packet).await {
                        return;
                    }
                }
                Either::Left(_) => return,
                Either::Right(()) => self.reply(&end),
            }
        }
    }

    /// The first receiver of a server's life, or on a timeline, begins at the start of a segment: what is known
    /// to be received falls back to it, whatever lies behind it in the log.
    fn begin_to_receive(&self, from: &Conninfo) -> Follow {
        let now = self.fate.now();
        let mut pg = self.pg();
        let segment = pg.settings.segment_bytes;
        let here = pg.server.as_ref().and_then(|server| server.receiver.as_ref()).map(|receiver| receiver.pid);
        let pid = here.unwrap_or_else(|| pg.next_backend());
        let (dir, server) = pg.running().expect("tasks of a dead server don't run");
        let end = dir.wal.end();
        let start = Lsn(end.0 / segment * segment);
        if server.received.is_none_or(|(tli, _)| tli != dir.history.tli) {
            server.received = Some((dir.history.tli, start));
        }
        server.receiver = Some(ReceiverState { pid, streaming: false, waiting: false, last_message: now });
        Follow {
            application: from.application.clone(),
            slot: from.slot.clone(),
            system_id: dir.system_id,
            tli: server.timeline_to_ask_for(dir),
            start,
            end,
            last: dir.wal.uid_of(dir.wal.len()),
        }
    }

    /// The receiver stays. The startup process looks elsewhere, and then has it ask again from where it was.
    async fn ask_again(&self, end: &End, from: &Conninfo, reason: String) {
        self.fate.sleep(self.fate.draw_ms(1..5)).await;
        if let Some(server) = self.pg().server.as_mut() {
            server.refusal = Some(Refusal { reason, stranded: Some(Stranded::Forked) });
            server.archive_tried = false;
            if let Some(receiver) = server.receiver.as_mut() {
                (receiver.streaming, receiver.waiting) = (false, true);
            }
        }
        self.bells.state.ring();
        self.fate.sleep(RETRY).await;
        let exhausted = || (self.has_replayed_all() && self.has_asked_archive()).then_some(());
        until_either(&self.bells.state, &self.bells.replay, exhausted).await;
        end.send(Packet::Follow(self.begin_to_receive(from)));
    }

    async fn end_refused(&self, reason: String, stranded: Option<Stranded>) -> bool {
        self.fate.sleep(self.fate.draw_ms(1..5)).await;
        if let Some(server) = self.pg().server.as_mut() {
            server.refusal = Some(Refusal { reason, stranded });
        }
        false
    }

    /// A receiver is seen streaming as soon as a sender has taken it in, whatever it is told then.
    fn call_streaming(&self) {
        if let Some(receiver) = self.pg().server.as_mut().and_then(|s| s.receiver.as_mut()) {
            receiver.streaming = true;
        }
        self.bells.state.ring();
    }

    fn forget_refusal(&self) {
        if let Some(server) = self.pg().server.as_mut() {
            server.refusal = None;
        }
    }

    /// Once for each connection, and whatever comes to a server that has promised to receive no more.
    fn note_received(&self, from: &Conninfo, first: bool) {
        let sealed = self.pg().server.as_ref().is_some_and(|s| s.sealed);
        if first || sealed {
            self.chronicle.note(Happened::Received { node: self.name.clone(), from: from.host.clone() });
        }
    }

    fn heard(&self) {
        let now = self.fate.now();
        if let Some(receiver) = self.pg().server.as_mut().and_then(|s| s.receiver.as_mut()) {
            receiver.last_message = now;
        }
    }

    /// False when the receiver ends by it.
    async fn take(&self, end: &End, from: &Conninfo, packet: Packet) -> bool {
        match packet {
            Packet::TimelineEnds { reason } => {
                self.ask_again(end, from, reason).await;
                return true;
            }
            Packet::Histories(histories) => {
                self.call_streaming();
                if let Some((dir, _)) = self.pg().running() {
                    // A file that is there is not asked for.
                    for history in histories {
                        dir.histories.entry(history.tli).or_insert(history);
                    }
                }
                return true;
            }
            // What it holds already is sent anew first, and moves nothing.
            Packet::Wal { records, .. } if records.is_empty() => self.forget_refusal(),
            Packet::Wal { records, history } => {
                self.forget_refusal();
                if let Some((dir, _)) = self.pg().running() {
                    dir.receive(&records, &history);
                }
                self.reply(end);
                if self.flush_received().await.is_err() {
                    self.kill_server();
                    return false;
                }
            }
            Packet::Keepalive => {}
            Packet::Refused { reason } => return self.end_refused(reason, None).await,
            Packet::Stranded { how, reason } => return self.end_refused(reason, Some(how)).await,
            other => panic!("{}: a WAL receiver was sent {other:?}", self.name),
        }
        self.reply(end);
        true
    }

    async fn flush_received(&self) -> Result<(), super::knobs::NoDisk> {
        let sync = Duration::from_micros(200)..Duration::from_millis(1);
        self.fate.sleep(self.fate.draw(sync)).await;
        self.disk_takes().await?;
        if let Some((dir, server)) = self.pg().running() {
            dir.flush();
            server.received = Some((dir.history.tli, dir.wal.end()));
        }
        self.bells.wal.ring();
        Ok(())
    }

    fn reply(&self, end: &End) {
        let reply = self.pg().running().map(|(dir, server)| Packet::Reply {
            written: dir.wal.end_of(dir.written),
            flushed: dir.wal.end_of(dir.flushed),
            applied: dir.wal.end_of(server.replayed),
        });
        if let Some(reply) = reply {
            end.send(reply);
        }
    }
}
