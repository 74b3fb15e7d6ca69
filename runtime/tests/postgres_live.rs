//! The port `Postgres` against real servers on this machine, of every version that is here. Every test makes its own,
//! below /tmp.

#[path = "support/port.rs"]
mod port;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use pgbaton::postgres::{Installation, LocalPostgres, PostgresConfig, find_installation};
use pgbaton_core::model::{
    Contract, ContractId, ControlState, Directory, History, Lsn, NodeId, Peer, Position, Running, Server, Stranded,
    Timeline, Upstream,
};
use pgbaton_core::ports::{Names, PgError, Postgres, StartAs, StopMode};
use port::free_port;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// A node of a test: its server is stopped when it goes out of scope.
struct Node {
    pg: LocalPostgres,
    id: NodeId,
}

/// Where a story takes place, and with which programs.
struct Base {
    dir: tempfile::TempDir,
    bin_dir: PathBuf,
}

impl Base {
    fn path(&self) -> &Path {
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
fn on_every_version(story: impl AsyncFn(&Base)) {
    for installation in installations() {
        eprintln!("  PostgreSQL {} in {}", installation.major, installation.bin_dir.display());
        let base = Base { dir: base_dir(), bin_dir: installation.bin_dir };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(story(&base));
    }
}

fn config(base: &Base, name: &str, port: u16, auth: &str) -> PostgresConfig {
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
    fn new(base: &Base, id: u32, auth: &str) -> Node {
        Node { pg: LocalPostgres::new(config(base, &format!("node{id}"), free_port(), auth)), id: NodeId(id) }
    }

    /// The same node as a keeper sees it that has just been started again.
    fn seen_anew(&self) -> Node {
        Node { pg: LocalPostgres::new(self.pg.config().clone()), id: self.id }
    }

    fn pgdata(&self) -> &PathBuf {
        &self.pg.config().pgdata
    }

    fn peer(&self) -> Peer {
        Peer { node: self.id, host: "127.0.0.1".into(), port: self.pg.config().port }
    }

    async fn upstream(&self) -> Upstream {
        let history = match self.pg.look().await.directory {
            Directory::Present(control) => control.history,
            other => panic!("{other:?}"),
        };
        Upstream { node: self.id, host: "127.0.0.1".into(), port: self.pg.config().port, history, opening: false }
    }

    async fn running(&self) -> Running {
        match self.pg.look().await.server {
            Server::Up(running) => running,
            other => panic!("{:?} is {other:?}", self.id),
        }
    }

    async fn client(&self) -> Client {
        let mut wanted = tokio_postgres::Config::new();
        wanted.host_path(self.pg.config().socket_dir()).port(self.pg.config().port).user("postgres").dbname("app");
        let (client, connection) = wanted.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn execute(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    async fn count(&self) -> i64 {
        let row = self.client().await.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
        row.get(0)
    }

    fn has_signal(&self) -> bool {
        self.pgdata().join("standby.signal").exists()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Running) -> bool) -> Running {
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

async fn timed<T>(what: &str, work: impl Future<Output = Result<T, PgError>>) -> T {
    let since = Instant::now();
    let result = work.await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    eprintln!("    {what}: {:.1} ms", since.elapsed().as_secs_f64() * 1e3);
    result
}

/// A primary that is open, and a standby that streams from it.
async fn pair(base: &Base, auth: &str) -> (Node, Node) {
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

fn names_of(members: &[NodeId]) -> Names {
    let contract = Contract { id: ContractId(1), k: 1, members: BTreeSet::from_iter(members.iter().copied()) };
    Names(contract.standby_names())
}

#[test]
fn a_new_cluster_starts_closed_opens_and_is_adopted_by_the_next_keeper() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        assert_eq!(a.pg.look().await.directory, Directory::Absent);
        std::fs::create_dir_all(a.pg.config().state_dir.join("create/half-made")).unwrap();
        timed("create", a.pg.create()).await;
        let facts = a.pg.look().await;
        let control = facts.control().expect("a data directory").clone();
        assert_eq!((facts.server, control.state), (Server::Down, ControlState::ShutDown));
        assert_eq!(control.history, History::root(Timeline(1)));
        assert!(a.has_signal(), "an unsupervised start must be read-only");
        assert!(matches!(a.pg.create().await, Err(PgError::Operator(_))));

        timed("start as standby", a.pg.start(StartAs::Standby)).await;
        assert!(a.running().await.in_recovery);
        timed("fast stop", a.pg.stop(StopMode::Fast)).await;
        timed("start as primary", a.pg.start(StartAs::Primary)).await;
        assert!(a.has_signal(), "put back as soon as the server is open");
        let open = a.running().await;
        assert!(!open.in_recovery);
        assert_eq!(open.position.tli, Timeline(1));
        timed("start when running", a.pg.start(StartAs::Primary)).await;
        a.execute("CREATE TABLE t (n int)").await;

        let pid = a.pg.postmaster_pid().unwrap();
        let again = a.seen_anew();
        assert_eq!(again.pg.postmaster_pid(), Some(pid));
        assert!(again.pg.look().await.is_open());
        let (told, watching) = (again.pg.changed(), Instant::now());
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        told.await;
        assert!(watching.elapsed() < Duration::from_millis(100), "{:?}", watching.elapsed());
        tokio::time::timeout(Duration::from_millis(100), a.pg.changed()).await.expect("the parent knows as well");
        let dead = again.pg.look().await;
        assert_eq!(dead.server, Server::Down);
        assert_eq!(dead.control().unwrap().state, ControlState::InProduction);
        timed("start after kill -9", again.pg.start(StartAs::Primary)).await;
        assert_eq!(again.count().await, 0);
        timed("immediate stop", again.pg.stop(StopMode::Immediate)).await;
        timed("stop when stopped", again.pg.stop(StopMode::Fast)).await;
        assert_eq!(again.pg.look().await.server, Server::Down);
    });
}

#[test]
fn a_standby_streams_is_sealed_for_good_and_takes_over() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        let seen = b.until("the receiver", |r| r.receiver.as_ref().is_some_and(|w| w.streaming)).await;
        assert_eq!(seen.position.tli, Timeline(1));
        timed("look", async { Ok(a.pg.look().await) }).await;

        timed("set names", a.pg.set_names(&names_of(&[b.id]))).await;
        timed("names in force", a.pg.names_in_force()).await;
        timed("names in force again", a.pg.names_in_force()).await;
        a.pg.set_names(&names_of(&[b.id, NodeId(3)])).await.unwrap();
        timed("other names in force", a.pg.names_in_force()).await;
        a.execute("INSERT INTO t SELECT generate_series(1, 1000)").await;
        timed("no names in force", async {
            a.pg.set_names(&Names(String::new())).await?;
            a.pg.names_in_force().await
        })
        .await;

        // The primary lives and writes on, and yet nothing more arrives.
        timed("follow nobody", b.pg.follow(b.id, None)).await;
        let sealed = timed("seal", b.pg.seal()).await;
        a.execute("INSERT INTO t SELECT generate_series(1, 1000)").await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        let after = b.running().await;
        assert_eq!((after.receiver, after.position), (None, sealed));
        assert_eq!(b.count().await, 1000);
        let again = timed("seal again", b.pg.seal()).await;
        assert_eq!(again, sealed);

        b.pg.follow(b.id, Some(&a.upstream().await)).await.unwrap();
        a.until("b is back", |r| r.sender(b.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        // W4: after a restart the receive position is unknown and much WAL may wait for replay.
        a.execute("INSERT INTO t SELECT generate_series(1, 300000)").await;
        let written = a.running().await.position;
        a.until("all is received", |r| r.sender(b.id).is_some_and(|s| s.flushed >= written.lsn)).await;
        b.pg.stop(StopMode::Immediate).await.unwrap();
        b.pg.follow(b.id, None).await.unwrap();
        timed("start with WAL to replay", b.pg.start(StartAs::Standby)).await;
        let early = b.running().await.replayed;
        let sealed = timed("seal with WAL to replay", b.pg.seal()).await;
        eprintln!("    open at {early}, sealed at {sealed:?}, written {written:?}");
        assert!(sealed.lsn >= written.lsn, "{sealed:?} {written:?}");
        b.pg.follow(b.id, Some(&a.upstream().await)).await.unwrap();
        a.until("b is back", |r| r.sender(b.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;

        timed("fast stop with a standby", a.pg.stop(StopMode::Fast)).await;
        let drained = a.pg.look().await.control().unwrap().checkpoint;
        timed("replayed past the shutdown checkpoint", b.pg.replayed_past(drained.lsn)).await;
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = timed("seal without a primary", b.pg.seal()).await;
        assert!(sealed.lsn > drained.lsn);
        timed("promote", b.pg.promote(Timeline(2))).await;
        assert!(b.has_signal());
        let open = b.running().await;
        assert_eq!((open.in_recovery, open.position.tli), (false, Timeline(2)));
        assert_eq!(open.checkpoint_tli, Timeline(1), "the checkpoint comes later");
        timed("checkpoint", b.pg.checkpoint()).await;
        assert_eq!(b.running().await.checkpoint_tli, Timeline(2));
        assert_eq!(b.count().await, 302_000);

        b.pg.admit(&[a.peer(), Peer { node: NodeId(3), ..a.peer() }]).await.unwrap();
        b.pg.admit(&[a.peer()]).await.unwrap();
        let slots = b.client().await.query("SELECT slot_name::text FROM pg_replication_slots", &[]).await.unwrap();
        assert_eq!(slots.iter().map(|row| row.get(0)).collect::<Vec<String>>(), [a.id.standby_name()]);

        // Nothing was lost, so the old primary needs no rewind.
        let new_primary = b.upstream().await;
        let fork = a.pg.look().await.control().unwrap().history.fork(&new_primary.history).unwrap();
        assert_eq!(timed("wal past the fork", a.pg.wal_past(fork)).await, None);
        a.pg.follow(a.id, Some(&new_primary)).await.unwrap();
        timed("start as standby", a.pg.start(StartAs::Standby)).await;
        timed("admit on a former primary", a.pg.admit(&[b.peer()])).await;
        let held = "SELECT count(*) FROM pg_replication_slots WHERE xmin IS NOT NULL";
        assert_eq!(a.client().await.query_one(held, &[]).await.unwrap().get::<_, i64>(0), 0, "it would hold up vacuum");
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming)).await;
        a.until("the new timeline", |r| r.position.tli == Timeline(2)).await;
    });
}

#[test]
fn a_diverged_primary_keeps_its_wal_aside_and_is_rewound() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = timed("seal", b.pg.seal()).await;
        a.execute("INSERT INTO t SELECT generate_series(1, 100)").await;
        timed("immediate stop", a.pg.stop(StopMode::Immediate)).await;
        timed("promote", b.pg.promote(Timeline(2))).await;
        timed("checkpoint", b.pg.checkpoint()).await;
        b.execute("INSERT INTO t VALUES (1)").await;

        let source = b.upstream().await;
        let fork = a.pg.look().await.control().unwrap().history.fork(&source.history).unwrap();
        assert_eq!(fork, sealed);
        let end = timed("wal past the fork", a.pg.wal_past(fork)).await.expect("the inserts");
        assert!(end > fork.lsn);
        assert_eq!(a.pg.wal_past(Position { lsn: end, ..fork }).await, Ok(None), "the end is the end");
        let place = timed("keep aside", a.pg.keep_aside(fork, end)).await;
        assert_eq!(a.pg.keep_aside(fork, end).await.unwrap(), place);
        assert!(std::fs::read_dir(&place).unwrap().count() > 0);

        b.pg.admit(&[a.peer()]).await.unwrap();
        timed("rewind", a.pg.rewind(&source)).await;
        assert!(a.has_signal());
        a.pg.follow(a.id, Some(&source)).await.unwrap();
        timed("start as standby", a.pg.start(StartAs::Standby)).await;
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        assert_eq!(a.running().await.position.tli, Timeline(2));
        assert_eq!(a.count().await, 1);

        // A rewind that can't reach its source says so, and the directory is still good.
        a.pg.stop(StopMode::Fast).await.unwrap();
        let nobody = Upstream { port: free_port(), ..source };
        let unreached = a.pg.rewind(&nobody).await.unwrap_err();
        assert!(matches!(&unreached, PgError::Retry(t) if t.contains("refused")), "{unreached:?}");
        assert!(a.has_signal());
        let unreached = a.pg.clone_from(a.id, &nobody).await.unwrap_err();
        assert!(matches!(unreached, PgError::Retry(_)), "{unreached:?}");
        a.pg.start(StartAs::Standby).await.unwrap();
    });
}

