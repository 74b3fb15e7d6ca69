//! `pgbaton drop node`: asks the monitor to let a node go, and waits until it has gone.

use super::remove_directory;
use crate::cli::failure::{Code, Failure};
use crate::cli::follow::{Follow, Shown, deadline};
use crate::cli::options::{Found, ViaMonitor};
use crate::cli::status::stored;
use crate::service::{Places, keeper, pidfile, postmaster};
use clap::Args;
use pgbaton_core::model::{NodeId, NodeState};
use pgbaton_core::wire::{Command, StateRow};
use std::time::Duration;

#[derive(Debug, Args)]
pub struct DropNode {
    #[command(flatten)]
    via: ViaMonitor,
    /// Name of the node; default: the local node.
    #[arg(long, short = 'a', conflicts_with_all = ["hostname", "pgport"])]
    name: Option<String>,
    /// The node by where it is, together with --pgport.
    #[arg(long, short = 'n', requires = "pgport")]
    hostname: Option<String>,
    #[arg(long, short = 'p', requires = "hostname")]
    pgport: Option<u16>,
    /// Forgets the node without its cooperation, as when its machine is gone for good.
    #[arg(long)]
    force: bool,
    /// Removes the data directory of a local node, and what pgbaton keeps beside it.
    #[arg(long)]
    destroy: bool,
    /// Seconds to wait until the node has gone; 0 waits for as long as it takes.
    #[arg(long, default_value_t = 60, value_name = "SECS")]
    wait: u64,
}

