//! Maintenance of one node, asked for and followed.

use super::ask::Accepted;
use super::failure::{Code, Failure};
use super::follow::{Follow, Shown, deadline};
use super::options::{Found, ViaMonitor};
use clap::Args;
use pgbaton_core::model::NodeState;
use pgbaton_core::wire::{Command, StateRow};

/// A primary has to find a successor first.
const PATIENCE: u64 = 60;
const PRIMARY_PATIENCE: u64 = 180;

#[derive(Debug, Args)]
pub struct Maintenance {
    #[command(flatten)]
    via: ViaMonitor,
    /// Name of the node; default: the local node.
    #[arg(long, short = 'a')]
    name: Option<String>,
}

pub async fn enable(asked: &Maintenance, allow_failover: bool, json: bool) -> Result<(), Failure> {
    let found = asked.via.find()?;
    let node = found.node(asked.name.as_deref()).await?;
    let is_primary = node.assigned_group_state.belongs_to_primary();
    let accepted = match ask(&found, &node, true, allow_failover).await? {
        // The way to have it is an option of this command.
        Err(refusal) if is_primary && !allow_failover => return Err(Failure { code: Code::Arguments, ..refusal }),
        answer => answer?,
    };
    let patience = if is_primary { PRIMARY_PATIENCE } else { PATIENCE };
    let there = |n: &StateRow| n.current_group_state == NodeState::Maintenance;
    follow(&found, &node, accepted, patience, (there, is_primary), json).await
}

pub async fn disable(asked: &Maintenance, json: bool) -> Result<(), Failure> {
    let found = asked.via.find()?;
    let node = found.node(asked.name.as_deref()).await?;
    let accepted = ask(&found, &node, false, false).await??;
    // What the monitor leads it to: a place in its group, or the role if nobody else has it.
    let there = |n: &StateRow| n.current_group_state == NodeState::Secondary || n.current_group_state.is_writable();
    follow(&found, &node, accepted, PATIENCE, (there, false), json).await
}

async fn ask(
    found: &Found,
    node: &StateRow,
    on: bool,
    allow_failover: bool,
) -> Result<Result<Accepted, Failure>, Failure> {
    let (formation, name) = (node.formation.clone(), node.nodename.clone());
    found.monitor.try_command(Command::Maintenance { formation, name, on, allow_failover }).await
}

/// Ends when the node is as wanted and is to stay so.
async fn follow(
    found: &Found,
    node: &StateRow,
    accepted: Accepted,
    patience: u64,
    (there, of_a_move): (impl Fn(&StateRow) -> bool, bool),
    json: bool,
) -> Result<(), Failure> {
    accepted.tell();
    let (formation, group) = (node.formation.clone(), Some(node.group_id));
    let nodes = found.monitor.state(Some(formation.clone()), group).await?;
    let settled = |rows: &[StateRow]| {
        let row = rows.iter().find(|n| n.node_id == node.node_id)?;
        (row.current_group_state == row.assigned_group_state && there(row)).then_some(row.current_group_state)
    };
    let reached = match settled(&nodes) {
        Some(state) => Some(state),
        None => {
            let shown = Some(Shown::new(&nodes, json)?);
            let (after, deadline) = (accepted.event, deadline(patience));
            let mut follow = Follow { monitor: &found.monitor, formation, group, after, deadline, shown, of_a_move };
            let reached = follow.until(settled).await;
            follow.finish()?;
            reached?
        }
    };
    let Some(state) = reached else {
        return Err(Failure::new(
            Code::Internal,
            format!("node \"{}\" is not there within {patience} seconds; the request goes on", node.nodename),
            "see pgbaton show state for what it waits for",
        ));
    };
    tracing::info!("node \"{}\" is in state {state}", node.nodename);
    Ok(())
}
