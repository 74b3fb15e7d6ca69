//! pg_rewind and pg_basebackup: what they find to do, what they refuse, what they leave.

use super::harness::{Lab, Ported, Proxy, Server, fact, lsn, until};
use pgbaton_core::model::ControlState::{self, InProduction, InRecovery, ShutDown};
use pgbaton_core::ports::Postgres;
use std::fs;
use std::time::{Duration, Instant};

const CONTROL_TIMELINE: &str = "Latest checkpoint's TimeLineID";
const CLUSTER_STATE: &str = "Database cluster state";

/// As pgbaton takes it.
async fn state(server: &Server) -> ControlState {
    Ported::on(server).look().await.control().expect("there is a directory").state
}

/// `b` was promoted while `a` went on; `a` is stopped with a commit of its own.
async fn forked(lab: &Lab) -> (Server, Server) {
    let (a, b) = promoted_apart(lab).await;
    b.run("CHECKPOINT").await;
    a.stop_fast().await;
    (a, b)
}

/// Both are open, and there was no checkpoint on `b` yet.
async fn promoted_apart(lab: &Lab) -> (Server, Server) {
    let (a, b) = lab.pair().await;
    promote_apart(&a, &b).await;
    (a, b)
}

async fn promote_apart(a: &Server, b: &Server) {
    a.run("INSERT INTO t VALUES (1)").await;
    b.until_replayed(a).await;
    b.set_now("primary_conninfo", "").await;
    b.until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver')").await;
    b.promote().await;
    a.run("INSERT INTO t VALUES (2)").await;
    b.run("INSERT INTO t VALUES (3)").await;
}

async fn rows(server: &Server) -> String {
    server.ask("SELECT string_agg(n::text, ' ' ORDER BY n) FROM t").await
}

#[test]
fn a_rewind_from_a_source_without_a_checkpoint_finds_nothing_to_do() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        // Its checkpoint is asked for by the promotion, and comes when it comes.
        let checkpointer = b.freeze("checkpointer").await;
        b.set_now("primary_conninfo", "").await;
        b.promote().await;
        a.run("INSERT INTO t VALUES (2)").await;
        a.stop_fast().await;
        assert_eq!(b.control(CONTROL_TIMELINE).await, "1");
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success, "{}", rewound.text);
        let nothing_to_do = rewound.text.contains("no rewind required");
        assert_eq!(nothing_to_do, lab.version.major < 16, "{}", rewound.text);
        drop(checkpointer);
        b.run("CHECKPOINT").await;
        assert_eq!(b.control(CONTROL_TIMELINE).await, "2");
        if nothing_to_do {
            let rewound = lab.rewind(&a, b.port).await;
            assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        }
        a.rejoin(&b).await;
        assert_eq!(a.count().await, 0);
    });
}

#[test]
fn a_rewind_brings_a_diverged_server_back() {
    fact(async |lab: &Lab| {
        let (a, b) = forked(lab).await;
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        a.rejoin(&b).await;
        a.until_replayed(&b).await;
        assert_eq!(rows(&a).await, "1 3");
        a.until("(SELECT received_tli FROM pg_stat_wal_receiver) = 2").await;
    });
}

#[test]
fn a_rewind_succeeds_against_a_source_that_has_removed_what_recovery_needs() {
    fact(async |lab: &Lab| {
        let (a, b) = forked(lab).await;
        // Nobody holds a slot there: each checkpoint removes what is before it.
        b.set_now("wal_keep_size", "0").await;
        for _ in 0..4 {
            b.run("SELECT pg_switch_wal()").await;
            b.run("INSERT INTO t VALUES (4)").await;
            b.run("CHECKPOINT").await;
        }
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        assert!(a.pgdata.join("backup_label").exists());
        a.write_settings();
        a.follow(b.port);
        a.launch();
        a.until_log("has already been removed").await;
        assert!(a.is_running() && !a.is_ready());
    });
}