#[test]
fn a_promotion_takes_the_number_it_is_told_and_followers_come_along() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        a.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = b.pg.seal().await.unwrap();
        timed("promote to 5", b.pg.promote(Timeline(5))).await;
        let upstream = b.upstream().await;
        assert_eq!(upstream.history, History::root(Timeline(1)).branch(Timeline(5), sealed.lsn));
        b.pg.admit(&[a.peer()]).await.unwrap();
        a.pg.follow(a.id, Some(&upstream)).await.unwrap();
        a.pg.start(StartAs::Standby).await.unwrap();
        b.execute("INSERT INTO t VALUES (1)").await;
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        a.until("the new timeline", |r| r.position.tli == Timeline(5)).await;
        assert_eq!(a.count().await, 1);

        // A clone has the history of its last timeline only; a follower from the first one asks for all of them.
        let c = Node::new(base, 3, "trust");
        b.pg.admit(&[a.peer(), c.peer()]).await.unwrap();
        let behind = c.seen_anew();
        c.pg.clone_from(c.id, &upstream).await.unwrap();
        c.pg.start(StartAs::Standby).await.unwrap();
        b.until("c streams", |r| r.sender(c.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        c.pg.follow(c.id, None).await.unwrap();
        behind.pg.seal().await.unwrap();
        timed("promote a clone", c.pg.promote(Timeline(6))).await;
        assert_eq!(c.running().await.position.tli, Timeline(6));
        for number in 2..=5 {
            assert!(c.pgdata().join(format!("pg_wal/0000000{number}.history")).exists(), "{number}");
        }
    });
}

