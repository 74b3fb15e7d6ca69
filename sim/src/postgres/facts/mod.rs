//! The model's own rules, each by its fact in `facts.toml`. They use neither the monitor nor a keeper.

mod archive;
mod commits;
mod last_words;
mod promotion;
mod replication;
mod shutdown;
mod start;
mod tools;
mod trouble;

use super::sync::SyncCommit;
use super::wal::Kind;
use super::{PgHost, Phase};
use crate::net::packet::Setting;
use crate::net::{End, Net, Packet};
use crate::ports::SimPostgres;
use crate::world::{Chronicle, Fate, on_fresh_thread};
use pgbaton_core::model::{History, Lsn, NodeId, Peer, Server, Timeline, Upstream};
use pgbaton_core::ports::{Names, Postgres, StartAs};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// Longer than anything takes that is not held up, shorter than any timeout.
const BRIEF: Duration = Duration::from_millis(500);
/// Longer than any timeout.
const LONG: Duration = Duration::from_secs(20);

/// Three machines. `a` is open, `b` streams from it, and `c` is empty until a fact needs it.
struct Lab {
    net: Net,
    fate: Fate,
    a: Arc<PgHost>,
    b: Arc<PgHost>,
    c: Arc<PgHost>,
    pa: SimPostgres,
    pb: SimPostgres,
    pc: SimPostgres,
}

fn source(host: &str) -> Upstream {
    let node = match host {
        "a" => A,
        "b" => B,
        _ => C,
    };
    Upstream { node, host: host.into(), port: 5432, history: History::root(Timeline(1)), opening: false }
}

fn peers(nodes: &[NodeId]) -> Vec<Peer> {
    nodes.iter().map(|node| Peer { node: *node, host: "anywhere".into(), port: 5432 }).collect()
}

fn held(host: &PgHost) -> Lsn {
    host.pg().dir.as_ref().unwrap().end().lsn
}

/// Whether the commit of this row is on the medium.
fn flushed(host: &PgHost, id: u64) -> bool {
    let pg = host.pg();
    let dir = pg.dir.as_ref().unwrap();
    dir.wal.inserts(dir.flushed).any(|held| held == id)
}

fn timeline(host: &PgHost) -> Timeline {
    host.pg().dir.as_ref().unwrap().history.tli
}

fn waits(host: &PgHost, id: u64) -> bool {
    let pg = host.pg();
    pg.server.as_ref().is_some_and(|s| s.commits.values().any(|commit| commit.id == id && commit.waits))
}

fn is_up(host: &PgHost) -> bool {
    host.pg().server.as_ref().is_some_and(|s| s.phase == Phase::Up)
}

fn calls_itself_streaming(host: &PgHost) -> bool {
    host.facts().running().and_then(|r| r.receiver.as_ref()).is_some_and(|r| r.streaming)
}

/// The process, while there is one.
fn receiver(host: &PgHost) -> Option<u64> {
    host.pg().server.as_ref().and_then(|server| server.receiver.as_ref()).map(|receiver| receiver.pid)
}

fn refusal(host: &PgHost) -> String {
    let pg = host.pg();
    let refusal = pg.server.as_ref().and_then(|s| s.refusal.clone());
    refusal.map(|refusal| refusal.reason).unwrap_or_default()
}

/// Rows nobody asked for, all of them flushed.
fn write_much(host: &PgHost, records: u64) {
    let (now, uid) = (host.fate.now(), host.fate.random());
    let mut pg = host.pg();
    let dir = pg.dir.as_mut().unwrap();
    for i in 0..records {
        dir.write(uid.wrapping_add(i), now, Kind::Insert { id: 1_000_000 + i, feedback: false, bytes: 0xa8 });
    }
    dir.flush();
    drop(pg);
    host.bells.wal.ring();
}

/// A session.
struct Client {
    end: End,
    fate: Fate,
    backend: u64,
    read_only: bool,
}

