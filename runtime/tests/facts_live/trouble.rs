//! Disks that fail in their own ways, and clients that don't know what happened to their server.

use super::harness::{AbortingDisk, Lab, Ported, SmallDisk, StallingDisk, fact, refusal, until};
use nix::sys::signal::Signal;
use pgbaton_core::model::Server;
use pgbaton_core::ports::{Postgres, StartAs};

/// pgbaton's own look at its server finds this, or that all is well.
async fn until_found(port: &Ported, complaint: Option<&str>) {
    until(&format!("a look finds {complaint:?}"), async || match (port.look().await.server, complaint) {
        (Server::Stuck { reason }, Some(complaint)) => reason.contains(complaint),
        (Server::Up(_), None) => true,
        _ => false,
    })
    .await;
}

#[test]
fn a_full_disk_on_wal_ends_the_server() {
    fact(async |lab: &Lab| {
        let Some(disk) = SmallDisk::new(lab, 8) else { return };
        let a = lab.server("a");
        a.put_wal_on(disk.path());
        a.set("min_wal_size", "2MB");
        a.start().await;
        a.run("INSERT INTO t VALUES (1)").await;
        let filling = a.session().await.begin("INSERT INTO t SELECT generate_series(1, 1000000)");
        let refused = filling.answer().await.unwrap_err();
        assert!(a.log().contains("PANIC:  could not write to file"), "{refused}");
        assert!(a.log().contains("No space left on device"), "{refused}");
        eprintln!("    {}: {refused}", lab.version.full);
        a.until_ended().await;
        a.launch();
        a.until_ended().await;
        disk.grow(64);
        a.start().await;
        assert_eq!(a.count().await, 1);
        a.stop_fast().await;

        // Before it writes, a server on a full disk seems well: pgbaton's probe finds it.
        let port = Ported::on(&a);
        port.start(StartAs::Primary).await.unwrap();
        until_found(&port, None).await;
        let filling = disk.path().join("filling");
        let filled = std::io::copy(&mut std::io::repeat(0), &mut std::fs::File::create(&filling).unwrap());
        assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        until_found(&port, Some("pg_wal takes no writes")).await;
        std::fs::remove_file(&filling).unwrap();
        until_found(&port, None).await;
    });
}

#[test]
fn a_read_only_file_system_ends_a_server_that_writes_and_starts_none() {
    fact(async |lab: &Lab| {
        let Some(disk) = AbortingDisk::new(lab) else { return };
        let a = lab.server("a");
        a.put_on(disk.path());
        a.set("fsync", "on");
        a.start().await;
        let b = lab.standby("b", &a).await;
        a.run("INSERT INTO t VALUES (1)").await;
        let session = a.session().await;
        assert_eq!(session.ask("SELECT count(*) FROM t").await.unwrap(), "1");
        disk.abort();
        assert_eq!(session.ask("SELECT count(*) FROM t").await.unwrap(), "1", "its files are open");
        let refused = a.try_ask("SELECT 1").await.unwrap_err();
        assert!(refused.contains("Read-only file system"), "{refused}");
        let refused = lab.clone(&lab.server("c"), a.port, &["-c", "fast"]).await;
        assert!(!refused.success && refused.text.contains("could not create temporary file"), "{}", refused.text);
        // A WAL sender opens no table.
        b.stop_fast().await;
        b.start().await;
        b.until("EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')").await;

        let lost = session.begin("INSERT INTO t VALUES (2)").answer().await.unwrap_err();
        assert!(lost.contains("Read-only file system"), "{lost}");
        a.until_ended().await;
        assert!(a.log().contains("PANIC:  could not"), "{}", a.log());
        a.launch();
        a.until_ended().await;
        assert!(a.log().contains("could not remove old lock file \"postmaster.pid\": Read-only file system"));
        disk.mend();
        a.start().await;
        assert_eq!(a.count().await, 1);
        a.run("INSERT INTO t VALUES (3)").await;
        a.until_streams("b").await;
        a.hang_up().await;

        // A checkpoint as well.
        let session = a.session().await;
        disk.abort();
        assert!(session.begin("CHECKPOINT").answer().await.is_err());
        a.until_ended().await;
    });
    // A standby ends by what it receives.
    fact(async |lab: &Lab| {
        let Some(disk) = AbortingDisk::new(lab) else { return };
        let (a, b) = (lab.primary("a").await, lab.server("b"));
        b.put_on(disk.path());
        b.set("fsync", "on");
        b.follow(a.port);
        b.start().await;
        a.until_streams("b").await;
        disk.abort();
        a.run("INSERT INTO t VALUES (1)").await;
        b.until_ended().await;
        assert!(b.log().contains("PANIC:  could not write to"), "{}", b.log());
    });
}

