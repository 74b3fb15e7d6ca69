//! Promotions, timelines and who follows whom.

use super::harness::{Lab, Ported, Proxy, Server, Session, fact, freeze, lsn, until};
use pgbaton_core::model::{NodeId, Peer, Upstream};
use pgbaton_core::ports::{Postgres, StartAs};

const NO_RECEIVER: &str = "NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver')";
const STREAMS: &str = "EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')";
/// The startup process has found nothing in pg_wal nor by streaming.
const CIRCLE: &str = "waiting for WAL to become available";
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
        assert_eq!(b.control("Database cluster state").await, "in production", "by this an end of recovery is told");
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

/// A timeline as if it had forked off before anything that anybody holds.
const LONG_AGO: &str = "1\t0/1\treserved\n";
/// One of no ancestors.
const NO_CHILD: &str = "# reserved\n";

#[test]
fn a_history_file_in_the_directory_takes_a_number() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let (c, late) = (lab.standby("c", &b).await, lab.standby("late", &b).await);
        stop_following(&b).await;
        let passed_over = ["new timeline 2 is not a child of", "new timeline 3 forked off current database system"];
        for (number, text, log) in [(2, NO_CHILD, passed_over[0]), (3, LONG_AGO, passed_over[1])] {
            b.put_file(&format!("pg_wal/{number:08}.history"), text);
            until("looked at twice", async || b.log().matches(log).count() >= 2).await;
        }
        // Beyond a gap, so nobody will find it.
        b.put_file("pg_wal/00000006.history", LONG_AGO);
        // It goes on as before, and may even follow again.
        a.run("INSERT INTO t VALUES (1)").await;
        b.follow_now(a.port).await;
        b.until("(SELECT count(*) FROM t) = 1").await;
        stop_following(&b).await;
        late.until_replayed(&a).await;
        late.stop_immediately().await;
        let replayed = b.ask("SELECT pg_last_wal_replay_lsn()").await;
        b.promote().await;
        assert_eq!(b.timeline().await, 4);
        assert_eq!(history(&b, 4), [(1, replayed, "no recovery target specified".into())]);
        b.run("INSERT INTO t VALUES (2)").await;
        c.until("(SELECT received_tli FROM pg_stat_wal_receiver) = 4").await;
        c.until("(SELECT count(*) FROM t) = 2").await;
        a_start_beside_it_is_refused(&a).await;
        followers_ask_for_it(&b, &late).await;
    });
}

async fn a_start_beside_it_is_refused(a: &Server) {
    let file = "pg_wal/00000002.history";
    a.stop_fast().await;
    a.put_signal();
    a.put_file(file, LONG_AGO);
    a.launch();
    a.until_ended().await;
    assert!(a.log().contains("FATAL:  requested timeline 2 is not a child of this server's history"), "{}", a.log());
    // Worse: it looks for its own checkpoint on that timeline, for ever.
    a.put_file(file, NO_CHILD);
    a.launch();
    until("some circles", async || a.log().matches(CIRCLE).count() >= 4).await;
    assert!(!a.is_ready());
    a.stop_immediately().await;
    std::fs::remove_file(a.pgdata.join(file)).unwrap();
    a.start().await;
}

/// On their way to timeline 4 they fetch every history from their own on.
async fn followers_ask_for_it(b: &Server, late: &Server) {
    let (file, aside) = (b.pgdata.join("pg_wal/00000002.history"), b.pgdata.join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    late.launch();
    late.until_log("could not receive timeline history file from the primary server").await;
    late.until_ready().await;
    assert_eq!(late.count().await, 1);
    std::fs::rename(&aside, &file).unwrap();
    late.until("(SELECT count(*) FROM t) = 2").await;
}

#[test]
fn a_promotion_replays_all_it_has_received_first() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.run("SELECT pg_wal_replay_pause()").await;
        b.until("pg_get_wal_replay_pause_state() = 'paused'").await;
        a.run("INSERT INTO t SELECT generate_series(1, 10000)").await;
        let end = a.end().await;
        b.until_received(&a).await;
        assert_eq!(b.count().await, 0);
        b.promote().await;
        assert_eq!(b.count().await, 10_000);
        assert!(lsn(&history(&b, 2)[0].1) >= lsn(&end));
    });
}

