//! Others may connect and find their WAL: `admit`, `advance_slots`.

use crate::harness::{Base, Node, on_every_version, pair, timed};
use pgbaton_core::model::Lsn;
use pgbaton_core::ports::{Postgres, StartAs};

/// Where the only slot holds WAL from.
async fn slot(node: &Node) -> Lsn {
    let sql = "SELECT (restart_lsn - '0/0')::int8 FROM pg_replication_slots";
    let row = node.client().await.query_one(sql, &[]).await.unwrap();
    Lsn(row.get::<_, i64>(0).cast_unsigned())
}

#[test]
fn slots_on_a_standby_hold_wal_and_move_forward_only() {
    on_every_version(async |base: &Base| {
        let (a, b) = pair(base, "trust").await;
        let reserved = slot(&b).await;
        assert!(reserved > Lsn::ZERO);
        a.execute("INSERT INTO t SELECT generate_series(1, 1000)").await;
        let end = a.running().await.position.lsn;
        b.pg.holds(end).await.unwrap();
        b.pg.replayed_past(Lsn(end.0 - 1)).await.unwrap();
        timed("advance slots", b.pg.advance_slots(end)).await;
        assert_eq!(slot(&b).await, end);
        b.pg.advance_slots(reserved).await.unwrap();
        assert_eq!(slot(&b).await, end, "never back");
        b.pg.advance_slots(Lsn(end.0 + (1 << 30))).await.unwrap();
        let moved = slot(&b).await;
        assert!(moved >= end && moved <= b.running().await.replayed, "not past what is replayed");
        a.until("feedback arrives", |r| r.sender(b.id).is_some_and(|s| s.streaming)).await;
        let before = slot(&a).await;
        a.pg.advance_slots(Lsn(0x7FFF_FFFF)).await.unwrap();
        assert!(slot(&a).await < Lsn(0x7FFF_FFFF), "a primary's slots are moved by their owners");
        assert!(slot(&a).await >= before);
    });
}

/// How often the role was written is told by the number of the transaction that wrote it last.
async fn role(node: &Node) -> (String, bool) {
    let sql = "SELECT xmin::text, rolcanlogin FROM pg_authid WHERE rolname = 'pgbaton_replicator'";
    let row = node.client().await.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn a_primary_that_admits_the_same_again_writes_nothing_and_mends_what_others_did() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "scram-sha-256");
        let b = Node::new(base, 2, "scram-sha-256");
        a.pg.create().await.unwrap();
        a.pg.start(StartAs::Primary).await.unwrap();
        a.pg.admit(&[b.peer()]).await.unwrap();
        let set_up = role(&a).await;
        timed("admit again", a.pg.admit(&[b.peer()])).await;
        assert_eq!(role(&a).await, set_up);
        a.execute("ALTER ROLE pgbaton_replicator NOLOGIN").await;
        a.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
        a.pg.admit(&[b.peer()]).await.unwrap();
        assert!(role(&a).await.1);
        assert!(slot(&a).await > Lsn::ZERO, "it is back at once");
    });
}
