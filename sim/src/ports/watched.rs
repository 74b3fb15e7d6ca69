//! A keeper's hand on its Postgres, with a point before, amid and after everything it does, and trouble now and then.

use super::{SimPostgres, Troubled};
use crate::world::points::Gate;
use pgbaton_core::model::{Facts, Lsn, NodeId, Peer, Position, Timeline, Upstream};
use pgbaton_core::ports::{Names, PgError, Postgres, Source, StartAs, StopMode};
use pgbaton_core::scenario::FaultPoint;
use std::future::Future;

pub struct Watched {
    inner: Troubled<SimPostgres>,
    gate: Gate,
}

impl Watched {
    pub fn new(inner: Troubled<SimPostgres>, gate: Gate) -> Watched {
        Watched { inner, gate }
    }

    async fn step<T>(&self, name: &'static str, work: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
        let done = self.inner.step(self.reach(name, work)).await;
        self.note(name, done)
    }

    /// A step that only waits or looks: no trouble of its own.
    async fn wait<T>(&self, name: &'static str, work: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
        let done = self.reach(name, work).await;
        self.note(name, done)
    }

    fn note<T>(&self, name: &str, done: Result<T, PgError>) -> Result<T, PgError> {
        if done.is_err() {
            self.inner.port.note_failure(name);
        }
        done
    }

    async fn reach<T>(&self, name: &'static str, work: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
        match self.gate.step(name, work).await {
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
        self.inner.delay(FaultPoint::SlowLook, 1000).await;
        let facts = self.inner.could_read(self.inner.port.look().await);
        // What it saw may be old when it is back.
        self.inner.delay(FaultPoint::SlowLook, 1000).await;
        facts
    }

    async fn changed(&self) {
        self.inner.port.changed().await;
    }

    async fn create(&self) -> Result<(), PgError> {
        self.step("initdb", self.inner.port.create()).await
    }

    async fn recover(&self) -> Result<(), PgError> {
        self.step("recover", self.inner.port.recover()).await
    }

    async fn start(&self, role: StartAs) -> Result<(), PgError> {
        self.step("start", self.inner.port.start(role)).await
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        let done = self.inner.stop(self.reach("stop", self.inner.port.stop(mode))).await;
        self.note("stop", done)
    }

    async fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        let name = if upstream.is_some() { "follow" } else { "unfollow" };
        self.step(name, self.inner.port.follow(me, upstream)).await
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.step("seal", self.inner.port.seal()).await
    }

    async fn holds(&self, lsn: Lsn) -> Result<(), PgError> {
        self.wait("fetch", self.inner.port.holds(lsn)).await
    }

    async fn advance_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step("advance slots", self.inner.port.advance_slots(lsn)).await
    }

    async fn replayed_past(&self, lsn: Lsn) -> Result<(), PgError> {
        self.wait("drain", self.inner.port.replayed_past(lsn)).await
    }

    async fn set_names(&self, names: &Names) -> Result<(), PgError> {
        self.step("set names", self.inner.port.set_names(names)).await
    }

    async fn names_shown(&self) -> Result<(), PgError> {
        self.inner.port.names_shown().await
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        self.wait("prove names", self.inner.port.names_in_force()).await
    }

    async fn promote(&self, timeline: Timeline) -> Result<(), PgError> {
        self.step("promote", self.inner.port.promote(timeline)).await
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        self.step("checkpoint", self.inner.port.checkpoint()).await
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        self.step("admit", self.inner.port.admit(peers)).await
    }

    async fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.wait("inspect", self.inner.port.wal_past(fork)).await
    }

    async fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        self.step("keep aside", self.inner.port.keep_aside(fork, end)).await
    }

    async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        self.step("rewind", self.inner.port.rewind(source)).await
    }

    async fn clone_from(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        self.step("clone", self.inner.port.clone_from(me, source)).await
    }
}
