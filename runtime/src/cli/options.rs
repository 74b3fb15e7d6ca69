//! Options that many commands share.

use super::ask::Monitor;
use super::failure::Failure;
use crate::config::NodeConfig;
use crate::service::{Places, keeper};
use clap::Args;
use pgbaton_core::model::GroupKey;
use pgbaton_core::wire::StateRow;
use std::path::PathBuf;

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
    /// Where the monitor listens: http://HOST:PORT.
    #[arg(long, short, env = "PGBATON_MONITOR", value_name = "URL")]
    monitor: Option<String>,
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
    local: Option<(Places, NodeConfig)>,
}

impl ViaMonitor {
    pub fn find(&self) -> Result<Found, Failure> {
        let local = match &self.pgdata {
            // With a monitor named, a PGDATA in the environment need not be one of ours.
            Some(pgdata) if self.monitor.is_some() => keeper::read_config(&Places::node(pgdata)).ok(),
            Some(pgdata) => Some(keeper::read_config(&Places::node(pgdata))?),
            None => None,
        };
        let local = self.pgdata.as_deref().map(Places::node).zip(local);
        let url = self.monitor.as_ref().or(local.as_ref().map(|(_, config)| &config.monitor));
        let url = url.ok_or_else(|| {
            Failure::arguments(
                "where the monitor is is not said",
                "name it with --monitor URL (or the environment variable PGBATON_MONITOR), \
                 or name a local node with --pgdata DIR",
            )
        })?;
        Ok(Found { monitor: Monitor::at(url)?, asked_formation: self.formation.clone(), local })
    }
}

impl Found {
    /// The formation that was asked for by name; `None` for all.
    pub fn asked_formation(&self) -> Option<String> {
        self.asked_formation.clone()
    }

    /// One formation, for commands that need one.
    pub fn formation(&self) -> String {
        let local = self.local.as_ref().map(|(_, config)| config.formation.clone());
        self.asked_formation().or(local).unwrap_or_else(|| "default".to_string())
    }

    pub fn key(&self, group: Option<u32>) -> GroupKey {
        let local = self.local.as_ref().map(|(_, config)| config.group);
        GroupKey { formation: self.formation(), group: group.or(local).unwrap_or(0) }
    }

    pub fn local_name(&self) -> Option<&str> {
        self.local.as_ref().map(|(_, config)| config.name.as_str())
    }

    /// Where the files of this node are, if it is the local one.
    pub fn local_places(&self, name: &str) -> Option<Places> {
        self.local.as_ref().filter(|(_, config)| config.name == name).map(|(places, _)| places.clone())
    }

    /// The node that was named, or the local one.
    pub fn node_name(&self, asked: Option<&str>) -> Result<String, Failure> {
        asked.or(self.local_name()).map(str::to_string).ok_or_else(|| {
            Failure::arguments("which node is not said", "name it with --name, or a local one with --pgdata DIR")
        })
    }

    /// A node of the formation by its name.
    pub async fn node(&self, name: &str) -> Result<StateRow, Failure> {
        let rows = self.monitor.state(Some(self.formation()), None).await?;
        let known: Vec<&str> = rows.iter().map(|row| row.nodename.as_str()).collect();
        let remedy = format!("known nodes are: {}", known.join(", "));
        rows.iter().find(|row| row.nodename == name).cloned().ok_or_else(|| {
            Failure::monitor(format!("formation \"{}\" has no node named \"{name}\"", self.formation()), remedy)
        })
    }
}
