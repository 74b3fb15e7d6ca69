//! The monitor as a process.

use super::pidfile::PidFile;
use super::signals::{Asked, Signals};
use super::{Places, pidfile};
use crate::cli::failure::{Code, Failure};
use crate::config::{self, MonitorConfig};
use crate::ports::{BootClock, HttpDoor, RedbStore};
use pgbaton_core::shell::run_monitor;
use std::time::Duration;

/// Runs until asked to stop. The monitor has nothing to hand over: its state is on disk before anybody
/// is told of it, so it may be stopped, killed and started at any moment.
pub async fn run(places: &Places) -> Result<(), Failure> {
    let _one_instance = PidFile::take(&places.pid()).map_err(|e| match e {
        pidfile::PidFileError::Taken(_) => Failure::new(Code::State, e, "stop it first, with pgbaton stop"),
        e @ pidfile::PidFileError::Io(_) => Failure::config(
            format!("{}: {e}", places.pid().display()),
            "create the monitor with pgbaton create monitor, or name its directory with --datadir",
        ),
    })?;
    let mut signals = Signals::listen().map_err(|e| Failure::new(Code::Internal, e, "look at the limits"))?;
    let mut config = read_config(places)?;
    let store = RedbStore::open(&places.store()).map_err(|e| broken_store(places, &e))?;
    let mut door = bind(&config, places).await?;
    loop {
        tracing::info!("monitor, directory {}, listens on {}", places.data.display(), config.listen);
        let asked = tokio::select! {
            biased;
            exit = run_monitor(BootClock, door, store.clone(), config.settings.clone()) => return Err(broken_store(places, &exit)),
            asked = signals.next() => asked,
        };
        match asked {
            Asked::Stop(_) => {
                tracing::info!("stopped; nodes go on as they are");
                return Ok(());
            }
            Asked::Reload => {
                match read_config(places) {
                    Ok(read) => config = MonitorConfig { listen: config.listen, ..read },
                    Err(failure) => tracing::error!("the configuration stays as it was: {failure}"),
                }
                door = bind_again(&config, places).await?;
            }
        }
    }
}

async fn bind(config: &MonitorConfig, places: &Places) -> Result<HttpDoor, Failure> {
    HttpDoor::bind(&config.listen).await.map_err(|e| {
        let remedy = format!("the address is set by listen in {}", places.config().display());
        Failure::config(e, remedy)
    })
}

/// After a reload, on the same address (another one needs a restart): the old door may take a moment to close.
async fn bind_again(config: &MonitorConfig, places: &Places) -> Result<HttpDoor, Failure> {
    let limit = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        match bind(config, places).await {
            Err(_) if tokio::time::Instant::now() < limit => tokio::time::sleep(Duration::from_millis(10)).await,
            result => return result,
        }
    }
}

pub fn read_config(places: &Places) -> Result<MonitorConfig, Failure> {
    config::read(&places.config()).map_err(|e| {
        let remedy = if e.is_missing() {
            "create the monitor with pgbaton create monitor, or name its directory with --datadir"
        } else {
            "correct the file"
        };
        Failure::config(e, remedy)
    })
}

fn broken_store(places: &Places, e: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Code::State,
        format!("{}: {e}", places.store().display()),
        "see that no other process uses it, and that its disk is well",
    )
}
