//! What a commit waits for, and what ends its wait.

use super::harness::{Lab, Proxy, Server, StallingDisk, fact, give_away, lsn, until};
use nix::sys::signal::Signal;

const ROWS: &str = "SELECT string_agg(n::text, ',' ORDER BY n) FROM t";

/// What this standby has confirmed is on its disk.
async fn flushed_by(a: &Server, name: &str) -> String {
    a.ask(&format!("SELECT flush_lsn FROM pg_stat_replication WHERE application_name = '{name}'")).await
}

async fn until_flushed_by(a: &Server, name: &str, wanted: &str) {
    until(&format!("{name} confirms {wanted}"), async || {
        let flushed = flushed_by(a, name).await;
        !flushed.is_empty() && lsn(&flushed) >= lsn(wanted)
    })
    .await;
}

#[test]
fn a_commit_waits_for_its_standby_and_is_in_the_log_meanwhile() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        a.set_names("b").await;
        let before = a.end().await;
        network.cut_acknowledgements();
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        assert!(lsn(&a.end().await) > lsn(&before), "flushed here");
        assert_eq!(a.count().await, 0);
        b.until_received(&a).await;
        assert!(commit.waits(&a).await);
        network.heal();
        assert_eq!(commit.answer().await, Ok(vec![]));
        assert_eq!(a.count().await, 1);
    });
}

#[test]
fn a_waiting_commit_is_visible_on_the_standby_first() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        a.set_names("b").await;
        network.cut_acknowledgements();
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        b.until("(SELECT count(*) FROM t) = 1").await;
        assert_eq!(a.count().await, 0);
        assert!(commit.waits(&a).await);
    });
}

#[test]
fn two_commits_are_seen_in_opposite_order_on_primary_and_standby() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        a.set_names("b").await;
        network.cut_acknowledgements();
        let waiting = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        b.until("(SELECT count(*) FROM t) > 0").await;
        let there = b.ask(ROWS).await;
        let local = a.session().await;
        local.run("SET synchronous_commit = local; INSERT INTO t VALUES (2)").await;
        assert_eq!((a.ask(ROWS).await.as_str(), there.as_str()), ("2", "1"));
        assert!(waiting.waits(&a).await);
        network.heal();
        assert_eq!(waiting.answer().await, Ok(vec![]));
        assert_eq!(a.ask(ROWS).await, "1,2");
    });
}

#[test]
fn a_cancelled_wait_is_a_success_with_a_warning() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_names("nobody").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        a.run(&format!("SELECT pg_cancel_backend({})", commit.pid)).await;
        let notices = commit.answer().await.expect("a success");
        assert_eq!(notices, ["WARNING: canceling wait for synchronous replication due to user request"]);
        assert_eq!(a.count().await, 1);
    });
}

#[test]
fn after_a_restart_in_place_commits_wait_until_the_standby_is_back() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        a.set_names("b").await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        a.kill_all().await;
        network.cut();
        a.start().await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (2)").await;
        assert_eq!(b.ask("SELECT string_agg(n::text, ' ') FROM t").await, "1");
        assert!(commit.waits(&a).await);
        network.heal();
        assert_eq!(commit.answer().await, Ok(vec![]));
        a.until_streams("b").await;
    });
}

#[test]
fn a_terminated_wait_acknowledges_nothing_and_keeps_the_commit() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_names("nobody").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        a.run(&format!("SELECT pg_terminate_backend({})", commit.pid)).await;
        let refused = commit.answer().await.unwrap_err();
        assert!(refused.starts_with("no answer"), "{refused}");
        a.until("(SELECT count(*) FROM t) = 1").await;
    });
}

#[test]
fn a_commit_that_waited_when_the_primary_crashed_is_there_after_its_restart() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_names("nobody").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        a.kill_all().await;
        let refused = commit.answer().await.unwrap_err();
        assert!(refused.starts_with("no answer"), "{refused}");
        a.start().await;
        assert_eq!(a.ask("SHOW synchronous_standby_names").await, "nobody");
        assert_eq!(a.count().await, 1);
    });
}

