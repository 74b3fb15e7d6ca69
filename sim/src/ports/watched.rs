//! A keeper's hand on its Postgres, with a point before, amid and after everything it does.

use super::SimPostgres;
use crate::world::points::Gate;
use pgbaton_core::model::{Facts, Lsn, NodeId, Peer, Position, Timeline, Upstream};
use pgbaton_core::ports::{Names, PgError, Postgres, Source, StartAs, StopMode};
use std::future::Future;

pub struct Watched {
    inner: SimPostgres,
    gate: Gate,
}

impl Watched {
    pub fn new(inner: SimPostgres, gate: Gate) -> Watched {
        Watched { inner, gate }
    }

    async fn step<T>(&self, name: &'static str, work: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
        let (done, is_lost) = self.gate.step(name, work).await;
        if done.is_err() || is_lost {
            self.inner.note_failure(name);
        }
        match (done, is_lost) {
            (done, false) => done,
            // A tool that went through a directory, and whose end is unknown, may have left anything.
            (Ok(_), true) if matches!(name, "rewind" | "clone") => {
                Err(PgError::Condemned(format!("nobody knows how the {name} ended")))
            }
            (_, true) => Err(PgError::Retry(format!("nobody knows how the {name} ended"))),
        }
    }
}

impl Postgres for Watched {
    async fn look(&self) -> Facts {
        self.inner.look().await
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }

    async fn create(&self) -> Result<(), PgError> {
        self.step("initdb", self.inner.create()).await
    }

    async fn start(&self, role: StartAs) -> Result<(), PgError> {
        self.step("start", self.inner.start(role)).await
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        self.step("stop", self.inner.stop(mode)).await
    }

    async fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        let name = if upstream.is_some() { "follow" } else { "unfollow" };
        self.step(name, self.inner.follow(me, upstream)).await
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.step("seal", self.inner.seal()).await
    }

    async fn holds(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step("fetch", self.inner.holds(lsn)).await
    }

    async fn advance_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step("advance slots", self.inner.advance_slots(lsn)).await
    }

    async fn replayed_past(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step("drain", self.inner.replayed_past(lsn)).await
    }

    async fn set_names(&self, names: &Names) -> Result<(), PgError> {
        self.step("set names", self.inner.set_names(names)).await
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        self.step("prove names", self.inner.names_in_force()).await
    }

    async fn promote(&self, timeline: Timeline) -> Result<(), PgError> {
        self.step("promote", self.inner.promote(timeline)).await
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        self.step("checkpoint", self.inner.checkpoint()).await
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        self.step("admit", self.inner.admit(peers)).await
    }

    async fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.step("inspect", self.inner.wal_past(fork)).await
    }

    async fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        self.step("keep aside", self.inner.keep_aside(fork, end)).await
    }

    async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        self.step("rewind", self.inner.rewind(source)).await
    }

    async fn clone_from(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        self.step("clone", self.inner.clone_from(me, source)).await
    }
}
