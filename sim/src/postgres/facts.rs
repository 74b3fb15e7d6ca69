//! The model's own rules, each by its fact. They use neither the monitor nor a keeper.

use super::wal::Kind;
use super::{PgHost, Phase};
use crate::net::{Net, Packet};
use crate::ports::SimPostgres;
use crate::world::{Chronicle, Fate, on_fresh_thread};
use pgbaton_core::model::{ControlState, History, NodeId, Peer, Timeline, Upstream};
use pgbaton_core::ports::{Names, PgError, Postgres, StartAs, StopMode};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

struct Pair {
    net: Net,
    fate: Fate,
    a: Arc<PgHost>,
    b: Arc<PgHost>,
    pa: SimPostgres,
    pb: SimPostgres,
}

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn source(host: &str) -> Upstream {
    Upstream {
        node: if host == "a" { A } else { B },
        host: host.into(),
        port: 5432,
        history: History::root(Timeline(1)),
    }
}

fn peer(node: NodeId, host: &str) -> Vec<Peer> {
    vec![Peer { node, host: host.into(), port: 5432 }]
}

impl Pair {
    /// `a` is open, `b` streams from it.
    async fn new() -> Pair {
        let fate = Fate::current();
        let net = Net::new(fate.clone());
        let chronicle = Chronicle::new(&fate);
        let host = |name| PgHost::new(name, 5432, &net, &chronicle);
        let (a, b) = (host("a"), host("b"));
        let (pa, pb) = (SimPostgres::new(a.clone()), SimPostgres::new(b.clone()));
        pa.create().await.unwrap();
        pa.start(StartAs::Primary).await.unwrap();
        pa.admit(&peer(B, "b")).await.unwrap();
        pb.clone_from(B, &source("a")).await.unwrap();
        pb.start(StartAs::Standby).await.unwrap();
        let pair = Pair { net, fate, a, b, pa, pb };
        pair.until_streaming().await;
        pair
    }

    async fn until_streaming(&self) {
        let streams = || {
            let pg = self.a.pg();
            pg.server.as_ref()?.senders.values().any(|s| s.streaming).then_some(())
        };
        self.a.bells.state.until(streams).await;
    }

    async fn require_b(&self) {
        self.pa.set_names(&Names("ANY 1 (pgbaton_standby_2)".into())).await.unwrap();
        self.pa.names_in_force().await.unwrap();
    }

    /// A client's insert; `None` when no answer came in time.
    async fn insert(&self, host: &str, id: u64, patience: Duration) -> Option<Packet> {
        let end = self.net.connect("clients", host, 5432).await.ok()?;
        end.send(Packet::Hello);
        end.recv().await?;
        end.send(Packet::Insert { id });
        self.fate.timeout(patience, end.recv()).await.flatten()
    }

    async fn committed(&self, host: &str, id: u64) -> bool {
        let answer = self.insert(host, id, Duration::from_secs(2)).await;
        matches!(answer, Some(Packet::Committed { .. }))
    }
}

