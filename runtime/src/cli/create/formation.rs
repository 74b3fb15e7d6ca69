//! `pgbaton create formation`.

use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use clap::{Args, ValueEnum};
use pgbaton_core::model::{self, FormationSettings};
use pgbaton_core::wire::Command;

#[derive(Debug, Args)]
pub struct CreateFormation {
    #[command(flatten)]
    via: ViaMonitor,
    #[arg(long, default_value = "pgsql")]
    kind: Kind,
    /// The database clients are told of.
    #[arg(long, short, default_value = "postgres")]
    dbname: String,
    /// Groups may have standbys; the default.
    #[arg(long, conflicts_with = "disable_secondary")]
    enable_secondary: bool,
    /// Groups have one node each.
    #[arg(long)]
    disable_secondary: bool,
    /// How many standbys acknowledge a commit; 0 means one while there is one.
    #[arg(long, default_value_t = 0, value_name = "N")]
    number_sync_standbys: u32,
    /// What is preferred when too few standbys are left; default: degrade with 0 as number, strict above.
    #[arg(long)]
    durability: Option<Durability>,
}

/// The only kind there is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Pgsql,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Durability {
    /// Commits wait.
    Strict,
    /// The primary goes on with the standbys it has left, in the end alone.
    Degrade,
    /// Commits never wait for a standby.
    Async,
}

impl From<Durability> for model::Durability {
    fn from(durability: Durability) -> model::Durability {
        match durability {
            Durability::Strict => model::Durability::Strict,
            Durability::Degrade => model::Durability::Degrade,
            Durability::Async => model::Durability::Async,
        }
    }
}

impl CreateFormation {
    pub async fn run(self) -> Result<(), Failure> {
        let Kind::Pgsql = self.kind;
        let found = self.via.find()?;
        let formation = found.formation();
        let settings = FormationSettings {
            number_sync_standbys: self.number_sync_standbys,
            durability: self.durability.map(Into::into),
            secondary: !self.disable_secondary,
            dbname: self.dbname,
        };
        let accepted =
            found.monitor.command(Command::CreateFormation { formation: formation.clone(), settings }).await?;
        match accepted.note {
            Some(note) => tracing::info!("{note}"),
            None => tracing::info!("created formation \"{formation}\""),
        }
        Ok(())
    }
}
