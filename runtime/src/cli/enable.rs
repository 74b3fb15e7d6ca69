//! `pgbaton enable …` and `pgbaton disable …`.

use super::enable_monitor::EnableMonitor;
use super::failure::Failure;
use super::maintenance::{self, Maintenance};
use super::options::ViaMonitor;
use super::ssl::{DisableSsl, EnableSsl};
use clap::{Args, Subcommand};
use pgbaton_core::wire::{Command, FormationChange};

#[derive(Debug, Subcommand)]
pub enum Enable {
    /// Puts a node into the operator's hands: commits don't wait for it, it isn't promoted, and pgbaton neither starts nor
    /// stops its Postgres. A former primary is stopped first.
    Maintenance(EnableMaintenance),
    /// Lets nodes beyond the first join the groups of a formation.
    Secondary(Secondary),
    /// Registers a node of this machine with another monitor; its data and its role stay.
    Monitor(EnableMonitor),
    /// Goes over to TLS: a monitor with --datadir, a node that is told whom to trust with --pgdata.
    Ssl(EnableSsl),
}

#[derive(Debug, Subcommand)]
pub enum Disable {
    /// Takes a node back into its group.
    Maintenance(Maintenance),
    /// Lets no node beyond the first join the groups of a formation.
    Secondary(Secondary),
    /// Goes over to plain HTTP.
    Ssl(DisableSsl),
}

#[derive(Debug, Args)]
pub struct EnableMaintenance {
    #[command(flatten)]
    node: Maintenance,
    /// The node may be the primary: its role moves to a standby first.
    #[arg(long)]
    allow_failover: bool,
}

#[derive(Debug, Args)]
pub struct Secondary {
    #[command(flatten)]
    via: ViaMonitor,
}

impl Enable {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Enable::Maintenance(asked) => maintenance::enable(&asked.node, asked.allow_failover, json).await,
            Enable::Secondary(asked) => asked.set(true).await,
            Enable::Monitor(asked) => asked.run(json).await,
            Enable::Ssl(asked) => asked.run().await,
        }
    }
}

impl Disable {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Disable::Maintenance(asked) => maintenance::disable(&asked, json).await,
            Disable::Secondary(asked) => asked.set(false).await,
            Disable::Ssl(asked) => asked.run().await,
        }
    }
}

impl Secondary {
    async fn set(&self, on: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let formation = found.formation();
        let change = FormationChange { secondary: Some(on), ..FormationChange::default() };
        found.monitor.command(Command::SetFormation { formation: formation.clone(), change }).await?.tell();
        let may = if on { "may have standbys" } else { "may have no standbys" };
        tracing::info!("groups of formation \"{formation}\" {may}");
        Ok(())
    }
}
