//! Ports for tests of the loop: nothing waits but what is told to, and time stands still until it is moved.

use super::*;
use crate::keeper::plan::testing::down;
use crate::ports::{Names, Source, StartAs, StopMode};
use crate::shell::commit::testing::Moody;
use futures_util::FutureExt;
use std::future::pending;
use std::sync::{Arc, Mutex};

#[derive(Clone)]
pub struct Still(Arc<Mutex<Moment>>);

impl Still {
    pub fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = *now + time;
    }
}

impl Clock for Still {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    async fn sleep_until(&self, until: Moment) {
        poll_fn(|_| if self.now() < until { Poll::Pending } else { Poll::Ready(()) }).await
    }

    fn random(&self) -> u64 {
        0
    }
}

/// Nobody answers.
#[derive(Clone)]
pub struct NoLink;

impl Link for NoLink {
    async fn call(&self, _: Vec<u8>, _: Duration) -> Result<Vec<u8>, LinkError> {
        pending().await
    }
}

/// Writes down what is asked of it; one thing it never gets done.
pub struct Scribe {
    pub done: Mutex<Vec<String>>,
    pub facts: Mutex<Facts>,
    pub hangs: &'static str,
}

impl Scribe {
    async fn does<T>(&self, what: impl Into<String>, gives: T) -> Result<T, PgError> {
        let what = what.into();
        self.done.lock().unwrap().push(what.clone());
        if what == self.hangs {
            pending::<()>().await;
        }
        Ok(gives)
    }

    pub fn has(&self, what: &str) -> bool {
        self.done.lock().unwrap().iter().any(|done| done == what)
    }
}

impl Postgres for Scribe {
    async fn look(&self) -> Facts {
        self.facts.lock().unwrap().clone()
    }

    async fn changed(&self) {
        pending().await
    }

    async fn create(&self) -> Result<(), PgError> {
        self.does("create", ()).await
    }

    async fn recover(&self) -> Result<(), PgError> {
        self.does("recover", ()).await
    }

    async fn start(&self, _: StartAs) -> Result<(), PgError> {
        self.facts.lock().unwrap().server = Server::Starting;
        self.does("start", ()).await
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        self.facts.lock().unwrap().server = Server::Down;
        self.does(if mode == StopMode::Fast { "stop" } else { "kill" }, ()).await
    }

    async fn follow(&self, _: NodeId, _: Option<&Upstream>) -> Result<(), PgError> {
        self.does("follow", ()).await
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.does("seal", Position::new(1, 1000)).await
    }

    async fn holds(&self, _: Lsn) -> Result<(), PgError> {
        self.does("fetch", ()).await
    }

    async fn advance_slots(&self, _: Lsn) -> Result<(), PgError> {
        self.does("advance slots", ()).await
    }

    async fn replayed_past(&self, _: Lsn) -> Result<(), PgError> {
        self.does("drain", ()).await
    }

    async fn set_names(&self, _: &Names) -> Result<(), PgError> {
        self.does("set names", ()).await
    }

    async fn names_shown(&self) -> Result<(), PgError> {
        Ok(())
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        self.does("prove names", ()).await
    }

    async fn promote(&self, _: Timeline) -> Result<(), PgError> {
        self.does("promote", ()).await
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        self.does("checkpoint", ()).await
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        let nodes: Vec<String> = peers.iter().map(|peer| peer.node.to_string()).collect();
        self.does(format!("admit {}", nodes.join(" ")).trim(), ()).await
    }

    async fn wal_past(&self, _: Position) -> Result<Option<Lsn>, PgError> {
        self.does("inspect", None).await
    }

    async fn keep_aside(&self, _: Position, _: Lsn) -> Result<String, PgError> {
        self.does("keep aside", String::new()).await
    }

    async fn rewind(&self, _: &Source) -> Result<(), PgError> {
        self.does("rewind", ()).await
    }

    async fn clone_from(&self, _: NodeId, _: &Source) -> Result<(), PgError> {
        self.does("clone", ()).await
    }
}

pub type Ports = KeeperPorts<Still, NoLink, Moody, Scribe>;
pub type TestKeeper<'a> = Keeper<'a, Still, NoLink, Moody, Scribe>;

pub fn ports(facts: Facts, hangs: &'static str) -> Ports {
    let clock = Still(Arc::new(Mutex::new(Moment::ZERO + Duration::from_secs(1000))));
    let postgres = Scribe { done: Mutex::default(), facts: Mutex::new(facts), hangs };
    KeeperPorts { clock, link: NoLink, store: Moody::default(), postgres }
}

pub fn idle() -> Ports {
    ports(down(), "")
}

/// One that heard from the monitor just now, which knows what its server is.
pub fn keeper(ports: &Ports, record: KeeperRecord) -> TestKeeper<'_> {
    let now = ports.clock.now();
    let mut keeper = Keeper::new(ports, KeeperSettings::default(), Ledger::at(0), record, Box::pin(pending()), now);
    keeper.heard = ports.clock.now();
    keeper.memory.told = true;
    keeper.facts = ports.postgres.facts.lock().unwrap().clone();
    keeper.memory.told_closed = !keeper.facts.is_open();
    keeper
}

pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("nothing here waits")
}

/// Until there is nothing to do but to wait.
pub fn run(keeper: &mut TestKeeper) {
    while keeper.turn().now_or_never().is_some() {}
}
