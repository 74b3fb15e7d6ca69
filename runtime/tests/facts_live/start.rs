//! What a start makes of a directory, and what is known after it.

use super::harness::{Lab, Ported, Server, fact, freeze, is_alive, lsn, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgbaton_core::ports::{Postgres, StartAs};
use std::time::{Duration, Instant};

const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";

#[test]
fn a_server_without_its_signal_comes_up_writable_and_with_it_read_only() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.kill_all().await;
        a.start().await;
        a.run("INSERT INTO t VALUES (2)").await;
        a.kill_all().await;
        a.put_signal();
        a.start().await;
        assert_eq!(a.ask(IN_RECOVERY).await, "t");
        assert_eq!(a.count().await, 2);
        let refused = a.try_ask("INSERT INTO t VALUES (3)").await.unwrap_err();
        assert!(refused.starts_with("25006"), "{refused}");
        assert!(a.has_signal(), "it stays until a promotion");
    });
}

#[test]
fn an_init_system_that_restarts_a_server_with_its_signal_gets_a_read_only_one() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.promote().await;
        assert!(!b.has_signal(), "removed by the promotion");
        // Put where it belongs whenever the server may go down.
        a.put_signal();
        a.kill_all().await;
        let log = lab.path().join("init.log");
        let arguments = ["start", "-w", "-s", "-D", a.pgdata_text(), "-l", log.to_str().unwrap()];
        let started = lab.run("pg_ctl", &arguments).await;
        assert!(started.success, "{}", started.text);
        let recovers = a.ask(IN_RECOVERY).await;
        let stopped = lab.run("pg_ctl", &["stop", "-w", "-m", "immediate", "-D", a.pgdata_text()]).await;
        assert!(stopped.success, "{}", stopped.text);
        assert_eq!(recovers, "t");
    });
}

#[test]
fn a_backend_crash_with_the_signal_in_place_closes_the_primary() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("INSERT INTO t VALUES (1)").await;
        let (session, timeline, postmaster) = (a.session().await, a.timeline().await, a.postmaster_pid());
        a.put_signal();
        a.run("INSERT INTO t VALUES (2)").await;
        kill(Pid::from_raw(session.pid), Signal::SIGKILL).unwrap();
        session.ended().await;
        a.until("pg_is_in_recovery()").await;
        assert_eq!(a.postmaster_pid(), postmaster, "no restart of the server as a whole");
        assert_eq!(a.count().await, 2);
        let at = "SELECT received_tli FROM pg_stat_wal_receiver";
        assert_eq!((a.ask(at).await.as_str(), timeline), ("", 1));
        assert!(!a.pgdata.join("pg_wal/00000002.history").exists(), "the same timeline");
    });
}

#[test]
fn single_user_mode_refuses_the_signal() {
    fact(async |lab: &Lab| {
        let a = lab.server("a");
        a.put_signal();
        let refused = lab.run("postgres", &["--single", "-D", a.pgdata_text(), "postgres"]).await;
        assert!(!refused.success);
        assert!(refused.text.contains("standby mode is not supported by single-user servers"), "{}", refused.text);
        a.remove_signal();
        let taken = lab.run("postgres", &["--single", "-D", a.pgdata_text(), "postgres"]).await;
        assert!(taken.success, "{}", taken.text);
    });
}

#[test]
fn crash_recovery_takes_time_for_the_wal_since_the_checkpoint() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("INSERT INTO t SELECT generate_series(1, 1000)").await;
        a.run("CHECKPOINT").await;
        a.run("INSERT INTO t SELECT generate_series(1, 400000)").await;
        let end = a.end().await;
        a.kill_all().await;
        let redo = a.control("Latest checkpoint's REDO location").await;
        a.launch();
        let mut refusals = Vec::new();
        until("it is open", async || match a.try_ask("SELECT 1").await {
            Ok(_) => true,
            Err(refused) => {
                refusals.push(refused);
                false
            }
        })
        .await;
        a.until_ready().await;
        assert!(refusals.iter().any(|refused| refused.starts_with("57P03")), "{refusals:?}");
        let log = a.log();
        assert!(log.contains(&format!("redo starts at {redo}")), "from the checkpoint's redo location {redo}");
        let done = log.split("redo done at ").nth(1).unwrap().split_whitespace().next().unwrap();
        assert!(lsn(done) > lsn(&redo) && lsn(done) < lsn(&end));
        assert!(lsn(&end).bytes_past(lsn(done)) < 1000, "to the end, {end}, in one record: {done}");
        assert_eq!(a.count().await, 401_000);
    });
}

