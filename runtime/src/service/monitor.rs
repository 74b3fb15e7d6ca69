//! The monitor as a process.

use super::pidfile::PidFile;
use super::signals::{Asked, Signals};
use super::{Places, pidfile};
use crate::cli::failure::{Code, Failure};
use crate::config::{self, MonitorConfig};
use crate::ports::{BootClock, HttpDoor, RedbStore, split_address};
use crate::tls::{Certificate, Shown};
use pgbaton_core::shell::run_monitor;
use std::future::{Future, pending};
use std::net::IpAddr;
use std::pin::{Pin, pin};
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
    let mut shown = certificate(&config)?.map(Shown::new);
    let store = RedbStore::open(&places.store()).map_err(|e| broken_store(places, &e))?;
    let mut door = bind(&config, shown.as_ref(), places).await?;
    loop {
        let (dir, address) = (places.data.display(), door.address());
        tracing::info!("monitor, directory {dir}, listens on {} ({address})", config.listen);
        if is_hidden(&config.listen, address.ip()) {
            tracing::warn!("nobody but this machine can reach {address}: listen on 0.0.0.0, or on another address");
        }
        let turn = {
            let life = pin!(run_monitor(BootClock, door, store.clone(), config.settings.clone()));
            one_life(life, &mut signals, &config, shown.as_ref(), places).await
        };
        match turn.map_err(|exit| broken_store(places, &exit))? {
            None => {
                tracing::info!("stopped; nodes go on as they are");
                return Ok(());
            }
            Some((read, certificate)) => (config, shown) = (read, certificate.map(Shown::new)),
        }
        door = bind_again(&config, shown.as_ref(), places).await?;
    }
}

/// Debian gives a machine's own name an address of the loopback network, which isn't what who uses the name wants.
fn is_hidden(listen: &str, bound: IpAddr) -> bool {
    let host = split_address(listen).map_or(listen, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_meant = host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok();
    bound.is_loopback() && !is_meant
}

/// Until the monitor is to stop, or to go on with this configuration and certificate. Another certificate alone ends
/// nothing: calls under way are answered on the connections they came on.
async fn one_life<E>(
    mut life: Pin<&mut impl Future<Output = E>>,
    signals: &mut Signals,
    config: &MonitorConfig,
    shown: Option<&Shown>,
    places: &Places,
) -> Result<Option<(MonitorConfig, Option<Certificate>)>, E> {
    loop {
        let end = async {
            match shown {
                Some(shown) => shown.current().tell_of_its_end().await,
                None => pending().await,
            }
        };
        let asked = tokio::select! {
            biased;
            exit = &mut life => return Err(exit),
            asked = signals.next() => asked,
            () = end => continue,
        };
        if let Asked::Stop(_) = asked {
            return Ok(None);
        }
        let read = read_config(places).and_then(|read| {
            let read = MonitorConfig { listen: config.listen.clone(), ..read };
            certificate(&read).map(|certificate| (read, certificate))
        });
        match (read, shown) {
            (Err(failure), _) => tracing::error!("all stays as it was: {failure}"),
            (Ok((read, Some(new))), Some(shown)) if read.settings == config.settings => shown.replace(new),
            (Ok(read), _) => return Ok(Some(read)),
        }
    }
}

/// What the configuration says is to be shown. One that no caller would take is refused here, where it can be named.
fn certificate(config: &MonitorConfig) -> Result<Option<Certificate>, Failure> {
    let Some(files) = config.ssl.files() else { return Ok(None) };
    let certificate = Certificate::read_valid(&files).map_err(|e| Failure::config(&e, e.remedy()))?;
    certificate.tell();
    Ok(Some(certificate))
}

async fn bind(config: &MonitorConfig, shown: Option<&Shown>, places: &Places) -> Result<HttpDoor, Failure> {
    HttpDoor::open(&config.listen, shown).await.map_err(|e| {
        let remedy = format!("the address is set by listen in {}", places.config().display());
        Failure::config(e, remedy)
    })
}

/// After a reload, on the same address (another one needs a restart): the old door may take a moment to close.
async fn bind_again(config: &MonitorConfig, shown: Option<&Shown>, places: &Places) -> Result<HttpDoor, Failure> {
    let limit = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        match bind(config, shown, places).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_to_loopback_is_told_of() {
        let hidden = |listen, bound: &str| is_hidden(listen, bound.parse().unwrap());
        assert!(hidden("monitor.example:6000", "127.0.1.1"));
        assert!(!hidden("monitor.example:6000", "10.0.0.1"));
        for meant in ["127.0.0.1:1", "localhost:1", "[::1]:1", "a.localhost:1"] {
            assert!(!hidden(meant, "127.0.0.1"), "{meant}");
        }
    }
}
