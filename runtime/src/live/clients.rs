//! Clients of a live run: each inserts rows with ids of its own through whichever node is writable, and
//! writes down what it was told.

use super::ledger::{Ledger, Outcome, Write};
use super::reader;
use anyhow::{Context, Result};
use futures_util::{StreamExt, future, stream};
use pgbaton_core::scenario::{Size, SynchronousCommit, Workload, WorkloadKind};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// Outages are measured as finely as this.
const CONNECT_PAUSE: Duration = Duration::from_millis(15);
/// A client that hears nothing for this long can't know what became of its write, and connects anew.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// For the count at the end.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// A node as clients know it.
#[derive(Debug, Clone)]
pub struct Target {
    pub node: String,
    pub address: SocketAddrV4,
    pub dbname: String,
}

pub struct Clients {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Writers, whose numbers begin with `first`, and those who read back what was written.
    pub fn start(workloads: &[Workload], targets: &Arc<Vec<Target>>, ledger: &Arc<Ledger>, first: u32) -> Clients {
        let mut clients = Clients::inserters(workloads, targets, ledger, first);
        if !clients.tasks.is_empty() {
            let (targets, ledger) = (Arc::clone(targets), Arc::clone(ledger));
            clients.add(async move { reader::run(&targets, &ledger).await });
        }
        for workload in workloads.iter().filter(|w| w.kind == WorkloadKind::StandbyReads) {
            let period = period(workload);
            for _ in 0..workload.clients {
                let (targets, ledger) = (Arc::clone(targets), Arc::clone(ledger));
                clients.add(async move { reader::run_on_standby(&targets, &ledger, period).await });
            }
        }
        clients
    }

    /// Nobody reads what they write.
    pub fn inserters(workloads: &[Workload], targets: &Arc<Vec<Target>>, ledger: &Arc<Ledger>, first: u32) -> Clients {
        let mut clients = Clients { stop: watch::channel(false).0, tasks: Vec::new() };
        for workload in workloads.iter().filter(|w| w.kind != WorkloadKind::StandbyReads) {
            for _ in 0..workload.clients {
                let client = Inserter {
                    number: first + u32::try_from(clients.tasks.len()).expect("few clients"),
                    period: period(workload),
                    synchronous_commit: workload.synchronous_commit,
                    sticky: workload.sticky,
                    filler: workload.row.map(filler),
                    targets: Arc::clone(targets),
                    ledger: Arc::clone(ledger),
                };
                clients.add(async move { client.run().await });
            }
        }
        clients
    }

    fn add(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stop.subscribe();
        self.tasks.push(tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }));
    }

    /// A write under way when this is called was sent and not answered, which nobody counts on.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.context("a client has panicked")?;
        }
        Ok(())
    }
}

fn period(workload: &Workload) -> Duration {
    Duration::from_secs_f64(f64::from(workload.clients) / workload.rate)
}

/// Chance can't be compressed. What the log adds to a row is little beside one whose size is said.
fn filler(Size(bytes): Size) -> Vec<u8> {
    (0..bytes).map(|_| rand::random()).collect()
}

struct Inserter {
    number: u32,
    period: Duration,
    synchronous_commit: SynchronousCommit,
    /// Goes on with its session as long as there is one.
    sticky: bool,
    /// What makes its rows as large as its workload wants them.
    filler: Option<Vec<u8>>,
    targets: Arc<Vec<Target>>,
    ledger: Arc<Ledger>,
}

impl Inserter {
    async fn run(&self) {
        let mut next: u64 = 1;
        let mut ticks = interval(self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let session = connect_writable(&self.targets).await;
            let Ok(insert) = session.prepare(self.synchronous_commit).await else {
                sleep(CONNECT_PAUSE).await;
                continue;
            };
            loop {
                ticks.tick().await;
                // Ids of two clients never meet.
                let id = (u64::from(self.number) + 1) << 32 | next;
                next += 1;
                if !self.write(&session, &insert, id).await {
                    break;
                }
            }
        }
    }

    /// False when the session is of no more use.
    async fn write(&self, session: &Session, insert: &Statement, id: u64) -> bool {
        let sent = Instant::now();
        session.warned.store(false, Ordering::SeqCst);
        let (key, client) = (id.cast_signed(), self.number.cast_signed());
        let patience = if self.sticky { Duration::MAX } else { WRITE_PATIENCE };
        let answer = timeout(patience, session.client.execute(insert, &[&key, &client, &self.filler])).await;
        let unpromised = self.synchronous_commit.forgoes_standbys();
        let outcome = match &answer {
            Ok(Ok(_)) => Outcome::Acked {
                node: session.node.clone(),
                // No promise either way.
                warning: session.warned.load(Ordering::SeqCst) || unpromised,
            },
            Ok(Err(e)) => Outcome::NotAcked { known_failed: surely_failed(e), unpromised },
            Err(_) => Outcome::NotAcked { known_failed: false, unpromised },
        };
        self.ledger.note(Write { client: self.number, id, sent: sent.into_std(), outcome });
        matches!(answer, Ok(Ok(_))) || self.sticky && !session.client.is_closed()
    }
}