/// The startup process, by what it calls itself, and what it says it is at.
fn startup(server: &Server) -> Option<(i32, String)> {
    server.children().into_iter().find_map(|pid| {
        let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let (_, at) = title.trim_end_matches('\0').split_once(": startup ")?;
        Some((pid, at.trim().to_string()))
    })
}

#[test]
fn a_crash_recovery_cut_short_begins_anew() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_now("log_startup_progress_interval", "1ms").await;
        a.run("CHECKPOINT").await;
        a.run("INSERT INTO t SELECT generate_series(1, 1000000)").await;
        a.kill_all().await;
        let redo = a.control("Latest checkpoint's REDO location").await;
        for _ in 0..2 {
            let said = || a.log().matches("redo in progress").count();
            let before = said();
            a.launch();
            until("it is on its way", async || said() > before).await;
            let (pid, at) = startup(&a).expect("it is there");
            let frozen = freeze(pid);
            assert!(at.starts_with("recovering 00000001"), "{at}");
            assert!(!a.is_ready() && a.try_ask("SELECT 1").await.unwrap_err().starts_with("57P03"));
            assert_eq!(a.control("Database cluster state").await, "in crash recovery");
            assert_eq!(a.control("Latest checkpoint's REDO location").await, redo);
            assert_eq!(a.control("Minimum recovery ending location").await, "0/0", "that says nothing of it");
            a.kill_all().await;
            drop(frozen);
        }
        a.start().await;
        assert_eq!(a.log().matches(&format!("redo starts at {redo}")).count(), 3);
        assert_eq!(a.count().await, 1_000_000);
    });
}

#[test]
fn a_standby_is_up_once_it_is_consistent_and_replays_the_rest_then() {
    const DELAYED: &str = "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'RecoveryApplyDelay')";
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.run("CHECKPOINT").await;
        b.until_replayed(&a).await;
        b.run("CHECKPOINT").await;
        b.set_now("recovery_min_apply_delay", "1h").await;
        a.run("INSERT INTO t VALUES (2)").await;
        b.until_received(&a).await;
        let held = b.ask("SELECT pg_last_wal_receive_lsn()").await;
        b.until(DELAYED).await;
        b.kill_all().await;
        assert!(lsn(&b.control("Minimum recovery ending location").await) < lsn(&held));
        b.start().await;
        b.until(DELAYED).await;
        assert_eq!(b.count().await, 1);
        assert!(lsn(&b.ask("SELECT pg_last_wal_replay_lsn()").await) < lsn(&held));
        assert_eq!(b.ask("SELECT count(*) FROM pg_stat_wal_receiver").await, "0", "first what it has");
        b.set_now("recovery_min_apply_delay", "0").await;
        b.until("(SELECT count(*) FROM t) = 2").await;
        a.until_streams("b").await;
        // A primary's control file says nothing of the kind.
        a.kill_all().await;
        a.set("recovery_min_apply_delay", "1h");
        a.put_signal();
        a.start().await;
        assert_eq!((a.ask(IN_RECOVERY).await.as_str(), a.count().await), ("t", 2));
    });
}

#[test]
fn after_a_restart_a_standby_does_not_know_what_it_received() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.run("SELECT pg_wal_replay_pause()").await;
        b.until("pg_get_wal_replay_pause_state() = 'paused'").await;
        a.run("INSERT INTO t SELECT generate_series(1, 1000)").await;
        b.until_received(&a).await;
        let held = b.ask("SELECT pg_last_wal_receive_lsn()").await;
        assert!(lsn(&b.ask("SELECT pg_last_wal_replay_lsn()").await) < lsn(&held));
        b.kill_all().await;
        b.set("primary_conninfo", "");
        b.start().await;
        assert_eq!(b.ask("SELECT pg_last_wal_receive_lsn()").await, "");
        b.until(&format!("pg_last_wal_replay_lsn() >= '{held}'")).await;
        assert_eq!(b.count().await, 1000);
        assert_eq!(b.ask("SELECT pg_last_wal_receive_lsn()").await, "", "replay doesn't tell it");
    });
}

