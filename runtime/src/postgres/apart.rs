//! Steps and looks on threads of their own. What they do to files may hang in the kernel for as long as a disk stalls, and
//! the keeper's loop has to speak, to count and to close all the same.

use pgbaton_core::model::{Facts, Lsn, NodeId, Peer, Position, Timeline, Upstream};
use pgbaton_core::ports::{Names, PgError, Postgres, Source, StartAs, StopMode};
use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

/// By then a step that was given up has come to where it waits, unless it hangs.
const PATIENCE: Duration = Duration::from_millis(200);

pub struct Apart<P> {
    postgres: Arc<P>,
    /// One step after the other: what one that was given up still writes must not come after what the next one writes.
    turn: Arc<Mutex<()>>,
}

impl<P: Postgres> Apart<P> {
    pub fn new(postgres: P) -> Apart<P> {
        Apart { postgres: Arc::new(postgres), turn: Arc::default() }
    }

    async fn step<T, F>(&self, work: impl FnOnce(Arc<P>) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (postgres, turn) = (self.postgres.clone(), self.turn.clone());
        apart(async move {
            let _turn = turn.lock_owned().await;
            work(postgres).await
        })
        .await
    }
}

/// Goes on until it is done, or waits for something after it was given up.
async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (mut tell, told) = oneshot::channel();
    let here = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        here.block_on(async move {
            tokio::select! {
                biased;
                () = tell.closed() => {}
                result = work => drop(tell.send(result)),
            }
        });
    });
    match told.await {
        Ok(result) => result,
        Err(_) => match thread.await {
            Err(e) if e.is_panic() => resume_unwind(e.into_panic()),
            // The program ends.
            _ => pending().await,
        },
    }
}

impl<P: Postgres> Postgres for Apart<P> {
    async fn look(&self) -> Facts {
        let postgres = self.postgres.clone();
        apart(async move { postgres.look().await }).await
    }

    async fn changed(&self) {
        self.postgres.changed().await;
    }

    async fn create(&self) -> Result<(), PgError> {
        self.step(|postgres| async move { postgres.create().await }).await
    }

    async fn recover(&self) -> Result<(), PgError> {
        self.step(|postgres| async move { postgres.recover().await }).await
    }

    async fn start(&self, role: StartAs) -> Result<(), PgError> {
        self.step(move |postgres| async move { postgres.start(role).await }).await
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        let (postgres, turn) = (self.postgres.clone(), self.turn.clone());
        apart(async move {
            let _turn = tokio::time::timeout(PATIENCE, turn.lock_owned()).await;
            postgres.stop(mode).await
        })
        .await
    }

    async fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        let upstream = upstream.cloned();
        self.step(move |postgres| async move { postgres.follow(me, upstream.as_ref()).await }).await
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.step(|postgres| async move { postgres.seal().await }).await
    }

    async fn replayed_past(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step(move |postgres| async move { postgres.replayed_past(lsn).await }).await
    }

    async fn holds(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step(move |postgres| async move { postgres.holds(lsn).await }).await
    }

    async fn advance_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.step(move |postgres| async move { postgres.advance_slots(lsn).await }).await
    }

    async fn set_names(&self, names: &Names) -> Result<(), PgError> {
        let names = names.clone();
        self.step(move |postgres| async move { postgres.set_names(&names).await }).await
    }

    async fn names_shown(&self) -> Result<(), PgError> {
        self.step(|postgres| async move { postgres.names_shown().await }).await
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        self.step(|postgres| async move { postgres.names_in_force().await }).await
    }

    async fn promote(&self, timeline: Timeline) -> Result<(), PgError> {
        self.step(move |postgres| async move { postgres.promote(timeline).await }).await
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        self.step(|postgres| async move { postgres.checkpoint().await }).await
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        let peers = peers.to_vec();
        self.step(move |postgres| async move { postgres.admit(&peers).await }).await
    }

    async fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.step(move |postgres| async move { postgres.wal_past(fork).await }).await
    }

    async fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        self.step(move |postgres| async move { postgres.keep_aside(fork, end).await }).await
    }

    async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        let source = source.clone();
        self.step(move |postgres| async move { postgres.rewind(&source).await }).await
    }

    async fn clone_from(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        let source = source.clone();
        self.step(move |postgres| async move { P::clone_from(&postgres, me, &source).await }).await
    }
}
