//! The three ways to stop a server, and what holds a stop up.

use super::harness::{Lab, fact, freeze, is_alive, lsn, until};
use nix::sys::signal::Signal;

const STATE: &str = "Database cluster state";

#[test]
fn a_smart_stop_lets_sessions_go_on_committing() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let session = a.session().await;
        a.hang_up().await;
        a.signal(Signal::SIGTERM);
        until("new sessions are refused", async || a.try_ask("SELECT 1").await.is_err()).await;
        let refused = a.try_ask("SELECT 1").await.unwrap_err();
        assert_eq!(refused, "57P03 the database system is shutting down");
        let pid_file = std::fs::read_to_string(a.pgdata.join("postmaster.pid")).unwrap();
        assert_eq!(pid_file.lines().nth(7).map(str::trim), Some("stopping"), "so that its keeper can see it");
        session.run("INSERT INTO t VALUES (1)").await;
        assert!(a.is_running());
        drop(session);
        a.until_ended().await;
        assert_eq!(a.control(STATE).await, "shut down");
        a.start().await;
        assert_eq!(a.count().await, 1);
    });
}

#[test]
fn a_fast_stop_ends_sessions_before_its_checkpoint() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let session = a.session().await;
        session.run("BEGIN; INSERT INTO t VALUES (1)").await;
        a.signal(Signal::SIGINT);
        session.ended().await;
        a.until_ended().await;
        assert_eq!(a.control(STATE).await, "shut down");
        let checkpoint = a.control("Latest checkpoint location").await;
        let records = lab.wal_from(&a, 1, &checkpoint).await;
        assert_eq!(records.lines().count(), 1, "{records}");
        assert!(records.contains("CHECKPOINT_SHUTDOWN"), "{records}");
        a.start().await;
        assert_eq!(a.count().await, 0);
    });
}

#[test]
fn a_slow_checkpoint_holds_a_fast_stop_up_and_nobody_writes_meanwhile() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let session = a.session().await;
        session.run("INSERT INTO t VALUES (1)").await;
        a.hang_up().await;
        let slow = a.freeze("checkpointer").await;
        a.hang_up().await;
        a.signal(Signal::SIGINT);
        session.ended().await;
        until("only the checkpointer is left", async || a.children().len() == 1).await;
        assert_eq!(a.try_ask("SELECT 1").await.unwrap_err(), "57P03 the database system is shutting down");
        assert_eq!(a.control(STATE).await, "in production");
        let pid_file = std::fs::read_to_string(a.pgdata.join("postmaster.pid")).unwrap();
        assert_eq!(pid_file.lines().nth(7).map(str::trim), Some("stopping"));
        drop(slow);
        a.until_ended().await;
        assert_eq!(a.control(STATE).await, "shut down");
    });
}

#[test]
fn a_fast_stop_ends_a_commit_that_waits_without_an_answer() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_names("nobody").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        a.stop_fast().await;
        let refused = commit.answer().await.unwrap_err();
        assert!(refused.starts_with("no answer"), "{refused}");
        assert_eq!(a.control(STATE).await, "shut down", "nobody is waited for");
        a.start().await;
        assert_eq!(a.count().await, 1);
    });
}

/// The kernel keeps a signal for a process that it has stopped.
fn has_pending(pid: i32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
    let pending = u64::from_str_radix(pending.trim(), 16).unwrap();
    pending & (1 << (signal as i32 - 1)) != 0
}

#[test]
fn a_backend_that_is_told_to_end_takes_no_command_that_waits() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let session = a.session().await;
        session.run("INSERT INTO t VALUES (1)").await;
        let (pid, frozen) = (session.pid, freeze(session.pid));
        let command = session.begin("INSERT INTO t VALUES (2)");
        let asks = format!("SELECT state = 'idle' FROM pg_stat_activity WHERE pid = {pid}");
        assert_eq!(a.ask(&asks).await, "t");
        a.signal(Signal::SIGINT);
        until("the backend is told", async || has_pending(pid, Signal::SIGTERM)).await;
        drop(frozen);
        assert!(command.answer().await.is_err());
        a.until_ended().await;
        a.start().await;
        assert_eq!(a.ask("SELECT string_agg(n::text, ',') FROM t").await, "1");
    });
}

