//! `pgbaton show settings` and `pgbaton show standby-names`.

use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::table::{Column, Table};
use clap::Args;
use pgbaton_core::wire::{Answer, Request, SettingRow};
use serde_json::json;

#[derive(Debug, Args)]
pub struct ShowSettings {
    #[command(flatten)]
    via: ViaMonitor,
}

impl ShowSettings {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let formation = found.formation();
        let rows = match found.monitor.ask(&Request::Settings { formation: formation.clone() }).await? {
            Answer::Settings(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        if json {
            let of = |context: &str| rows.iter().filter(|r| r.context == context).collect::<Vec<_>>();
            return out::json(&json!({
                "formation": of("formation"),
                "primary": of("primary"),
                "nodes": of("node"),
            }));
        }
        out::text(&render(&formation, &rows))
    }
}

fn render(formation: &str, rows: &[SettingRow]) -> String {
    let mut table =
        Table::new(vec![Column::new("Context"), Column::new("Name"), Column::new("Setting"), Column::text("Value")]);
    for row in rows {
        table.push(vec![
            row.context.clone(),
            row.nodename.clone().unwrap_or_else(|| formation.to_string()),
            row.setting.clone(),
            row.value.clone(),
        ]);
    }
    table.render()
}

#[derive(Debug, Args)]
pub struct ShowStandbyNames {
    #[command(flatten)]
    via: ViaMonitor,
    /// Default: that of the local node, else 0.
    #[arg(long, short)]
    group: Option<u32>,
}

impl ShowStandbyNames {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let key = found.key(self.group);
        let names = match found.monitor.ask(&Request::StandbyNames { key: key.clone() }).await? {
            Answer::StandbyNames(names) => names,
            other => return Err(unexpected(&other)),
        };
        match json {
            true => out::json(&json!({
                "formation": key.formation,
                "group": key.group,
                "synchronous_standby_names": names,
            })),
            false => out::line(format!("'{names}'")),
        }
    }
}
