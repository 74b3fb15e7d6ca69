//! `pgbaton show …`.

mod events;
mod file;
pub mod settings;
pub mod state;
mod systemd;
mod timeline;
mod uri;

use super::failure::Failure;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Show {
    /// Each node with its states, position and health.
    State(state::ShowState),
    /// The newest events of the monitor's log, oldest first.
    Events(events::ShowEvents),
    /// Replication settings of a formation.
    Settings(settings::ShowSettings),
    /// The lineage of a group, and which nodes are on it.
    Timeline(timeline::ShowTimeline),
    /// Connection strings for clients.
    Uri(uri::ShowUri),
    /// The primary's synchronous_standby_names.
    StandbyNames(settings::ShowStandbyNames),
    /// The files of a node or a monitor on this machine.
    File(file::ShowFile),
    /// A unit file for systemd.
    Systemd(systemd::ShowSystemd),
}

impl Show {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Show::State(show) => show.run(json).await,
            Show::Events(show) => show.run(json).await,
            Show::Settings(show) => show.run(json).await,
            Show::Timeline(show) => show.run(json).await,
            Show::Uri(show) => show.run(json).await,
            Show::StandbyNames(show) => show.run(json).await,
            Show::File(show) => show.run(json).await,
            Show::Systemd(show) => show.run(),
        }
    }
}
