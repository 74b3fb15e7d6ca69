//! `pgbaton drop monitor`.

use super::remove_directory;
use crate::cli::failure::{Code, Failure};
use crate::cli::stop;
use crate::service::{Places, monitor};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct DropMonitor {
    /// Directory of the monitor.
    #[arg(long)]
    datadir: PathBuf,
    /// Removes the directory with all the monitor knows; without this only the configuration goes.
    #[arg(long)]
    destroy: bool,
}

impl DropMonitor {
    pub fn run(self) -> Result<(), Failure> {
        const PATIENCE: u64 = 30;
        let places = Places::monitor(&self.datadir);
        // A directory that is no monitor's is not removed.
        monitor::read_config(&places)?;
        stop::end_service(&places, false, PATIENCE)?;
        if self.destroy {
            return remove_directory(&places.data);
        }
        let config = places.config();
        std::fs::remove_file(&config).map_err(|e| {
            Failure::new(Code::State, format!("can't remove {}: {e}", config.display()), "remove it by hand")
        })?;
        tracing::info!("removed {}; what the monitor knows stays in {}", config.display(), places.data.display());
        Ok(())
    }
}
