//! Nodes of a test and the place where they are, on every version that is here.

use crate::port::free_port;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use pgbaton::postgres::{Installation, LocalPostgres, PostgresConfig, find_installation};
use pgbaton_core::model::{Contract, ContractId, Directory, NodeId, Peer, Running, Server, Upstream};
use pgbaton_core::ports::{Names, PgError, Postgres, StartAs};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// A node of a test: its server is stopped when it goes out of scope.
pub struct Node {
    pub pg: LocalPostgres,
    pub id: NodeId,
}

/// Where a story takes place, and with which programs.
pub struct Base {
    dir: tempfile::TempDir,
    bin_dir: PathBuf,
}

impl Base {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Debian's versions, and those that scripts/fetch-postgres-17 has put beside the build, oldest first.
fn installations() -> Vec<Installation> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgres");
    let places = [Path::new("/usr/lib/postgresql"), &fetched];
    let entries = places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let found = entries.filter_map(|entry| find_installation(Some(&entry.path().join("bin/pg_ctl"))).ok());
    let mut found: Vec<Installation> = found.collect();
    found.sort_by_key(|installation| installation.major);
    if found.is_empty() {
        found.push(find_installation(None).unwrap());
    }
    found
}

/// Tells the story on one version after the other.
pub fn on_every_version(story: impl AsyncFn(&Base)) {
    for installation in installations() {
        eprintln!("  PostgreSQL {} in {}", installation.major, installation.bin_dir.display());
        let base = Base { dir: base_dir(), bin_dir: installation.bin_dir };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(story(&base));
    }
}

pub fn config(base: &Base, name: &str, port: u16, auth: &str) -> PostgresConfig {
    let run_as = geteuid().is_root().then(|| User::from_name("postgres").unwrap().expect("a user postgres"));
    PostgresConfig {
        bin_dir: base.bin_dir.clone(),
        pgdata: base.path().join(name),
        port,
        listen: "127.0.0.1".into(),
        run_as,
        auth: auth.into(),
        replication_password: "it's a se\\cret".into(),
        dbname: "app".into(),
        state_dir: base.path().join(format!("{name}.pgbaton")),
    }
}

fn base_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("pgbaton-live-").tempdir_in("/tmp").unwrap();
    if let Some(user) = geteuid().is_root().then(|| User::from_name("postgres").unwrap().unwrap()) {
        chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
    }
    dir
}

impl Node {
    pub fn new(base: &Base, id: u32, auth: &str) -> Node {
        Node { pg: LocalPostgres::new(config(base, &format!("node{id}"), free_port(), auth)), id: NodeId(id) }
    }

    /// The same node as a keeper sees it that has just been started again.
    pub fn seen_anew(&self) -> Node {
        Node { pg: LocalPostgres::new(self.pg.config().clone()), id: self.id }
    }

    pub fn pgdata(&self) -> &PathBuf {
        &self.pg.config().pgdata
    }

    pub fn peer(&self) -> Peer {
        Peer { node: self.id, host: "127.0.0.1".into(), port: self.pg.config().port }
    }

    pub async fn upstream(&self) -> Upstream {
        let history = match self.pg.look().await.directory {
            Directory::Present(control) => control.history,
            other => panic!("{other:?}"),
        };
        Upstream { node: self.id, host: "127.0.0.1".into(), port: self.pg.config().port, history, opening: false }
    }

    pub async fn running(&self) -> Running {
        match self.pg.look().await.server {
            Server::Up(running) => running,
            other => panic!("{:?} is {other:?}", self.id),
        }
    }

    pub async fn client(&self) -> Client {
        let mut wanted = tokio_postgres::Config::new();
        wanted.host_path(self.pg.config().socket_dir()).port(self.pg.config().port).user("postgres").dbname("app");
        let (client, connection) = wanted.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub async fn execute(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    pub async fn count(&self) -> i64 {
        let row = self.client().await.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
        row.get(0)
    }

    pub fn has_signal(&self) -> bool {
        self.pgdata().join("standby.signal").exists()
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Running) -> bool) -> Running {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            if let Server::Up(running) = self.pg.look().await.server
                && holds(&running)
            {
                return running;
            }
            assert!(Instant::now() < give_up, "{:?}: {what}: {:?}", self.id, self.pg.look().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(pid) = self.pg.postmaster_pid() {
            let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGQUIT);
            let give_up = Instant::now() + Duration::from_secs(10);
            while self.pg.postmaster_pid().is_some() && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

pub async fn timed<T>(what: &str, work: impl Future<Output = Result<T, PgError>>) -> T {
    let since = Instant::now();
    let result = work.await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    eprintln!("    {what}: {:.1} ms", since.elapsed().as_secs_f64() * 1e3);
    result
}

/// A primary that is open, and a standby that streams from it.
pub async fn pair(base: &Base, auth: &str) -> (Node, Node) {
    let (a, b) = (Node::new(base, 1, auth), Node::new(base, 2, auth));
    timed("create", a.pg.create()).await;
    a.pg.follow(a.id, None).await.unwrap();
    timed("start as primary", a.pg.start(StartAs::Primary)).await;
    timed("admit", a.pg.admit(&[b.peer()])).await;
    a.execute("CREATE TABLE t (n int)").await;
    // Given up half way, and done again at once: nothing of the first one may be left that holds the slot.
    let source = a.upstream().await;
    let given_up = tokio::time::timeout(Duration::from_millis(60), b.pg.clone_from(b.id, &source)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    let asked = Instant::now();
    while a.client().await.query_one("SELECT count(*) FROM pg_stat_replication", &[]).await.unwrap().get::<_, i64>(0)
        > 0
    {
        assert!(asked.elapsed() < Duration::from_secs(2), "the backup goes on without its keeper");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    timed("clone", b.pg.clone_from(b.id, &source)).await;
    assert!(b.has_signal());
    timed("start as standby", b.pg.start(StartAs::Standby)).await;
    a.until("b streams", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
    timed("admit on a standby", b.pg.admit(&[a.peer()])).await;
    (a, b)
}

pub fn names_of(members: &[NodeId]) -> Names {
    let contract = Contract { id: ContractId(1), k: 1, members: BTreeSet::from_iter(members.iter().copied()) };
    Names(contract.standby_names())
}
