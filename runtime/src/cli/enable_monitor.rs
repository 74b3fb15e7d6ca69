//! `pgbaton enable monitor`: a node goes over to another monitor, as when the old one is gone for good. The keeper
//! registers by itself with a monitor that doesn't know it; here it is told where that is.

use super::ask::{Monitor, unexpected};
use super::failure::{Code, Failure};
use super::follow::{Follow, Shown, deadline};
use super::status::stored_id;
use super::stop;
use crate::config::{self, NodeConfig};
use crate::service::places::absolute;
use crate::service::{Places, keeper, pidfile};
use clap::Args;
use pgbaton_core::wire::{Answer, Request, StateRow};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct EnableMonitor {
    /// Where the other monitor listens: http://HOST:PORT or https://HOST:PORT.
    #[arg(value_name = "URL")]
    monitor: String,
    /// Who may have issued its certificate; default: whom the node trusted before.
    #[arg(long, value_name = "FILE")]
    ssl_ca_file: Option<PathBuf>,
    /// Data directory of the node.
    #[arg(long, short = 'D', env = "PGDATA")]
    pgdata: PathBuf,
    /// Seconds to wait until the node has its place there; 0 waits for as long as it takes.
    #[arg(long, default_value_t = 60, value_name = "SECS")]
    wait: u64,
}

impl EnableMonitor {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let places = Places::node(&self.pgdata);
        let mut config = keeper::read_config(&places)?;
        if let Some(ca_file) = &self.ssl_ca_file {
            config.ssl.ca_file = absolute(ca_file);
        }
        let monitor = Monitor::trusting(&self.monitor, &config.ssl.ca_file)?;
        // Asked before anything is changed: a wrong URL would leave the node without a monitor.
        let nodes = monitor.state(Some(config.formation.clone()), Some(config.group)).await?;
        let after = last_event(&monitor, &config).await?;
        config.monitor = monitor.url().to_string();
        config::write(&places.config(), &config)
            .map_err(|e| Failure::config(e, "check the permissions of its directory"))?;
        if pidfile::running(&places.pid()).is_none() {
            tracing::info!("node \"{}\" goes to {} when it is started", config.name, config.monitor);
            return Ok(());
        }
        stop::reload_if_running(&places)?;
        let mut follow = Follow {
            monitor: &monitor,
            formation: config.formation.clone(),
            group: Some(config.group),
            after,
            deadline: deadline(self.wait),
            shown: Some(Shown::new(&nodes, json)?),
            of_a_move: false,
        };
        let state = follow.until(|rows| has_its_place(rows, stored_id(&places)?)).await;
        follow.finish()?;
        match state? {
            Some(row) => {
                tracing::info!("node \"{}\" is {} with {}", row.nodename, row.current_group_state, config.monitor);
                Ok(())
            }
            None => Err(Failure::new(
                Code::Internal,
                format!("node \"{}\" has no place within {} seconds; it goes on trying", config.name, self.wait),
                "look at its log, and at pgbaton show state",
            )),
        }
    }
}

async fn last_event(monitor: &Monitor, config: &NodeConfig) -> Result<u64, Failure> {
    let (formation, group) = (Some(config.formation.clone()), Some(config.group));
    match monitor.ask(&Request::Events { formation, group, after: None, count: 1, wait: false }).await? {
        Answer::Events(rows) => Ok(rows.last().map_or(0, |row| row.eventid)),
        other => Err(unexpected(&other)),
    }
}

/// It is where it is to be, and the monitor hears it.
fn has_its_place(rows: &[StateRow], id: u32) -> Option<StateRow> {
    let settled = |row: &&StateRow| row.current_group_state == row.assigned_group_state && row.health == 1;
    rows.iter().find(|row| row.node_id == id).filter(settled).cloned()
}
