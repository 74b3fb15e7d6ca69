//! A monitor and its nodes as real processes of the `pgbaton` binary, on loopback, in a directory of their own.

use super::authority::Authority;
use super::checkpoints::{self, Watcher};
use super::procs;
use super::proxy::{Addresses, MONITOR, Network};
use super::reaper::Reaper;
use super::witness::Place;
use crate::ports::HttpLink;
use crate::service::postmaster;
use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown, geteuid};
use pgbaton_core::model::GroupKey;
use pgbaton_core::scenario::Scenario;
use pgbaton_core::scenario::format::NodeOptions;
use std::fs::{File, OpenOptions, Permissions};
use std::net::SocketAddrV4;
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
    /// The first one.
    pub formation: String,
    /// Those of all groups.
    pub nodes: Vec<Node>,
    pub network: Network,
    pub addresses: Addresses,
    program: PathBuf,
    /// Whom Postgres runs as when this is root.
    user: Option<User>,
    monitor: Option<Child>,
    /// Of a monitor that is spoken to over TLS.
    authority: Option<Authority>,
    /// Programs that have nothing to do with the group, and must not be harmed.
    strangers: Vec<Child>,
    reaper: Reaper,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub group: GroupKey,
    pub pgdata: PathBuf,
    pub options: NodeOptions,
    pub dropped: bool,
    created: bool,
    keeper: Option<Child>,
    /// Backends that were stopped.
    frozen: Vec<u32>,
    /// What makes its checkpoints slow.
    slowed: Watcher,
    /// The lock that its archiver waits for.
    archiver: Option<File>,
}

impl Cluster {
    /// Lays out directories and settings; starts nothing but the network. `base` is spelt as the kernel does, because
    /// processes are told apart by the directory they work in.
    pub fn lay_out(base: &Path, base_port: Option<u16>, scenario: &Scenario, reaper: Reaper) -> Result<Cluster> {
        let names = &scenario.nodes();
        let addresses = Addresses::find(names.len(), base_port)?;
        std::fs::set_permissions(base, Permissions::from_mode(0o755))?;
        std::fs::create_dir_all(base.join("log"))?;
        std::fs::create_dir_all(base.join("monitor"))?;
        std::fs::write(base.join("monitor.toml"), toml::to_string(&scenario.monitor)?)?;
        std::fs::write(base.join("keeper.toml"), toml::to_string(&scenario.keeper)?)?;
        let user = match geteuid().is_root() {
            true => User::from_name("postgres")?,
            false => None,
        };
        let mut nodes = Vec::new();
        for name in names {
            let home = base.join(name);
            std::fs::create_dir_all(&home)?;
            if let Some(user) = &user {
                chown(&home, Some(user.uid), Some(user.gid))?;
            }
            nodes.push(Node {
                name: name.clone(),
                group: scenario.group_of(Some(name)),
                pgdata: home.join("pgdata"),
                options: scenario.options(name),
                dropped: false,
                created: false,
                keeper: None,
                frozen: Vec::new(),
                slowed: Watcher::new(),
                archiver: None,
            });
        }
        let authority = match scenario.cluster.ssl {
            true => Some(Authority::found(&base.join("monitor"), addresses.names_of_monitor())?),
            false => None,
        };
        let places: Vec<(&str, &Path)> = nodes.iter().map(|n| (n.name.as_str(), n.pgdata.as_path())).collect();
        Ok(Cluster {
            network: Network::open(base, &addresses, &places, &base.join("monitor").join("data")),
            addresses,
            formation: scenario.cluster.formation.clone(),
            nodes,
            program: beside_this_program("pgbaton")?,
            user,
            monitor: None,
            authority,
            strangers: Vec::new(),
            reaper,
            base: base.to_path_buf(),
        })
    }