/// Postgres says that the statement was refused. Any other error may have come after the commit, above all
/// "terminating connection" while it waited for a standby.
fn surely_failed(e: &tokio_postgres::Error) -> bool {
    let refusals = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::UNIQUE_VIOLATION, SqlState::UNDEFINED_TABLE];
    e.code().is_some_and(|code| refusals.contains(code))
}

pub struct Session {
    pub client: Client,
    pub node: String,
    /// Postgres has warned that the write was committed without its standby.
    warned: Arc<AtomicBool>,
}

impl Session {
    async fn prepare(&self, synchronous_commit: SynchronousCommit) -> Result<Statement> {
        let setting = match synchronous_commit {
            SynchronousCommit::On => "on",
            SynchronousCommit::Off => "off",
            SynchronousCommit::Local => "local",
            SynchronousCommit::RemoteWrite => "remote_write",
            SynchronousCommit::RemoteApply => "remote_apply",
        };
        let set = format!("set synchronous_commit = {setting}");
        timeout(WRITE_PATIENCE, self.client.batch_execute(&set)).await??;
        let text = "insert into pgbaton_writes (id, client, filler) values ($1, $2, $3)";
        Ok(timeout(WRITE_PATIENCE, self.client.prepare(text)).await??)
    }
}

/// All nodes are tried at once, each again and again: one that is frozen takes connections and says nothing, and a
/// client that waited for its answer would measure its own patience.
pub async fn connect_writable(targets: &[Target]) -> Session {
    let tries = targets.iter().map(|target| {
        Box::pin(async move {
            loop {
                match connect(target).await {
                    Ok(session) => return session,
                    Err(_) => sleep(CONNECT_PAUSE).await,
                }
            }
        })
    });
    future::select_all(tries).await.0
}

/// In the order of the cluster: whoever takes no writes first is read.
pub async fn connect_standby(targets: &[Target]) -> Session {
    loop {
        for target in targets {
            if let Ok(session) = connect_to(target, TargetSessionAttrs::ReadOnly).await {
                return session;
            }
        }
        sleep(CONNECT_PAUSE).await;
    }
}

async fn connect(target: &Target) -> Result<Session> {
    connect_to(target, TargetSessionAttrs::ReadWrite).await
}

async fn connect_to(target: &Target, wanted: TargetSessionAttrs) -> Result<Session> {
    let mut config = Config::new();
    config.host(target.address.ip().to_string()).port(target.address.port()).user("postgres").dbname(&target.dbname);
    config.connect_timeout(CONNECT_PATIENCE).target_session_attrs(wanted).application_name("pgbaton-live");
    let (client, mut connection) = timeout(CONNECT_PATIENCE, config.connect(NoTls)).await??;
    let warned = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&warned);
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if matches!(&message, AsyncMessage::Notice(n) if n.message().contains("wait for synchronous replication")) {
                flag.store(true, Ordering::SeqCst);
            }
        }
    });
    Ok(Session { client, node: target.node.clone(), warned })
}

/// Before the clients begin.
pub async fn make_table(targets: &[Target]) -> Result<()> {
    let session = timeout(Duration::from_secs(10), connect_writable(targets)).await?;
    let table = "create table if not exists pgbaton_writes \
                 (id bigint primary key, client int not null, at timestamptz not null default clock_timestamp(), \
                 filler bytea)";
    session.client.batch_execute(table).await.context("can't create the clients' table")
}

/// After they have ended: all ids this node holds. A server that is just coming up is waited for.
pub async fn ids_on(target: &Target) -> Result<BTreeSet<u64>> {
    let deadline = Instant::now() + READ_PATIENCE;
    loop {
        match read_ids(target).await {
            Err(_) if Instant::now() < deadline => sleep(CONNECT_PAUSE).await,
            read => return read,
        }
    }
}

async fn read_ids(target: &Target) -> Result<BTreeSet<u64>> {
    let session = connect(target).await?;
    let rows = session.client.query("select id from pgbaton_writes", &[]).await?;
    Ok(rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect())
}