/// The server dies after its number was taken and before it was promoted.
#[test]
fn a_promotion_that_was_begun_leaves_no_number_that_a_start_would_wait_for() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        let (before, after) = (b.pgdata().join("pg_wal/before.history"), b.pgdata().join("pg_wal/00000002.history"));
        // A file of the very text, from a promotion elsewhere.
        let c = Node::new(base, 3, "trust");
        c.pg.create().await.unwrap();
        c.pg.start(StartAs::Standby).await.unwrap();
        c.pg.promote(Timeline(4)).await.unwrap();
        std::fs::copy(c.pgdata().join("pg_wal/00000002.history"), &before).unwrap();
        if let Some(user) = &b.pg.config().run_as {
            chown(&before, Some(user.uid), Some(user.gid)).unwrap();
        }

        // Beside it a start by anything else is refused at once.
        b.pg.stop(StopMode::Immediate).await.unwrap();
        std::fs::rename(&before, &after).unwrap();
        let mut postgres = std::process::Command::new(b.pg.config().bin_dir.join("postgres"));
        if let Some(user) = &b.pg.config().run_as {
            std::os::unix::process::CommandExt::uid(&mut postgres, user.uid.as_raw());
            std::os::unix::process::CommandExt::gid(&mut postgres, user.gid.as_raw());
        }
        postgres.arg("-D").arg(b.pgdata()).current_dir("/");
        let ended = tokio::time::timeout(
            Duration::from_secs(10),
            tokio::task::spawn_blocking(move || postgres.output().unwrap()),
        );
        let said = String::from_utf8_lossy(&ended.await.expect("it ends").unwrap().stderr).into_owned();
        assert!(said.contains("requested timeline 2 is not a child of this server's history"), "{said}");

        timed("start beside a reserved number", b.pg.start(StartAs::Standby)).await;
        assert!(!after.exists());
        a.until("b streams", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
    });
}

