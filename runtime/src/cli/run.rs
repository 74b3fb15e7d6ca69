//! `pgbaton run`.

use super::failure::Failure;
use super::options::{Here, Local};
use crate::service::{keeper, monitor};
use clap::Args;

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    here: Here,
}

impl Run {
    pub async fn run(self) -> Result<(), Failure> {
        match self.here.local()? {
            Local::Node(places) => {
                // Before the pid file is written: no directory of ours may appear by mistake.
                keeper::read_config(&places)?;
                keeper::run(&places, keeper::Aim::Serve).await
            }
            Local::Monitor(places) => {
                monitor::read_config(&places)?;
                monitor::run(&places).await
            }
        }
    }
}
