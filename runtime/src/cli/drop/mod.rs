//! `pgbaton drop …`.

mod formation;
mod monitor;
mod node;

use super::failure::{Code, Failure};
use clap::Subcommand;
use std::path::Path;

#[derive(Debug, Subcommand)]
pub enum Drop {
    /// Takes a node out of its formation; its Postgres is stopped, its data directory stays.
    Node(node::DropNode),
    /// Forgets a formation that has no nodes.
    Formation(formation::DropFormation),
    /// Stops the monitor on this machine for good.
    Monitor(monitor::DropMonitor),
}

impl Drop {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Drop::Node(drop) => drop.run(json).await,
            Drop::Formation(drop) => drop.run().await,
            Drop::Monitor(drop) => drop.run(),
        }
    }
}

/// What is there no more is removed already.
fn remove_directory(dir: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
            Code::State,
            format!("can't remove {}: {e}", dir.display()),
            "remove it by hand; nothing uses it any more",
        )),
        _ => {
            tracing::info!("removed {}", dir.display());
            Ok(())
        }
    }
}
