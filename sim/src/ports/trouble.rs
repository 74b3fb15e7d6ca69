//! Ports at which something goes wrong now and then, as a story's fault points say.

use crate::world::{Bell, Fate};
use pgbaton_core::model::{Facts, Lsn, NodeId, Peer, Position, Timeline, Upstream};
use pgbaton_core::ports::{
    Change, Link, LinkError, Names, PgError, Postgres, Snapshot, Source, StartAs, StopMode, Store, StoreError,
};
use pgbaton_core::scenario::FaultPoint;
use std::future::Future;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Troubled<T> {
    port: T,
    fate: Fate,
    /// Rung by a process that is to die here.
    death: Bell,
}

impl<T> Troubled<T> {
    pub fn new(port: T, fate: &Fate, death: &Bell) -> Troubled<T> {
        Troubled { port, fate: fate.clone(), death: death.clone() }
    }

    async fn delay(&self, point: FaultPoint, most_ms: u64) {
        if self.fate.strikes(point) {
            self.fate.sleep(self.fate.draw_ms(1..most_ms)).await;
        }
    }
}

impl<S: Store> Store for Troubled<S> {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.port.load().await
    }

    async fn commit(&self, expected: u64, changes: Vec<Change>) -> Result<u64, StoreError> {
        self.delay(FaultPoint::SlowCommit, 2000).await;
        if self.fate.strikes(FaultPoint::FailedCommit) {
            return Err(StoreError::Io("a fault point".into()));
        }
        let version = self.port.commit(expected, changes).await?;
        if self.fate.strikes(FaultPoint::DeathAfterCommit) {
            self.death.ring();
            std::future::pending::<()>().await;
        }
        Ok(version)
    }
}

impl<L: Link> Link for Troubled<L> {
    async fn call(&self, message: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let lost = || LinkError::Lost("a fault point".into());
        if self.fate.strikes(FaultPoint::LostCall) {
            return Err(lost());
        }
        let answer = self.port.call(message, patience).await?;
        if self.fate.strikes(FaultPoint::LostAnswer) { Err(lost()) } else { Ok(answer) }
    }
}

impl<P: Postgres> Troubled<P> {
    async fn step<T>(&self, work: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
        let failed = || PgError::Retry("a fault point".into());
        self.delay(FaultPoint::SlowStep, 3000).await;
        if self.fate.strikes(FaultPoint::FailedStep) {
            return Err(failed());
        }
        let done = work.await?;
        if self.fate.strikes(FaultPoint::UnsureStep) { Err(failed()) } else { Ok(done) }
    }
}

impl<P: Postgres> Postgres for Troubled<P> {
    async fn look(&self) -> Facts {
        self.delay(FaultPoint::SlowLook, 1000).await;
        self.port.look().await
    }

    async fn changed(&self) {
        self.port.changed().await;
    }

    async fn create(&self) -> Result<(), PgError> {
        self.step(self.port.create()).await
    }

    async fn start(&self, role: StartAs) -> Result<(), PgError> {
        self.step(self.port.start(role)).await
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        self.step(self.port.stop(mode)).await
    }

    async fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        self.step(self.port.follow(me, upstream)).await
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.step(self.port.seal()).await
    }

    async fn holds(&self, lsn: Lsn) -> Result<(), PgError> {
        self.port.holds(lsn).await
    }

    async fn advance_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step(self.port.advance_slots(lsn)).await
    }

    async fn replayed_past(&self, lsn: Lsn) -> Result<(), PgError> {
        self.port.replayed_past(lsn).await
    }

    async fn set_names(&self, names: &Names) -> Result<(), PgError> {
        self.step(self.port.set_names(names)).await
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        self.port.names_in_force().await
    }

    async fn promote(&self, timeline: Timeline) -> Result<(), PgError> {
        self.step(self.port.promote(timeline)).await
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        self.step(self.port.checkpoint()).await
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        self.step(self.port.admit(peers)).await
    }

    async fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.port.wal_past(fork).await
    }

    async fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        self.step(self.port.keep_aside(fork, end)).await
    }

    async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        self.step(self.port.rewind(source)).await
    }

    async fn clone_from(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        self.step(self.port.clone_from(me, source)).await
    }
}