/// Whatever the operator's command would bring, and wherever it was written since the server was started.
#[test]
fn a_restore_command_of_an_operator_neither_holds_a_seal_up_nor_brings_wal() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        let asked = base.path().join("asked");
        let command = format!("restore_command = 'echo %f >> {}; exit 1'", asked.display());
        let main = b.pgdata().join("postgresql.conf");
        for appended in [true, false] {
            if appended {
                let text = std::fs::read_to_string(&main).unwrap();
                std::fs::write(&main, format!("{text}{command}\n")).unwrap();
            } else {
                b.execute(&format!("ALTER SYSTEM SET {}", command.replacen('=', "TO", 1))).await;
            }
            b.execute("SELECT pg_reload_conf()").await;
            b.pg.follow(b.id, None).await.unwrap();
            let sealed = tokio::time::timeout(Duration::from_secs(10), timed("seal", b.pg.seal()));
            let sealed = sealed.await.expect("the operator's command doesn't hide ours");
            let _whatever_came_before = std::fs::remove_file(&asked);
            a.execute("INSERT INTO t VALUES (1)").await;
            // Some rounds through all its sources.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(!asked.exists(), "the archive is asked after the seal");
            assert_eq!(b.running().await.position, sealed);
            b.pg.follow(b.id, Some(&a.upstream().await)).await.unwrap();
            a.until("b is back", |r| r.sender(b.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        }
        b.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        let shown = b.client().await.query_one("SELECT current_setting('restore_command')", &[]).await.unwrap();
        assert_eq!(shown.get::<_, String>(0), "");
    });
}