/// Several seeds: what holds by the luck of one latency is no fact.
fn fact<F: Future<Output = ()> + 'static>(story: fn() -> F) {
    for seed in 0..8 {
        on_fresh_thread(seed, story).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

const BRIEF: Duration = Duration::from_millis(500);

#[test]
fn a_commit_waits_for_its_standby_and_is_in_the_log_meanwhile() {
    fact(|| async {
        let p = Pair::new().await;
        p.require_b().await;
        assert!(p.committed("a", 1).await);
        p.net.cut("a", "b");
        assert!(p.insert("a", 2, BRIEF).await.is_none());
        assert!(p.a.visible_rows().contains(&2), "durable, and invisible only to other sessions");
        assert!(!p.b.visible_rows().contains(&2));
        p.net.heal_all();
        p.until_streaming().await;
        assert!(p.committed("a", 3).await);
        let flushed = |host: &PgHost| host.pg().dir.as_ref().unwrap().flushed;
        assert_eq!(flushed(&p.b), flushed(&p.a));
    });
}

#[test]
fn emptying_the_names_releases_waiters_as_success() {
    fact(|| async {
        let p = Pair::new().await;
        p.require_b().await;
        p.net.cut("a", "b");
        let release = async {
            p.fate.sleep(BRIEF).await;
            p.pa.set_names(&Names(String::new())).await.unwrap();
            p.pa.names_in_force().await.unwrap();
        };
        let (answer, ()) = futures_util::future::join(p.insert("a", 1, BRIEF * 4), release).await;
        assert!(matches!(answer, Some(Packet::Committed { id: 1, .. })));
    });
}

#[test]
fn new_names_are_in_force_later_than_written() {
    fact(|| async {
        let p = Pair::new().await;
        p.net.cut("a", "b");
        p.pa.set_names(&Names("ANY 1 (pgbaton_standby_2)".into())).await.unwrap();
        let before = p.fate.now();
        p.pa.names_in_force().await.unwrap();
        let took = p.fate.now().since(before);
        assert!(took >= Duration::from_millis(1) && took <= Duration::from_millis(51), "{took:?}");
        assert!(p.insert("a", 1, BRIEF).await.is_none());
    });
}

#[test]
fn a_commit_that_waited_when_the_primary_crashed_is_there_after_its_restart() {
    fact(|| async {
        let p = Pair::new().await;
        p.require_b().await;
        p.net.cut("a", "b");
        assert!(p.insert("a", 7, BRIEF).await.is_none());
        p.a.kill_server();
        p.pa.start(StartAs::Primary).await.unwrap();
        assert!(p.a.visible_rows().contains(&7));
    });
}

#[test]
fn a_promotion_takes_the_next_number_and_leaves_the_control_file_behind() {
    fact(|| async {
        let p = Pair::new().await;
        assert!(p.committed("a", 1).await);
        p.pb.follow(B, None).await.unwrap();
        p.pb.seal().await.unwrap();
        p.pb.promote(Timeline(1)).await.unwrap();
        let facts = p.pb.look().await;
        let running = facts.running().unwrap();
        assert!(!running.in_recovery);
        assert_eq!((running.position.tli, running.checkpoint_tli), (Timeline(2), Timeline(1)));
        assert!(p.b.pg().dir.as_ref().unwrap().standby_signal, "the port puts it back");
        p.pb.checkpoint().await.unwrap();
        assert_eq!(p.pb.look().await.running().unwrap().checkpoint_tli, Timeline(2));
        // Only visible history files count, also those of timelines that this node never was on.
        let mut pg = p.b.pg();
        let dir = pg.dir.as_mut().unwrap();
        dir.histories.insert(Timeline(7), dir.history.clone());
        assert_eq!(dir.next_tli(), Timeline(8));
    });
}

#[test]
fn after_a_seal_nothing_arrives_although_the_receiver_outlived_the_reload() {
    fact(|| async {
        let p = Pair::new().await;
        p.require_b().await;
        p.pb.follow(B, None).await.unwrap();
        let acknowledged = p.insert("a", 1, BRIEF).await.is_some();
        let sealed = p.pb.seal().await.unwrap();
        assert_eq!(acknowledged, p.b.visible_rows().contains(&1), "what was acknowledged is held");
        assert!(p.insert("a", 2, BRIEF).await.is_none());
        assert_eq!(p.pb.look().await.running().unwrap().position, sealed);
    });
}

#[test]
fn an_orderly_stop_ships_its_last_record_to_the_standby() {
    fact(|| async {
        let p = Pair::new().await;
        assert!(p.committed("a", 1).await);
        p.pa.stop(StopMode::Fast).await.unwrap();
        let facts = p.pa.look().await;
        let control = facts.control().unwrap();
        assert_eq!(control.state, ControlState::ShutDown);
        p.pb.replayed_past(control.checkpoint.lsn).await.unwrap();
        // And so the new primary's history contains all of the old one's log: nothing to rewind.
        p.pb.follow(B, None).await.unwrap();
        p.pb.seal().await.unwrap();
        p.pb.promote(Timeline(1)).await.unwrap();
        p.pb.admit(&peer(A, "a")).await.unwrap();
        p.pa.follow(A, Some(&source("b"))).await.unwrap();
        p.pa.start(StartAs::Standby).await.unwrap();
        assert!(p.committed("b", 2).await);
        let lsn = p.b.pg().dir.as_ref().unwrap().wal.end();
        let before_last = pgbaton_core::model::Lsn(lsn.0 - 1);
        p.pa.replayed_past(before_last).await.unwrap();
        assert!(p.a.visible_rows().contains(&2));
    });
}

/// `b` was promoted behind the back of `a`, which went on.
async fn forked() -> Pair {
    let p = Pair::new().await;
    p.net.cut("a", "b");
    p.pb.follow(B, None).await.unwrap();
    p.pb.seal().await.unwrap();
    assert!(p.committed("a", 1).await);
    p.pb.promote(Timeline(1)).await.unwrap();
    p.pb.admit(&peer(A, "a")).await.unwrap();
    p.net.heal_all();
    p.pa.stop(StopMode::Immediate).await.unwrap();
    p
}

#[test]
fn a_rewind_from_a_source_without_a_checkpoint_finds_nothing_to_do() {
    fact(|| async {
        let p = forked().await;
        p.pa.rewind(&source("b")).await.unwrap();
        assert!(p.a.visible_rows().contains(&1), "the fork is still there");
        p.pb.checkpoint().await.unwrap();
        p.pa.rewind(&source("b")).await.unwrap();
        assert!(!p.a.visible_rows().contains(&1));
        p.pa.follow(A, Some(&source("b"))).await.unwrap();
        p.pa.start(StartAs::Standby).await.unwrap();
        p.fate.sleep(BRIEF).await;
        assert_eq!(p.pa.look().await.running().unwrap().position.tli, Timeline(2));
    });
}

#[test]
fn a_source_that_dies_leaves_a_half_rewound_directory() {
    fact(|| async {
        let p = forked().await;
        p.pb.checkpoint().await.unwrap();
        let death = async {
            p.fate.sleep(Duration::from_millis(180)).await;
            p.b.kill_server();
        };
        let (rewound, ()) = futures_util::future::join(p.pa.rewind(&source("b")), death).await;
        assert!(matches!(rewound, Err(PgError::Retry(_))), "{rewound:?}");
        assert!(p.a.pg().dir.as_ref().unwrap().half_rewound);
    });
}

#[test]
fn a_forked_follower_is_refused_for_ever() {
    fact(|| async {
        let p = forked().await;
        p.pa.follow(A, Some(&source("b"))).await.unwrap();
        p.pa.start(StartAs::Standby).await.unwrap();
        assert!(p.committed("b", 2).await && p.committed("b", 3).await && p.committed("b", 4).await);
        p.fate.sleep(Duration::from_secs(3)).await;
        let facts = p.pa.look().await;
        assert!(!facts.running().unwrap().receiver.as_ref().is_some_and(|r| r.streaming));
        assert!(p.b.pg().server.as_ref().unwrap().senders.is_empty());
    });
}

#[test]
fn a_node_without_a_slot_is_refused() {
    fact(|| async {
        let p = Pair::new().await;
        p.pb.stop(StopMode::Fast).await.unwrap();
        p.pa.admit(&[]).await.unwrap();
        p.pb.start(StartAs::Standby).await.unwrap();
        p.fate.sleep(BRIEF).await;
        assert!(p.a.pg().server.as_ref().unwrap().senders.is_empty());
        let cloned = p.pb.clone_from(B, &source("a")).await;
        assert!(matches!(cloned, Err(PgError::Retry(_))));
    });
}

#[test]
fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
    fact(|| async {
        let p = Pair::new().await;
        {
            let mut pg = p.a.pg();
            let (dir, _) = pg.running().unwrap();
            dir.write(1, Kind::Insert(1));
            dir.flush();
            dir.write(2, Kind::Insert(2));
        }
        p.a.kill_server();
        p.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(p.a.visible_rows(), [1].into());
    });
}

