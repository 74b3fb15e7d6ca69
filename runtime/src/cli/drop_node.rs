//! `pgbaton drop node`.

use super::ask::unexpected;
use super::failure::Failure;
use super::options::ViaMonitor;
use clap::{Args, Subcommand};
use pgbaton_core::wire::{Answer, Command, Request};

#[derive(Debug, Subcommand)]
pub enum Drop {
    /// Takes a node out of its formation; its Postgres is stopped, its data directory stays.
    Node(DropNode),
}

#[derive(Debug, Args)]
pub struct DropNode {
    #[command(flatten)]
    via: ViaMonitor,
    /// Name of the node; default: the local node.
    #[arg(long, short = 'a')]
    name: Option<String>,
    /// Forgets the node without its cooperation, as when its machine is gone for good.
    #[arg(long)]
    force: bool,
}

impl Drop {
    pub async fn run(self) -> Result<(), Failure> {
        let Drop::Node(drop) = self;
        let found = drop.via.find()?;
        let name = drop.name.or_else(|| found.local_name().map(str::to_string)).ok_or_else(|| {
            Failure::arguments("which node is not said", "name it with --name, or a local one with --pgdata DIR")
        })?;
        let request =
            Request::Command(Command::Drop { formation: found.formation(), name: name.clone(), force: drop.force });
        match found.monitor.ask(&request).await? {
            Answer::Accepted { .. } => {
                tracing::info!("node \"{name}\" leaves formation \"{}\"", found.formation());
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }
}