#[test]
fn an_orderly_stop_ships_its_last_record_to_the_standby() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        b.until_replayed(&a).await;
        network.cut();
        a.signal(Signal::SIGINT);
        until("the control file says so", async || a.control(STATE).await == "shut down").await;
        let checkpoint = a.control("Latest checkpoint location").await;
        let received = "SELECT pg_last_wal_receive_lsn()";
        assert!(lsn(&b.ask(received).await) <= lsn(&checkpoint));
        assert!(a.is_running(), "it waits for its standby");
        network.heal();
        a.until_ended().await;
        assert!(lsn(&b.ask(received).await) > lsn(&checkpoint));
        b.until(&format!("pg_last_wal_replay_lsn() > '{checkpoint}'")).await;
    });
}

#[test]
fn an_immediate_stop_is_a_crash() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let before = a.control("Latest checkpoint location").await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.stop_immediately().await;
        assert_eq!(a.control(STATE).await, "in production");
        assert_eq!(a.control("Latest checkpoint location").await, before);
        a.start().await;
        assert!(a.log().contains("database system was not properly shut down; automatic recovery in progress"));
        assert_eq!(a.count().await, 1);
    });
}

#[test]
fn a_hanging_archiver_holds_a_stop_up_though_the_control_file_says_shut_down() {
    fact(async |lab: &Lab| {
        let a = lab.server("a");
        let (asked, go_on) = (lab.path().join("a.asked"), lab.path().join("a.go-on"));
        let command = format!("touch {}; while [ ! -e {} ]; do sleep 0.02; done", asked.display(), go_on.display());
        a.set("archive_mode", "on");
        a.set("archive_command", &command);
        a.start().await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.run("SELECT pg_switch_wal()").await;
        until("the archiver works", async || asked.exists()).await;
        a.signal(Signal::SIGINT);
        until("the control file says so", async || a.control(STATE).await == "shut down").await;
        until("only the archiver is left", async || a.children().len() == 1).await;
        assert!(a.is_running());
        assert_eq!(a.try_ask("SELECT 1").await.unwrap_err(), "57P03 the database system is shutting down");
        std::fs::write(&go_on, "").unwrap();
        a.until_ended().await;
    });
}

#[test]
fn a_stopped_backend_holds_a_stop_up() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let (stopped, other) = (a.session().await, a.session().await);
        let frozen = freeze(stopped.pid);
        a.signal(Signal::SIGINT);
        other.ended().await;
        // All but those that serve to the end.
        until("the rest is ready to end", async || a.children().iter().filter(|pid| is_alive(**pid)).count() <= 2)
            .await;
        assert_eq!(a.try_ask("SELECT 1").await.unwrap_err(), "57P03 the database system is shutting down");
        assert!(a.is_running());
        assert_eq!(a.control(STATE).await, "in production");
        drop(frozen);
        a.until_ended().await;
        assert_eq!(a.control(STATE).await, "shut down");
    });
}

#[test]
fn a_clean_stop_that_reached_the_standby_needs_no_rewind() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.stop_fast().await;
        let checkpoint = a.control("Latest checkpoint location").await;
        b.until(&format!("pg_last_wal_replay_lsn() > '{checkpoint}'")).await;
        b.promote().await;
        b.run("INSERT INTO t VALUES (2)").await;
        a.follow(b.port);
        a.start().await;
        b.until_streams("a").await;
        a.until("(SELECT received_tli FROM pg_stat_wal_receiver) = 2").await;
        a.until("(SELECT count(*) FROM t) = 2").await;
    });
}
