//! `pgbaton show events`.

use super::state::STATE_WIDTH;
use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::table::{Column, Table};
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use pgbaton_core::wire::{Answer, EventRow, Request};

#[derive(Debug, Args)]
pub struct ShowEvents {
    #[command(flatten)]
    via: ViaMonitor,
    /// One group; default: all.
    #[arg(long, short)]
    group: Option<u32>,
    /// How many.
    #[arg(long, default_value_t = 10)]
    count: u64,
}

impl ShowEvents {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let request = Request::Events {
            formation: found.asked_formation(),
            group: self.group,
            after: None,
            count: self.count,
            wait: false,
        };
        let rows = match found.monitor.ask(&request).await? {
            Answer::Events(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        match json {
            true => out::json(&rows),
            false => out::text(&render(&rows)),
        }
    }
}

fn render(rows: &[EventRow]) -> String {
    let mut table = Table::new(vec![
        Column::new("Event Time"),
        Column::new("Node").at_least(5),
        Column::new("Current State").at_least(STATE_WIDTH),
        Column::new("Assigned State").at_least(STATE_WIDTH),
        Column::new("Rule"),
        Column::text("Comment"),
    ]);
    for row in rows {
        let of_node = |cell: String| if row.is_of_a_node() { cell } else { "-".to_string() };
        table.push(vec![
            event_time(row.eventtime),
            of_node(format!("{}/{}", row.groupid, row.nodeid)),
            of_node(row.reportedstate.to_string()),
            of_node(row.goalstate.to_string()),
            row.rule_pos.map_or_else(|| "-".to_string(), |rule| rule.to_string()),
            row.description.clone(),
        ]);
    }
    table.render()
}

/// In the time zone of whoever reads it.
fn event_time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let zoned = Timestamp::from_millisecond(ms).map(|t| t.to_zoned(TimeZone::system()));
    zoned.map_or_else(|_| "-".to_string(), |t| t.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}
