//! `pgbaton set node metadata`: what a node is called and where it is, on the monitor and in its own configuration.

use crate::cli::failure::{Code, Failure};
use crate::cli::options::ViaMonitor;
use crate::cli::{out, stop};
use crate::config;
use crate::service::{Places, keeper, pidfile};
use clap::Args;
use pgbaton_core::model::NodeId;
use pgbaton_core::wire::{Command, NodeChange};
use serde_json::json;

#[derive(Debug, Args)]
pub struct Metadata {
    #[command(flatten)]
    via: ViaMonitor,
    /// Which node; default: the local node.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Its new name.
    #[arg(long, short = 'a')]
    name: Option<String>,
    /// Its new host name or address.
    #[arg(long, short = 'n')]
    hostname: Option<String>,
    /// Its new port.
    #[arg(long, short = 'p', value_parser = clap::value_parser!(u16).range(1..))]
    pgport: Option<u16>,
}

impl Metadata {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let change = NodeChange {
            name: self.name.clone(),
            host: self.hostname.clone(),
            port: self.pgport,
            ..NodeChange::default()
        };
        if change == NodeChange::default() {
            return Err(Failure::arguments("what to change is not said", "give --name, --hostname or --pgport"));
        }
        let found = self.via.find()?;
        if self.node.is_none() && found.local_places().is_none() {
            return Err(Failure::arguments(
                "which node is not said",
                "name it with --node, or a local one with --pgdata DIR",
            ));
        }
        let node = found.node(self.node.as_deref()).await?;
        let local = found.places_of(node.node_id);
        if let Some(places) = local {
            self.refuse_a_port_in_use(places)?;
        }
        let (formation, name, seen) = (node.formation, node.nodename, Some(NodeId(node.node_id)));
        found.monitor.command(Command::SetNode { formation, name: name.clone(), node: seen, change }).await?.tell();
        if let Some(places) = local {
            self.change_locally(places)?;
        }
        let node = found.node(Some(self.name.as_deref().unwrap_or(&name))).await?;
        match json {
            true => out::json(&json!({ "name": node.nodename, "hostname": node.nodehost, "pgport": node.nodeport })),
            false => out::line(format!("{} {}:{}", node.nodename, node.nodehost, node.nodeport)),
        }
    }

    /// A running server listens where it was told at its start.
    fn refuse_a_port_in_use(&self, places: &Places) -> Result<(), Failure> {
        let now = keeper::read_config(places)?.postgresql.port;
        if self.pgport.is_none_or(|port| port == now) || pidfile::running(&places.pid()).is_none() {
            return Ok(());
        }
        Err(Failure::arguments(
            "the port of a running node can't be changed",
            "stop it first with pgbaton stop, and start it afterwards",
        ))
    }

    fn change_locally(&self, places: &Places) -> Result<(), Failure> {
        let mut config = keeper::read_config(places)?;
        config.name = self.name.clone().unwrap_or(config.name);
        config.hostname = self.hostname.clone().unwrap_or(config.hostname);
        config.postgresql.port = self.pgport.unwrap_or(config.postgresql.port);
        config::write(&places.config(), &config).map_err(|e| {
            Failure::new(Code::Config, e, "the monitor knows already: change the file by hand and say pgbaton reload")
        })?;
        stop::reload_if_running(places)
    }
}
