//! A monitor and its nodes as real processes of the `pgbaton` binary, on loopback, in a directory of their own.

use super::procs;
use super::proxy::{Addresses, MONITOR, Network};
use super::reaper::Reaper;
use crate::service::postmaster;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown, geteuid};
use pgbaton_core::scenario::Scenario;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Longer than a hand-over may take.
const STOP_PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Cluster {
    pub base: PathBuf,
    pub formation: String,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub addresses: Addresses,
    program: PathBuf,
    monitor: Option<Child>,
    reaper: Reaper,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub pgdata: PathBuf,
    pub dropped: bool,
    keeper: Option<Child>,
}

impl Cluster {
    /// Lays out directories and settings; starts nothing but the network.
    pub fn lay_out(base: &Path, base_port: Option<u16>, scenario: &Scenario, reaper: Reaper) -> Result<Cluster> {
        let names = &scenario.cluster.nodes;
        let addresses = Addresses::find(names.len(), base_port)?;
        std::fs::set_permissions(base, Permissions::from_mode(0o755))?;
        // As the kernel spells it: processes are told apart by the directory they work in.
        let base = base.canonicalize()?;
        std::fs::create_dir_all(base.join("log"))?;
        std::fs::create_dir_all(base.join("monitor"))?;
        std::fs::write(base.join("monitor.toml"), toml::to_string(&scenario.monitor)?)?;
        std::fs::write(base.join("keeper.toml"), toml::to_string(&scenario.keeper)?)?;
        let postgres = match geteuid().is_root() {
            true => User::from_name("postgres")?,
            false => None,
        };
        let mut nodes = Vec::new();
        for name in names {
            let home = base.join(name);
            std::fs::create_dir_all(&home)?;
            if let Some(user) = &postgres {
                chown(&home, Some(user.uid), Some(user.gid))?;
            }
            nodes.push(Node { name: name.clone(), pgdata: home.join("pgdata"), dropped: false, keeper: None });
        }
        let places: Vec<(&str, &Path)> = nodes.iter().map(|n| (n.name.as_str(), n.pgdata.as_path())).collect();
        Ok(Cluster {
            network: Network::open(&base, &addresses, &places, &base.join("monitor").join("data")),
            addresses,
            formation: scenario.cluster.formation.clone(),
            nodes,
            program: beside_this_program("pgbaton")?,
            monitor: None,
            reaper,
            base,
        })
    }

