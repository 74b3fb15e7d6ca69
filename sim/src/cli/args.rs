//! Arguments that several commands share. A command takes those it has a use for, and refuses the others.

use clap::Args;
use pgbaton_core::swarm::Manner;
use std::num::NonZero;

#[derive(Debug, Clone, Args)]
pub struct Jobs {
    /// How many runs go on at a time; as many as there are processors when left out.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

impl Jobs {
    pub fn get(&self) -> usize {
        self.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
    }
}

#[derive(Debug, Clone, Args)]
pub struct Live {
    /// Draws stories as `pgbaton-live chaos` does: such as live runs can play too.
    #[arg(long)]
    live: bool,
}

impl Live {
    pub fn is_set(&self) -> bool {
        self.live
    }

    pub fn manner(&self) -> Manner {
        if self.live { Manner::live(true) } else { Manner::SIMULATED }
    }
}
