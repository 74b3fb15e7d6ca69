//! How each member's Postgres is configured when a run ends: as its server says, or as its files do when it is down.

use super::cluster::{Cluster, Node};
use super::hands;
use super::witness::Names;
use crate::postgres::{control_file, find_installation, names_on_disk, upstream_on_disk};
use crate::service::Places;
use anyhow::{Context, Result};
use pgbaton_core::check::Kind;
use pgbaton_core::model::{Lsn, NodeId};
use std::collections::BTreeSet;

/// Each row a word of what it is, and the value.
const QUERY: &str = "SELECT 'system ' || system_identifier FROM pg_control_system() \
                     UNION ALL SELECT 'names ' || current_setting('synchronous_standby_names') \
                     UNION ALL SELECT 'upstream ' || current_setting('primary_conninfo') \
                     UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots \
                     UNION ALL SELECT 'keeps ' || min(restart_lsn) FROM pg_replication_slots \
                     UNION ALL SELECT 'end ' || CASE WHEN pg_is_in_recovery() \
                       THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END";

/// What both sources give.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    system_id: u64,
    names: String,
    upstream: String,
    slots: BTreeSet<NodeId>,
    keeps_from: Option<Lsn>,
    end: Lsn,
}

/// None where there is no data directory.
pub async fn of(cluster: &Cluster, name: &str, id: NodeId) -> Result<Option<Kind>> {
    let node = cluster.node(name)?;
    if !node.pgdata.join("PG_VERSION").exists() {
        return Ok(None);
    }
    let settings = match hands::sql(cluster.server(name)?, QUERY).await {
        Ok(rows) => told(&rows),
        Err(_) => on_disk(node).with_context(|| format!("the configuration of {name} can't be read"))?,
    };
    let addresses = cluster.nodes.iter().enumerate().map(|(i, n)| (cluster.addresses.node(i), &n.name));
    let follows = host(&settings.upstream).map(|host| {
        let known = addresses.into_iter().find(|(address, _)| address.ip().to_string() == host);
        known.map_or_else(|| host.to_string(), |(_, name)| name.clone())
    });
    Ok(Some(Kind::Configured {
        node: name.to_string(),
        id,
        system_id: settings.system_id,
        names: Names::read(&settings.names).of,
        slots: settings.slots,
        follows,
        keeps_from: settings.keeps_from,
        end: settings.end,
    }))
}

fn told(rows: &[String]) -> Settings {
    let mut settings = Settings::default();
    for (what, value) in rows.iter().filter_map(|row| row.split_once(' ')) {
        match what {
            "system" => settings.system_id = value.parse().unwrap_or_default(),
            "names" => settings.names = value.to_string(),
            "upstream" => settings.upstream = value.to_string(),
            "keeps" => settings.keeps_from = value.parse().ok(),
            "end" => settings.end = value.parse().unwrap_or_default(),
            _ => settings.slots.extend(NodeId::from_standby_name(value)),
        }
    }
    settings
}

fn on_disk(node: &Node) -> Result<Settings> {
    let control = control_file(&find_installation(None)?.bin_dir, &node.pgdata).context("it has no control file")?;
    let slots = std::fs::read_dir(node.pgdata.join("pg_replslot"))?.flatten();
    let state_dir = Places::node(&node.pgdata).state_dir;
    Ok(Settings {
        system_id: control.system_id,
        names: names_on_disk(&state_dir),
        upstream: upstream_on_disk(&state_dir),
        slots: slots.filter_map(|slot| NodeId::from_standby_name(slot.file_name().to_str()?)).collect(),
        // Only a server tells what its slots keep.
        keeps_from: None,
        end: control.checkpoint.lsn,
    })
}

/// pgbaton quotes every value.
fn host(conninfo: &str) -> Option<&str> {
    conninfo.strip_prefix("host='")?.split('\'').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_tells_what_its_files_hold() {
        let rows = [
            "system 7",
            "names ANY 1 (pgbaton_standby_2)",
            "upstream host='h' port='1'",
            "slot pgbaton_standby_2",
            "keeps 0/3000060",
            "end 0/4000060",
        ];
        let settings = told(&rows.map(str::to_string));
        assert_eq!((settings.system_id, settings.slots), (7, [NodeId(2)].into()));
        assert_eq!((Names::read(&settings.names).of, host(&settings.upstream)), ([NodeId(2)].into(), Some("h")));
        assert_eq!((settings.keeps_from, settings.end), (Some(Lsn(0x0300_0060)), Lsn(0x0400_0060)));
        assert_eq!(host(""), None);
    }
}
