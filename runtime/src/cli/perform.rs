//! `pgbaton perform …`: asks for the role to be moved, then shows what happens until a node holds it again.

use super::failure::{Code, Failure};
use super::follow::{Follow, Shown, deadline};
use super::options::{Found, ViaMonitor};
use clap::{Args, Subcommand};
use pgbaton_core::model::{GroupKey, NodeId, NodeState};
use pgbaton_core::wire::{Command, StateRow};
use tokio::time::Instant;

#[derive(Debug, Subcommand)]
pub enum Perform {
    /// Hands the primary role to another node of the group.
    Switchover(Switchover),
    /// The same as switchover.
    Failover(Switchover),
    /// Hands the primary role to the node that is named.
    Promotion(Promotion),
}

#[derive(Debug, Args)]
pub struct Switchover {
    #[command(flatten)]
    via: ViaMonitor,
    /// Default: that of the local node, else 0.
    #[arg(long, short)]
    group: Option<u32>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub struct Promotion {
    #[command(flatten)]
    via: ViaMonitor,
    /// Name of the node; default: the local node.
    #[arg(long, short = 'a')]
    name: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Gives up acknowledged writes that may be only on nodes that are missing, or on a primary that doesn't open. What is
    /// given up is recorded.
    #[arg(long)]
    allow_data_loss: bool,
    /// Seconds to wait for the end; 0 waits for as long as it takes.
    #[arg(long, default_value_t = 60, value_name = "SECS")]
    wait: u64,
}

/// A request for the role to be moved.
struct Move {
    key: GroupKey,
    /// Nobody else will do.
    to: Option<String>,
    how: How,
}

impl Perform {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Perform::Switchover(asked) | Perform::Failover(asked) => {
                let found = asked.via.find()?;
                let key = found.key(asked.group);
                Move { key, to: None, how: asked.how }.perform(&found, json).await
            }
            Perform::Promotion(asked) => {
                let found = asked.via.find()?;
                let node = found.node(asked.name.as_deref()).await?;
                let key = GroupKey { formation: node.formation, group: node.group_id };
                Move { key, to: Some(node.nodename), how: asked.how }.perform(&found, json).await
            }
        }
    }
}

impl Move {
    fn command(&self, before: Option<&StateRow>) -> Command {
        let allow_data_loss = self.how.allow_data_loss;
        match self.to.clone() {
            Some(name) => Command::Promote { formation: self.key.formation.clone(), name, allow_data_loss },
            None => {
                let from = before.map(|n| NodeId(n.node_id));
                Command::Failover { key: self.key.clone(), to: None, from, allow_data_loss }
            }
        }
    }

    async fn perform(self, found: &Found, json: bool) -> Result<(), Failure> {
        let key = &self.key;
        let nodes = found.monitor.state(Some(key.formation.clone()), Some(key.group)).await?;
        let before = nodes.iter().find(|n| n.assigned_group_state.is_writable());
        tracing::info!("Targetting group {} in formation \"{}\"", key.group, key.formation);
        let began = Instant::now();
        let accepted = found.monitor.command(self.command(before)).await?;
        accepted.tell();
        if accepted.note.is_some() && self.to.is_some() && before.map(|n| &n.nodename) == self.to.as_ref() {
            return Ok(());
        }
        tracing::info!(
            "Listening monitor notifications about state changes in formation \"{}\" and group {}",
            key.formation,
            key.group
        );
        let mut follow = Follow {
            monitor: &found.monitor,
            formation: key.formation.clone(),
            group: Some(key.group),
            after: accepted.event,
            deadline: deadline(self.how.wait),
            shown: Some(Shown::new(&nodes, json)?),
            of_a_move: true,
        };
        let primary = follow.until(holder).await;
        follow.finish()?;
        let Some(primary) = primary? else {
            return Err(Failure::new(
                Code::Internal,
                format!("no node became primary within {} seconds", self.how.wait),
                "see pgbaton show state for what it waits for",
            ));
        };
        self.check(&primary, before)?;
        tracing::info!(
            "node \"{}\" ({}:{}) is {}, {:.1}s after the request",
            primary.nodename,
            primary.nodehost,
            primary.nodeport,
            primary.current_group_state,
            began.elapsed().as_secs_f64()
        );
        for part in follow.shown.iter().flat_map(Shown::durations) {
            tracing::info!("{part}");
        }
        Ok(())
    }

    fn check(&self, primary: &StateRow, before: Option<&StateRow>) -> Result<(), Failure> {
        let as_asked = match &self.to {
            Some(name) => primary.nodename == *name,
            None => before.map(|n| n.node_id) != Some(primary.node_id),
        };
        if as_asked {
            return Ok(());
        }
        Err(Failure::new(
            Code::Internal,
            format!("the role was not moved as asked: node \"{}\" holds it", primary.nodename),
            "see pgbaton show events for why",
        ))
    }
}

/// Who holds the role for good. A new primary goes on from `wait_primary` when it has a standby; when none is there it
/// stays.
fn holder(nodes: &[StateRow]) -> Option<StateRow> {
    let settled = |n: &&StateRow, state| n.current_group_state == state && n.assigned_group_state == state;
    let primary = nodes.iter().find(|n| settled(n, NodeState::Primary));
    let alone = |n: &&StateRow| nodes.iter().all(|other| other.node_id == n.node_id || other.health != 1);
    let alone = || nodes.iter().find(|n| settled(n, NodeState::WaitPrimary)).filter(alone);
    primary.or_else(alone).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::state::testing::row;
    use NodeState::{DemoteTimeout, Primary, Secondary, WaitPrimary};

    #[test]
    fn the_role_is_held_by_a_settled_primary_or_by_one_that_has_nobody_left() {
        let nodes = |states: [[NodeState; 2]; 2], health| {
            let mut nodes = states.map(|pair| row("n", "h", 1, 1, 0, pair));
            (nodes[0].node_id, nodes[1].node_id, nodes[0].health) = (1, 2, health);
            nodes
        };
        let held_by = |states, health| holder(&nodes(states, health)).map(|n| n.node_id);
        assert_eq!(held_by([[Secondary, Secondary], [Primary, Primary]], 1), Some(2));
        assert_eq!(held_by([[DemoteTimeout, DemoteTimeout], [WaitPrimary, Primary]], 0), None);
        assert_eq!(held_by([[Secondary, Secondary], [WaitPrimary, WaitPrimary]], 1), None);
        assert_eq!(held_by([[DemoteTimeout, DemoteTimeout], [WaitPrimary, WaitPrimary]], 0), Some(2));
    }
}
