//! Ports at which something goes wrong now and then, as a story's fault points say.

use crate::world::{Bell, Fate};
use pgbaton_core::model::{Directory, Facts};
use pgbaton_core::ports::{Change, Link, LinkError, PgError, Snapshot, Store, StoreError};
use pgbaton_core::scenario::FaultPoint;
use pgbaton_core::scenario::point::SLOW_STEP;
use std::future::Future;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Troubled<T> {
    pub(super) port: T,
    fate: Fate,
    /// Rung by a process that is to die here.
    death: Bell,
}

impl<T> Troubled<T> {
    pub fn new(port: T, fate: &Fate, death: &Bell) -> Troubled<T> {
        Troubled { port, fate: fate.clone(), death: death.clone() }
    }

    pub(super) async fn delay(&self, point: FaultPoint, most_ms: u64) {
        if self.fate.strikes(point) {
            self.fate.sleep(self.fate.draw_ms(1..most_ms)).await;
        }
    }

    /// What a look saw, whose last part is to read the data directory.
    pub(super) fn could_read(&self, facts: Facts) -> Facts {
        if !self.fate.strikes(FaultPoint::FailedLook) {
            return facts;
        }
        Facts { directory: Directory::Unusable { reason: "a fault point".into() }, ..facts }
    }

    /// A step on a Postgres.
    pub(super) async fn step<R>(&self, work: impl Future<Output = Result<R, PgError>>) -> Result<R, PgError> {
        let failed = || PgError::Retry("a fault point".into());
        self.delay(FaultPoint::SlowStep, SLOW_STEP.as_millis() as u64).await;
        if self.fate.strikes(FaultPoint::FailedStep) {
            return Err(failed());
        }
        let done = work.await?;
        if self.fate.strikes(FaultPoint::UnsureStep) { Err(failed()) } else { Ok(done) }
    }

    /// A stop is a signal: it is sent, and at once. Its end alone may be late, or missed.
    pub(super) async fn stop(&self, work: impl Future<Output = Result<(), PgError>>) -> Result<(), PgError> {
        work.await?;
        self.delay(FaultPoint::SlowStep, SLOW_STEP.as_millis() as u64).await;
        let missed = [FaultPoint::FailedStep, FaultPoint::UnsureStep].into_iter().any(|point| self.fate.strikes(point));
        if missed { Err(PgError::Retry("a fault point".into())) } else { Ok(()) }
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