#[test]
fn synchronous_commit_off_and_local_never_wait() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_names("nobody").await;
        const FLUSHED: &str = "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()";
        let session = a.session().await;
        session.run("SET synchronous_commit = local").await;
        session.run("INSERT INTO t VALUES (1)").await;
        assert_eq!(session.ask(FLUSHED).await.unwrap(), "t");
        // It would flush the asynchronous one soon.
        let _frozen = a.freeze("walwriter").await;
        session.run("SET synchronous_commit = off").await;
        session.run("INSERT INTO t VALUES (2)").await;
        assert_eq!(session.ask(FLUSHED).await.unwrap(), "f");
        assert_eq!(a.count().await, 2);
    });
}

#[test]
fn remote_write_is_acknowledged_before_the_standby_flushes() {
    fact(async |lab: &Lab| {
        let Some(disk) = StallingDisk::new(lab) else { return };
        let a = lab.primary("a").await;
        let b = lab.server("b");
        b.put_wal_on(disk.path());
        b.set("fsync", "on");
        b.follow(a.port);
        b.start().await;
        a.until_streams("b").await;
        a.set_names("b").await;
        a.run("INSERT INTO t VALUES (1)").await;
        let stalled = disk.stall();
        let writing = a.session().await.begin("SET synchronous_commit = remote_write; INSERT INTO t VALUES (2)");
        assert_eq!(writing.answer().await, Ok(vec![]));
        let lag = "(SELECT write_lsn > flush_lsn FROM pg_stat_replication WHERE application_name = 'b')";
        a.until(lag).await;
        let flushing = a.waiting_commit("INSERT INTO t VALUES (3)").await;
        assert_eq!(a.ask(&format!("SELECT {lag}")).await, "t");
        assert!(flushing.waits(&a).await);
        drop(stalled);
        assert_eq!(flushing.answer().await, Ok(vec![]));
    });
}

/// `b` has written this row and not flushed it, and its client was told that it is committed.
async fn acknowledged_once_written(a: &Server, row: u32) {
    let written = format!("SET synchronous_commit = remote_write; INSERT INTO t VALUES ({row})");
    assert_eq!(a.session().await.begin(&written).answer().await, Ok(vec![]));
    a.until("(SELECT write_lsn > flush_lsn FROM pg_stat_replication WHERE application_name = 'b')").await;
}

#[test]
fn remote_write_outlives_the_standbys_processes_and_not_its_loss_of_power() {
    fact(async |lab: &Lab| {
        let Some(disk) = StallingDisk::new(lab) else { return };
        let a = lab.primary("a").await;
        let network = Proxy::to(a.port).await;
        let b = lab.server("b");
        b.put_on(disk.path());
        b.set("fsync", "on");
        b.follow(network.port);
        b.start().await;
        a.until_streams("b").await;
        a.set_names("b").await;
        a.run("INSERT INTO t VALUES (1)").await;
        let stalled = disk.stall();
        acknowledged_once_written(&a, 2).await;
        network.cut();
        // They can't end before the disk goes on, and do nothing more.
        tokio::join!(b.kill_all(), async { drop(stalled) });
        b.start().await;
        b.until(&format!("({ROWS}) = '1,2'")).await;
        network.heal();
        network.break_connections();
        a.until_streams("b").await;
        a.run("INSERT INTO t VALUES (3)").await;

        let stalled = disk.stall();
        acknowledged_once_written(&a, 4).await;
        network.cut();
        let medium = disk.medium();
        tokio::join!(b.kill_all(), async { drop(stalled) });
        disk.come_back(medium);
        b.start().await;
        b.promote().await;
        assert_eq!((a.ask(ROWS).await.as_str(), b.ask(ROWS).await.as_str()), ("1,2,3,4", "1,2,3"));
    });
}

#[test]
fn remote_apply_waits_for_replay() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.set_names("b").await;
        b.run("SELECT pg_wal_replay_pause()").await;
        b.until("pg_get_wal_replay_pause_state() = 'paused'").await;
        let commit = a.waiting_commit("SET synchronous_commit = remote_apply; INSERT INTO t VALUES (1)").await;
        a.run("INSERT INTO t VALUES (2)").await;
        assert!(lsn(&flushed_by(&a, "b").await) >= lsn(&a.end().await));
        assert!(commit.waits(&a).await);
        b.run("SELECT pg_wal_replay_resume()").await;
        assert_eq!(commit.answer().await, Ok(vec![]));
    });
}