    /// Where an operator's commands reach the monitor.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.monitor_for_clients())
    }

    /// Where this program, which must see everything, reaches it.
    pub fn observers_url(&self) -> String {
        format!("http://{}", self.addresses.monitor())
    }

    fn monitor_dir(&self) -> PathBuf {
        self.base.join("monitor").join("data")
    }

    pub fn create_monitor(&mut self) -> Result<()> {
        let settings = self.base.join("monitor.toml");
        let mut command = self.command(&["create", "monitor", "--run"]);
        command.arg("--datadir").arg(self.monitor_dir());
        command.arg("--listen").arg(self.addresses.monitor().to_string()).arg("--settings").arg(settings);
        self.monitor = Some(self.service(command, "monitor")?);
        Ok(())
    }

    pub fn create_node(&mut self, index: usize) -> Result<()> {
        let mut command = self.command(&["create", "postgres", "--run", "--auth", "trust"]);
        let node = &self.nodes[index];
        let (server, reached) = (self.addresses.server(index), self.addresses.node(index));
        command.args(["--listen", &server.ip().to_string(), "--hostname", &reached.ip().to_string()]);
        command.arg("--pgdata").arg(&node.pgdata).arg("--pgport").arg(server.port().to_string());
        let monitor = format!("http://{}", self.addresses.monitor_for(index));
        command.arg("--name").arg(&node.name).arg("--monitor").arg(monitor);
        command.arg("--formation").arg(&self.formation);
        command.arg("--settings").arg(self.base.join("keeper.toml"));
        let keeper = self.service(command, &node.name)?;
        self.nodes[index].keeper = Some(keeper);
        Ok(())
    }

    /// A command of the real binary, away from the environment of whoever runs this.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        for variable in ["PGDATA", "PGBATON_MONITOR"] {
            command.env_remove(variable);
        }
        command
    }

    pub async fn output(&self, mut command: Command) -> Result<std::process::Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(self.reaper.spawn(&mut command)?.wait_with_output().await?)
    }

    /// Its own process group, so that a Ctrl-C in the terminal reaches the live run alone.
    fn service(&self, mut command: Command, name: &str) -> Result<Child> {
        let log = self.log(name)?;
        // Its home, by which the proxy knows its connections from others.
        command.current_dir(self.base.join(name));
        command.arg("-vv").stdout(log.try_clone()?).stderr(log).process_group(0);
        self.reaper.spawn(&mut command).with_context(|| format!("can't start {}", self.program.display()))
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.base.join("log").join(format!("{name}.log"))
    }

    fn log(&self, name: &str) -> Result<File> {
        Ok(OpenOptions::new().create(true).append(true).open(self.log_path(name))?)
    }

    /// The end of a service's log, for an error that needs it.
    pub fn last_words(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// A service that has ended although nobody asked it to, if there is one.
    pub fn ended(&mut self) -> Option<String> {
        let ended = |child: &mut Option<Child>| child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(Some(_))));
        if ended(&mut self.monitor) {
            return Some("monitor".to_string());
        }
        let node = self.nodes.iter_mut().find_map(|n| ended(&mut n.keeper).then(|| n.name.clone()));
        node.filter(|name| !self.nodes.iter().any(|n| n.name == *name && n.dropped))
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.nodes.iter().position(|n| n.name == name);
        found.with_context(|| format!("\"{name}\" is no node of this cluster"))
    }

    pub fn mark_dropped(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        self.nodes[index].dropped = true;
        Ok(())
    }

    pub async fn stop_service(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let Some(mut keeper) = self.nodes[index].keeper.take() else {
            return Ok(());
        };
        procs::signal_all(keeper.id().as_slice(), Signal::SIGTERM);
        let Ok(ended) = tokio::time::timeout(STOP_PATIENCE, keeper.wait()).await else {
            bail!("the service of {name} hasn't stopped in {STOP_PATIENCE:?}:\n{}", self.last_words(name));
        };
        let status = ended?;
        ensure!(status.success(), "the service of {name} ended with {status}:\n{}", self.last_words(name));
        Ok(())
    }

    pub fn start_service(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let running = |c: &mut Child| matches!(c.try_wait(), Ok(None));
        if self.nodes[index].keeper.as_mut().is_some_and(running) {
            bail!("the service of {name} is running already");
        }
        let mut command = self.command(&["run", "--pgdata"]);
        command.arg(&self.nodes[index].pgdata);
        self.nodes[index].keeper = Some(self.service(command, name)?);
        Ok(())
    }

    pub async fn kill_keeper(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        if let Some(mut keeper) = self.nodes[index].keeper.take() {
            keeper.kill().await?;
        }
        Ok(())
    }

    pub fn kill_postgres(&self, name: &str) -> Result<()> {
        let node = &self.nodes[self.index(name)?];
        let postmaster = postmaster::find(&node.pgdata);
        let pid = postmaster.with_context(|| format!("Postgres of {name} isn't running"))?.pid;
        procs::signal_all(&[pid], Signal::SIGKILL);
        Ok(())
    }

    /// As when the machine goes away: nothing gets a chance to react to the death of the others.
    pub async fn kill_node(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let mut killed = Vec::new();
        loop {
            let alive = self.nodes[index].processes();
            procs::signal_all(&alive, Signal::SIGKILL);
            killed.extend(&alive);
            if let Some(mut keeper) = self.nodes[index].keeper.take() {
                keeper.wait().await?;
            }
            if alive.is_empty() {
                break;
            }
        }
        while procs::any_alive(&killed) {
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Once keeper and postmaster are stopped nobody starts anything; the second look finds what they had started.
    pub fn pause(&self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        for _ in 0..2 {
            procs::signal_all(&self.nodes[index].processes(), Signal::SIGSTOP);
        }
        Ok(())
    }

    pub fn resume(&self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        procs::signal_all(&self.nodes[index].processes(), Signal::SIGCONT);
        Ok(())
    }

    /// Every link but the one to its clients.
    pub fn isolate(&self, name: &str) -> Result<()> {
        self.index(name)?;
        let others = self.nodes.iter().map(|n| n.name.as_str()).chain([MONITOR]);
        others.for_each(|other| self.network.links.cut(name, other));
        Ok(())
    }

    pub async fn kill_monitor(&mut self) -> Result<()> {
        match self.monitor.take() {
            Some(mut monitor) => Ok(monitor.kill().await?),
            None => bail!("the monitor isn't running"),
        }
    }

    pub fn start_monitor(&mut self) -> Result<()> {
        ensure!(self.monitor.is_none(), "the monitor is running already");
        let mut command = self.command(&["run", "--datadir"]);
        command.arg(self.monitor_dir());
        self.monitor = Some(self.service(command, "monitor")?);
        Ok(())
    }
}

impl Node {
    /// The keeper, the postmaster, which outlives a killed keeper, and all they started.
    fn processes(&self) -> Vec<u32> {
        let keeper = self.keeper.as_ref().and_then(Child::id);
        let postmaster = postmaster::find(&self.pgdata).map(|p| p.pid);
        let roots: Vec<u32> = keeper.into_iter().chain(postmaster).collect();
        procs::family(&roots)
    }
}

pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.with_file_name(name);
    ensure!(program.exists(), "{} is needed; build it first, with make build", program.display());
    Ok(program)
}