#[test]
fn a_rewind_of_the_same_timeline_finds_nothing_to_do() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let c = lab.standby("c", &a).await;
        c.promote().await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        b.promote().await;
        for server in [&b, &c] {
            server.run("CHECKPOINT").await;
            assert_eq!(server.control(CONTROL_TIMELINE).await, "2");
        }
        c.run("INSERT INTO t VALUES (2)").await;
        c.stop_fast().await;
        let rewound = lab.rewind(&c, b.port).await;
        assert!(rewound.success && rewound.text.contains("no rewind required"), "{}", rewound.text);
        c.start().await;
        assert_eq!((rows(&b).await.as_str(), rows(&c).await.as_str()), ("1", "2"));
    });
}

#[test]
fn a_rewind_needs_a_stopped_target() {
    fact(async |lab: &Lab| {
        let (a, b) = promoted_apart(lab).await;
        b.run("CHECKPOINT").await;
        let refused = lab.rewind(&a, b.port).await;
        assert!(!refused.success, "{}", refused.text);
        assert!(refused.text.contains("lock file \"postmaster.pid\" already exists"), "{}", refused.text);
        assert_eq!(rows(&a).await, "1 2");
    });
}

#[test]
fn a_rewind_needs_the_same_system() {
    fact(async |lab: &Lab| {
        let a = lab.server("a");
        let b = lab.server("b");
        fs::remove_dir_all(&b.pgdata).unwrap();
        let made =
            lab.run("initdb", &["-D", b.pgdata_text(), "-U", "postgres", "-A", "trust", "--wal-segsize=1"]).await;
        assert!(made.success, "{}", made.text);
        b.set("unix_socket_directories", "");
        b.start().await;
        let refused = lab.rewind(&a, b.port).await;
        assert!(!refused.success);
        assert!(refused.text.contains("source and target clusters are from different systems"), "{}", refused.text);
    });
}

#[test]
fn a_rewind_needs_a_target_that_logs_hints_or_has_checksums() {
    const LOGGED: &str = "wal_log_hints setting";
    fact(async |lab: &Lab| {
        for has_checksums in [false, true] {
            let (a, b) = match has_checksums {
                false => (lab.server("a"), lab.server("b")),
                true => (lab.server("a2"), lab.server("b2")),
            };
            for server in [&a, &b] {
                let enabled = ["--enable", "-D", server.pgdata_text()];
                assert!(!has_checksums || lab.run("pg_checksums", &enabled).await.success);
            }
            a.set("wal_log_hints", "off");
            a.start().await;
            b.follow(a.port);
            b.start().await;
            a.until_streams(&b.name).await;
            b.until_replayed(&a).await;
            assert_eq!(b.ask("SHOW wal_log_hints").await, "on");
            assert_eq!(b.control(LOGGED).await, "off", "on a standby that is its primary's");
            promote_apart(&a, &b).await;
            b.run("CHECKPOINT").await;
            a.stop_fast().await;
            a.set("wal_log_hints", "on");
            let rewound = lab.rewind(&a, b.port).await;
            assert_eq!(rewound.success, has_checksums, "{}", rewound.text);
            if has_checksums {
                return;
            }
            let why = "target server needs to use either data checksums or \"wal_log_hints = on\"";
            assert!(rewound.text.contains(why), "{}", rewound.text);
            // By its next start, which is too late for what has been written until then.
            a.start().await;
            assert_eq!(rows(&a).await, "1 2", "as it was");
            a.stop_fast().await;
            assert_eq!(a.control(LOGGED).await, "on");
            let rewound = lab.rewind(&a, b.port).await;
            assert!(rewound.success, "{}", rewound.text);
        }
    });
}

