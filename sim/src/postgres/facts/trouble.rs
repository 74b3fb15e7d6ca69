//! Disks that fail in their own ways, and clients that don't know what happened to their server.

use super::*;
use crate::postgres::PgDisk;
use pgbaton_core::ports::{PgError, StopMode};

#[test]
fn a_full_disk_on_wal_ends_the_server() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        lab.a.set_disk(PgDisk::Full);
        assert_eq!(client.rows().await, [1].into());
        client.begin(2);
        assert!(client.answer().await.is_none());
        assert!(lab.a.pg().server.is_none());
        assert!(lab.pa.start(StartAs::Primary).await.is_err());
        lab.a.set_disk(PgDisk::Ok);
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(lab.client("a").await.rows().await, [1].into());
        // A standby ends as well.
        lab.until_streams(&lab.b).await;
        lab.b.set_disk(PgDisk::Full);
        assert!(lab.client("a").await.commits(3).await);
        lab.until("b ends", || lab.b.pg().server.is_none()).await;
    });
}

#[test]
fn a_read_only_file_system_ends_a_server_that_writes_and_starts_none() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        lab.a.set_disk(PgDisk::ReadOnly);
        assert_eq!(client.rows().await, [1].into(), "its files are open");
        let refused = lab.try_client("a").await.err().unwrap();
        assert!(refused.contains("Read-only file system"), "{refused}");
        assert!(matches!(lab.pc.clone_from(C, &source("a")).await, Err(PgError::Retry(_))));
        // A WAL sender opens no table.
        lab.pb.stop(StopMode::Fast).await.unwrap();
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.b).await;

        client.begin(2);
        assert!(client.answer().await.is_none() && lab.a.pg().server.is_none());
        assert!(lab.pa.start(StartAs::Primary).await.is_err());
        lab.a.set_disk(PgDisk::Ok);
        lab.pa.start(StartAs::Primary).await.unwrap();
        let client = lab.client("a").await;
        assert_eq!(client.rows().await, [1].into());
        lab.until_streams(&lab.b).await;
        assert!(client.commits(3).await);

        // A checkpoint as well.
        lab.a.set_disk(PgDisk::ReadOnly);
        assert!(lab.pa.checkpoint().await.is_err());
        assert!(lab.a.pg().server.is_none());
    });
    // A standby ends by what it receives.
    fact(|| async {
        let lab = Lab::pair().await;
        lab.b.set_disk(PgDisk::ReadOnly);
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b ends", || lab.b.pg().server.is_none()).await;
    });
}

#[test]
fn mending_a_broken_configuration_makes_no_lost_reload_good() {
    fact(|| async {
        let lab = Lab::pair().await;
        let names = Names("ANY 1 (nobody)".into());
        lab.a.break_config(true);
        lab.pa.set_names(&names).await.unwrap();
        assert!(lab.pa.names_in_force().await.is_err());
        lab.a.break_config(false);
        lab.fate.sleep(LONG).await;
        assert!(lab.client("a").await.commits(1).await, "under the old names, which ask for nobody");
        lab.pa.set_names(&names).await.unwrap();
        lab.pa.names_in_force().await.unwrap();
        let client = lab.client("a").await;
        client.begin(2);
        lab.fate.sleep(BRIEF).await;
        assert!(waits(&lab.a, 2));
        // Whom a standby is to follow is read in the same way.
        lab.b.break_config(true);
        assert!(lab.pb.follow(B, Some(&source("c"))).await.is_err());
        lab.b.break_config(false);
        lab.fate.sleep(LONG).await;
        assert_eq!(lab.b.pg().server.as_ref().unwrap().conninfo.as_ref().unwrap().host, "a");
    });
}

#[test]
fn a_stalled_disk_answers_reads_and_hangs_commits() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        lab.a.set_disk(PgDisk::Stalled);
        client.begin(2);
        lab.fate.sleep(LONG).await;
        assert!(!flushed(&lab.a, 2));
        assert_eq!(lab.client("a").await.rows().await, [1].into(), "a new session, at once");
        assert!(lab.pa.look().await.is_open());
        assert!(lab.fate.timeout(BRIEF, lab.a.disk_takes()).await.is_none(), "a probe that writes hangs");
        lab.fate.sleep(LONG).await;
        assert!(matches!(lab.pa.look().await.server, Server::Stuck { .. }));
        lab.a.set_disk(PgDisk::Ok);
        assert!(lab.pa.look().await.is_open());
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 2, warning: false })));
    });
}

#[test]
fn a_read_only_default_is_no_fence() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        lab.a.configure(|settings| settings.default_transaction_read_only = true);
        assert!(lab.client("a").await.read_only);
        assert_eq!(client.refusal(1).await, "cannot execute INSERT in a read-only transaction");
        client.set(Setting::ReadOnly(false)).await;
        assert!(client.commits(2).await);
        assert_eq!(client.rows().await, [2].into());
    });
}

#[test]
fn a_client_keeps_its_connection_to_a_server_that_lost_its_role() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        lab.b.rogue_promote().unwrap();
        lab.until("b is open", || lab.b.pg().is_open()).await;
        assert!(client.commits(1).await, "nobody told the client, nor its server");
        assert!(lab.b.visible_rows().is_empty());
        lab.pa.stop(StopMode::Fast).await.unwrap();
        assert!(client.is_ended().await);
        lab.pa.start(StartAs::Standby).await.unwrap();
        // It comes again to where it was.
        let client = lab.client("a").await;
        assert_eq!(client.refusal(2).await, "cannot execute INSERT in a read-only transaction");
        lab.until("all is replayed", || lab.a.visible_rows().contains(&1)).await;
        assert_eq!(client.rows().await, [1].into(), "and it stays");
    });
}