impl DropNode {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let is_local = self.name.is_none() && self.hostname.is_none();
        if let Some(places) = found.local_places().filter(|_| is_local) {
            if was_dropped(places) {
                tracing::info!("the node in {} has been dropped", places.data.display());
                return self.clean_up(places);
            }
            if found.is_forgotten().await? {
                tracing::info!("the monitor knows the node in {} no more", places.data.display());
                self.local_service_acts(places).await?;
                // The service may have been stopped by somebody else.
                if was_dropped(places) {
                    return self.clean_up(places);
                }
                return Err(Failure::new(
                    Code::State,
                    format!("the node in {} has not heard that it was dropped", places.data.display()),
                    "start it with pgbaton run: it learns it then, and ends",
                ));
            }
        }
        let foreign = || {
            Failure::arguments(
                "the node is not one of this machine, as far as was said",
                "--destroy removes local files: name the data directory with --pgdata DIR",
            )
        };
        if self.destroy && found.local_places().is_none() {
            return Err(foreign());
        }
        let node = self.which(&found).await?;
        let local = found.places_of(node.node_id);
        if self.destroy && local.is_none() {
            return Err(foreign());
        }
        self.drop(&found, &node, local, json).await?;
        local.map_or(Ok(()), |places| self.clean_up(places))
    }

    fn clean_up(&self, places: &Places) -> Result<(), Failure> {
        if self.destroy { destroy(places) } else { Ok(()) }
    }

    async fn which(&self, found: &Found) -> Result<StateRow, Failure> {
        let (Some(host), Some(port)) = (&self.hostname, self.pgport) else {
            return found.node(self.name.as_deref()).await;
        };
        let rows = found.monitor.state(Some(found.formation()), None).await?;
        rows.into_iter().find(|row| row.nodehost == *host && row.nodeport == port).ok_or_else(|| {
            let text = format!("formation \"{}\" has no node at {host}:{port}", found.formation());
            Failure::monitor(text, "see pgbaton show state")
        })
    }

    async fn drop(&self, found: &Found, node: &StateRow, local: Option<&Places>, json: bool) -> Result<(), Failure> {
        let (formation, group, name) = (node.formation.clone(), Some(node.group_id), &node.nodename);
        let nodes = found.monitor.state(Some(formation.clone()), group).await?;
        let command = Command::Drop {
            formation: formation.clone(),
            name: name.clone(),
            node: Some(NodeId(node.node_id)),
            force: self.force,
        };
        let accepted = found.monitor.command(command).await?;
        tracing::info!("node \"{name}\" leaves formation \"{formation}\"");
        accepted.tell();
        let shown = Some(Shown::new(&nodes, json)?);
        let (after, deadline) = (accepted.event, deadline(self.wait));
        // A primary that is dropped hands its role over first.
        let of_a_move = node.assigned_group_state.belongs_to_primary();
        let mut follow = Follow { monitor: &found.monitor, formation, group, after, deadline, shown, of_a_move };
        let gone = |rows: &[StateRow]| rows.iter().all(|row| row.node_id != node.node_id).then_some(());
        let acted = async {
            match local {
                Some(places) => self.local_service_acts(places).await,
                None => Ok(()),
            }
        };
        let (forgotten, acted) = tokio::join!(follow.until(gone), acted);
        follow.finish()?;
        acted?;
        match forgotten? {
            Some(()) => {
                tracing::info!("node \"{name}\" is dropped");
                Ok(())
            }
            None => Err(Failure::new(
                Code::Internal,
                format!(
                    "node \"{name}\" has not gone within {} seconds; it goes as soon as its keeper hears of it",
                    self.wait
                ),
                "if its machine is gone for good, say --force",
            )),
        }
    }

    /// The service stops Postgres and ends. When none runs, its work is done here.
    async fn local_service_acts(&self, places: &Places) -> Result<(), Failure> {
        let unseen = |e| Failure::new(Code::State, format!("can't look at the service: {e}"), "look at the limits");
        let Some(service) = pidfile::Service::find(&places.pid()).map_err(unseen)? else {
            return self.act_as_service(places).await;
        };
        let patience = (self.wait > 0).then(|| Duration::from_secs(self.wait));
        let wait = tokio::task::spawn_blocking(move || service.wait_until_gone(patience));
        match wait.await.map_err(std::io::Error::other).and_then(|gone| gone).map_err(unseen)? {
            true => Ok(()),
            false => Err(Failure::new(
                Code::Internal,
                format!("the service of this node hasn't ended within {} seconds, and goes on", self.wait),
                "look at its log",
            )),
        }
    }

    async fn act_as_service(&self, places: &Places) -> Result<(), Failure> {
        let serve = keeper::run(places, keeper::Aim::Serve);
        let served = match self.wait {
            0 => Ok(serve.await),
            seconds => tokio::time::timeout(Duration::from_secs(seconds), serve).await,
        };
        match served {
            Ok(Err(failure)) if failure.code == Code::Dropped => Ok(()),
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                Code::Internal,
                format!("this node hasn't heard within {} seconds that it was dropped", self.wait),
                "run the same command again",
            )),
        }
    }
}

fn was_dropped(places: &Places) -> bool {
    stored(places)["state"] == NodeState::Dropped.name()
}

fn destroy(places: &Places) -> Result<(), Failure> {
    if let Some(server) = postmaster::find(&places.data) {
        return Err(Failure::new(
            Code::Postgres,
            format!("Postgres, pid {}, still runs in {}; nothing was removed", server.pid, places.data.display()),
            "stop it first",
        ));
    }
    remove_directory(&places.data)?;
    if !places.set_aside().exists() {
        return remove_directory(&places.state_dir);
    }
    // It may hold what clients were told is safe, and nobody else has it.
    let unread = |e: std::io::Error| {
        Failure::new(Code::State, format!("can't read {}: {e}", places.state_dir.display()), "remove it by hand")
    };
    for entry in std::fs::read_dir(&places.state_dir).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.is_dir() && path != places.set_aside() {
            remove_directory(&path)?;
        } else if !path.is_dir() {
            std::fs::remove_file(&path).map_err(unread)?;
        }
    }
    tracing::warn!("WAL that was set aside stays in {}", places.set_aside().display());
    Ok(())
}
