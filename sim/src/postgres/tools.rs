//! initdb, pg_rewind and pg_basebackup. They run as children of the keeper and die with it.

use super::directory::{Conninfo, DataDir};
use super::host::PgHost;
use super::wal::{Image, Kind};
use crate::net::{End, Packet, SourceInfo};
use pgbaton_core::check::Kind as Happened;
use pgbaton_core::model::{ControlState, Lsn, NodeId, Position};
use pgbaton_core::ports::{PgError, Source};
use std::time::Duration;

/// How long a tool waits for a word of its source.
const PATIENCE: Duration = Duration::from_secs(10);

fn retry(what: impl Into<String>) -> PgError {
    PgError::Retry(what.into())
}

impl PgHost {
    pub async fn initdb(&self) -> Result<(), PgError> {
        self.fate.sleep(self.fate.draw_ms(300..800)).await;
        let system_id = self.fate.random() >> 1;
        let mut pg = self.pg();
        if pg.dir.is_some() {
            return Err(PgError::Operator("the data directory is not empty".into()));
        }
        pg.dir = Some(DataDir::new(system_id));
        Ok(())
    }

    /// The directory of a stopped server.
    fn stopped<T>(&self, work: impl FnOnce(&mut DataDir) -> T) -> Result<T, PgError> {
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
        let count = self.stopped(|dir| dir.wal.count_until(end) - dir.wal.count_until(fork.lsn))?;
        let place = format!("kept/{}-{}-{}", fork.tli, fork.lsn, end);
        self.pg().kept.insert(place.clone(), count);
        Ok(place)
    }

    async fn open_source(&self, source: &Source, copy: Packet) -> Result<(End, SourceInfo), PgError> {
        let connect = self.net.connect(&self.name, &source.host, source.port);
        let end = match self.fate.timeout(PATIENCE, connect).await {
            Some(Ok(end)) => end,
            Some(Err(_)) => return Err(retry(format!("{} refuses connections", source.host))),
            None => return Err(retry(format!("{} doesn't answer", source.host))),
        };
        end.send(copy);
        match self.fate.timeout(PATIENCE, end.recv()).await {
            Some(Some(Packet::Source(info))) => Ok((end, info)),
            Some(Some(Packet::Refused { reason })) => Err(retry(reason)),
            _ => Err(retry(format!("lost the connection to {}", source.host))),
        }
    }

    async fn fetch(&self, end: End, takes: Duration) -> Result<Image, PgError> {
        end.send(Packet::Keepalive);
        match self.fate.timeout(PATIENCE + takes, end.recv()).await {
            Some(Some(Packet::Copied(image))) => Ok(*image),
            _ => Err(retry("the source went away")),
        }
    }

    /// Compares what the control files say, and only that: against a source that was promoted and
    /// has not written a checkpoint since, it finds nothing to do.
    pub async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        let unclean =
            self.stopped(|dir| !matches!(dir.state, ControlState::ShutDown | ControlState::ShutDownInRecovery))?;
        if unclean {
            self.recover_single_user().await?;
        }
        let takes = self.fate.draw_ms(200..600);
        let (end, info) = self.open_source(source, Packet::Copy { node: None, takes }).await?;
        let fork = self.stopped(|dir| {
            if dir.system_id != info.system_id {
                return Err(PgError::Operator("source and target are from different systems".into()));
            }
            if dir.checkpoint.tli == info.checkpoint_tli {
                return Ok(None);
            }
            let fork = info.history.fork(&dir.history);
            let fork = fork.ok_or_else(|| PgError::Condemned("no common ancestor timeline".into()))?;
            // Nothing of its own past the fork: the directory can follow as it is.
            Ok((dir.end().lsn > fork.lsn).then_some(fork))
        })??;
        if fork.is_none() {
            return Ok(());
        }
        self.stopped(|dir| dir.half_rewound = true)?;
        let image = self.fetch(end, takes).await?;
        self.stopped(|dir| {
            let admitted = std::mem::take(&mut dir.admitted);
            let before = std::mem::replace(dir, DataDir::from_image(image));
            dir.admitted = admitted;
            self.note_rebuilt(&before, dir);
        })
    }

    /// pg_rewind recovers an uncleanly stopped target in single-user mode, which writes WAL.
    async fn recover_single_user(&self) -> Result<(), PgError> {
        self.fate.sleep(self.fate.draw_ms(40..120)).await;
        let uid = self.fate.random();
        self.stopped(|dir| {
            dir.write_checkpoint(uid, Kind::Shutdown);
            dir.state = ControlState::ShutDown;
        })
    }

    /// Into a staging directory: until it is complete the old directory stays as it is.
    pub async fn base_backup(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        if self.pg().server.is_some() {
            return Err(retry("the server is running"));
        }
        let takes = self.fate.draw_ms(300..1000);
        let ask = Packet::Copy { node: Some(me), takes };
        let (end, _) = self.open_source(source, ask).await?;
        let image = self.fetch(end, takes).await?;
        let mut dir = DataDir::from_image(image);
        dir.conninfo = Some(Conninfo { me, host: source.host.clone(), port: source.port });
        let mut pg = self.pg();
        if let Some(before) = &pg.dir {
            self.note_rebuilt(before, &dir);
        }
        pg.dir = Some(dir);
        Ok(())
    }

    /// Which rows were in a directory and are not in the one that takes its place.
    fn note_rebuilt(&self, before: &DataDir, after: &DataDir) {
        let rows = |dir: &DataDir| dir.rows(dir.flushed);
        let gone = rows(before).difference(&rows(after)).copied().collect();
        self.chronicle.note(Happened::Rebuilt { node: self.name.clone(), gone });
    }
}