#[test]
fn a_seal_ends_an_apply_delay() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        b.execute("ALTER SYSTEM SET recovery_min_apply_delay = '10min'").await;
        b.execute("SELECT pg_reload_conf()").await;
        a.execute("INSERT INTO t VALUES (1)").await;
        let written = a.running().await.position;
        a.until("b has it", |r| r.sender(b.id).is_some_and(|s| s.flushed >= written.lsn)).await;
        assert_eq!(b.count().await, 0, "it is held back");
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = tokio::time::timeout(Duration::from_secs(10), timed("seal a delayed standby", b.pg.seal()));
        assert!(sealed.await.expect("it doesn't wait for the delay").lsn >= written.lsn);
        assert_eq!(b.count().await, 1);
    });
}

/// Where the only slot holds WAL from.
async fn slot(node: &Node) -> Lsn {
    let sql = "SELECT (restart_lsn - '0/0')::int8 FROM pg_replication_slots";
    let row = node.client().await.query_one(sql, &[]).await.unwrap();
    Lsn(row.get::<_, i64>(0).cast_unsigned())
}

#[test]
fn slots_on_a_standby_hold_wal_and_move_forward_only() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        let reserved = slot(&b).await;
        assert!(reserved > Lsn::ZERO);
        a.execute("INSERT INTO t SELECT generate_series(1, 1000)").await;
        let end = a.running().await.position.lsn;
        b.pg.holds(end).await.unwrap();
        b.pg.replayed_past(Lsn(end.0 - 1)).await.unwrap();
        timed("advance slots", b.pg.advance_slots(end)).await;
        assert_eq!(slot(&b).await, end);
        b.pg.advance_slots(reserved).await.unwrap();
        assert_eq!(slot(&b).await, end, "never back");
        b.pg.advance_slots(Lsn(end.0 + (1 << 30))).await.unwrap();
        let moved = slot(&b).await;
        assert!(moved >= end && moved <= b.running().await.replayed, "not past what is replayed");
        a.until("feedback arrives", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
        let before = slot(&a).await;
        a.pg.advance_slots(Lsn(0x7FFF_FFFF)).await.unwrap();
        assert!(slot(&a).await < Lsn(0x7FFF_FFFF), "a primary's slots are moved by their owners");
        assert!(slot(&a).await >= before);
    });
}

