//! The real monitor, on a core of its own.

use super::super::super::cluster::beside_this_program;
use super::super::super::procs;
use super::super::super::reaper::Reaper;
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(10);
/// A port that opens raises no event.
const POLL: Duration = Duration::from_millis(10);

/// The last core that this process may use is the monitor's, the others are for the nodes.
pub struct Cores {
    monitor: CpuSet,
}

impl Cores {
    /// Once: from then on this process has fewer.
    pub fn split() -> Result<Cores> {
        let mut nodes = sched_getaffinity(Pid::from_raw(0))?;
        let usable: Vec<usize> = (0..CpuSet::count()).filter(|cpu| nodes.is_set(*cpu).unwrap_or(false)).collect();
        let [_, .., last] = usable[..] else { bail!("two cores are needed, one of them for the monitor") };
        let mut monitor = CpuSet::new();
        monitor.set(last)?;
        nodes.unset(last)?;
        pin_threads(std::process::id(), &nodes)?;
        Ok(Cores { monitor })
    }
}

pub struct Process {
    child: Child,
    pid: u32,
    pub url: String,
}

impl Process {
    pub async fn start(base: &Path, cores: &Cores, reaper: &Reaper) -> Result<Process> {
        let program = beside_this_program("pgbaton")?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let datadir = base.join("monitor");
        let mut create = Command::new(&program);
        create.args(["create", "monitor", "--no-ssl", "--listen", &address.to_string(), "--datadir"]).arg(&datadir);
        create.current_dir(base).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let created = reaper.spawn(&mut create)?.wait_with_output().await?;
        ensure!(created.status.success(), "create monitor: {}", String::from_utf8_lossy(&created.stderr).trim());
        let log = File::create(base.join("monitor.log"))?;
        let mut run = Command::new(&program);
        run.args(["run", "--datadir"]).arg(&datadir).current_dir(base).process_group(0).kill_on_drop(true);
        run.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = reaper.spawn(&mut run)?;
        let pid = child.id().context("the monitor has ended at once")?;
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            ensure!(Instant::now() < limit, "the monitor doesn't listen");
            tokio::time::sleep(POLL).await;
        }
        pin_threads(pid, &cores.monitor)?;
        Ok(Process { child, pid, url: format!("http://{address}") })
    }

    /// What it has used until now, all threads together.
    pub fn cpu(&self) -> Result<Duration> {
        procs::cpu_time(self.pid, ticks()?).context("the monitor has ended")
    }

    pub async fn stop(mut self) -> Result<()> {
        procs::signal_all(&[self.pid], Signal::SIGTERM);
        self.child.wait().await?;
        Ok(())
    }
}

/// Threads that begin later are where the one is that begins them.
fn pin_threads(pid: u32, to: &CpuSet) -> Result<()> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(id) = thread?.file_name().to_str().and_then(|name| name.parse().ok()) {
            sched_setaffinity(Pid::from_raw(id), to)?;
        }
    }
    Ok(())
}

fn ticks() -> Result<u64> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.context("this system doesn't say how it counts CPU time")?;
    Ok(u64::try_from(ticks)?)
}

/// Two connections for each node, here and at the monitor, which inherits the limit.
pub fn allow_connections(nodes: usize) -> Result<()> {
    let needed = 2 * u64::try_from(nodes)? + 200;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(needed <= hard, "{nodes} nodes need {needed} open files, and the limit is {hard}; raise it (ulimit -Hn)");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?)
}
