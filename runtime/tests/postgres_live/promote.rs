//! A standby becomes a primary on a timeline of the number it is told: `promote`.

use crate::harness::{Base, Node, on_every_version, pair, timed};
use nix::unistd::chown;
use pgbaton_core::model::{ControlState, Directory, History, Timeline};
use pgbaton_core::ports::{Postgres, StartAs, StopMode};
use std::time::Duration;

#[test]
fn a_promotion_takes_the_number_it_is_told_and_followers_come_along() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        a.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.follow(b.id, None).await.unwrap();
        let sealed = b.pg.seal().await.unwrap();
        timed("promote to 5", b.pg.promote(Timeline(5))).await;
        assert!(b.has_signal() && !b.pgdata().join("recovery.signal").exists());
        let upstream = b.upstream().await;
        assert_eq!(upstream.history, History::root(Timeline(1)).branch(Timeline(5), sealed.lsn));
        b.pg.admit(&[a.peer()]).await.unwrap();
        a.pg.follow(a.id, Some(&upstream)).await.unwrap();
        a.pg.start(StartAs::Standby).await.unwrap();
        b.execute("INSERT INTO t VALUES (1)").await;
        b.until("a streams", |r| r.sender(a.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        a.until("the new timeline", |r| r.position.tli == Timeline(5)).await;
        assert_eq!(a.count().await, 1);

        // A clone has the history of its last timeline only; a follower from the first one asks for all of them.
        let c = Node::new(base, 3, "trust");
        b.pg.admit(&[a.peer(), c.peer()]).await.unwrap();
        let behind = c.seen_anew();
        c.pg.clone_from(c.id, &upstream).await.unwrap();
        c.pg.start(StartAs::Standby).await.unwrap();
        b.until("c streams", |r| r.sender(c.id).is_some_and(|s| s.streaming && s.flushed >= r.position.lsn)).await;
        c.pg.follow(c.id, None).await.unwrap();
        behind.pg.seal().await.unwrap();
        timed("promote a clone", c.pg.promote(Timeline(6))).await;
        assert_eq!(c.running().await.position.tli, Timeline(6));
        for number in 2..=5 {
            assert!(c.pgdata().join(format!("pg_wal/0000000{number}.history")).exists(), "{number}");
        }
    });
}

/// The server dies after its number was taken and before it was promoted.
#[test]
fn a_promotion_that_was_begun_leaves_no_number_that_a_start_would_wait_for() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        let (before, after) = (b.pgdata().join("pg_wal/before.history"), b.pgdata().join("pg_wal/00000002.history"));
        // A file of the very text, from a promotion elsewhere.
        let c = Node::new(base, 3, "trust");
        c.pg.create().await.unwrap();
        c.pg.start(StartAs::Standby).await.unwrap();
        c.pg.promote(Timeline(4)).await.unwrap();
        std::fs::copy(c.pgdata().join("pg_wal/00000002.history"), &before).unwrap();
        if let Some(user) = &b.pg.config().run_as {
            chown(&before, Some(user.uid), Some(user.gid)).unwrap();
        }

        // Beside it a start by anything else is refused at once.
        b.pg.stop(StopMode::Immediate).await.unwrap();
        std::fs::rename(&before, &after).unwrap();
        let mut postgres = std::process::Command::new(b.pg.config().bin_dir.join("postgres"));
        if let Some(user) = &b.pg.config().run_as {
            std::os::unix::process::CommandExt::uid(&mut postgres, user.uid.as_raw());
            std::os::unix::process::CommandExt::gid(&mut postgres, user.gid.as_raw());
        }
        postgres.arg("-D").arg(b.pgdata()).current_dir("/");
        let ended = tokio::time::timeout(
            Duration::from_secs(10),
            tokio::task::spawn_blocking(move || postgres.output().unwrap()),
        );
        let said = String::from_utf8_lossy(&ended.await.expect("it ends").unwrap().stderr).into_owned();
        assert!(said.contains("requested timeline 2 is not a child of this server's history"), "{said}");

        timed("start beside a reserved number", b.pg.start(StartAs::Standby)).await;
        assert!(!after.exists());
        a.until("b streams", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
    });
}

/// It comes back closed, and its directory is a source for the others.
#[test]
fn a_promoted_server_that_crashed_is_recovered_while_nobody_can_connect() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        a.pg.stop(StopMode::Fast).await.unwrap();
        b.pg.follow(b.id, None).await.unwrap();
        b.pg.seal().await.unwrap();
        b.pg.promote(Timeline(2)).await.unwrap();
        b.execute("INSERT INTO t VALUES (1)").await;
        assert!(b.pg.recover().await.is_err(), "it runs");
        b.pg.stop(StopMode::Immediate).await.unwrap();
        // Given up amid it, nothing of it is left, and it begins anew.
        let given_up = tokio::time::timeout(Duration::from_millis(20), b.pg.recover()).await;
        assert!(b.has_signal());
        if given_up.is_err() {
            timed("recover", b.pg.recover()).await;
        }
        let Directory::Present(control) = b.pg.look().await.directory else { panic!("it is there") };
        assert_eq!((control.state, control.checkpoint.tli), (ControlState::ShutDown, Timeline(2)));
        assert!(b.has_signal());
        b.pg.start(StartAs::Standby).await.unwrap();
        assert!(b.running().await.in_recovery);
        assert_eq!(b.count().await, 1);
    });
}
