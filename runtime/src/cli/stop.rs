//! `pgbaton stop` and `pgbaton reload`: signals to a running service.

use super::failure::{Code, Failure};
use super::options::{Here, Local};
use crate::service::{Places, keeper, monitor, pidfile};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    here: Here,
    /// Stops Postgres at once, without handing the role over.
    #[arg(long)]
    fast: bool,
    /// Seconds to wait until the service is gone; 0 waits for as long as it takes.
    #[arg(long, default_value_t = 90, value_name = "SECS")]
    wait: u64,
}

impl Stop {
    pub fn run(self) -> Result<(), Failure> {
        let local = self.here.local()?;
        // Nothing to stop and nothing to be seen must not look the same.
        check_config(&local)?;
        end_service(local.places(), self.fast, self.wait)
    }
}

/// Stops the service that runs here, if one does.
pub fn end_service(places: &Places, fast: bool, wait: u64) -> Result<(), Failure> {
    let unseen = |e| Failure::new(Code::State, format!("can't look at the service: {e}"), "look at the limits");
    let Some(service) = pidfile::Service::find(&places.pid()).map_err(unseen)? else {
        tracing::info!("pgbaton isn't running for {}", places.data.display());
        return Ok(());
    };
    let pid = service.pid;
    let signal = if fast { Signal::SIGINT } else { Signal::SIGTERM };
    send(pid, signal, Code::State)?;
    tracing::info!("waiting until pgbaton, pid {pid}, has stopped");
    let patience = (wait > 0).then(|| Duration::from_secs(wait));
    if service.wait_until_gone(patience).map_err(unseen)? {
        return Ok(());
    }
    Err(Failure::new(
        Code::Internal,
        format!("pgbaton, pid {pid}, hasn't stopped within {wait} seconds, and goes on stopping"),
        "look at its log; pgbaton stop --fast doesn't wait for a hand-over",
    ))
}

#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    here: Here,
}

impl Reload {
    /// The file is checked here, where somebody reads the error, before the service is told of it.
    pub fn run(self) -> Result<(), Failure> {
        let local = self.here.local()?;
        check_config(&local).map_err(|failure| Failure { code: Code::Reload, ..failure })?;
        let pid = running_or_fail(&local.places().pid(), &local)?;
        send(pid, Signal::SIGHUP, Code::Reload)?;
        tracing::info!("pgbaton, pid {pid}, was told to read {}", local.places().config().display());
        Ok(())
    }
}

/// A running service reads its configuration again.
pub fn reload_if_running(places: &Places) -> Result<(), Failure> {
    pidfile::running(&places.pid()).map_or(Ok(()), |pid| send(pid, Signal::SIGHUP, Code::Reload))
}

fn check_config(local: &Local) -> Result<(), Failure> {
    match local {
        Local::Node(places) => keeper::read_config(places).map(drop),
        Local::Monitor(places) => super::ssl::check(&monitor::read_config(places)?.ssl),
    }
}

fn running_or_fail(pid_file: &Path, local: &Local) -> Result<u32, Failure> {
    pidfile::running(pid_file).ok_or_else(|| {
        Failure::new(
            Code::Reload,
            format!("pgbaton isn't running for {}", local.places().data.display()),
            "start it with pgbaton run: it reads the configuration then",
        )
    })
}

fn send(pid: u32, signal: Signal, code: Code) -> Result<(), Failure> {
    let target = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
    kill(target, signal).map_err(|e| {
        Failure::new(
            code,
            format!("can't send {signal} to pgbaton, pid {pid}: {e}"),
            "run this as the user that runs the service",
        )
    })
}
