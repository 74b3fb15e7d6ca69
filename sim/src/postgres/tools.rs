//! initdb and pg_basebackup, and what pg_rewind has in common with them. They run as children of the keeper and
//! die with it.

use super::directory::{Conninfo, DataDir, NEW_CLUSTER};
use super::host::PgHost;
use super::start::Pace;
use super::wal::Image;
use crate::net::{End, Packet, SourceInfo};
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{Lsn, NodeId, Position};
use pgbaton_core::mutant;
use pgbaton_core::ports::{PgError, Source};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a tool waits for a word of its source.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn retry(what: impl Into<String>) -> PgError {
    PgError::Retry(what.into())
}

impl PgHost {
    pub async fn initdb(&self) -> Result<(), PgError> {
        self.fate.sleep(self.fate.draw_ms(300..800)).await;
        if self.disk_takes().await.is_err() {
            return Err(retry("initdb can't write"));
        }
        let (system_id, now) = (self.fate.random() >> 1, self.fate.now());
        let mut pg = self.pg();
        if pg.dir.is_some() {
            return Err(PgError::Operator("the data directory is not empty".into()));
        }
        pg.dir = Some(DataDir::new(system_id, now));
        Ok(())
    }

    /// The directory of a stopped server.
    pub(super) fn stopped<T>(&self, work: impl FnOnce(&mut DataDir) -> T) -> Result<T, PgError> {
        let mut pg = self.pg();
        if pg.server.is_some() {
            return Err(retry("the server is running"));
        }
        pg.dir.as_mut().map(work).ok_or_else(|| retry("there is no data directory"))
    }

    pub fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.stopped(|dir| dir.wal_past(fork))
    }

    pub fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        let ids = self.stopped(|dir| {
            let before = dir.wal.count_until(fork.lsn);
            rows(dir, dir.flushed).difference(&rows(dir, before)).copied().collect()
        })?;
        self.chronicle.note(Happened::KeptAside { node: self.name.clone(), ids });
        Ok(format!("kept/{}-{}-{}", fork.tli, fork.lsn, end))
    }

    pub(super) async fn open_source(
        &self,
        source: &Source,
        slot: Option<String>,
    ) -> Result<(End, SourceInfo), PgError> {
        let connect = self.net.connect(&self.name, &source.host, source.port);
        let end = match self.fate.timeout(PATIENCE, connect).await {
            Some(Ok(end)) => end,
            Some(Err(_)) => return Err(retry(format!("{} refuses connections", source.host))),
            None => return Err(retry(format!("{} doesn't answer", source.host))),
        };
        end.send(Packet::Copy { slot });
        match self.fate.timeout(PATIENCE, end.recv()).await {
            Some(Some(Packet::Source(info))) => Ok((end, info)),
            Some(Some(Packet::Refused { reason })) => Err(retry(reason)),
            _ => Err(retry(format!("lost the connection to {}", source.host))),
        }
    }

    pub(super) async fn fetch(&self, end: End, takes: Duration, pace: Pace) -> Result<Image, PgError> {
        end.send(Packet::Fetch { takes, pace });
        let image = loop {
            match self.fate.timeout(PATIENCE, end.recv()).await {
                Some(Some(Packet::Copied(image))) => break image,
                Some(Some(Packet::Keepalive)) => {}
                Some(Some(Packet::Refused { reason })) => return Err(retry(reason)),
                _ => return Err(retry("the source went away")),
            }
        };
        match self.disk_takes().await {
            Ok(()) => Ok(*image),
            Err(_) => Err(retry("the copy can't be written")),
        }
    }

    /// With a checkpoint that hurries, as pgbaton asks for it.
    pub async fn base_backup(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        self.base_backup_after(Pace::Fast, me, source).await
    }

    /// Into a staging directory: until it is complete the old directory stays as it is. What a copy takes depends on
    /// how much there is; a story may say what it takes in all.
    pub(super) async fn base_backup_after(&self, pace: Pace, me: NodeId, source: &Source) -> Result<(), PgError> {
        if self.pg().server.is_some() {
            return Err(retry("the server is running"));
        }
        let drawn = self.fate.draw_ms(300..1000);
        let name = me.standby_name();
        let (end, info) = self.open_source(source, Some(name.clone())).await?;
        let of_it_all = drawn.mul_f64(info.bytes as f64 / NEW_CLUSTER as f64);
        let takes = self.pg().settings.base_backup_takes.unwrap_or(of_it_all);
        if mutant!(StartsHalfClone) {
            let now = self.fate.now();
            let mut pg = self.pg();
            pg.dir.get_or_insert_with(|| DataDir::new(info.system_id, now)).half_rewound = true;
        }
        let image = self.fetch(end, takes, pace).await?;
        let mut dir = DataDir::from_image(image);
        dir.standby_signal = true;
        let (host, port) = (source.host.clone(), source.port);
        dir.conninfo = Some(Conninfo { application: name.clone(), slot: Some(name), host, port });
        let mut pg = self.pg();
        if let Some(before) = &pg.dir {
            self.note_rebuilt(before, &dir);
        }
        pg.dir = Some(dir);
        drop(pg);
        // postgresql.conf is the source's now.
        self.break_config(false);
        Ok(())
    }

    /// Which rows were in a directory and are not in the one that takes its place.
    pub(super) fn note_rebuilt(&self, before: &DataDir, after: &DataDir) {
        let gone = rows(before, before.flushed).difference(&rows(after, after.flushed)).copied().collect();
        self.chronicle.note(Happened::Rebuilt { node: self.name.clone(), gone });
    }
}

/// Ids of the rows visible once the first `count` records are applied.
fn rows(dir: &DataDir, count: usize) -> BTreeSet<u64> {
    dir.wal.inserts(count).collect()
}