#[test]
fn any_k_takes_any_of_the_listed() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &a).await;
        a.set_names("ANY 1 (b, c)").await;
        b.stop_immediately().await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.start().await;
        a.until_streams("b").await;
        c.stop_immediately().await;
        a.run("INSERT INTO t VALUES (2)").await;
        a.set_names("ANY 2 (b, c)").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (3)").await;
        until_flushed_by(&a, "b", &a.end().await).await;
        assert!(commit.waits(&a).await, "one of two is not enough");
        c.start().await;
        assert_eq!(commit.answer().await, Ok(vec![]));
    });
}

#[test]
fn first_n_moves_on_to_the_next_by_itself() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let _c = lab.standby("c", &a).await;
        a.set_names("FIRST 1 (b, c)").await;
        let states = "(SELECT string_agg(application_name || ' ' || sync_state, ', ' ORDER BY application_name)
            FROM pg_stat_replication)";
        a.until(&format!("{states} = 'b sync, c potential'")).await;
        b.stop_immediately().await;
        a.until(&format!("{states} = 'c sync'")).await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.start().await;
        a.until(&format!("{states} = 'b sync, c potential'")).await;
    });
}

#[test]
fn names_are_compared_without_case_and_a_star_matches_all() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.set_names("\"B\"").await;
        a.run("INSERT INTO t VALUES (1)").await;
        a.set_names("*").await;
        b.stop_immediately().await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (2)").await;
        // No member, nor a server at all.
        let source = format!("host=127.0.0.1 port={} user=postgres application_name=stranger", a.port);
        let archive = lab.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        give_away(&archive);
        let arguments = ["--synchronous", "-D", archive.to_str().unwrap(), "-d", &source];
        tokio::select! {
            ended = lab.run("pg_receivewal", &arguments) => panic!("{}", ended.text),
            answer = commit.answer() => assert_eq!(answer, Ok(vec![])),
        }
    });
}

#[test]
fn two_standbys_of_one_name_both_count() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let twins = [lab.server("b"), lab.server("c")];
        for twin in &twins {
            twin.follow_as("twin", a.port);
            twin.start().await;
        }
        let both = "(SELECT count(*) FROM pg_stat_replication WHERE application_name = 'twin'
            AND state = 'streaming') = 2";
        a.until(both).await;
        a.set_names("ANY 2 (twin)").await;
        a.run("INSERT INTO t VALUES (1)").await;
        twins[1].stop_immediately().await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (2)").await;
        until_flushed_by(&a, "twin", &a.end().await).await;
        assert!(commit.waits(&a).await, "one connection counts once");
    });
}

#[test]
fn a_name_that_nobody_bears_blocks_all_commits() {
    fact(async |lab: &Lab| {
        let (a, _b) = lab.pair().await;
        a.set_names("c").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        let other = a.waiting_commit("INSERT INTO t VALUES (2)").await;
        until_flushed_by(&a, "b", &a.end().await).await;
        let session = a.session().await;
        session.run("SET statement_timeout = '20ms'").await;
        let timed = session.begin("INSERT INTO t VALUES (3)");
        until("it waits", async || timed.waits(&a).await).await;
        let since = format!("SELECT clock_timestamp() - query_start FROM pg_stat_activity WHERE pid = {}", timed.pid);
        a.until(&format!("({since}) > interval '300 ms'")).await;
        assert!(commit.waits(&a).await && other.waits(&a).await && timed.waits(&a).await);
    });
}

#[test]
fn a_standby_in_catchup_does_not_count() {
    fact(async |lab: &Lab| {
        let (a, network, b) = lab.distant_pair().await;
        b.stop_immediately().await;
        a.set_names("b").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        let wanted = a.end().await;
        let bulk =
            "SET synchronous_commit = off; CREATE TABLE bulk AS SELECT repeat('x', 900) FROM generate_series(1, 30000)";
        a.run(bulk).await;
        // Enough for that commit, far too little for all.
        network.let_down(4 << 20);
        b.start().await;
        until_flushed_by(&a, "b", &wanted).await;
        until("all that is let down has passed", async || network.is_used_up()).await;
        let state = "SELECT state FROM pg_stat_replication WHERE application_name = 'b'";
        assert_eq!(a.ask(state).await, "catchup");
        assert!(commit.waits(&a).await, "confirmed, and yet not counted");
        network.heal();
        assert_eq!(commit.answer().await, Ok(vec![]));
        a.until_streams("b").await;
    });
}

