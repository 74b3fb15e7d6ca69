//! `pgbaton show uri`.

use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::table::{Column, Table};
use clap::Args;
use pgbaton_core::wire::{Answer, Request, UriRow};

#[derive(Debug, Args)]
pub struct ShowUri {
    #[command(flatten)]
    via: ViaMonitor,
}

impl ShowUri {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let formation = found.asked_formation();
        if formation.as_deref() == Some("monitor") {
            return out::line(found.monitor.url());
        }
        let request = Request::Uri { formation: formation.clone() };
        let mut rows = match found.monitor.ask(&request).await? {
            Answer::Uri(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        // One formation was asked for by name: its bare string can be used in a script.
        if formation.is_some() && !json {
            let mut formations = rows.iter().filter(|row| row.kind == "formation");
            return formations.try_for_each(|row| out::line(&row.uri));
        }
        if !rows.iter().any(|row| row.kind == "monitor") {
            rows.insert(0, monitor_row(found.monitor.url()));
        }
        match json {
            true => out::json(&rows),
            false => out::text(&render(&rows)),
        }
    }
}

fn monitor_row(url: &str) -> UriRow {
    UriRow { kind: "monitor".into(), name: "monitor".into(), uri: url.into() }
}

fn render(rows: &[UriRow]) -> String {
    let mut table = Table::new(vec![Column::new("Type"), Column::new("Name"), Column::text("Connection String")]);
    for row in rows {
        table.push(vec![row.kind.clone(), row.name.clone(), row.uri.clone()]);
    }
    table.render()
}
