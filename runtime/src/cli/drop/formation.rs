//! `pgbaton drop formation`.

use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use clap::Args;
use pgbaton_core::wire::Command;

#[derive(Debug, Args)]
pub struct DropFormation {
    #[command(flatten)]
    via: ViaMonitor,
}

impl DropFormation {
    pub async fn run(self) -> Result<(), Failure> {
        let found = self.via.find()?;
        let formation = found.formation();
        let accepted = found.monitor.command(Command::DropFormation { formation: formation.clone() }).await?;
        match accepted.note {
            Some(note) => tracing::info!("{note}"),
            None => tracing::info!("formation \"{formation}\" is dropped"),
        }
        Ok(())
    }
}
