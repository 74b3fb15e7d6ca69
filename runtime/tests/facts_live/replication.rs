//! Slots, connections between servers, and what becomes of a follower that needs WAL no longer there.

use super::harness::{Lab, Proxy, Server, fact, lsn, until};
use nix::sys::signal::Signal;
use std::time::Duration;

const STREAMS: &str = "EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')";

/// What the upstream says. A receiver calls itself streaming before it is refused.
const SENDERS: &str = "SELECT string_agg(pid::text, ' ') FROM pg_stat_replication WHERE state = 'streaming'";

/// In the log of the follower, and of its upstream. No view says it.
const REMOVED: &str = "has already been removed";

/// WAL worth several segments, and a checkpoint that removes what nobody holds.
async fn much_wal(a: &Server) {
    for _ in 0..6 {
        a.run("INSERT INTO t VALUES (1)").await;
        a.run("SELECT pg_switch_wal()").await;
    }
    a.run("CHECKPOINT").await;
}

/// A primary, and a standby that uses the slot `b` of it and is down.
async fn absent_follower(lab: &Lab) -> (Server, Server) {
    let a = lab.server("a");
    a.set("wal_keep_size", "0");
    a.start().await;
    a.run("SELECT pg_create_physical_replication_slot('b', true)").await;
    let b = lab.server("b");
    b.set("primary_slot_name", "b");
    b.follow(a.port);
    b.start().await;
    a.until_streams("b").await;
    b.stop_fast().await;
    (a, b)
}

#[test]
fn a_node_without_a_slot_is_refused() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let b = lab.server("b");
        b.set("primary_slot_name", "b");
        b.follow(a.port);
        b.start().await;
        let refused = "replication slot \"b\" does not exist";
        until("refused, and again", async || b.log().matches(refused).count() >= 2).await;
        assert_eq!(a.ask(SENDERS).await, "");
        a.run("SELECT pg_create_physical_replication_slot('b')").await;
        b.until(STREAMS).await;
    });
}

#[test]
fn a_slot_keeps_wal_for_an_absent_follower() {
    fact(async |lab: &Lab| {
        let (a, b) = absent_follower(lab).await;
        much_wal(&a).await;
        b.start().await;
        a.until_streams("b").await;
        b.stop_fast().await;
        a.run("SELECT pg_drop_replication_slot('b')").await;
        much_wal(&a).await;
        b.set("primary_slot_name", "");
        b.start().await;
        b.until_log(REMOVED).await;
        // The same with a bound instead of a slot.
        a.set_now("wal_keep_size", "64MB").await;
        let c = lab.server("c");
        let cloned = lab.clone(&c, a.port, &["-c", "fast"]).await;
        assert!(cloned.success, "{}", cloned.text);
        much_wal(&a).await;
        c.rejoin(&a).await;
    });
}

#[test]
fn a_slot_beyond_its_limit_loses_its_wal_and_the_follower_must_be_cloned() {
    fact(async |lab: &Lab| {
        let (a, b) = absent_follower(lab).await;
        a.set_now("max_slot_wal_keep_size", "1MB").await;
        much_wal(&a).await;
        a.until("(SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'b') = 'lost'").await;
        if lab.version.major >= 17 {
            let reason = "SELECT invalidation_reason FROM pg_replication_slots WHERE slot_name = 'b'";
            assert_eq!(a.ask(reason).await, "wal_removed");
        }
        b.start().await;
        let held = b.ask("SELECT pg_last_wal_replay_lsn()").await;
        until("refused again and again", async || b.log().matches(REMOVED).count() >= 3).await;
        b.set("primary_slot_name", "");
        b.signal(Signal::SIGHUP);
        let seen = b.log().matches(REMOVED).count();
        until("also without its slot", async || b.log().matches(REMOVED).count() >= seen + 3).await;
        // The receiver's status says "streaming" for a moment each time, so that is no proof of anything.
        assert_eq!(b.ask("SELECT pg_last_wal_replay_lsn()").await, held);
        a.until("(SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'b') = 'lost'").await;
    });
}

#[test]
fn a_slot_on_a_standby_can_be_advanced_but_not_back() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.run("SELECT pg_create_physical_replication_slot('c', true)").await;
        let before = b.ask("SELECT restart_lsn FROM pg_replication_slots").await;
        a.run("INSERT INTO t SELECT generate_series(1, 1000)").await;
        b.until_replayed(&a).await;
        let now = b.ask("SELECT pg_last_wal_replay_lsn()").await;
        b.run(&format!("SELECT pg_replication_slot_advance('c', '{now}')")).await;
        let advanced = b.ask("SELECT restart_lsn FROM pg_replication_slots").await;
        assert!(lsn(&advanced) > lsn(&before));
        let refused = b.try_ask(&format!("SELECT pg_replication_slot_advance('c', '{before}')")).await.unwrap_err();
        assert!(refused.contains("cannot advance replication slot"), "{refused}");
        let beyond = lsn(&now).0 + (64 << 20);
        let beyond = format!("SELECT pg_replication_slot_advance('c', '{}')", pgbaton_core::model::Lsn(beyond));
        b.run(&beyond).await;
        assert_eq!(b.ask("SELECT restart_lsn > pg_last_wal_replay_lsn() FROM pg_replication_slots").await, "f");
    });
}

