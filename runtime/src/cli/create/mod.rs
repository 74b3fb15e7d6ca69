//! `pgbaton create …`.

pub mod checks;
pub mod formation;
mod monitor;
mod postgres;

use super::failure::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Create {
    /// Creates a monitor.
    Monitor(monitor::CreateMonitor),
    /// Creates a formation with its settings. One that nobody created has the defaults, from its first node on.
    Formation(formation::CreateFormation),
    /// Creates a Postgres node: the first one of a group by initdb, later ones by a base backup. Without
    /// --run the node is initialised, stopped again, and left for pgbaton run.
    Postgres(Box<postgres::CreatePostgres>),
}

impl Create {
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Create::Monitor(create) => create.run().await,
            Create::Formation(create) => create.run().await,
            Create::Postgres(create) => create.run().await,
        }
    }
}
