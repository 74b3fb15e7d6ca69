//! A standby promises to receive nothing more: `seal`, and what `follow` leaves of an operator's settings.

use crate::harness::{Base, names_of, on_every_version, pair, timed};
use pgbaton_core::model::{NodeId, Peer, Timeline};
use pgbaton_core::ports::{Names, Postgres, StartAs, StopMode};
use std::time::Duration;

#[test]
fn a_standby_streams_is_sealed_for_good_and_takes_over() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "scram-sha-256").await;
        let seen = b.until("the receiver", |r| r.receiver.as_ref().is_some_and(|w| w.streaming)).await;
        assert_eq!(seen.position.tli, Timeline(1));
        timed("look", async { Ok(a.pg.look().await) }).await;

        timed("set names", a.pg.set_names(&names_of(&[b.id]))).await;
        timed("names in force", a.pg.names_in_force()).await;
        timed("names in force again", a.pg.names_in_force()).await;
        a.pg.set_names(&names_of(&[b.id, NodeId(3)])).await.unwrap();
        timed("other names in force", a.pg.names_in_force()).await;
        a.execute("INSERT INTO t SELECT generate_series(1, 1000)").await;
        timed("no names in force", async {
            a.pg.set_names(&Names(String::new())).await?;
            a.pg.names_in_force().await
        })
        .await;

        // The primary lives and writes on, and yet nothing more arrives.
        timed("follow nobody", b.pg.follow(b.id, None)).await;
        let sealed = timed("seal", b.pg.seal()).await;
        a.execute("INSERT INTO t SELECT generate_series(1, 1000)").await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        let after = b.running().await;
        assert_eq!((after.receiver, after.position), (None, sealed));
        assert_eq!(b.count().await, 1000);
        let again = timed("seal again", b.pg.seal()).await;
        assert_eq!(again, sealed);

        b.pg.follow(b.id, Some(&a.upstream().await)).await.unwrap();
        a.until("b is back", |r| r.sender(b.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        // W4: after a restart the receive position is unknown and much WAL may wait for replay.
        a.execute("INSERT INTO t SELECT generate_series(1, 300000)").await;
        let written = a.running().await.position;
        a.until("all is received", |r| r.sender(b.id).is_some_and(|s| s.flushed >= written.lsn)).await;
        b.pg.stop(StopMode::Immediate).await.unwrap();
        b.pg.follow(b.id, None).await.unwrap();
        timed("start with WAL to replay", b.pg.start(StartAs::Standby)).await;
        let early = b.running().await.replayed;
        let sealed = timed("seal with WAL to replay", b.pg.seal()).await;
        eprintln!("    open at {early}, sealed at {sealed:?}, written {written:?}");
        assert!(sealed.lsn >= written.lsn, "{sealed:?} {written:?}");
        b.pg.follow(b.id, Some(&a.upstream().await)).await.unwrap();
        a.until("b is back", |r| r.sender(b.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;

        timed("fast stop with a standby", a.pg.stop(StopMode::Fast)).await;
        let drained = a.pg.look().await.control().unwrap().checkpoint;
        timed("replayed past the shutdown checkpoint", b.pg.replayed_past(drained.lsn)).await;
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = timed("seal without a primary", b.pg.seal()).await;
        assert!(sealed.lsn > drained.lsn);
        timed("promote", b.pg.promote(Timeline(2))).await;
        assert!(b.has_signal());
        let open = b.running().await;
        assert_eq!((open.in_recovery, open.position.tli), (false, Timeline(2)));
        assert_eq!(open.checkpoint_tli, Timeline(1), "the checkpoint comes later");
        timed("checkpoint", b.pg.checkpoint()).await;
        assert_eq!(b.running().await.checkpoint_tli, Timeline(2));
        assert_eq!(b.count().await, 302_000);

        b.pg.admit(&[a.peer(), Peer { node: NodeId(3), ..a.peer() }]).await.unwrap();
        b.pg.admit(&[a.peer()]).await.unwrap();
        let slots = b.client().await.query("SELECT slot_name::text FROM pg_replication_slots", &[]).await.unwrap();
        assert_eq!(slots.iter().map(|row| row.get(0)).collect::<Vec<String>>(), [a.id.standby_name()]);

        // Nothing was lost, so the old primary needs no rewind.
        let new_primary = b.upstream().await;
        let fork = a.pg.look().await.control().unwrap().history.fork(&new_primary.history).unwrap();
        assert_eq!(timed("wal past the fork", a.pg.wal_past(fork)).await, None);
        a.pg.follow(a.id, Some(&new_primary)).await.unwrap();
        timed("start as standby", a.pg.start(StartAs::Standby)).await;
        timed("admit on a former primary", a.pg.admit(&[b.peer()])).await;
        let held = "SELECT count(*) FROM pg_replication_slots WHERE xmin IS NOT NULL";
        assert_eq!(a.client().await.query_one(held, &[]).await.unwrap().get::<_, i64>(0), 0, "it would hold up vacuum");
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming)).await;
        a.until("the new timeline", |r| r.position.tli == Timeline(2)).await;
    });
}

/// Whatever the operator's command would bring, and wherever it was written since the server was started.
#[test]
fn a_restore_command_of_an_operator_neither_holds_a_seal_up_nor_brings_wal() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        let asked = base.path().join("asked");
        let command = format!("restore_command = 'echo %f >> {}; exit 1'", asked.display());
        let main = b.pgdata().join("postgresql.conf");
        for appended in [true, false] {
            if appended {
                let text = std::fs::read_to_string(&main).unwrap();
                std::fs::write(&main, format!("{text}{command}\n")).unwrap();
            } else {
                b.execute(&format!("ALTER SYSTEM SET {}", command.replacen('=', "TO", 1))).await;
            }
            b.execute("SELECT pg_reload_conf()").await;
            b.pg.follow(b.id, None).await.unwrap();
            let sealed = tokio::time::timeout(Duration::from_secs(10), timed("seal", b.pg.seal()));
            let sealed = sealed.await.expect("the operator's command doesn't hide ours");
            let _whatever_came_before = std::fs::remove_file(&asked);
            a.execute("INSERT INTO t VALUES (1)").await;
            // Some rounds through all its sources.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(!asked.exists(), "the archive is asked after the seal");
            assert_eq!(b.running().await.position, sealed);
            b.pg.follow(b.id, Some(&a.upstream().await)).await.unwrap();
            a.until("b is back", |r| r.sender(b.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        }
        b.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.start(StartAs::Standby).await.unwrap();
        let shown = b.client().await.query_one("SELECT current_setting('restore_command')", &[]).await.unwrap();
        assert_eq!(shown.get::<_, String>(0), "");
    });
}

#[test]
fn a_seal_ends_an_apply_delay() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        b.execute("ALTER SYSTEM SET recovery_min_apply_delay = '10min'").await;
        b.execute("SELECT pg_reload_conf()").await;
        a.execute("INSERT INTO t VALUES (1)").await;
        let written = a.running().await.position;
        a.until("b has it", |r| r.sender(b.id).is_some_and(|s| s.flushed >= written.lsn)).await;
        assert_eq!(b.count().await, 0, "it is held back");
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = tokio::time::timeout(Duration::from_secs(10), timed("seal a delayed standby", b.pg.seal()));
        assert!(sealed.await.expect("it doesn't wait for the delay").lsn >= written.lsn);
        assert_eq!(b.count().await, 1);
    });
}