    /// Where an operator's commands reach the monitor.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.addresses.monitor_for_clients())
    }

    fn scheme(&self) -> &'static str {
        if self.authority.is_some() { "https" } else { "http" }
    }

    pub fn operators_link(&self) -> HttpLink {
        let ca_file = self.authority.as_ref().map_or(Path::new(""), |authority| &authority.ca_file);
        HttpLink::trusting_file(&self.url(), ca_file)
    }

    /// Of this program, which must see everything.
    pub fn observers_link(&self) -> Result<HttpLink> {
        let url = format!("{}://{}", self.scheme(), self.addresses.monitor());
        match &self.authority {
            Some(authority) => authority.observers_link(&url),
            None => Ok(HttpLink::new(&url)),
        }
    }

    fn monitor_dir(&self) -> PathBuf {
        self.base.join("monitor").join("data")
    }

    pub fn create_monitor(&mut self) -> Result<()> {
        let settings = self.base.join("monitor.toml");
        let mut command = self.command(&["create", "monitor", "--run"]);
        command.arg("--datadir").arg(self.monitor_dir());
        command.arg("--listen").arg(self.addresses.monitor().to_string()).arg("--settings").arg(settings);
        if let Some(Authority { files, ca_file, .. }) = &self.authority {
            command.arg("--server-cert").arg(&files.cert).arg("--server-key").arg(&files.key);
            command.arg("--ssl-ca-file").arg(ca_file);
        }
        self.monitor = Some(self.service(command, "monitor")?);
        Ok(())
    }

    pub fn create_node(&mut self, index: usize) -> Result<()> {
        let mut command = self.command(&["create", "postgres", "--run", "--auth", "trust"]);
        let node = &self.nodes[index];
        let (server, reached) = (self.addresses.server(index), self.addresses.node(index));
        command.args(["--listen", &server.ip().to_string(), "--hostname", &reached.ip().to_string()]);
        command.arg("--pgdata").arg(&node.pgdata).arg("--pgport").arg(server.port().to_string());
        let monitor = format!("{}://{}", self.scheme(), self.addresses.monitor_for(index));
        command.arg("--name").arg(&node.name).arg("--monitor").arg(monitor);
        command.arg("--formation").arg(&node.group.formation).arg("--group").arg(node.group.group.to_string());
        command.arg("--candidate-priority").arg(node.options.candidate_priority.to_string());
        command.arg("--replication-quorum").arg(node.options.replication_quorum.to_string());
        command.arg("--settings").arg(self.base.join("keeper.toml"));
        let keeper = self.service(command, &node.name)?;
        let node = &mut self.nodes[index];
        node.keeper = Some(keeper);
        (node.created, node.dropped) = (true, false);
        Ok(())
    }

    /// A command of the real binary, away from the environment of whoever runs this.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        // What servers and keepers log is read again, with its times.
        command.env("TZ", "UTC");
        for variable in ["PGDATA", "PGBATON_MONITOR"] {
            command.env_remove(variable);
        }
        match &self.authority {
            Some(authority) => command.env("PGBATON_SSL_CA_FILE", &authority.ca_file),
            None => command.env_remove("PGBATON_SSL_CA_FILE"),
        };
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
        self.nodes.iter_mut().find_map(|n| (!n.dropped && ended(&mut n.keeper)).then(|| n.name.clone()))
    }

    /// What no service does: to end although nobody asked it to, or to panic.
    pub fn fallen(&mut self) -> Vec<String> {
        let ended =
            self.ended().map(|name| format!("the service of {name} ended by itself:\n{}", self.last_words(&name)));
        let names: Vec<String> = self.nodes.iter().map(|n| n.name.clone()).chain(["monitor".to_string()]).collect();
        let panicked = names.iter().filter_map(|name| {
            let text = std::fs::read_to_string(self.log_path(name)).unwrap_or_default();
            let line = text.lines().find(|line| line.contains("panicked at"))?;
            Some(format!("the service of {name}: {line}"))
        });
        ended.into_iter().chain(panicked.collect::<Vec<_>>()).collect()
    }

    pub fn keeper_runs(&mut self, name: &str) -> bool {
        let keeper = self.nodes.iter_mut().find(|n| n.name == name).and_then(|n| n.keeper.as_mut());
        keeper.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts a program that runs as the servers do, away from their directories; gives its number.
    pub fn add_stranger(&mut self) -> Result<u32> {
        let mut command = Command::new("sleep");
        command.arg("3600").current_dir("/").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let stranger = self.reaper.spawn(&mut command).context("can't start sleep")?;
        let pid = stranger.id().context("it has ended at once")?;
        self.strangers.push(stranger);
        Ok(pid)
    }

    /// Whether somebody has ended a program that is none of the group's business.
    pub fn harmed_a_stranger(&mut self) -> bool {
        self.strangers.iter_mut().any(|stranger| !matches!(stranger.try_wait(), Ok(None)))
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.nodes.iter().position(|n| n.name == name);
        found.with_context(|| format!("\"{name}\" is no node of this cluster"))
    }

    pub fn node(&self, name: &str) -> Result<&Node> {
        Ok(&self.nodes[self.index(name)?])
    }

    /// Where the node's Postgres itself listens.
    pub fn server(&self, name: &str) -> Result<SocketAddrV4> {
        Ok(self.addresses.server(self.index(name)?))
    }

    /// Where the nodes leave traces of what they do.
    pub fn traces(&self) -> Vec<Place> {
        let place = |node: &Node| Place {
            name: node.name.clone(),
            pgdata: node.pgdata.clone(),
            keeper_log: self.log_path(&node.name),
            by_hand_log: node.log_by_hand(),
        };
        self.nodes.iter().map(place).collect()
    }

    pub fn postgres_user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    pub fn frozen(&mut self, name: &str) -> Result<&mut Vec<u32>> {
        let index = self.index(name)?;
        Ok(&mut self.nodes[index].frozen)
    }

    pub fn slowed(&mut self, name: &str) -> Result<&mut Watcher> {
        let index = self.index(name)?;
        Ok(&mut self.nodes[index].slowed)
    }

    /// What was to be slow and is not, if anything.
    pub fn not_slowed(&mut self) -> impl Iterator<Item = String> {
        self.nodes.iter_mut().filter_map(|n| Some(format!("{}: {:#}", n.name, checkpoints::failed(&mut n.slowed)?)))
    }

    pub fn archiver(&mut self, name: &str) -> Result<&mut Option<File>> {
        let index = self.index(name)?;
        Ok(&mut self.nodes[index].archiver)
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
            self.nodes[index].keeper = Some(keeper);
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
        if !self.nodes[index].created {
            return self.create_node(index);
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

    /// To the keeper alone.
    pub fn signal_keeper(&self, name: &str, signal: Signal) -> Result<()> {
        let keeper = self.nodes[self.index(name)?].keeper.as_ref().and_then(Child::id);
        let pid = keeper.with_context(|| format!("the keeper of {name} isn't running"))?;
        procs::signal_all(&[pid], signal);
        Ok(())
    }

    pub fn kill_postgres(&self, name: &str) -> Result<()> {
        let node = &self.nodes[self.index(name)?];
        let postmaster = postmaster::find(&node.pgdata);
        let pid = postmaster.with_context(|| format!("Postgres of {name} isn't running"))?.pid;
        procs::signal_all(&[pid], Signal::SIGKILL);
        Ok(())
    }

    /// As when machines go away: nothing gets a chance to react to the death of the others.
    pub async fn kill_nodes(&mut self, names: &[String]) -> Result<()> {
        let doomed = names.iter().map(|name| self.index(name)).collect::<Result<Vec<_>>>()?;
        let mut killed = Vec::new();
        loop {
            let alive: Vec<u32> = doomed.iter().flat_map(|i| self.nodes[*i].processes()).collect();
            procs::signal_all(&alive, Signal::SIGKILL);
            killed.extend(&alive);
            for index in &doomed {
                if let Some(mut keeper) = self.nodes[*index].keeper.take() {
                    keeper.wait().await?;
                }
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
        if name == MONITOR {
            self.signal_monitor(Signal::SIGSTOP);
            return Ok(());
        }
        let index = self.index(name)?;
        for _ in 0..2 {
            procs::signal_all(&self.nodes[index].processes(), Signal::SIGSTOP);
        }
        Ok(())
    }

    pub fn resume(&self, name: &str) -> Result<()> {
        if name == MONITOR {
            self.signal_monitor(Signal::SIGCONT);
            return Ok(());
        }
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

    /// Ends when the certificate that the monitor shows has come to its end.
    pub async fn expire_certificate(&mut self) -> Result<()> {
        let until = self.authority()?.issue_short()?;
        self.reload_monitor().await?;
        let left = until.duration_since(Timestamp::now()) + SignedDuration::from_secs(1);
        tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        Ok(())
    }

    pub async fn renew_certificate(&mut self) -> Result<()> {
        self.authority()?.issue_long()?;
        self.reload_monitor().await
    }

    fn authority(&self) -> Result<&Authority> {
        self.authority.as_ref().context("the monitor has no certificate")
    }

    async fn reload_monitor(&self) -> Result<()> {
        let mut command = self.command(&["reload", "--datadir"]);
        command.arg(self.monitor_dir());
        let output = self.output(command).await?;
        ensure!(output.status.success(), "pgbaton reload: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// What a backup finds at one instant: nothing is written while the files are copied.
    pub fn save_monitor(&mut self) -> Result<()> {
        self.signal_monitor(Signal::SIGSTOP);
        let copied = copy_files(&self.monitor_dir(), &self.saved_monitor());
        self.signal_monitor(Signal::SIGCONT);
        copied
    }

    /// One that is down hears nothing.
    fn signal_monitor(&self, signal: Signal) {
        procs::signal_all(self.monitor.as_ref().and_then(Child::id).as_slice(), signal);
    }

    fn saved_monitor(&self) -> PathBuf {
        self.base.join("monitor").join("saved")
    }

    pub async fn restore_monitor(&mut self) -> Result<()> {
        self.end_monitor().await?;
        copy_files(&self.saved_monitor(), &self.monitor_dir())?;
        self.start_monitor()
    }

    /// One that knows nothing, at the same address.
    pub async fn replace_monitor(&mut self) -> Result<()> {
        self.end_monitor().await?;
        self.create_monitor()
    }

    async fn end_monitor(&mut self) -> Result<()> {
        if self.monitor.is_some() {
            self.kill_monitor().await?;
        }
        Ok(std::fs::remove_dir_all(self.monitor_dir())?)
    }
}

impl Node {
    pub fn home(&self) -> &Path {
        self.pgdata.parent().expect("the data directory lies in the node's home")
    }

    pub fn log_by_hand(&self) -> PathBuf {
        self.home().join("by-hand.log")
    }

    /// The keeper, the postmaster, which outlives a killed keeper, and all they started.
    fn processes(&self) -> Vec<u32> {
        procs::at_home(self.home())
    }
}

pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.with_file_name(name);
    ensure!(program.exists(), "{} is needed; build it first, with make build", program.display());
    Ok(program)
}

/// A directory that holds nothing but files.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("{} can't be read", from.display()))? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