#[test]
fn a_rewind_needs_a_source_that_writes_full_pages() {
    fact(async |lab: &Lab| {
        let (a, b) = promoted_apart(lab).await;
        b.set_now("full_page_writes", "off").await;
        a.set_now("full_page_writes", "off").await;
        b.run("CHECKPOINT").await;
        a.stop_fast().await;
        let refused = lab.rewind(&a, b.port).await;
        assert!(!refused.success, "{}", refused.text);
        // Newer ones put the name in quotes.
        let why = refused.text.replace('"', "");
        assert!(why.contains("full_page_writes must be enabled in the source server"), "{why}");
        // A copy needs nothing of the kind: while it is made, its source writes them all the same.
        let c = lab.server("c");
        let cloned = lab.clone(&c, b.port, &["-c", "fast"]).await;
        assert!(cloned.success, "{}", cloned.text);
        b.set_now("full_page_writes", "on").await;
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "whatever the target's own is: {}", rewound.text);
    });
}

#[test]
fn single_user_mode_recovers_a_promoted_server_on_its_new_timeline() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        // Its checkpoint is asked for by the promotion, and comes when it comes.
        let checkpointer = b.freeze("checkpointer").await;
        promote_apart(&a, &b).await;
        b.kill_all().await;
        drop(checkpointer);
        let says = async || (b.control(CLUSTER_STATE).await, b.control(CONTROL_TIMELINE).await);
        assert_eq!(says().await, ("in production".into(), "1".into()));
        b.put_signal();
        b.start().await;
        b.stop_fast().await;
        assert_eq!(says().await, ("shut down in recovery".into(), "1".into()), "a standby makes no checkpoint");
        b.remove_signal();
        let recovered = lab.run("postgres", &["--single", "-D", b.pgdata_text(), "postgres"]).await;
        assert!(recovered.success, "{}", recovered.text);
        assert_eq!(says().await, ("shut down".into(), "2".into()));
        b.put_signal();
        b.start().await;
        b.until("pg_is_in_recovery()").await;
        assert_eq!(rows(&b).await, "1 3", "what it committed, and nothing else");
        a.stop_fast().await;
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        a.rejoin(&b).await;
        a.until("EXISTS (SELECT FROM t WHERE n = 3)").await;
        assert_eq!(rows(&a).await, "1 3");
    });
}

#[test]
fn an_idle_standby_can_be_cloned() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_replayed(&a).await;
        b.run("CHECKPOINT").await;
        a.stop_immediately().await;
        let c = lab.server("c");
        let cloned = lab.clone(&c, b.port, &["-X", "stream", "--checkpoint=fast"]).await;
        assert!(cloned.success, "{}", cloned.text);
        c.rejoin(&b).await;
        assert_eq!(c.count().await, 1);
    });
}

#[test]
fn a_rewind_recovers_a_crashed_target_first() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        // Single-user mode wants it there.
        a.hang_up().await;
        a.run("CREATE DATABASE template1 TEMPLATE postgres STRATEGY file_copy").await;
        promote_apart(&a, &b).await;
        b.run("CHECKPOINT").await;
        a.stop_immediately().await;
        a.put_signal();
        let refused = lab.rewind(&a, b.port).await;
        assert!(!refused.success, "{}", refused.text);
        assert!(refused.text.contains("standby mode is not supported by single-user servers"), "{}", refused.text);
        assert_eq!(a.control(CLUSTER_STATE).await, "in production");
        a.remove_signal();
        let unreached = lab.rewind(&a, lab.server("nobody").port).await;
        assert!(!unreached.success && unreached.text.contains("Connection refused"), "{}", unreached.text);
        assert_eq!(a.control(CLUSTER_STATE).await, "in production", "the source is asked first");
        // It says nothing of its own source yet, so a source on the same timeline leaves all else as it is.
        let c = lab.standby("c", &b).await;
        c.until_replayed(&b).await;
        c.run("CHECKPOINT").await;
        let before = c.control("Latest checkpoint location").await;
        b.run("INSERT INTO t VALUES (4)").await;
        c.until_replayed(&b).await;
        c.stop_immediately().await;
        c.remove_signal();
        let recovered = lab.rewind(&c, b.port).await;
        assert!(recovered.success && recovered.text.contains("no rewind required"), "{}", recovered.text);
        assert_eq!(c.control(CLUSTER_STATE).await, "shut down", "and it is no standby any more");
        assert!(lsn(&c.control("Latest checkpoint location").await) > lsn(&before), "it has written WAL");
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
        a.rejoin(&b).await;
    });
}