#[test]
fn a_slot_on_a_standby_keeps_wal_until_it_is_advanced() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.set_now("wal_keep_size", "0").await;
        b.run("SELECT pg_create_physical_replication_slot('c', true)").await;
        let first = a.ask("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
        let first = b.pgdata.join("pg_wal").join(first);
        let restartpoint = async || {
            much_wal(&a).await;
            b.until_replayed(&a).await;
            b.run("CHECKPOINT").await;
        };
        restartpoint().await;
        assert!(first.exists(), "nobody uses it");
        b.run("SELECT pg_replication_slot_advance('c', pg_last_wal_replay_lsn())").await;
        restartpoint().await;
        assert!(!first.exists());
    });
}

#[test]
fn a_rewind_leaves_no_slot() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let slots = "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots";
        a.run("SELECT pg_create_physical_replication_slot('c', true)").await;
        b.run("SELECT pg_create_physical_replication_slot('d', true)").await;
        b.promote().await;
        b.run("CHECKPOINT").await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.stop_fast().await;
        a.start().await;
        assert_eq!(a.ask(slots).await, "c");
        a.stop_fast().await;
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        a.rejoin(&b).await;
        assert_eq!((a.ask(slots).await.as_str(), b.ask(slots).await.as_str()), ("", "d"));
        // One that finds nothing to do leaves them.
        a.run("SELECT pg_create_physical_replication_slot('c', true)").await;
        a.stop_fast().await;
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("no rewind required"), "{}", rewound.text);
        a.start().await;
        assert_eq!(a.ask(slots).await, "c");
    });
}

#[test]
fn a_receiver_comes_back_within_the_retry_interval() {
    fact(async |lab: &Lab| {
        const INTERVAL: Duration = Duration::from_millis(1500);
        let (a, network, b) = lab.distant_pair().await;
        b.set_now("wal_retrieve_retry_interval", "1500ms").await;
        a.stop_immediately().await;
        let before = network.attempts().len();
        until("three attempts", async || network.attempts().len() >= before + 3).await;
        let attempts = network.attempts();
        // The first may have come at once: the interval counts from the last time it was tried.
        for pair in attempts[before..].windows(2) {
            assert!(pair[1] - pair[0] >= INTERVAL - Duration::from_millis(100), "{:?}", pair[1] - pair[0]);
        }
        a.start().await;
        let seen = network.attempts().len();
        b.until(STREAMS).await;
        assert!(network.attempts().len() <= seen + 1, "at the first attempt");
    });
}

#[test]
fn silence_ends_a_stream_on_both_sides() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        a.set_now("wal_sender_timeout", "1s").await;
        b.set_now("wal_receiver_timeout", "2s").await;
        let here = "EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')";
        network.cut();
        assert_eq!(a.ask(&format!("SELECT {here}")).await, "t", "nobody knows yet");
        a.until(&format!("NOT {here}")).await;
        a.until_log("terminating walsender process due to replication timeout").await;
        b.until(&format!("NOT {STREAMS}")).await;
        b.until_log("terminating walreceiver due to timeout").await;
        network.break_connections();
        network.heal();
        b.until(STREAMS).await;
    });
}

#[test]
fn a_new_receiver_replaces_the_one_that_holds_its_slot_only_when_that_is_gone() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("SELECT pg_create_physical_replication_slot('b')").await;
        let network = Proxy::to(a.port).await;
        let b = lab.server("b");
        b.set("primary_slot_name", "b");
        b.follow(network.port);
        b.start().await;
        a.until_streams("b").await;
        let old = a.ask(SENDERS).await;
        // It comes again on another way, and its old sender knows nothing of that.
        network.cut();
        b.follow_now(a.port).await;
        let refused = format!("replication slot \"b\" is active for PID {old}");
        until("refused, and again", async || b.log().matches(&refused).count() >= 2).await;
        assert_eq!(a.ask(SENDERS).await, old);
        network.break_connections();
        a.until(&format!("({SENDERS}) <> '{old}'")).await;
        b.until(STREAMS).await;
    });
}

#[test]
fn a_standby_serves_a_standby() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &b).await;
        a.run("INSERT INTO t VALUES (1)").await;
        c.until("(SELECT count(*) FROM t) = 1").await;
        assert_eq!(a.ask("SELECT string_agg(application_name, ' ') FROM pg_stat_replication").await, "b");
        // Also without a primary, and while it doesn't replay itself.
        a.stop_immediately().await;
        assert_eq!(b.ask("SELECT string_agg(state, ' ') FROM pg_stat_replication").await, "streaming");
    });
}