#[test]
fn a_promotion_lasts_as_long_as_replay_of_what_was_received() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.run("SELECT pg_wal_replay_pause()").await;
        b.until("pg_get_wal_replay_pause_state() = 'paused'").await;
        a.run("INSERT INTO t SELECT generate_series(1, 1000000)").await;
        b.until_received(&a).await;
        let end = a.end().await;
        assert_eq!(b.ask("SELECT pg_promote(false)").await, "t");
        let mut stages = Vec::new();
        until("b is open", async || {
            let seen = b.ask("SELECT concat_ws(' ', pg_is_in_recovery(), pg_last_wal_replay_lsn())").await;
            let (in_recovery, replayed) = seen.split_once(' ').unwrap();
            if in_recovery == "t" {
                stages.push(lsn(replayed));
            }
            in_recovery == "f"
        })
        .await;
        stages.dedup();
        assert!(stages.len() > 3 && stages.is_sorted(), "on its way, and closed: {stages:?}");
        assert!(lsn(&end).bytes_past(stages[1]) > 1 << 20, "{stages:?} of {end}");
        assert_eq!(b.count().await, 1_000_000);
    });
}

#[test]
fn a_promotion_waits_for_no_attempt_to_reach_an_upstream() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let network = Proxy::to(a.port).await;
        let c = lab.standby_through("c", &a, network.port).await;
        let waits = |event: &str| format!("EXISTS (SELECT FROM pg_stat_activity WHERE lower(wait_event) = '{event}')");
        // Amid an attempt that gets no answer.
        network.cut();
        network.break_connections();
        c.until(&waits("libpqwalreceiverconnect")).await;
        c.promote().await;
        // Between two attempts.
        b.set_now("wal_retrieve_retry_interval", "1h").await;
        a.stop_immediately().await;
        b.until(&waits("recoveryretrieveretryinterval")).await;
        b.promote().await;
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
fn a_delay_set_to_nothing_by_reload_ends_at_once() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.set_now("recovery_min_apply_delay", "1h").await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_received(&a).await;
        b.until("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'RecoveryApplyDelay')").await;
        assert_eq!(b.count().await, 0);
        b.set_now("recovery_min_apply_delay", "0").await;
        b.until("EXISTS (SELECT FROM t)").await;
    });
}

