//! What a server whose disk stalls acknowledges after its end has begun.

use super::harness::{Lab, Pending, Ported, Server, Stalled, StallingDisk, fact, is_alive, until};
use nix::sys::signal::Signal;
use pgbaton_core::ports::{Postgres, StopMode};

#[test]
fn a_commit_amid_its_flush_is_acknowledged_although_its_server_is_being_stopped() {
    fact(async |lab: &Lab| {
        let Some(disk) = StallingDisk::new(lab) else { return };
        let (a, stalled, commit) = flushing(lab, "a", &disk).await;
        a.signal(Signal::SIGINT);
        a.until_log("received fast shutdown request").await;
        let refused = async || a.try_ask("SELECT 1").await.is_err();
        until("it takes no sessions any more", refused).await;
        assert!(!commit.is_answered());
        drop(stalled);
        assert_eq!(commit.answer().await, Ok(vec![]));
        a.until_ended().await;
    });
}

#[test]
fn an_orphan_amid_its_flush_acknowledges_unless_it_was_killed() {
    fact(async |lab: &Lab| {
        let Some(disk) = StallingDisk::new(lab) else { return };
        for (name, dies, kills) in [("a", true, false), ("b", true, true), ("c", false, true)] {
            let (a, stalled, commit) = flushing(lab, name, &disk).await;
            if dies {
                a.signal(Signal::SIGKILL);
                a.until_ended().await;
            }
            if kills {
                Ported::on(&a).stop(StopMode::Immediate).await.unwrap();
            }
            assert!(!a.is_running() && is_alive(commit.pid), "nothing ends it amid its flush");
            let pid = commit.pid;
            drop(stalled);
            let answer = commit.answer().await;
            assert_eq!(answer.is_ok(), !kills, "{answer:?}");
            until("all are gone", async || !is_alive(pid)).await;
        }
    });
}

/// A server whose disk stalls, and a commit that waits for it.
async fn flushing<'a>(lab: &Lab, name: &str, disk: &'a StallingDisk) -> (Server, Stalled<'a>, Pending) {
    let a = lab.server(name);
    a.put_wal_on(disk.path());
    a.set("fsync", "on");
    a.start().await;
    a.run("INSERT INTO t VALUES (1)").await;
    let stalled = disk.stall();
    let commit = a.session().await.begin("INSERT INTO t VALUES (2)");
    let waits = format!("SELECT lower(wait_event) FROM pg_stat_activity WHERE pid = {}", commit.pid);
    until("the commit waits for the disk", async || a.ask(&waits).await == "walsync").await;
    (a, stalled, commit)
}