#[test]
fn a_rewind_needs_its_own_wal_back_to_the_last_common_checkpoint() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let segment = a.ask("SELECT pg_walfile_name(checkpoint_lsn) FROM pg_control_checkpoint()").await;
        a.run("SELECT pg_switch_wal()").await;
        promote_apart(&a, &b).await;
        b.run("CHECKPOINT").await;
        a.stop_fast().await;
        let (file, aside) = (a.pgdata.join("pg_wal").join(&segment), lab.path().join("aside"));
        fs::rename(&file, &aside).unwrap();
        let before = a.control("pg_control last modified").await;
        let refused = lab.rewind(&a, b.port).await;
        assert!(!refused.success, "{}", refused.text);
        assert!(refused.text.contains("could not find previous WAL record"), "{}", refused.text);
        assert_eq!(a.control("pg_control last modified").await, before, "nothing was written");
        a.start().await;
        assert_eq!(rows(&a).await, "1 2");
        a.stop_fast().await;
        fs::rename(&aside, &file).unwrap();
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success && rewound.text.contains("Done!"), "{}", rewound.text);
    });
}

#[test]
fn a_source_that_dies_leaves_a_half_rewound_directory() {
    fact(async |lab: &Lab| {
        let (a, b) = forked(lab).await;
        // New to the target, so all of it is copied.
        b.run("CREATE TABLE bulk AS SELECT repeat('x', 900) FROM generate_series(1, 20000)").await;
        b.run("CHECKPOINT").await;
        let network = Proxy::to(b.port).await;
        network.let_down(8 << 20);
        let death = async {
            until("the rewind is in the middle", async || network.is_used_up()).await;
            network.break_connections();
        };
        let (rewound, ()) = tokio::join!(lab.rewind(&a, network.port), death);
        assert!(!rewound.success, "{}", rewound.text);
        assert_eq!(a.control("Database cluster state").await, "shut down", "nothing says what happened to it");
        assert!(!a.pgdata.join("backup_label").exists());
        assert_eq!(fs::read_to_string(a.pgdata.join("pg_hba.conf")).unwrap(), "", "not yet copied");
        // Even where the configuration lies elsewhere.
        for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
            a.put_file(name, &fs::read_to_string(b.pgdata.join(name)).unwrap());
        }
        a.write_settings();
        a.launch();
        a.until_ended().await;
        assert!(a.log().contains("could not locate a valid checkpoint record"), "its WAL is half the source's");
    });
}

#[test]
fn a_base_backup_that_loses_its_source_leaves_nothing_usable() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("CREATE TABLE bulk AS SELECT repeat('x', 900) FROM generate_series(1, 20000)").await;
        let b = lab.server("b");
        for keep in [false, true] {
            let network = Proxy::to(a.port).await;
            network.let_down(8 << 20);
            let mut options = vec!["-c", "fast"];
            // As a killed pg_basebackup leaves it.
            options.extend(keep.then_some("--no-clean"));
            let death = async {
                until("the backup is in the middle", async || network.is_used_up()).await;
                network.break_connections();
            };
            let (cloned, ()) = tokio::join!(lab.clone(&b, network.port, &options), death);
            assert!(!cloned.success, "{}", cloned.text);
            assert_eq!(b.pgdata.join("PG_VERSION").exists(), keep, "{}", cloned.text);
            assert!(!b.pgdata.join("global/pg_control").exists(), "it comes last");
            fs::create_dir_all(&b.pgdata).unwrap();
        }
        b.write_settings();
        b.launch();
        b.until_ended().await;
        assert!(b.log().contains("could not find the database system"), "{}", b.log());
    });
}