impl Client {
    fn begin(&self, id: u64) {
        self.end.send(Packet::Insert { id, bytes: None });
    }

    async fn answer(&self) -> Option<Packet> {
        self.fate.timeout(LONG, self.end.recv()).await.expect("something comes in the end")
    }

    /// Whether it was committed without a warning.
    async fn commits(&self, id: u64) -> bool {
        self.begin(id);
        match self.answer().await {
            Some(Packet::Committed { id: done, warning: false }) => done == id,
            _ => false,
        }
    }

    async fn refusal(&self, id: u64) -> String {
        self.begin(id);
        match self.answer().await {
            Some(Packet::Refused { reason }) => reason,
            other => panic!("not refused but {other:?}"),
        }
    }

    async fn set(&self, setting: Setting) {
        self.end.send(Packet::Set(setting));
        assert!(matches!(self.answer().await, Some(Packet::Done)));
    }

    async fn at(self, level: SyncCommit) -> Client {
        self.set(Setting::SynchronousCommit(level)).await;
        self
    }

    async fn rows(&self) -> BTreeSet<u64> {
        self.end.send(Packet::Select { most: usize::MAX });
        match self.answer().await {
            Some(Packet::Rows(rows)) => rows,
            other => panic!("no rows but {other:?}"),
        }
    }

    async fn is_ended(&self) -> bool {
        matches!(self.fate.timeout(BRIEF, self.end.recv()).await, Some(None))
    }
}

impl Lab {
    async fn pair() -> Lab {
        let fate = Fate::current();
        let net = Net::new(fate.clone());
        let chronicle = Chronicle::new(&fate);
        let host = |name| PgHost::new(name, 5432, &net, &chronicle);
        let (a, b, c) = (host("a"), host("b"), host("c"));
        let port = |host: &Arc<PgHost>| SimPostgres::new(host.clone());
        let (pa, pb, pc) = (port(&a), port(&b), port(&c));
        pa.create().await.unwrap();
        pa.start(StartAs::Primary).await.unwrap();
        pa.admit(&peers(&[B, C])).await.unwrap();
        pb.clone_from(B, &source("a")).await.unwrap();
        pb.start(StartAs::Standby).await.unwrap();
        let lab = Lab { net, fate, a, b, c, pa, pb, pc };
        lab.until_streams(&lab.b).await;
        lab
    }

