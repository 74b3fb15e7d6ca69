//! The replication slots of the other nodes, here: on a primary for those that follow it, on a standby for those that
//! will after a promotion.

use super::access::PATIENCE;
use super::sql::{SqlError, on_fresh_connection, quoted};
use super::{LocalPostgres, PostgresConfig};
use pgbaton_core::model::{Lsn, NodeId, Peer};
use pgbaton_core::ports::PgError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What can be done with a slot that is there. On a standby a slot with an `xmin` is one of the time when this server
/// was a primary: nobody would ever change it again, and it would hold up vacuum on the whole group.
const SLOTS: &str = "
SELECT slot_name,
       CASE WHEN active THEN 'active'
            WHEN restart_lsn IS NULL OR wal_status = 'lost' THEN 'useless'
            WHEN pg_is_in_recovery() AND xmin IS NOT NULL THEN 'useless'
            ELSE 'holding' END
  FROM pg_replication_slots WHERE slot_type = 'physical'";

/// From version 16 on a slot that has lost its WAL is lost for good: a standby that was cloned since couldn't stream
/// through it either.
#[derive(Default)]
pub struct Renewal {
    under_way: Arc<AtomicBool>,
}

impl Renewal {
    /// Beside the look that saw these, which must not wait for it. What goes wrong is seen by the next look.
    pub fn begin(&self, config: &Arc<PostgresConfig>, lost: Vec<String>) {
        if lost.is_empty() || self.under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        let (config, under_way) = (config.clone(), self.under_way.clone());
        tokio::spawn(async move {
            for slot in &lost {
                match tokio::time::timeout(PATIENCE, renew(&config, slot)).await {
                    Ok(Ok(())) => tracing::warn!("the slot {slot} had lost its WAL and was made anew"),
                    Ok(Err(e)) => tracing::warn!("the slot {slot} has lost its WAL and can't be made anew: {e}"),
                    Err(_) => tracing::warn!("the slot {slot} has lost its WAL and isn't made anew in time"),
                }
            }
            under_way.store(false, Ordering::Relaxed);
        });
    }
}

async fn renew(config: &PostgresConfig, slot: &str) -> Result<(), SqlError> {
    let name = quoted(slot);
    on_fresh_connection(config, &format!("SELECT pg_drop_replication_slot({name})")).await?;
    let create = format!("SELECT pg_create_physical_replication_slot({name}, true)");
    on_fresh_connection(config, &create).await.map(drop)
}

impl LocalPostgres {
    /// Every slot holds WAL from its creation on, also on a standby, where `advance_slots` moves it: its owner streams
    /// from the primary and can't.
    pub(super) async fn ensure_slots(&self, peers: &[Peer]) -> Result<(), PgError> {
        let wanted: BTreeSet<String> = peers.iter().map(|p| p.node.standby_name()).collect();
        let mut found: BTreeMap<String, String> = self.ask("admit peers", SLOTS).await?.into_iter().collect();
        found.retain(|name, _| NodeId::from_standby_name(name).is_some());
        for (name, condition) in found.clone() {
            match (wanted.contains(&name), condition.as_str()) {
                (true, "active" | "holding") => continue,
                (false, "active") => {
                    tracing::warn!("the slot {name} of a node that left is still in use and is dropped later");
                    continue;
                }
                _ => {}
            }
            self.ask("admit peers", &format!("SELECT pg_drop_replication_slot({}), 0", quoted(&name))).await?;
            found.remove(&name);
        }
        for name in wanted.iter().filter(|name| !found.contains_key(*name)) {
            let create = format!("SELECT pg_create_physical_replication_slot({}, true), 0", quoted(name));
            self.ask("admit peers", &create).await?;
        }
        Ok(())
    }

    /// A slot in use moves by itself, and a primary's are moved by their owners. The server never goes past what it
    /// has replayed, and moving one back would be an error.
    pub(super) async fn move_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.running("advance slots")?;
        let advance = format!(
            "SELECT slot_name, pg_replication_slot_advance(slot_name, target)
               FROM (SELECT slot_name, restart_lsn, least('{lsn}'::pg_lsn, pg_last_wal_replay_lsn()) AS target
                       FROM pg_replication_slots
                      WHERE slot_type = 'physical' AND NOT active AND wal_status <> 'lost'
                        AND slot_name LIKE 'pgbaton\\_standby\\_%' AND pg_is_in_recovery() OFFSET 0) s
              WHERE restart_lsn < target"
        );
        self.ask("advance slots", &advance).await.map(drop)
    }

    /// The first two columns of every row.
    pub(super) async fn ask(&self, what: &str, sql: &str) -> Result<Vec<(String, String)>, PgError> {
        let rows = self.working.query(sql, PATIENCE).await.map_err(|e| e.during(what))?;
        let text = |row: &tokio_postgres::SimpleQueryRow, i| row.try_get(i).ok().flatten().unwrap_or("").to_string();
        Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
    }
}