/// How often the role was written is told by the number of the transaction that wrote it last.
async fn role(node: &Node) -> (String, bool) {
    let sql = "SELECT xmin::text, rolcanlogin FROM pg_authid WHERE rolname = 'pgbaton_replicator'";
    let row = node.client().await.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn a_primary_that_admits_the_same_again_writes_nothing_and_mends_what_others_did() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "scram-sha-256");
        let b = Node::new(base, 2, "scram-sha-256");
        a.pg.create().await.unwrap();
        a.pg.start(StartAs::Primary).await.unwrap();
        a.pg.admit(&[b.peer()]).await.unwrap();
        let set_up = role(&a).await;
        timed("admit again", a.pg.admit(&[b.peer()])).await;
        assert_eq!(role(&a).await, set_up);
        a.execute("ALTER ROLE pgbaton_replicator NOLOGIN").await;
        a.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
        a.pg.admit(&[b.peer()]).await.unwrap();
        assert!(role(&a).await.1);
        assert!(slot(&a).await > Lsn::ZERO, "it is back at once");
    });
}

#[test]
fn a_server_is_stopped_although_its_signal_can_not_be_put_in_place() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        a.pg.create().await.unwrap();
        a.pg.start(StartAs::Primary).await.unwrap();
        std::fs::remove_file(a.pgdata().join("standby.signal")).unwrap();
        let in_the_way = a.pgdata().join("standby.signal.pgbaton-new/x");
        std::fs::create_dir_all(&in_the_way).unwrap();
        let told = a.pg.stop(StopMode::Fast).await.unwrap_err();
        assert!(told.to_string().contains("standby.signal"), "{told}");
        assert_eq!(a.pg.look().await.server, Server::Down);
        std::fs::remove_dir_all(in_the_way.parent().unwrap()).unwrap();
        a.pg.stop(StopMode::Fast).await.unwrap();
        assert!(a.has_signal());
    });
}

/// Unmounts in the end, whatever comes.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Where nothing may be mounted there is no small disk.
#[test]
fn a_clone_that_has_no_room_is_not_begun() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "scram-sha-256");
        a.pg.create().await.unwrap();
        a.pg.start(StartAs::Primary).await.unwrap();
        let small = base.path().join("small");
        std::fs::create_dir(&small).unwrap();
        let mut mount = std::process::Command::new("mount");
        if !mount.args(["-t", "tmpfs", "-o", "size=8m,mode=777", "test"]).arg(&small).status().unwrap().success() {
            return;
        }
        let _disk = SmallDisk(small);
        let b =
            Node { pg: LocalPostgres::new(config(base, "small/node2", free_port(), "scram-sha-256")), id: NodeId(2) };
        a.pg.admit(&[b.peer()]).await.unwrap();
        let told = b.pg.clone_from(b.id, &a.upstream().await).await.unwrap_err();
        let PgError::Retry(why) = &told else { panic!("{told:?}") };
        assert!(why.contains("no room") && why.contains("are missing") && why.contains("small/node2.pgbaton"), "{why}");
        let left = std::fs::read_dir(b.pg.config().state_dir.join("clone")).unwrap().count();
        assert_eq!(left, 0, "nothing was pulled");
    });
}

#[test]
fn a_wal_level_above_what_is_needed_is_kept() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        a.pg.create().await.unwrap();
        let level = async || a.client().await.query_one("SHOW wal_level", &[]).await.unwrap().get::<_, String>(0);
        let conf = a.pgdata().join("postgresql.conf");
        for (set, in_force) in [("minimal", "replica"), ("logical", "logical")] {
            let text = std::fs::read_to_string(&conf).unwrap();
            std::fs::write(&conf, format!("{text}wal_level = {set}\n")).unwrap();
            a.pg.start(StartAs::Primary).await.unwrap();
            assert_eq!(level().await, in_force);
            a.pg.stop(StopMode::Fast).await.unwrap();
        }
    });
}

/// Two small segments are kept here, for slots as well.
async fn keep_little_wal(node: &Node) {
    for setting in ["max_slot_wal_keep_size", "wal_keep_size"] {
        // Included after ours are read, so it wins.
        node.execute(&format!("ALTER SYSTEM SET {setting} = '32MB'")).await;
    }
    node.execute("ALTER SYSTEM SET max_wal_size = '64MB'").await;
    node.execute("SELECT pg_reload_conf()").await;
}

