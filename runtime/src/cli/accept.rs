//! `pgbaton accept timeline`: an operator's decision which of two histories is the group's.

use super::failure::Failure;
use super::options::ViaMonitor;
use super::out;
use clap::{Args, Subcommand};
use pgbaton_core::model::Timeline;
use pgbaton_core::wire::Command;

#[derive(Debug, Subcommand)]
pub enum Accept {
    /// Makes a timeline that a node of the group is on the one all others are compared with.
    Timeline(AcceptTimeline),
}

#[derive(Debug, Args)]
pub struct AcceptTimeline {
    #[command(flatten)]
    via: ViaMonitor,
    /// Default: that of the local node, else 0.
    #[arg(long, short)]
    group: Option<u32>,
    /// Number of the timeline; show timeline lists them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tli: u32,
    /// Why; it is recorded among the events.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Accept {
    pub async fn run(self) -> Result<(), Failure> {
        let Accept::Timeline(asked) = self;
        let found = asked.via.find()?;
        let key = found.key(asked.group);
        let command =
            Command::AcceptTimeline { key: key.clone(), tli: Timeline(asked.tli), reason: asked.reason.clone() };
        found.monitor.command(command).await?.tell();
        out::line(format!("group {key} is on timeline {} from now on: {}", asked.tli, asked.reason))
    }
}
