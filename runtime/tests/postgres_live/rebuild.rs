//! What can't follow any more, and what brings it back: `keep_aside`, `rewind`, `clone_from`.

use crate::harness::{Base, Node, config, on_every_version, pair, timed};
use crate::port::free_port;
use pgbaton::postgres::LocalPostgres;
use pgbaton_core::model::{NodeId, Position, Stranded, Timeline, Upstream};
use pgbaton_core::ports::{PgError, Postgres, StartAs, StopMode};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn a_diverged_primary_keeps_its_wal_aside_and_is_rewound() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = timed("seal", b.pg.seal()).await;
        a.execute("INSERT INTO t SELECT generate_series(1, 100)").await;
        timed("immediate stop", a.pg.stop(StopMode::Immediate)).await;
        timed("promote", b.pg.promote(Timeline(2))).await;
        timed("checkpoint", b.pg.checkpoint()).await;
        b.execute("INSERT INTO t VALUES (1)").await;

        let source = b.upstream().await;
        let fork = a.pg.look().await.control().unwrap().history.fork(&source.history).unwrap();
        assert_eq!(fork, sealed);
        let end = timed("wal past the fork", a.pg.wal_past(fork)).await.expect("the inserts");
        assert!(end > fork.lsn);
        assert_eq!(a.pg.wal_past(Position { lsn: end, ..fork }).await, Ok(None), "the end is the end");
        let place = timed("keep aside", a.pg.keep_aside(fork, end)).await;
        assert_eq!(a.pg.keep_aside(fork, end).await.unwrap(), place);
        assert!(std::fs::read_dir(&place).unwrap().count() > 0);

        b.pg.admit(&[a.peer()]).await.unwrap();
        timed("rewind", a.pg.rewind(&source)).await;
        assert!(a.has_signal());
        a.pg.follow(a.id, Some(&source)).await.unwrap();
        timed("start as standby", a.pg.start(StartAs::Standby)).await;
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        assert_eq!(a.running().await.position.tli, Timeline(2));
        assert_eq!(a.count().await, 1);

        // A rewind that can't reach its source says so, and the directory is still good.
        a.pg.stop(StopMode::Fast).await.unwrap();
        let nobody = Upstream { port: free_port(), ..source };
        let unreached = a.pg.rewind(&nobody).await.unwrap_err();
        assert!(matches!(&unreached, PgError::Retry(t) if t.contains("refused")), "{unreached:?}");
        assert!(a.has_signal());
        let unreached = a.pg.clone_from(a.id, &nobody).await.unwrap_err();
        assert!(matches!(unreached, PgError::Retry(_)), "{unreached:?}");
        a.pg.start(StartAs::Standby).await.unwrap();
    });
}

/// Unmounts in the end, whatever comes.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Where nothing may be mounted there is no small disk.
#[test]
fn a_clone_that_has_no_room_is_not_begun() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "scram-sha-256");
        a.pg.create().await.unwrap();
        a.pg.start(StartAs::Primary).await.unwrap();
        let small = base.path().join("small");
        std::fs::create_dir(&small).unwrap();
        let mut mount = std::process::Command::new("mount");
        if !mount.args(["-t", "tmpfs", "-o", "size=8m,mode=777", "test"]).arg(&small).status().unwrap().success() {
            return;
        }
        let _disk = SmallDisk(small);
        let b =
            Node { pg: LocalPostgres::new(config(base, "small/node2", free_port(), "scram-sha-256")), id: NodeId(2) };
        a.pg.admit(&[b.peer()]).await.unwrap();
        let told = b.pg.clone_from(b.id, &a.upstream().await).await.unwrap_err();
        let PgError::Retry(why) = &told else { panic!("{told:?}") };
        assert!(why.contains("no room") && why.contains("are missing") && why.contains("small/node2.pgbaton"), "{why}");
        let left = std::fs::read_dir(b.pg.config().state_dir.join("clone")).unwrap().count();
        assert_eq!(left, 0, "nothing was pulled");
    });
}

/// Two small segments are kept here, for slots as well.
async fn keep_little_wal(node: &Node) {
    for setting in ["max_slot_wal_keep_size", "wal_keep_size"] {
        // Included after ours are read, so it wins.
        node.execute(&format!("ALTER SYSTEM SET {setting} = '32MB'")).await;
    }
    node.execute("ALTER SYSTEM SET max_wal_size = '64MB'").await;
    node.execute("SELECT pg_reload_conf()").await;
}

