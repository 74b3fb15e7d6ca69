//! `pgbaton get node …` and `pgbaton set node …`.

use super::in_force;
use super::metadata::Metadata;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use clap::{ArgAction, Args, Subcommand};
use pgbaton_core::model::NodeId;
use pgbaton_core::wire::{Command, NodeChange, StateRow};
use serde_json::{Value, json};

const PRIORITY: &str = "candidate-priority";
const QUORUM: &str = "replication-quorum";

#[derive(Debug, Subcommand)]
pub enum GetNode {
    /// Who is promoted first: 0 to 100, the highest wins; 0 is never promoted.
    CandidatePriority(Which),
    /// Whether commits may wait for the node.
    ReplicationQuorum(Which),
}

#[derive(Debug, Subcommand)]
pub enum SetNode {
    /// Who is promoted first: 0 to 100, the highest wins; 0 is never promoted.
    CandidatePriority(CandidatePriority),
    /// Whether commits may wait for the node.
    ReplicationQuorum(ReplicationQuorum),
    /// Name and address of a node.
    Metadata(Metadata),
}

#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    via: ViaMonitor,
    /// Name of the node; default: the local node.
    #[arg(long, short = 'a')]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub struct CandidatePriority {
    #[command(flatten)]
    which: Which,
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
    value: u8,
}

#[derive(Debug, Args)]
pub struct ReplicationQuorum {
    #[command(flatten)]
    which: Which,
    #[arg(action = ArgAction::Set)]
    value: bool,
}

impl GetNode {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let (setting, which) = match &self {
            GetNode::CandidatePriority(which) => (PRIORITY, which),
            GetNode::ReplicationQuorum(which) => (QUORUM, which),
        };
        let found = which.via.find()?;
        let node = found.node(which.name.as_deref()).await?;
        let value = value_of(&node, setting);
        match json {
            true => out::json(&json!({ "name": node.nodename, setting: value })),
            false => out::line(value),
        }
    }
}

fn value_of(node: &StateRow, setting: &str) -> Value {
    match setting {
        PRIORITY => json!(node.candidate_priority),
        _ => json!(node.replication_quorum),
    }
}

impl SetNode {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let (setting, which, change) = match self {
            SetNode::CandidatePriority(CandidatePriority { which, value }) => {
                (PRIORITY, which, NodeChange { candidate_priority: Some(value), ..NodeChange::default() })
            }
            SetNode::ReplicationQuorum(ReplicationQuorum { which, value }) => {
                (QUORUM, which, NodeChange { replication_quorum: Some(value), ..NodeChange::default() })
            }
            SetNode::Metadata(metadata) => return metadata.run(json).await,
        };
        let found = which.via.find()?;
        let node = found.node(which.name.as_deref()).await?;
        let (formation, name, seen) = (node.formation, node.nodename, Some(NodeId(node.node_id)));
        let command = Command::SetNode { formation: formation.clone(), name: name.clone(), node: seen, change };
        // Only the quorum is the primary's business.
        match setting {
            QUORUM => in_force::set(&found.monitor, &formation, command).await.map(drop)?,
            _ => found.monitor.command(command).await?.tell(),
        }
        let value = value_of(&found.node(Some(&name)).await?, setting);
        match json {
            true => out::json(&json!({ setting: value })),
            false => out::line(value),
        }
    }
}