#[test]
fn emptying_the_names_releases_waiters_as_success() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_names("nobody").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        a.set_now("synchronous_standby_names", "").await;
        assert_eq!(commit.answer().await, Ok(vec![]), "not even a warning");
    });
}

#[test]
fn new_names_are_in_force_later_than_written() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        const SHOW: &str = "SELECT current_setting('synchronous_standby_names')";
        a.set("synchronous_standby_names", "nobody");
        assert_eq!(a.ask(SHOW).await, "", "in the file only");
        let busy = a.session().await;
        busy.run(
            "CREATE FUNCTION wait_and_show() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_lock(7); RAISE NOTICE '%', current_setting('synchronous_standby_names'); END $$",
        )
        .await;
        let gate = a.session().await;
        gate.run("SELECT pg_advisory_lock(7)").await;
        let busy = busy.begin("SELECT wait_and_show()");
        a.until(&format!("(SELECT wait_event FROM pg_stat_activity WHERE pid = {}) = 'advisory'", busy.pid)).await;
        let checkpointer = a.freeze("checkpointer").await;
        a.signal(Signal::SIGHUP);
        until("new sessions see the names", async || a.ask(SHOW).await == "nobody").await;
        gate.run("SELECT pg_advisory_unlock(7)").await;
        assert_eq!(busy.answer().await, Ok(vec!["NOTICE: ".into()]), "a statement sees the old names to its end");
        a.run("INSERT INTO t VALUES (1)").await;
        assert_eq!(a.ask(SHOW).await, "nobody", "shown, and yet that commit didn't wait");
        drop(checkpointer);
        until_commits_wait(&a).await;
    });
}

async fn until_commits_wait(a: &Server) {
    until("commits wait", async || {
        let commit = a.session().await.begin("INSERT INTO t VALUES (2)");
        until("it is decided", async || commit.is_answered() || commit.waits(a).await).await;
        !commit.is_answered()
    })
    .await;
}

#[test]
fn a_checkpoint_under_way_holds_the_first_names_up() {
    fact(async |lab: &Lab| {
        let Some(disk) = StallingDisk::new(lab) else { return };
        let a = lab.server("a");
        a.set("fsync", "on");
        a.start().await;
        let place = disk.path().join("bulk");
        std::fs::create_dir(&place).unwrap();
        give_away(&place);
        a.run(&format!("CREATE TABLESPACE slow LOCATION '{}'", place.display())).await;
        a.run("CREATE TABLE bulk TABLESPACE slow AS SELECT generate_series(1, 1000)").await;
        let stalled = disk.stall();
        let checkpoint = a.session().await.begin("CHECKPOINT");
        a.until_log("checkpoint starting: immediate force wait").await;
        a.set("synchronous_standby_names", "nobody");
        a.signal(Signal::SIGHUP);
        let shown = "SELECT current_setting('synchronous_standby_names')";
        until("new sessions see the names", async || a.ask(shown).await == "nobody").await;
        for n in 0..20 {
            a.run(&format!("INSERT INTO t VALUES ({n})")).await;
        }
        assert!(!checkpoint.is_answered());
        drop(stalled);
        checkpoint.answer().await.unwrap();
        until_commits_wait(&a).await;
    });
}

#[test]
fn a_cascaded_standby_never_counts() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let _c = lab.standby("c", &b).await;
        a.set_names("c").await;
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        until_flushed_by(&b, "c", &a.end().await).await;
        assert!(commit.waits(&a).await);
    });
}

#[test]
fn a_prepared_wait_survives_a_reload_of_the_same_names() {
    fact(async |lab: &Lab| {
        let (a, network, _b) = lab.distant_pair().await;
        a.set_names("ANY 1 (b)").await;
        network.cut();
        let commit = a.waiting_commit("INSERT INTO t VALUES (1)").await;
        a.set_names("ANY 1 (b)").await;
        assert!(commit.waits(&a).await);
        network.heal();
        assert_eq!(commit.answer().await, Ok(vec![]));
    });
}