#[test]
fn a_restarted_receiver_starts_at_a_segment() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        a.run("INSERT INTO t SELECT generate_series(1, 1000)").await;
        b.until_replayed(&a).await;
        const RECEIVED: &str = "SELECT pg_last_wal_receive_lsn()";
        let held = b.ask(RECEIVED).await;
        assert_ne!(lsn(&held).0 % (1 << 20), 0);
        // It would log what runs now and then.
        let idle = a.freeze("background writer").await;
        // The receiver alone, and its upstream is silent.
        network.cut();
        network.break_connections();
        b.until("NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')").await;
        assert_eq!(b.ask(RECEIVED).await, held, "a server that lives remembers");
        b.kill_all().await;
        b.start().await;
        b.until("pg_last_wal_receive_lsn() IS NOT NULL").await;
        let start = b.ask(RECEIVED).await;
        assert_eq!(lsn(&start).0 % (1 << 20), 0, "{start}");
        assert!(lsn(&start) < lsn(&held));
        assert_eq!(b.ask("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'").await, "0");
        assert!(lsn(&b.ask("SELECT pg_last_wal_replay_lsn()").await) >= lsn(&start));
        network.heal();
        b.until("EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')").await;
        let flushed = "(SELECT flush_lsn FROM pg_stat_replication WHERE state = 'streaming')";
        a.until(&format!("{flushed} = pg_current_wal_flush_lsn()")).await;
        assert_eq!(b.ask(RECEIVED).await, start, "only WAL that is new to it moves it, whatever its upstream is told");
        drop(idle);
        a.run("INSERT INTO t VALUES (1)").await;
        b.until(&format!("pg_last_wal_receive_lsn() > '{held}'")).await;
    });
}

#[test]
fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let _frozen = a.freeze("walwriter").await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.run("SET synchronous_commit = off; INSERT INTO t VALUES (2)").await;
        assert_eq!(a.count().await, 2);
        a.kill_all().await;
        a.start().await;
        assert_eq!(a.ask("SELECT string_agg(n::text, ' ') FROM t").await, "1");
    });
}

#[test]
fn the_death_of_the_postmaster_is_news_at_once_and_only_once() {
    fact(async |lab: &Lab| {
        let a = lab.server("a");
        let port = Ported::on(&a);
        port.start(StartAs::Primary).await.unwrap();
        let postmaster = Pid::from_raw(port.postmaster_pid().unwrap());
        let (told, killed) = (port.changed(), Instant::now());
        kill(postmaster, Signal::SIGKILL).unwrap();
        tokio::time::timeout(Duration::from_secs(5), told).await.expect("the port is told");
        assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
        assert_eq!(port.postmaster_pid(), None);
        let again = tokio::time::timeout(Duration::from_millis(200), port.changed()).await;
        assert!(again.is_err(), "the same death twice");
        // Takes away what the killed one has left.
        port.start(StartAs::Primary).await.unwrap();
    });
}

#[test]
fn children_outlive_a_killed_postmaster_for_a_moment() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let (idle, busy) = (a.session().await, a.session().await);
        let (idle_pid, busy_pid) = (idle.pid, busy.pid);
        // Never waits for anything, so it doesn't look for its postmaster.
        let busy = busy.begin("DO $$ BEGIN LOOP NULL; END LOOP; END $$");
        a.until(&format!("(SELECT state FROM pg_stat_activity WHERE pid = {busy_pid}) = 'active'")).await;
        let others: Vec<i32> = a.children().into_iter().filter(|pid| *pid != busy_pid).collect();
        assert!(others.contains(&idle_pid));
        a.signal(Signal::SIGKILL);
        a.until_ended().await;
        until("the idle ones are gone", async || !others.iter().any(|pid| is_alive(*pid))).await;
        assert!(is_alive(busy_pid) && !busy.is_answered());
        a.launch();
        a.until_ended().await;
        assert!(a.log().contains("pre-existing shared memory block"), "no second server beside it");
        kill(Pid::from_raw(busy_pid), Signal::SIGKILL).unwrap();
        until("the busy one is gone", async || !is_alive(busy_pid)).await;
        a.start().await;
    });
}

#[test]
fn cached_control_data_of_a_running_standby_is_stale() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.run("INSERT INTO t SELECT generate_series(1, 10000)").await;
        b.until_replayed(&a).await;
        let replayed = b.ask("SELECT pg_last_wal_replay_lsn()").await;
        let shown = async || b.control("Latest checkpoint location").await;
        let before = shown().await;
        assert!(lsn(&before) < lsn(&replayed));
        assert!(lsn(&b.control("Minimum recovery ending location").await) < lsn(&replayed));
        a.run("CHECKPOINT").await;
        b.until_replayed(&a).await;
        assert_eq!(shown().await, before, "a replayed checkpoint is no restartpoint");
        b.run("CHECKPOINT").await;
        assert_eq!(shown().await, a.control("Latest checkpoint location").await);
    });
}

#[test]
fn a_standby_makes_no_restartpoint_twice_at_one_checkpoint() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.run("CHECKPOINT").await;
        b.until_replayed(&a).await;
        let begun = || b.log().matches("restartpoint starting").count();
        let before = begun();
        b.run("CHECKPOINT").await;
        assert_eq!(begun(), before + 1);
        b.run("CHECKPOINT").await;
        assert_eq!(begun(), before + 1);
    });
}