#[test]
fn a_base_backup_begins_with_a_checkpoint() {
    const WAITS: &str =
        "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'waiting for checkpoint to finish'";
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        // Each page is a tenth of a second to a checkpoint that takes its time.
        a.run("CREATE TABLE bulk AS SELECT repeat('x', 900) FROM generate_series(1, 10000)").await;
        let before = a.control("Latest checkpoint location").await;
        let b = lab.server("b");
        let hurry = async {
            until("it waits", async || a.ask(WAITS).await == "1").await;
            until("a while", async || a.log().contains("checkpoint starting: force wait")).await;
            assert_eq!(a.ask(WAITS).await, "1");
            assert!(!b.pgdata.join("PG_VERSION").exists() && a.control("Latest checkpoint location").await == before);
            // It is the same that the backup waits for, and has no time now.
            a.run("CHECKPOINT").await;
        };
        let (cloned, ()) = tokio::join!(lab.clone(&b, a.port, &["-c", "spread"]), hurry);
        assert!(cloned.success, "{}", cloned.text);
        let cloned = lab.clone(&b, a.port, &["-c", "fast"]).await;
        assert!(cloned.success, "{}", cloned.text);
        assert!(a.log().contains("checkpoint starting: immediate force wait"), "{}", a.log());
        let label = fs::read_to_string(b.pgdata.join("backup_label")).unwrap();
        let begun = label.lines().find_map(|line| line.strip_prefix("CHECKPOINT LOCATION: ")).unwrap();
        assert_eq!(begun, b.control("Latest checkpoint location").await);
    });
}

#[test]
fn a_base_backup_lasts_as_long_as_its_size_takes() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let b = lab.server("b");
        let size =
            async || a.ask("SELECT sum(pg_tablespace_size(oid)) FROM pg_tablespace").await.parse::<u64>().unwrap();
        let mut last = Duration::ZERO;
        for more in ["SELECT", "CREATE TABLE bulk AS SELECT repeat('x', 900) FROM generate_series(1, 20000)"] {
            a.run(more).await;
            let (bytes, since) = (size().await, Instant::now());
            let cloned = lab.clone(&b, a.port, &["-c", "fast", "--max-rate", "16M"]).await;
            assert!(cloned.success, "{}", cloned.text);
            let (took, least) = (since.elapsed(), Duration::from_secs_f64(bytes as f64 / f64::from(16 << 20)));
            assert!(took > least.mul_f64(0.8) && took > last, "{bytes} bytes in {took:?}, before it was {last:?}");
            last = took;
        }
    });
}

#[test]
fn a_base_backup_streams_its_wal_beside_the_copy_and_fails_when_its_slot_is_lost() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("CREATE TABLE bulk AS SELECT repeat('x', 900) FROM generate_series(1, 20000)").await;
        a.set_now("wal_keep_size", "0").await;
        a.set_now("max_slot_wal_keep_size", "2MB").await;
        let b = lab.server("b");
        for (interval, succeeds) in [("1", true), ("0", false)] {
            a.run("SELECT pg_create_physical_replication_slot('b', true)").await;
            let first = a.ask("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
            let options = ["-c", "fast", "--max-rate", "2M", "-S", "b", "--status-interval", interval];
            let copy = lab.clone(&b, a.port, &options);
            let holds_for_it = async |what: &str| {
                let slot = format!("SELECT {what} FROM pg_replication_slots WHERE slot_name = 'b'");
                until(what, async || a.ask(&slot).await == "t").await;
            };
            let writes = async {
                holds_for_it("active").await;
                for _ in 0..4 {
                    a.run("SELECT pg_logical_emit_message(false, 'x', 'y')").await;
                    let end = a.ask("SELECT pg_switch_wal()").await;
                    if succeeds {
                        holds_for_it(&format!("restart_lsn >= '{end}'")).await;
                        a.run("CHECKPOINT").await;
                    }
                }
                a.run("CHECKPOINT").await;
            };
            let (cloned, ()) = tokio::join!(copy, writes);
            assert_eq!(cloned.success, succeeds, "{}", cloned.text);
            let kept = a.ask(&format!("SELECT count(*) FROM pg_ls_waldir() WHERE name <= '{first}'")).await;
            assert_eq!(kept, "0", "what was written first is gone");
            a.run("SELECT pg_drop_replication_slot('b')").await;
        }
    });
}

