//! `pgbaton get …` and `pgbaton set …`: what the monitor keeps of nodes and formations.

mod formation;
mod in_force;
mod metadata;
mod node;

use super::failure::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Get {
    /// A setting of a node.
    #[command(subcommand)]
    Node(node::GetNode),
    /// A setting of a formation.
    #[command(subcommand)]
    Formation(formation::GetFormation),
}

#[derive(Debug, Subcommand)]
pub enum Set {
    /// Changes a node.
    #[command(subcommand)]
    Node(node::SetNode),
    /// Changes a formation.
    #[command(subcommand)]
    Formation(formation::SetFormation),
}

impl Get {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Get::Node(get) => get.run(json).await,
            Get::Formation(get) => get.run(json).await,
        }
    }
}

impl Set {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Set::Node(set) => set.run(json).await,
            Set::Formation(set) => set.run(json).await,
        }
    }
}