#[test]
fn a_standby_whose_wal_is_gone_or_that_has_forked_says_so() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        keep_little_wal(&a).await;
        b.pg.stop(StopMode::Fast).await.unwrap();
        for _ in 0..8 {
            a.execute("INSERT INTO t VALUES (1)").await;
            a.execute("SELECT pg_switch_wal()").await;
        }
        a.pg.checkpoint().await.unwrap();
        let lost = "SELECT wal_status FROM pg_replication_slots";
        let status: String = a.client().await.query_one(lost, &[]).await.unwrap().get(0);
        assert_eq!(status, "lost");
        let upstream = a.upstream().await;
        b.pg.follow(b.id, Some(&upstream)).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        b.until("its WAL is gone", |r| r.stranded == Some(Stranded::WalRemoved)).await;
        // A look sees it, and the slot comes back.
        let asked = Instant::now();
        loop {
            a.pg.look().await;
            let found = a.client().await.query_opt(lost, &[]).await.unwrap().map(|row| row.get::<_, String>(0));
            if found.as_deref() == Some("reserved") {
                break;
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "{found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        b.until("still gone", |r| r.stranded == Some(Stranded::WalRemoved)).await;
        b.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.clone_from(b.id, &upstream).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        b.until("streams", |r| r.receiver.as_ref().is_some_and(|w| w.streaming) && r.stranded.is_none()).await;

        // b goes on alone, and so does a: each has a record the other has not.
        b.pg.follow(b.id, None).await.unwrap();
        b.pg.seal().await.unwrap();
        a.execute("INSERT INTO t VALUES (2)").await;
        b.pg.promote(Timeline(2)).await.unwrap();
        b.pg.checkpoint().await.unwrap();
        b.pg.admit(&[a.peer()]).await.unwrap();
        a.pg.stop(StopMode::Fast).await.unwrap();
        a.pg.follow(a.id, Some(&b.upstream().await)).await.unwrap();
        a.pg.start(StartAs::Standby).await.unwrap();
        a.until("forked", |r| r.stranded == Some(Stranded::Forked)).await;
    });
}

#[test]
fn a_server_whose_directory_was_removed_is_seen_and_can_be_stopped() {
    on_every_version(async |base: &Base| {
        for mode in [StopMode::Fast, StopMode::Immediate] {
            let a = Node::new(base, 1, "trust");
            a.pg.create().await.unwrap();
            a.pg.start(StartAs::Primary).await.unwrap();
            std::fs::remove_dir_all(a.pgdata()).unwrap();
            let facts = a.pg.look().await;
            assert_eq!(facts.directory, Directory::Absent);
            eprintln!("    the server is said to be {:?}", facts.server);
            timed("stop without a directory", a.pg.stop(mode)).await;
            assert_eq!(
                a.pg.look().await,
                pgbaton_core::model::Facts { directory: Directory::Absent, server: Server::Down }
            );

            // The next keeper finds no pid file; the processes are there all the same.
            let a = Node::new(base, 1, "trust");
            a.pg.create().await.unwrap();
            a.pg.start(StartAs::Primary).await.unwrap();
            let pid = a.pg.postmaster_pid().unwrap();
            std::fs::remove_dir_all(a.pgdata()).unwrap();
            timed("stop by the next keeper", a.seen_anew().pg.stop(mode)).await;
            assert!(
                !Path::new(&format!("/proc/{pid}/cwd")).exists()
                    || std::fs::read_link(format!("/proc/{pid}/cwd")).is_err()
            );
        }
    });
}

#[test]
fn what_is_no_data_directory_is_not_touched() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        std::fs::create_dir(a.pgdata()).unwrap();
        assert_eq!(a.pg.look().await.directory, Directory::Absent);
        std::fs::write(a.pgdata().join("letters.txt"), "dear").unwrap();
        let Directory::Unusable { reason } = a.pg.look().await.directory else {
            panic!("usable");
        };
        assert!(reason.contains("not a data directory"), "{reason}");
        assert!(matches!(a.pg.start(StartAs::Standby).await, Err(PgError::Operator(_))));
        assert!(matches!(a.pg.create().await, Err(PgError::Operator(_))));
        assert!(a.pgdata().join("letters.txt").exists());
        assert!(!a.has_signal());
        assert!(matches!(a.pg.seal().await, Err(PgError::Retry(_))));
    });
}
