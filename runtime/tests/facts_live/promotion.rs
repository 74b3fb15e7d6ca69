//! Promotions, timelines and who follows whom.

use super::harness::{Lab, Server, fact, lsn, until};
use super::start::port_on;
use nix::sys::signal::Signal;
use pgbaton_core::model::{NodeId, Peer};
use pgbaton_core::ports::{Postgres, StartAs};

const NO_RECEIVER: &str = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver')";
const STREAMS: &str = "EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')";
const CONTROL_TIMELINE: &str = "Latest checkpoint's TimeLineID";

/// Parent, switch point and reason of each line.
fn history(server: &Server, timeline: u32) -> Vec<(u32, String, String)> {
    let path = server.pgdata.join(format!("pg_wal/{timeline:08X}.history"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let entry = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let mut next = || fields.next().unwrap_or_default().to_string();
        (next().parse().unwrap(), next(), next())
    };
    lines.map(entry).collect()
}

async fn stop_following(b: &Server) {
    b.set_now("primary_conninfo", "").await;
    b.until(NO_RECEIVER).await;
}

#[test]
fn a_promotion_takes_the_next_number_and_leaves_the_control_file_behind() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.until_replayed(&a).await;
        let checkpointer = b.freeze("checkpointer").await;
        b.promote().await;
        assert_eq!(b.timeline().await, 2);
        b.run("INSERT INTO t VALUES (1)").await;
        assert_eq!(b.control(CONTROL_TIMELINE).await, "1");
        assert_eq!(b.control("Min recovery ending loc's timeline").await, "2", "that is what newer tools look at");
        assert_eq!(history(&b, 2).len(), 1);
        drop(checkpointer);
        until("the checkpoint has come", async || b.control(CONTROL_TIMELINE).await == "2").await;
    });
}

#[test]
fn two_servers_promoted_apart_choose_the_same_number() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &a).await;
        c.until_replayed(&a).await;
        c.promote().await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        b.promote().await;
        assert_eq!((b.timeline().await, c.timeline().await), (2, 2));
        let (of_b, of_c) = (history(&b, 2), history(&c, 2));
        assert_eq!((of_b[0].0, of_c[0].0), (1, 1));
        assert_ne!(of_b[0].1, of_c[0].1, "other histories of the same number");
    });
}

#[test]
fn a_history_file_in_the_directory_takes_a_number() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &b).await;
        stop_following(&b).await;
        b.put_file("pg_wal/00000002.history", "1\t0/1\tno such history\n");
        a.run("INSERT INTO t VALUES (1)").await;
        let replayed = b.ask("SELECT pg_last_wal_replay_lsn()").await;
        b.promote().await;
        eprintln!("{}", b.log());
        assert_eq!(b.timeline().await, 3);
        eprintln!("{:?} {replayed}", history(&b, 3));
        b.run("INSERT INTO t VALUES (3)").await;
        c.until("(SELECT count(*) FROM t) = 1").await;
        c.until("(SELECT received_tli FROM pg_stat_wal_receiver) = 3").await;
        eprintln!("{}", c.log());
    });
}

#[test]
fn a_promotion_replays_all_it_has_received_first() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.run("SELECT pg_wal_replay_pause()").await;
        b.until("pg_get_wal_replay_pause_state() = 'paused'").await;
        a.run("INSERT INTO t SELECT generate_series(1, 10000)").await;
        b.until_received(&a).await;
        assert_eq!(b.count().await, 0);
        b.promote().await;
        assert_eq!(b.count().await, 10_000);
        assert!(lsn(&history(&b, 2)[0].1) >= lsn(&a.end().await));
    });
}

#[test]
fn an_apply_delay_holds_replay_back_but_not_receiving() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.set_now("recovery_min_apply_delay", "1h").await;
        a.set_names("b").await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_received(&a).await;
        b.until("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'RecoveryApplyDelay')").await;
        assert_eq!(b.count().await, 0);
        b.promote().await;
        assert_eq!(b.count().await, 1, "a promotion doesn't wait for the delay");
    });
}

#[test]
fn after_a_seal_nothing_arrives_although_the_receiver_outlived_the_reload() {
    fact(async |lab: &Lab| {
        let (a, b) = (port_on(&lab.server("a")), lab.server("b"));
        let me = NodeId(2);
        a.start(StartAs::Primary).await.unwrap();
        let (running, _) = (a.look().await, Signal::SIGHUP);
        let _unused = (running, me, Peer { node: me, host: "127.0.0.1".into(), port: b.port });
    });
}

#[test]
fn a_follower_behind_the_switch_follows_to_the_new_timeline() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let (below, beside) = (lab.standby("below", &b).await, lab.standby("beside", &a).await);
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        b.promote().await;
        b.run("INSERT INTO t VALUES (2)").await;
        below.until("(SELECT received_tli FROM pg_stat_wal_receiver) = 2").await;
        below.until("(SELECT count(*) FROM t) = 2").await;
        beside.follow_now(b.port).await;
        beside.until("(SELECT received_tli FROM pg_stat_wal_receiver) = 2").await;
        beside.until("(SELECT count(*) FROM t) = 2").await;
    });
}

#[test]
fn a_forked_follower_is_refused_for_ever() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &a).await;
        stop_following(&b).await;
        a.run("INSERT INTO t VALUES (1)").await;
        c.until_replayed(&a).await;
        b.promote().await;
        c.follow_now(b.port).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        eprintln!("{}", c.log());
        eprintln!("{}", c.ask("SELECT pg_stat_wal_receiver::text FROM pg_stat_wal_receiver").await);
        eprintln!("{}", b.ask("SELECT pg_stat_replication::text FROM pg_stat_replication").await);
        eprintln!("{}", b.log());
        b.run("INSERT INTO t SELECT generate_series(1, 10000)").await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        eprintln!("{}", c.log());
        eprintln!("{}", c.ask("SELECT pg_stat_wal_receiver::text FROM pg_stat_wal_receiver").await);
        eprintln!("{}", STREAMS);
    });
}

#[test]
fn a_primary_that_changed_its_names_keeps_its_followers() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let sender = "SELECT string_agg(pid::text, ' ') FROM pg_stat_replication";
        let (sends, receives) = (a.ask(sender).await, b.process("walreceiver").await);
        for names in ["b", "ANY 1 (b, c)", ""] {
            a.set_names(names).await;
        }
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        assert_eq!((a.ask(sender).await, b.process("walreceiver").await), (sends, receives));
    });
}
