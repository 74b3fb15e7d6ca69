//! Slots, connections between servers, and what becomes of a follower that needs WAL no longer there.

use super::*;
use crate::postgres::receiver::RETRY;
use crate::postgres::slots::Slot;
use pgbaton_core::model::Stranded;
use pgbaton_core::ports::{PgError, StopMode};

const REMOVED: &str = "has already been removed";

/// Small segments, of which none is kept beyond need.
fn keep_little(lab: &Lab) {
    for host in [&lab.a, &lab.b, &lab.c] {
        host.configure(|settings| {
            settings.segment_bytes = 4096;
            settings.wal_keep_size = 0;
        });
    }
}

/// WAL worth several segments, and a checkpoint that removes what nobody holds.
async fn much_wal(lab: &Lab) {
    write_much(&lab.a, 300);
    lab.pa.checkpoint().await.unwrap();
}

fn slot(host: &PgHost, node: NodeId) -> Slot {
    host.pg().dir.as_ref().unwrap().slots[&node.standby_name()].clone()
}

fn held_from(host: &PgHost) -> Lsn {
    host.pg().dir.as_ref().unwrap().wal.held_from()
}

#[test]
fn a_node_without_a_slot_is_refused() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pb.stop(StopMode::Fast).await.unwrap();
        lab.until("its sender is gone", || lab.a.pg().server.as_ref().unwrap().senders.is_empty()).await;
        lab.pa.admit(&[]).await.unwrap();
        lab.pb.start(StartAs::Standby).await.unwrap();
        let missing = "replication slot \"pgbaton_standby_2\" does not exist";
        lab.until("it is told", || refusal(&lab.b) == missing).await;
        for _ in 0..2 {
            lab.until("it calls itself streaming", || calls_itself_streaming(&lab.b)).await;
            assert!(!lab.is_served(&lab.b));
            lab.until("it has ended", || lab.b.facts().running().unwrap().receiver.is_none()).await;
        }
        assert!(matches!(lab.pc.clone_from(C, &source("a")).await, Err(PgError::Retry(_))));
        lab.pa.admit(&peers(&[B])).await.unwrap();
        lab.until_streams(&lab.b).await;
    });
}

#[test]
fn a_slot_keeps_wal_for_an_absent_follower() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pa.admit(&peers(&[B])).await.unwrap();
        keep_little(&lab);
        lab.pb.stop(StopMode::Fast).await.unwrap();
        much_wal(&lab).await;
        assert!(held_from(&lab.a) <= slot(&lab.a, B).restart.unwrap());
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.b).await;
        lab.pb.stop(StopMode::Fast).await.unwrap();
        lab.until("its sender is gone", || lab.a.pg().server.as_ref().unwrap().senders.is_empty()).await;
        lab.pa.admit(&[]).await.unwrap();
        let end = held(&lab.a);
        much_wal(&lab).await;
        assert!(held_from(&lab.a) > end);
        lab.call(&lab.b, "pgbaton_standby_2", None);
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until("it is told", || refusal(&lab.b).contains(REMOVED)).await;
        assert_eq!(lab.pb.look().await.running().unwrap().stranded, Some(Stranded::WalRemoved));
        // The same with a bound instead of a slot.
        lab.pa.admit(&peers(&[C])).await.unwrap();
        lab.pc.clone_from(C, &source("a")).await.unwrap();
        lab.pa.admit(&[]).await.unwrap();
        lab.a.configure(|settings| settings.wal_keep_size = 1 << 20);
        much_wal(&lab).await;
        lab.call(&lab.c, "pgbaton_standby_3", None);
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.c).await;
    });
}

#[test]
fn a_slot_beyond_its_limit_loses_its_wal_and_the_follower_must_be_cloned() {
    fact(|| async {
        let lab = Lab::pair().await;
        keep_little(&lab);
        lab.a.configure(|settings| settings.max_slot_wal_keep_size = Some(4096));
        lab.pb.stop(StopMode::Fast).await.unwrap();
        much_wal(&lab).await;
        assert_eq!(slot(&lab.a, B), Slot { restart: None, lost: true });
        lab.pb.start(StartAs::Standby).await.unwrap();
        let before = held(&lab.b);
        lab.until("it is told", || refusal(&lab.b).contains(REMOVED)).await;
        lab.call(&lab.b, "pgbaton_standby_2", None);
        lab.fate.sleep(LONG).await;
        assert!(refusal(&lab.b).contains(REMOVED), "also without its slot");
        lab.until("it has ended", || lab.b.facts().running().unwrap().receiver.is_none()).await;
        lab.until("it calls itself streaming", || calls_itself_streaming(&lab.b)).await;
        assert_eq!(held(&lab.b), before);
        assert_eq!(lab.pb.look().await.running().unwrap().stranded, Some(Stranded::WalRemoved));
        lab.pb.stop(StopMode::Fast).await.unwrap();
        lab.pb.clone_from(B, &source("a")).await.unwrap();
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.b).await;
    });
}