#[test]
fn after_a_seal_nothing_arrives_although_the_receiver_outlived_the_reload() {
    fact(async |lab: &Lab| {
        let (server, me) = (lab.server("a"), NodeId(2));
        let (a, b) = (Ported::on(&server), Ported::on(&lab.server("b")));
        a.start(StartAs::Primary).await.unwrap();
        a.admit(&[Peer { node: me, host: "127.0.0.1".into(), port: b.config().port }]).await.unwrap();
        let history = a.look().await.control().unwrap().history.clone();
        let upstream =
            Upstream { node: NodeId(1), host: "127.0.0.1".into(), port: server.port, history, opening: false };
        b.follow(me, Some(&upstream)).await.unwrap();
        b.start(StartAs::Standby).await.unwrap();
        let (of_a, of_b) = (Session::open(server.port).await.unwrap(), Session::open(b.config().port).await.unwrap());
        let streams = async || of_b.ask(&format!("SELECT {STREAMS}")).await.unwrap() == "t";
        until("b streams", streams).await;

        let startup = of_b.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'").await.unwrap();
        let frozen = freeze(startup.parse().unwrap());
        b.follow(me, None).await.unwrap();
        until("the reload", async || of_b.ask("SHOW primary_conninfo").await.unwrap().is_empty()).await;
        of_a.run("INSERT INTO t VALUES (1)").await;
        let end = of_a.ask("SELECT pg_current_wal_flush_lsn()").await.unwrap();
        let arrived = format!("SELECT pg_last_wal_receive_lsn() >= '{end}'");
        until("the receiver lives on", async || of_b.ask(&arrived).await.unwrap() == "t").await;
        drop(frozen);
        let sealed = b.seal().await.unwrap();
        assert!(sealed.lsn >= lsn(&end), "what had arrived is replayed: {sealed:?} {end}");
        assert!(!streams().await);

        of_a.run("INSERT INTO t VALUES (2)").await;
        of_a.run("SELECT pg_switch_wal()").await;
        let circles = || std::fs::read_to_string(b.config().log_file()).unwrap().matches(CIRCLE).count();
        let before = circles();
        until("two more circles of the startup process", async || circles() >= before + 2).await;
        assert_eq!(of_b.ask("SELECT string_agg(n::text, ' ') FROM t").await.unwrap(), "1");
        assert_eq!(b.seal().await.unwrap(), sealed);
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

/// `b` is open on a timeline of its own. `c` and `far` are past the switch: within its segment, and segments later.
async fn forked(lab: &Lab) -> (Server, Server, Server) {
    let (a, b) = lab.pair().await;
    let (c, far) = (lab.standby("c", &a).await, lab.standby("far", &a).await);
    stop_following(&b).await;
    a.run("INSERT INTO t VALUES (1)").await;
    c.until_replayed(&a).await;
    c.set_now("primary_conninfo", "").await;
    a.run("INSERT INTO t SELECT generate_series(1, 50000)").await;
    far.until_replayed(&a).await;
    a.stop_fast().await;
    b.promote().await;
    for ahead in [&c, &far] {
        ahead.follow_now(b.port).await;
    }
    (b, c, far)
}

/// In the log of one that asks again.
const FORKED: &str = "new timeline 2 forked off current database system timeline 1 before current recovery point";
/// In the log of one whose request itself is refused.
const NOT_THERE: &str = "on timeline 1 is not in this server's history";

#[test]
fn a_forked_follower_is_refused_for_ever() {
    fact(async |lab: &Lab| {
        let (b, c, far) = forked(lab).await;
        b.run("INSERT INTO t SELECT generate_series(1, 100000)").await;
        for (ahead, told) in [(&c, FORKED), (&far, NOT_THERE)] {
            until("tried again and again", async || ahead.log().matches(told).count() >= 6).await;
            assert_eq!(ahead.ask("SELECT pg_is_in_recovery()").await, "t");
        }
        assert_eq!((c.count().await, far.count().await), (1, 50_001));
    });
}

#[test]
fn a_forked_receiver_stays_within_the_segment_of_the_switch() {
    fact(async |lab: &Lab| {
        let (_b, c, far) = forked(lab).await;
        until("asked again and again", async || c.log().matches(FORKED).count() >= 4).await;
        until("refused again and again", async || far.log().matches(NOT_THERE).count() >= 4).await;
        let receiver = c.process("walreceiver").await;
        let seen = c.log().matches(FORKED).count();
        until("and again", async || c.log().matches(FORKED).count() >= seen + 2).await;
        assert_eq!(c.process("walreceiver").await, receiver);
        assert!(!c.log().contains(NOT_THERE));
    });
}

/// Cuts the promotion of a standby of `a` short: what it makes first is there, and nothing else.
async fn cut_short(a: &Server, standby: &Server) {
    let end = standby.ask("SELECT pg_last_wal_replay_lsn()").await;
    let segment = a.ask(&format!("SELECT pg_walfile_name('{end}')")).await;
    let begun = format!("pg_wal/00000002{}", &segment[8..]);
    standby.stop_immediately().await;
    let wal = std::fs::read(standby.pgdata.join("pg_wal").join(&segment)).unwrap();
    // Made for the server's own user first.
    standby.put_file(&begun, "");
    std::fs::write(standby.pgdata.join(&begun), wal).unwrap();
    standby.put_file("pg_wal/00000002.history", &format!("1\t{end}\tno recovery target specified\n"));
    standby.remove_signal();
}

#[test]
fn a_promotion_cut_short_leaves_files_of_a_timeline_that_a_plain_start_does_not_open() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &a).await;
        a.run("INSERT INTO t VALUES (1)").await;
        for standby in [&b, &c] {
            standby.until_replayed(&a).await;
            stop_following(standby).await;
            cut_short(&a, standby).await;
        }
        b.start().await;
        assert_eq!((b.ask("SELECT pg_is_in_recovery()").await, b.timeline().await), ("f".into(), 1));
        b.run("INSERT INTO t VALUES (2)").await;
        assert_eq!(b.count().await, 2);
        c.put_signal();
        c.follow(a.port);
        c.start().await;
        c.until_log("highest timeline 1 of the primary is behind recovery timeline 2").await;
        c.set_now("primary_conninfo", "").await;
        c.promote().await;
        assert_eq!(c.timeline().await, 3);
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

#[test]
fn a_recovery_signal_outlives_a_promotion_and_forbids_a_start_without_an_archive() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &a).await;
        for standby in [&b, &c] {
            standby.put_file("recovery.signal", "");
            standby.stop_fast().await;
            standby.start().await;
            a.until_streams(&standby.name).await;
            stop_following(standby).await;
        }
        b.promote().await;
        b.run("INSERT INTO t VALUES (1)").await;
        assert!(!b.has_signal() && b.pgdata.join("recovery.signal").exists());
        b.kill_all().await;
        cut_short(&a, &c).await;
        for server in [&b, &c] {
            let before = server.control("Database cluster state").await;
            server.launch();
            server.until_log("when standby mode is not enabled").await;
            server.until_ended().await;
            assert_eq!(server.control("Database cluster state").await, before);
            std::fs::remove_file(server.pgdata.join("recovery.signal")).unwrap();
        }
        b.start().await;
        assert_eq!((b.timeline().await, b.count().await), (2, 1));
    });
}
