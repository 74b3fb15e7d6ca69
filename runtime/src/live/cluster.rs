//! A monitor and its nodes as real processes of the `pgbaton` binary, on loopback, in a directory of their own.

use super::procs;
use super::reaper::Reaper;
use crate::service::postmaster;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown, geteuid};
use pgbaton_core::scenario::Scenario;
use std::fs::{File, OpenOptions, Permissions};
use std::net::TcpListener;
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
    pub url: String,
    pub formation: String,
    pub nodes: Vec<Node>,
    program: PathBuf,
    monitor_address: String,
    monitor: Option<Child>,
    reaper: Reaper,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub port: u16,
    pub pgdata: PathBuf,
    pub dropped: bool,
    keeper: Option<Child>,
}

impl Cluster {
    /// Lays out directories and settings; starts nothing.
    pub fn lay_out(base: &Path, base_port: Option<u16>, scenario: &Scenario, reaper: Reaper) -> Result<Cluster> {
        let names = &scenario.cluster.nodes;
        let port = free_ports(base_port, u16::try_from(names.len() + 1)?)?;
        std::fs::set_permissions(base, Permissions::from_mode(0o755))?;
        std::fs::create_dir_all(base.join("log"))?;
        std::fs::write(base.join("monitor.toml"), toml::to_string(&scenario.monitor)?)?;
        std::fs::write(base.join("keeper.toml"), toml::to_string(&scenario.keeper)?)?;
        let postgres = match geteuid().is_root() {
            true => User::from_name("postgres")?,
            false => None,
        };
        let mut nodes = Vec::new();
        for (name, port) in names.iter().zip(port + 1..) {
            let home = base.join(name);
            std::fs::create_dir_all(&home)?;
            if let Some(user) = &postgres {
                chown(&home, Some(user.uid), Some(user.gid))?;
            }
            nodes.push(Node { name: name.clone(), port, pgdata: home.join("pgdata"), dropped: false, keeper: None });
        }
        Ok(Cluster {
            base: base.to_path_buf(),
            url: format!("http://127.0.0.1:{port}"),
            formation: scenario.cluster.formation.clone(),
            nodes,
            program: beside_this_program("pgbaton")?,
            monitor_address: format!("127.0.0.1:{port}"),
            monitor: None,
            reaper,
        })
    }

    pub fn create_monitor(&mut self) -> Result<()> {
        let settings = self.base.join("monitor.toml");
        let mut command = self.command(&["create", "monitor", "--run"]);
        command.arg("--datadir").arg(self.base.join("monitor"));
        command.arg("--listen").arg(&self.monitor_address).arg("--settings").arg(settings);
        self.monitor = Some(self.service(command, "monitor")?);
        Ok(())
    }

    pub fn create_node(&mut self, index: usize) -> Result<()> {
        let mut command = self.command(&["create", "postgres", "--run", "--hostname", "127.0.0.1"]);
        let node = &self.nodes[index];
        command.args(["--auth", "trust", "--listen", "127.0.0.1"]);
        command.arg("--pgdata").arg(&node.pgdata).arg("--pgport").arg(node.port.to_string());
        command.arg("--name").arg(&node.name).arg("--monitor").arg(&self.url);
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

    pub fn keeper_runs(&mut self, name: &str) -> bool {
        let keeper = self.nodes.iter_mut().find(|n| n.name == name).and_then(|n| n.keeper.as_mut());
        keeper.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
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

    pub async fn kill_monitor(&mut self) -> Result<()> {
        match self.monitor.take() {
            Some(mut monitor) => Ok(monitor.kill().await?),
            None => bail!("the monitor isn't running"),
        }
    }

    pub fn start_monitor(&mut self) -> Result<()> {
        ensure!(self.monitor.is_none(), "the monitor is running already");
        let mut command = self.command(&["run", "--datadir"]);
        command.arg(self.base.join("monitor"));
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

/// `count` ports in a row that nobody uses.
fn free_ports(first: Option<u16>, count: u16) -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let all_free = |first: u16| (first..first + count).all(free);
    match first {
        Some(first) => {
            ensure!(first > 0 && first.checked_add(count).is_some(), "--base-port {first} leaves no room");
            ensure!(all_free(first), "of the ports from {first} on, {count} are needed and not all are free");
            Ok(first)
        }
        // Below the range from which the kernel takes the ports of outgoing connections.
        None => {
            let start = 15_000 + rand::random::<u16>() % 8_000;
            let candidates = (start..30_000).step_by(usize::from(count));
            candidates.into_iter().find(|p| all_free(*p)).context("there are no free ports between 15000 and 30000")
        }
    }
}

pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.with_file_name(name);
    ensure!(program.exists(), "{} is needed; build it first, with make build", program.display());
    Ok(program)
}