#[test]
fn a_slot_on_a_standby_can_be_advanced_but_not_back() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pb.admit(&peers(&[C])).await.unwrap();
        let before = slot(&lab.b, C).restart.unwrap();
        write_much(&lab.a, 100);
        lab.until("b has replayed it", || lab.replayed_by_b() == held(&lab.a)).await;
        let now = held(&lab.a);
        lab.pb.advance_slots(now).await.unwrap();
        assert_eq!(slot(&lab.b, C).restart, Some(now));
        let advance = |to: Lsn| lab.b.pg().dir.as_mut().unwrap().advance_slot(&C.standby_name(), to, now);
        let refused = advance(before).unwrap_err();
        assert!(refused.contains("cannot advance replication slot"), "{refused}");
        assert_eq!(advance(Lsn(now.0 + 1_000_000)), Ok(now), "no further than what is replayed");
        lab.pb.advance_slots(before).await.unwrap();
        assert_eq!(slot(&lab.b, C).restart, Some(now));
    });
}

#[test]
fn a_slot_on_a_standby_keeps_wal_until_it_is_advanced() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pb.admit(&peers(&[C])).await.unwrap();
        keep_little(&lab);
        let restartpoint = async || {
            much_wal(&lab).await;
            lab.until("b has replayed it", || lab.replayed_by_b() == held(&lab.a)).await;
            lab.pb.checkpoint().await.unwrap();
        };
        let kept = slot(&lab.b, C).restart.unwrap();
        restartpoint().await;
        assert!(held_from(&lab.b) <= kept, "nobody uses it");
        lab.pb.advance_slots(held(&lab.a)).await.unwrap();
        restartpoint().await;
        assert!(held_from(&lab.b) > kept);
    });
}

#[test]
fn a_rewind_leaves_no_slot() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        let slots = |host: &PgHost| host.pg().dir.as_ref().unwrap().slots.len();
        assert_eq!((slots(&lab.a), slots(&lab.b)), (2, 2));
        lab.pa.rewind(&source("b")).await.unwrap();
        assert_eq!((slots(&lab.a), slots(&lab.b)), (0, 2));
        lab.pa.follow(A, Some(&source("b"))).await.unwrap();
        lab.pa.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.a).await;
        // One that finds nothing to do leaves them.
        lab.pa.admit(&peers(&[C])).await.unwrap();
        lab.pa.stop(StopMode::Fast).await.unwrap();
        lab.pa.rewind(&source("b")).await.unwrap();
        assert_eq!(slots(&lab.a), 1);
    });
}

#[test]
fn a_receiver_comes_back_within_the_retry_interval() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.a.kill_server();
        lab.fate.sleep(LONG).await;
        lab.a.pg().dir.as_mut().unwrap().standby_signal = false;
        lab.a.launch();
        lab.until("it is up", || is_up(&lab.a)).await;
        let before = lab.fate.now();
        lab.until_streams(&lab.b).await;
        let took = lab.fate.now().since(before);
        assert!(took <= RETRY + Duration::from_millis(20), "{took:?}");
    });
}

#[test]
fn silence_ends_a_stream_on_both_sides() {
    fact(|| async {
        let lab = Lab::pair().await;
        let streams = async || {
            let facts = lab.pb.look().await;
            facts.running().unwrap().receiver.as_ref().is_some_and(|r| r.streaming)
        };
        lab.net.cut("a", "b");
        lab.fate.sleep(Duration::from_secs(3)).await;
        assert!(lab.a.pg().server.as_ref().unwrap().senders.len() == 1 && streams().await, "nobody knows yet");
        lab.fate.sleep(Duration::from_secs(5)).await;
        assert!(lab.a.pg().server.as_ref().unwrap().senders.is_empty() && !streams().await);
        lab.net.heal_all();
        lab.until_streams(&lab.b).await;
    });
}

#[test]
fn a_new_receiver_replaces_the_one_that_holds_its_slot_only_when_that_is_gone() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.call(&lab.c, "pgbaton_standby_3", Some("pgbaton_standby_2"));
        lab.until("it is told", || refusal(&lab.c).contains("is active for")).await;
        lab.fate.sleep(LONG).await;
        assert!(!lab.is_served(&lab.c) && lab.is_served(&lab.b));
        lab.b.kill_server();
        lab.until_streams(&lab.c).await;
    });
}

#[test]
fn a_standby_serves_a_standby() {
    fact(|| async {
        let lab = Lab::chain().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.until("c has it", || lab.c.visible_rows().contains(&1)).await;
        let senders = |host: &PgHost| {
            let pg = host.pg();
            let all = pg.server.as_ref().unwrap().senders.values();
            all.map(|s| s.application.clone()).collect::<Vec<_>>()
        };
        assert_eq!(senders(&lab.a), ["pgbaton_standby_2"]);
        // Also without a primary.
        lab.a.kill_server();
        lab.fate.sleep(LONG).await;
        assert_eq!(senders(&lab.b), ["pgbaton_standby_3"]);
        assert!(lab.is_served(&lab.c));
    });
}
