//! Options that many commands share.

use super::ask::Monitor;
use super::failure::Failure;
use super::status::stored_id;
use crate::config::NodeConfig;
use crate::service::{Places, keeper};
use clap::Args;
use pgbaton_core::model::GroupKey;
use pgbaton_core::wire::StateRow;
use std::path::{Path, PathBuf};

/// Which service of this machine is meant.
#[derive(Debug, Clone, Args)]
pub struct Here {
    /// Data directory of a node.
    #[arg(long, short = 'D', env = "PGDATA")]
    pgdata: Option<PathBuf>,
    /// Directory of a monitor.
    #[arg(long)]
    datadir: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    Node(Places),
    Monitor(Places),
}

impl Local {
    pub fn places(&self) -> &Places {
        match self {
            Local::Node(places) | Local::Monitor(places) => places,
        }
    }
}

impl Here {
    /// `--datadir` goes before `--pgdata`, which may come from the environment.
    pub fn local(&self) -> Result<Local, Failure> {
        match (&self.datadir, &self.pgdata) {
            (Some(dir), _) => Ok(Local::Monitor(Places::monitor(dir))),
            (None, Some(pgdata)) => Ok(Local::Node(Places::node(pgdata))),
            (None, None) => Err(Failure::arguments(
                "which node or monitor is not said",
                "name it with --pgdata DIR (or the environment variable PGDATA), a monitor with --datadir DIR",
            )),
        }
    }
}

/// How a command finds the monitor.
#[derive(Debug, Clone, Args)]
pub struct ViaMonitor {
    /// Where the monitor listens: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, short, env = "PGBATON_MONITOR", value_name = "URL")]
    monitor: Option<String>,
    /// Who may have issued the monitor's certificate; default: as the local node is told, else whom this system trusts.
    #[arg(long, env = "PGBATON_SSL_CA_FILE", value_name = "FILE")]
    ssl_ca_file: Option<PathBuf>,
    /// Data directory of a local node, whose configuration names the monitor.
    #[arg(long, short = 'D', env = "PGDATA")]
    pgdata: Option<PathBuf>,
    /// The formation; default: that of the local node, else "default".
    #[arg(long, short)]
    formation: Option<String>,
}

/// The monitor, and what is known from the local node if there is one.
#[derive(Debug)]
pub struct Found {
    pub monitor: Monitor,
    asked_formation: Option<String>,
    local: Option<LocalNode>,
}

#[derive(Debug)]
struct LocalNode {
    places: Places,
    config: NodeConfig,
    /// As its keeper has stored it; the name may have been changed from elsewhere.
    id: Option<u32>,
}

impl LocalNode {
    fn read(pgdata: &Path) -> Result<LocalNode, Failure> {
        let places = Places::node(pgdata);
        let config = keeper::read_config(&places)?;
        let id = stored_id(&places);
        Ok(LocalNode { places, config, id })
    }
}

impl ViaMonitor {
    pub fn find(&self) -> Result<Found, Failure> {
        let local = match &self.pgdata {
            // With a monitor named, a PGDATA in the environment need not be one of ours.
            Some(pgdata) if self.monitor.is_some() => LocalNode::read(pgdata).ok(),
            Some(pgdata) => Some(LocalNode::read(pgdata)?),
            None => None,
        };
        let url = self.monitor.as_ref().or(local.as_ref().map(|local| &local.config.monitor));
        let url = url.ok_or_else(|| {
            Failure::arguments(
                "where the monitor is is not said",
                "name it with --monitor URL (or the environment variable PGBATON_MONITOR), \
                 or name a local node with --pgdata DIR",
            )
        })?;
        let ca_file = self.ssl_ca_file.as_ref().or(local.as_ref().map(|local| &local.config.ssl.ca_file));
        let monitor = Monitor::trusting(url, ca_file.map_or(Path::new(""), PathBuf::as_path))?;
        Ok(Found { monitor, asked_formation: self.formation.clone(), local })
    }
}

impl Found {
    /// The formation that was asked for by name; `None` for all.
    pub fn asked_formation(&self) -> Option<String> {
        self.asked_formation.clone()
    }

    /// One formation, for commands that need one.
    pub fn formation(&self) -> String {
        let local = self.local.as_ref().map(|local| local.config.formation.clone());
        self.asked_formation().or(local).unwrap_or_else(|| "default".to_string())
    }

    pub fn key(&self, group: Option<u32>) -> GroupKey {
        let local = self.local.as_ref().map(|local| local.config.group);
        GroupKey { formation: self.formation(), group: group.or(local).unwrap_or(0) }
    }

    /// The node of the formation that was named, or the local one.
    pub async fn node(&self, asked: Option<&str>) -> Result<StateRow, Failure> {
        let local = self.local.as_ref();
        let (Some(name), id) = (asked.or(local.map(|l| l.config.name.as_str())), local.and_then(|l| l.id)) else {
            return Err(Failure::arguments(
                "which node is not said",
                "name it with --name, or a local one with --pgdata DIR",
            ));
        };
        let rows = self.monitor.state(Some(self.formation()), None).await?;
        let known: Vec<&str> = rows.iter().map(|row| row.nodename.as_str()).collect();
        let remedy = format!("known nodes are: {}", known.join(", "));
        let is_meant = |row: &&StateRow| match (asked, id) {
            (None, Some(id)) => row.node_id == id,
            _ => row.nodename == name,
        };
        rows.iter().find(is_meant).cloned().ok_or_else(|| {
            Failure::monitor(format!("formation \"{}\" has no node named \"{name}\"", self.formation()), remedy)
        })
    }

    /// The monitor knows the local node no more.
    pub async fn is_forgotten(&self) -> Result<bool, Failure> {
        let Some(id) = self.local.as_ref().and_then(|local| local.id) else { return Ok(false) };
        let rows = self.monitor.state(None, None).await?;
        Ok(rows.iter().all(|row| row.node_id != id))
    }

    /// Where the files of this node are, if it is the local one.
    pub fn places_of(&self, node: u32) -> Option<&Places> {
        self.local.as_ref().filter(|local| local.id == Some(node)).map(|local| &local.places)
    }

    /// Where the files of the local node are.
    pub fn local_places(&self) -> Option<&Places> {
        self.local.as_ref().map(|local| &local.places)
    }
}