#[test]
fn the_death_of_the_postmaster_is_news_at_once_and_only_once() {
    fact(|| async {
        let p = Pair::new().await;
        let before = p.fate.now();
        p.a.kill_server();
        p.pa.changed().await;
        assert_eq!(p.fate.now().since(before).as_millis(), 0);
        assert!(p.fate.timeout(BRIEF, p.pa.changed()).await.is_none());
        assert!(p.a.pg().server.is_none());
        assert!(matches!(p.net.connect("b", "a", 5432).await, Err(crate::net::Refused)));
    });
}

#[test]
fn silence_ends_a_stream_on_both_sides() {
    fact(|| async {
        let p = Pair::new().await;
        p.net.cut("a", "b");
        p.fate.sleep(Duration::from_secs(3)).await;
        assert_eq!(p.a.pg().server.as_ref().unwrap().senders.len(), 1, "nobody knows yet");
        p.fate.sleep(Duration::from_secs(5)).await;
        assert!(p.a.pg().server.as_ref().unwrap().senders.is_empty());
        let facts = p.pb.look().await;
        assert!(!facts.running().unwrap().receiver.as_ref().is_some_and(|r| r.streaming));
        p.net.heal_all();
        p.until_streaming().await;
    });
}

#[test]
fn a_server_without_its_signal_comes_up_writable_and_with_it_read_only() {
    fact(|| async {
        let p = Pair::new().await;
        p.pa.stop(StopMode::Fast).await.unwrap();
        // What an init system does behind our back.
        p.a.launch();
        p.a.bells.state.until(|| (p.a.pg().server.as_ref()?.phase == Phase::Up).then_some(())).await;
        assert!(!p.a.pg().is_open());
        assert!(!p.committed("a", 1).await);
    });
}