    /// `c` streams from `a` as well.
    async fn trio() -> Lab {
        let lab = Lab::pair().await;
        lab.pc.clone_from(C, &source("a")).await.unwrap();
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.c).await;
        lab
    }

    /// `c` streams from `b`.
    async fn chain() -> Lab {
        let lab = Lab::pair().await;
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        lab.pc.clone_from(C, &source("b")).await.unwrap();
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.c).await;
        lab
    }

    /// `b` was promoted behind the back of `a`, which has committed row 1 since and is stopped; `b` has row 2.
    async fn forked() -> Lab {
        let lab = Lab::pair().await;
        lab.seal_b().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.pb.promote(Timeline(1)).await.unwrap();
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        assert!(lab.client("b").await.commits(2).await);
        lab.pa.stop(pgbaton_core::ports::StopMode::Immediate).await.unwrap();
        lab
    }

    async fn seal_b(&self) -> pgbaton_core::model::Position {
        self.pb.follow(B, None).await.unwrap();
        self.pb.seal().await.unwrap()
    }

    /// Looks every millisecond.
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let looking = async {
            while !holds() {
                self.fate.sleep(Duration::from_millis(1)).await;
            }
        };
        self.fate.timeout(LONG * 6, looking).await.unwrap_or_else(|| panic!("never: {what}"));
    }

    /// Both sides say so.
    async fn until_streams(&self, follower: &PgHost) {
        let name = follower.name.clone();
        self.until(&format!("{name} streams"), || calls_itself_streaming(follower) && self.is_served(follower)).await;
    }

    fn is_served(&self, follower: &PgHost) -> bool {
        let conninfo = follower.pg().server.as_ref().and_then(|s| s.conninfo.clone());
        let Some(conninfo) = conninfo else { return false };
        let upstream = [&self.a, &self.b, &self.c].into_iter().find(|host| host.name == conninfo.host).unwrap();
        let pg = upstream.pg();
        let Some(server) = &pg.server else { return false };
        server.senders.values().any(|s| s.streaming && s.flushed > Lsn::ZERO && s.application == conninfo.application)
    }

    async fn client(&self, host: &str) -> Client {
        self.try_client(host).await.unwrap()
    }

    async fn try_client(&self, host: &str) -> Result<Client, String> {
        let end = self.net.connect("clients", host, 5432).await.map_err(|_| "refused by the kernel".to_string())?;
        end.send(Packet::Hello);
        match end.recv().await {
            Some(Packet::Welcome { read_only, backend }) => {
                Ok(Client { end, fate: self.fate.clone(), backend, read_only })
            }
            Some(Packet::Refused { reason }) => Err(reason),
            other => Err(format!("{other:?}")),
        }
    }

    /// In force at once.
    async fn set_names(&self, names: &str) {
        self.pa.set_names(&Names(names.into())).await.unwrap();
        self.pa.names_in_force().await.unwrap();
    }

    /// A commit on `a` that waits for standbys.
    async fn waiting(&self, id: u64) -> Client {
        let client = self.client("a").await;
        client.begin(id);
        self.until("it waits", || waits(&self.a, id)).await;
        client
    }

    /// Whether it goes on waiting.
    async fn still_waits(&self, id: u64) -> bool {
        self.fate.sleep(BRIEF).await;
        waits(&self.a, id)
    }

    /// A follower under another name, with or without a slot.
    fn call(&self, host: &Arc<PgHost>, application: &str, slot: Option<&str>) {
        {
            let mut pg = host.pg();
            let conninfo = pg.dir.as_mut().unwrap().conninfo.as_mut().unwrap();
            conninfo.application = application.into();
            conninfo.slot = slot.map(Into::into);
        }
        host.reload_conninfo();
    }
}

/// Several seeds: what holds by the luck of one latency is no fact.
fn fact<F: Future<Output = ()> + 'static>(story: fn() -> F) {
    for seed in 0..8 {
        on_fresh_thread(seed, story).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

/// Every fact of the list has its test in these files, and every test there its fact.
#[test]
fn every_fact_is_shown_or_says_why_not() {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|rest| rest.trim_end_matches('"').to_string())
    };
    let list: Vec<&str> = include_str!("../facts.toml").split("[[fact]]").skip(1).collect();
    let sources = [
        include_str!("archive.rs"),
        include_str!("commits.rs"),
        include_str!("last_words.rs"),
        include_str!("start.rs"),
        include_str!("shutdown.rs"),
        include_str!("promotion.rs"),
        include_str!("tools.rs"),
        include_str!("replication.rs"),
        include_str!("trouble.rs"),
    ];
    let of = |text: &'static str| text.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
    let mut shown: BTreeSet<&str> = sources.into_iter().flat_map(of).collect();
    let (tests, mut excused, mut missing) = (shown.len(), 0, Vec::new());
    for fact in &list {
        let name = value(fact, "name").expect("a fact has a name");
        let here = shown.remove(name.as_str());
        match value(fact, "model") {
            Some(_) if here => panic!("{name} is shown and excused"),
            Some(why) => {
                println!("not shown on the model: {name}: {why}");
                excused += 1;
            }
            None if here => {}
            None => missing.push(name),
        }
    }
    println!("{} facts, {tests} shown on the model, {excused} excused", list.len());
    assert!(missing.is_empty(), "facts without a test: {missing:#?}");
    assert!(shown.is_empty(), "tests that are no facts: {shown:#?}");
    assert!(excused == 0, "{excused} facts are excused");
}