/// pg_rewind itself says that all is well.
#[test]
fn a_rewind_from_a_source_that_has_removed_its_wal_condemns_the_directory() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        b.pg.follow(b.id, None).await.unwrap();
        b.pg.seal().await.unwrap();
        a.execute("INSERT INTO t VALUES (1)").await;
        a.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.promote(Timeline(2)).await.unwrap();
        b.pg.admit(&[a.peer()]).await.unwrap();
        keep_little_wal(&b).await;
        for _ in 0..8 {
            b.execute("INSERT INTO t VALUES (2)").await;
            b.execute("SELECT pg_switch_wal()").await;
        }
        b.pg.checkpoint().await.unwrap();
        let source = b.upstream().await;
        let condemned = a.pg.rewind(&source).await.unwrap_err();
        assert!(matches!(&condemned, PgError::Condemned(why) if why.contains("has removed that WAL")), "{condemned:?}");
        a.pg.clone_from(a.id, &source).await.unwrap();
        a.pg.start(StartAs::Standby).await.unwrap();
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming)).await;
    });
}

/// Its source is on the same timeline: pg_rewind says that all is well, and has recovered a crashed directory before that.
#[test]
fn a_rewind_that_had_nothing_to_do_condemns_a_directory_that_it_has_recovered() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        let source = a.upstream().await;
        b.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.rewind(&source).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        a.until("b streams", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
        b.pg.stop(StopMode::Immediate).await.unwrap();
        let condemned = b.pg.rewind(&source).await.unwrap_err();
        assert!(matches!(&condemned, PgError::Condemned(why) if why.contains("had nothing to do")), "{condemned:?}");
        b.pg.clone_from(b.id, &source).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        a.until("b streams", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
    });
}

/// pg_rewind refuses such a source, and would for ever: a copy of it needs nothing of the kind.
#[test]
fn a_source_whose_full_pages_an_operator_switched_off_is_cloned() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        b.pg.follow(b.id, None).await.unwrap();
        b.pg.seal().await.unwrap();
        a.execute("INSERT INTO t VALUES (1)").await;
        a.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.promote(Timeline(2)).await.unwrap();
        b.pg.admit(&[a.peer()]).await.unwrap();
        // Included after ours are read, so it wins.
        b.execute("ALTER SYSTEM SET full_page_writes = off").await;
        b.execute("SELECT pg_reload_conf()").await;
        b.pg.checkpoint().await.unwrap();
        let source = b.upstream().await;
        let condemned = a.pg.rewind(&source).await.unwrap_err();
        assert!(matches!(&condemned, PgError::Condemned(why) if why.contains("full_page_writes")), "{condemned:?}");
        a.pg.clone_from(a.id, &source).await.unwrap();
        a.pg.start(StartAs::Standby).await.unwrap();
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming)).await;
    });
}

#[test]
fn a_standby_whose_wal_is_gone_or_that_has_forked_says_so() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        keep_little_wal(&a).await;
        b.pg.stop(StopMode::Fast).await.unwrap();
        for _ in 0..8 {
            a.execute("INSERT INTO t VALUES (1)").await;
            a.execute("SELECT pg_switch_wal()").await;
        }
        a.pg.checkpoint().await.unwrap();
        let lost = "SELECT wal_status FROM pg_replication_slots";
        let status: String = a.client().await.query_one(lost, &[]).await.unwrap().get(0);
        assert_eq!(status, "lost");
        let upstream = a.upstream().await;
        b.pg.follow(b.id, Some(&upstream)).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        b.until("its WAL is gone", |r| r.stranded == Some(Stranded::WalRemoved)).await;
        // A look sees it, and the slot comes back.
        let asked = Instant::now();
        loop {
            a.pg.look().await;
            let found = a.client().await.query_opt(lost, &[]).await.unwrap().map(|row| row.get::<_, String>(0));
            if found.as_deref() == Some("reserved") {
                break;
            }
            assert!(asked.elapsed() < Duration::from_secs(5), "{found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        b.until("still gone", |r| r.stranded == Some(Stranded::WalRemoved)).await;
        b.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.clone_from(b.id, &upstream).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        b.until("streams", |r| r.receiver.as_ref().is_some_and(|w| w.streaming) && r.stranded.is_none()).await;

        // b goes on alone, and so does a: each has a record the other has not.
        b.pg.follow(b.id, None).await.unwrap();
        b.pg.seal().await.unwrap();
        a.execute("INSERT INTO t VALUES (2)").await;
        b.pg.promote(Timeline(2)).await.unwrap();
        b.pg.checkpoint().await.unwrap();
        b.pg.admit(&[a.peer()]).await.unwrap();
        a.pg.stop(StopMode::Fast).await.unwrap();
        a.pg.follow(a.id, Some(&b.upstream().await)).await.unwrap();
        a.pg.start(StartAs::Standby).await.unwrap();
        a.until("forked", |r| r.stranded == Some(Stranded::Forked)).await;
    });
}