#[test]
fn mending_a_broken_configuration_makes_no_lost_reload_good() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        for (server, name, new) in
            [(&a, "synchronous_standby_names", "ANY 1 (nobody)"), (&b, "primary_conninfo", "host=/nowhere")]
        {
            let file = server.pgdata.join("postgresql.conf");
            let whole = std::fs::read_to_string(&file).unwrap();
            let show = format!("SHOW {name}");
            let old = server.ask(&show).await;
            server.put_file("postgresql.conf", &format!("{whole}\nthis is no setting\n"));
            server.set(name, new);
            server.signal(Signal::SIGHUP);
            server.until_log("no changes were applied").await;
            assert_eq!(server.ask(&show).await, old);
            server.put_file("postgresql.conf", &whole);
            server.run("CHECKPOINT").await;
            server.hang_up().await;
            assert_eq!(server.ask(&show).await, old, "a new session as well");
            server.signal(Signal::SIGHUP);
            until("the next signal counts", async || server.ask(&show).await == new).await;
        }
    });
}

#[test]
fn a_stalled_disk_answers_reads_and_hangs_commits() {
    fact(async |lab: &Lab| {
        let Some(disk) = StallingDisk::new(lab) else { return };
        let a = lab.server("a");
        a.put_wal_on(disk.path());
        a.set("fsync", "on");
        a.start().await;
        a.run("INSERT INTO t VALUES (1)").await;
        let stalled = disk.stall();
        let commit = a.session().await.begin("INSERT INTO t VALUES (2)");
        let waits = format!("SELECT lower(wait_event) FROM pg_stat_activity WHERE pid = {}", commit.pid);
        until("the commit waits for the disk", async || a.ask(&waits).await == "walsync").await;
        assert_eq!(a.try_ask("SELECT count(*) FROM t").await.as_deref(), Ok("1"), "a new session, at once");
        assert!(!commit.is_answered());
        drop(stalled);
        assert_eq!(commit.answer().await, Ok(vec![]));
        a.stop_fast().await;

        let port = Ported::on(&a);
        port.start(StartAs::Primary).await.unwrap();
        until_found(&port, None).await;
        let stalled = disk.stall();
        until_found(&port, Some("a write to pg_wal has been under way for")).await;
        drop(stalled);
        until_found(&port, None).await;
    });
}

#[test]
fn a_read_only_default_is_no_fence() {
    fact(async |lab: &Lab| {
        let a = lab.primary("a").await;
        a.set_now("default_transaction_read_only", "on").await;
        let session = a.session().await;
        let refused = session.batch_execute("INSERT INTO t VALUES (1)").await.unwrap_err();
        assert!(refusal(&refused).starts_with("25006"), "{refused}");
        session.run("SET default_transaction_read_only = off").await;
        session.run("INSERT INTO t VALUES (1)").await;
        assert_eq!(a.count().await, 1);
    });
}

#[test]
fn a_client_keeps_its_connection_to_a_server_that_lost_its_role() {
    fact(async |lab: &Lab| {
        let (a, b) = lab.pair().await;
        let client = a.session().await;
        b.promote().await;
        client.run("INSERT INTO t VALUES (1)").await;
        assert_eq!((a.count().await, b.count().await), (1, 0), "nobody told the client, nor its server");
        a.put_signal();
        a.stop_fast().await;
        a.start().await;
        let error = client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap_err();
        assert!(client.is_closed(), "{error}");
        // It comes again to where it was.
        let client = a.session().await;
        let refused = client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap_err();
        assert!(refusal(&refused).starts_with("25006"), "{refused}");
        assert!(!client.is_closed(), "and it stays");
        assert_eq!(client.ask("SELECT count(*) FROM t").await.unwrap(), "1");
    });
}