#[test]
fn a_crash_amid_a_base_backup_leaves_the_source_as_any_crash_does() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        let session = a.session().await;
        session.run("SELECT pg_backup_start('copy', true)").await;
        a.run("INSERT INTO t VALUES (1)").await;
        assert!(!a.pgdata.join("backup_label").exists(), "it is made at the end, and for the copy only");
        a.kill_all().await;
        a.start().await;
        assert_eq!((rows(&a).await.as_str(), a.ask("SELECT pg_is_in_recovery()").await.as_str()), ("1", "f"));
        // Nor does a stop wait for it.
        let session = a.session().await;
        session.run("SELECT pg_backup_start('copy', true)").await;
        a.stop_fast().await;
        assert_eq!(a.control(CLUSTER_STATE).await, "shut down");
    });
}

#[test]
fn a_base_backup_carries_no_slots() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.run("SELECT pg_create_physical_replication_slot('c', true)").await;
        let b = lab.server("b");
        let cloned = lab.clone(&b, a.port, &["-c", "fast"]).await;
        assert!(cloned.success, "{}", cloned.text);
        b.rejoin(&a).await;
        assert_eq!(b.ask("SELECT count(*) FROM pg_replication_slots").await, "0");
        assert_eq!(a.ask("SELECT count(*) FROM pg_replication_slots").await, "1");
    });
}

#[test]
fn a_directory_says_whether_its_server_has_been_open() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        b.kill_all().await;
        assert_eq!((b.control(CLUSTER_STATE).await, state(&b).await), ("in archive recovery".into(), InRecovery));
        b.start().await;
        a.until_streams("b").await;
        let checkpointer = b.freeze("checkpointer").await;
        b.promote().await;
        drop(checkpointer);
        b.kill_all().await;
        assert_eq!((b.control(CLUSTER_STATE).await, state(&b).await), ("in production".into(), InProduction));
        b.start().await;
        b.stop_fast().await;
        assert_eq!((b.control(CLUSTER_STATE).await, state(&b).await), ("shut down".into(), ShutDown));

        let c = lab.server("c");
        let cloned = lab.clone(&c, a.port, &["-c", "fast"]).await;
        assert!(cloned.success, "{}", cloned.text);
        assert_eq!((c.control(CLUSTER_STATE).await, state(&c).await), ("in production".into(), InRecovery));
        let label = c.pgdata.join("backup_label");
        assert!(label.exists());
        c.rejoin(&a).await;
        assert!(!label.exists());
        c.kill_all().await;
        assert_eq!((c.control(CLUSTER_STATE).await, state(&c).await), ("in archive recovery".into(), InRecovery));
    });
}

#[test]
fn a_rewind_copies_the_configuration_of_its_source() {
    fact(async |lab: &Lab| {
        let (a, b) = forked(lab).await;
        a.put_file("mine.conf", "only here");
        b.put_file("theirs.conf", "only there");
        b.set("work_mem", "7MB");
        let rewound = lab.rewind(&a, b.port).await;
        assert!(rewound.success, "{}", rewound.text);
        let copied = fs::read_to_string(a.pgdata.join("postgresql.auto.conf")).unwrap();
        assert!(copied.contains("work_mem = '7MB'") && copied.contains(&format!("port = '{}'", b.port)), "{copied}");
        assert!(a.pgdata.join("theirs.conf").exists());
        assert!(!a.pgdata.join("mine.conf").exists(), "what the source hasn't got is removed");
    });
}
