//! `pgbaton perform switchover`: asks for it, then shows what happens until a node is primary again.

use super::ask::unexpected;
use super::failure::{Code, Failure};
use super::options::{Found, ViaMonitor};
use super::out;
use super::show::state::STATE_WIDTH;
use super::table::{Column, Table};
use clap::{Args, Subcommand};
use pgbaton_core::model::{GroupKey, NodeState};
use pgbaton_core::wire::{Answer, Command, EventRow, Request, StateRow};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Subcommand)]
pub enum Perform {
    /// Hands the primary role to another node of the group.
    Switchover(Switchover),
    /// The same as switchover.
    Failover(Switchover),
}

#[derive(Debug, Args)]
pub struct Switchover {
    #[command(flatten)]
    via: ViaMonitor,
    /// Default: that of the local node, else 0.
    #[arg(long, short)]
    group: Option<u32>,
    /// Seconds to wait for the end; 0 waits for as long as it takes.
    #[arg(long, default_value_t = 60, value_name = "SECS")]
    wait: u64,
}

impl Perform {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let (Perform::Switchover(asked) | Perform::Failover(asked)) = self;
        let found = asked.via.find()?;
        let key = found.key(asked.group);
        let nodes = found.monitor.state(Some(key.formation.clone()), Some(key.group)).await?;
        tracing::info!("Targetting group {} in formation \"{}\"", key.group, key.formation);
        let began = Instant::now();
        let after = match found
            .monitor
            .ask(&Request::Command(Command::Failover { key: key.clone(), to: None, allow_data_loss: false }))
            .await?
        {
            Answer::Accepted { event, .. } => event,
            other => return Err(unexpected(&other)),
        };
        tracing::info!(
            "Listening monitor notifications about state changes in formation \"{}\" and group {}",
            key.formation,
            key.group
        );
        let deadline = (asked.wait > 0).then(|| began + Duration::from_secs(asked.wait));
        let mut shown = Shown::new(&nodes, json)?;
        let primary = follow(&found, &key, after, deadline, &mut shown).await;
        shown.finish()?;
        let Some(primary) = primary? else {
            return Err(Failure::new(
                Code::Internal,
                format!("no node became primary within {} seconds; the switchover goes on", asked.wait),
                "see pgbaton show state for what it waits for",
            ));
        };
        tracing::info!(
            "node \"{}\" ({}:{}) is primary, {:.1}s after the request",
            primary.nodename,
            primary.nodehost,
            primary.nodeport,
            began.elapsed().as_secs_f64()
        );
        for part in shown.durations() {
            tracing::info!("{part}");
        }
        Ok(())
    }
}

/// Shows events until one says that a node has become primary; `None` when time is up before.
async fn follow(
    found: &Found,
    key: &GroupKey,
    mut after: u64,
    deadline: Option<Instant>,
    shown: &mut Shown,
) -> Result<Option<EventRow>, Failure> {
    loop {
        // One call may be held by the monitor as long as it likes to; the wait here is bounded all the same.
        let left = deadline.map_or(HOLD, |d| d.saturating_duration_since(Instant::now()).min(HOLD));
        if left.is_zero() {
            return Ok(None);
        }
        let request = Request::Events {
            formation: Some(key.formation.clone()),
            group: Some(key.group),
            after: Some(after),
            count: 1000,
            wait: true,
        };
        let rows = match found.monitor.call(&request, left).await {
            Ok(Ok(Answer::Events(rows))) => rows,
            Ok(Ok(other)) => return Err(unexpected(&other)),
            Ok(Err(failure)) => return Err(failure),
            // The monitor may be restarted meanwhile; the switchover doesn't end with it.
            Err(e) => {
                tracing::debug!("{e}");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        for row in &rows {
            after = after.max(row.eventid);
            shown.row(row)?;
        }
        let is_primary = |row: &&EventRow| [row.reportedstate, row.goalstate] == [NodeState::Primary; 2];
        if let Some(primary) = rows.iter().rev().find(is_primary) {
            return Ok(Some(primary.clone()));
        }
    }
}

const HOLD: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);

/// The notification table. Its rows come one by one, so columns are made wide enough for the group's nodes.
struct Shown {
    table: Table,
    json: bool,
    events: Vec<EventRow>,
}

impl Shown {
    fn new(nodes: &[StateRow], json: bool) -> Result<Shown, Failure> {
        let widest = |cell: &dyn Fn(&StateRow) -> String| nodes.iter().map(|n| cell(n).len()).max().unwrap_or(0);
        let table = Table::new(vec![
            Column::new("Time").at_least(8),
            Column::new("Name").at_least(widest(&|n| n.nodename.clone())),
            Column::new("Node").at_least(5),
            Column::new("Host:Port").at_least(widest(&|n| format!("{}:{}", n.nodehost, n.nodeport))),
            Column::new("Current State").at_least(STATE_WIDTH),
            Column::new("Assigned State").at_least(STATE_WIDTH),
        ]);
        if !json {
            tracing::info!("Following table displays times when notifications are received");
            out::text(&table.header())?;
        }
        Ok(Shown { table, json, events: Vec::new() })
    }

    fn row(&mut self, event: &EventRow) -> Result<(), Failure> {
        // What concerns the group alone is told at a node's row that repeats the one before.
        let pair = |e: &EventRow| (e.reportedstate, e.goalstate);
        let last = self.events.iter().rev().find(|e| e.nodeid == event.nodeid).map(pair);
        self.events.push(event.clone());
        if self.json || last == Some(pair(event)) {
            return Ok(());
        }
        let received = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        out::text(&self.table.line(&cells(received, event)))
    }

    fn finish(&self) -> Result<(), Failure> {
        match self.json {
            true => out::json(&self.events),
            false => out::text("\n"),
        }
    }

    /// What the rules say about where the time went.
    fn durations(&self) -> impl Iterator<Item = &str> {
        let told = self.events.iter().filter(|e| e.rule_pos.is_some() && e.description.contains("detect "));
        told.map(|e| e.description.as_str())
    }
}

fn cells(received: String, event: &EventRow) -> Vec<String> {
    vec![
        received,
        event.nodename.clone(),
        event.nodeid.to_string(),
        format!("{}:{}", event.nodehost, event.nodeport),
        event.reportedstate.to_string(),
        event.goalstate.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in the operations note; pg_auto_failover's header leaves `Time` eight wide too.
    #[test]
    fn the_notification_table_looks_as_users_know_it() {
        let table = Table::new(vec![
            Column::new("Time").at_least(8),
            Column::new("Name").at_least(4),
            Column::new("Node").at_least(5),
            Column::new("Host:Port").at_least("failoversecondary:5432".len()),
            Column::new("Current State").at_least(STATE_WIDTH),
            Column::new("Assigned State").at_least(STATE_WIDTH),
        ]);
        let row = ["22:58:33", "mdw", "1", "failoverprimary:5432", "secondary", "prepare_promotion"];
        let text = table.header() + &table.line(&row.map(str::to_string));
        let expected = "    \
    Time | Name |  Node |              Host:Port |       Current State |      Assigned State
---------+------+-------+------------------------+---------------------+--------------------
22:58:33 |  mdw |     1 |   failoverprimary:5432 |           secondary |   prepare_promotion
";
        assert_eq!(text, expected);
    }
}
