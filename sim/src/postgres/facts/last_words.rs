//! What a server whose disk stalls acknowledges after its end has begun.

use super::*;
use crate::postgres::PgDisk;
use pgbaton_core::ports::StopMode;

#[test]
fn a_commit_amid_its_flush_is_acknowledged_although_its_server_is_being_stopped() {
    fact(|| async {
        let (lab, client) = flushing().await;
        lab.a.begin_stop();
        lab.fate.sleep(LONG).await;
        assert!(matches!(lab.pa.look().await.server, Server::Starting));
        lab.a.set_disk(PgDisk::Ok);
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 1, warning: false })));
        lab.until("it has stopped", || lab.a.pg().server.is_none()).await;
    });
}

#[test]
fn an_orphan_amid_its_flush_acknowledges_unless_it_was_killed() {
    fact(|| stays_amid_its_flush(true, false));
    fact(|| stays_amid_its_flush(true, true));
    fact(|| stays_amid_its_flush(false, true));
}

async fn stays_amid_its_flush(dies: bool, kills: bool) {
    let (lab, client) = flushing().await;
    if dies {
        lab.a.kill_postmaster();
    }
    lab.fate.sleep(LONG).await;
    if kills {
        lab.pa.stop(StopMode::Immediate).await.unwrap();
    }
    assert!(matches!(lab.pa.look().await.server, Server::Down));
    assert!(lab.pa.start(StartAs::Primary).await.is_err(), "nothing ends it amid its flush");
    lab.a.set_disk(PgDisk::Ok);
    assert_eq!(client.answer().await.is_some(), !kills);
    lab.until("all are gone", || lab.a.pg().server.is_none()).await;
}

/// The disk of a stalls, and a commit waits for it.
async fn flushing() -> (Lab, Client) {
    let lab = Lab::pair().await;
    let client = lab.client("a").await;
    lab.a.set_disk(PgDisk::Stalled);
    client.begin(1);
    lab.until("it is in the middle", || !lab.a.pg().server.as_ref().unwrap().commits.is_empty()).await;
    (lab, client)
}
