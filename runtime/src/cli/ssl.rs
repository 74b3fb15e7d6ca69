//! How the monitor is spoken to: options that `create` and `enable ssl` share, and `enable ssl` and `disable ssl`.

use super::ask::Monitor;
use super::failure::Failure;
use super::options::{Here, Local};
use super::stop;
use crate::config::{self, MonitorConfig, MonitorSsl, NodeConfig, NodeSsl};
use crate::ports::split_address;
use crate::service::places::absolute;
use crate::service::{Places, keeper, monitor};
use crate::tls::{Certificate, TlsError, issue};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use std::path::{Path, PathBuf};

/// Who renews nothing is better off with one that lasts.
const SELF_SIGNED_LASTS: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Clocks of nodes may be behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);

/// What the monitor shows.
#[derive(Debug, Clone, Args)]
pub struct ServerSsl {
    /// Takes connections over TLS, with a certificate made here; nodes need a copy of it.
    #[arg(long, short = 's')]
    ssl_self_signed: bool,
    /// Names and addresses the certificate made here is for; default: the host of --listen, else this machine's name.
    #[arg(long, value_name = "NAME", requires = "ssl_self_signed", value_delimiter = ',')]
    ssl_name: Vec<String>,
    /// Takes connections over TLS, with this certificate (and those of issuers in between, if there are any).
    #[arg(long, value_name = "FILE", requires = "server_key", conflicts_with = "ssl_self_signed")]
    server_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "server_cert", conflicts_with = "ssl_self_signed")]
    server_key: Option<PathBuf>,
}

impl ServerSsl {
    pub fn is_asked_for(&self) -> bool {
        self.ssl_self_signed || self.server_cert.is_some()
    }

    pub fn is_self_signed(&self) -> bool {
        self.ssl_self_signed
    }

    /// What goes into the configuration; nothing is written yet.
    pub fn convert(&self, places: &Places, ca_file: Option<&Path>) -> MonitorSsl {
        let ca_file = ca_file.map(absolute);
        if self.ssl_self_signed {
            let cert_file = places.state_dir.join("server.crt");
            let key_file = places.state_dir.join("server.key");
            return MonitorSsl { active: true, ca_file: cert_file.clone(), cert_file, key_file };
        }
        match (&self.server_cert, &self.server_key) {
            (Some(cert), Some(key)) => MonitorSsl {
                active: true,
                cert_file: absolute(cert),
                key_file: absolute(key),
                ca_file: ca_file.unwrap_or_default(),
            },
            _ => MonitorSsl::default(),
        }
    }

    /// Makes the certificate if it is to be made here, and sees that what there is can be used.
    pub fn prepare(&self, ssl: &MonitorSsl, listen: &str) -> Result<(), Failure> {
        let Some(files) = ssl.files() else { return Ok(()) };
        if self.ssl_self_signed {
            let now = Timestamp::now();
            // With the key it had, so that copies of the one before are good for the new one.
            let key = files.key.exists().then_some(files.key.as_path());
            let made = issue(&self.names(listen), now - BACKDATED, now + SELF_SIGNED_LASTS, key);
            made.and_then(|made| made.write(&files)).map_err(failed)?;
        }
        check(ssl)
    }

    /// Where nodes find a monitor that listens so: under a name of its certificate, if one is made for it.
    pub fn address(&self, listen: &str) -> String {
        match (self.ssl_name.first(), split_address(listen)) {
            (Some(name), Some((_, port))) => format!("{name}:{port}"),
            _ => reachable(listen),
        }
    }

    fn names(&self, listen: &str) -> Vec<String> {
        if !self.ssl_name.is_empty() {
            return self.ssl_name.clone();
        }
        let host = split_address(listen).map_or(listen, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host {
            "0.0.0.0" | "::" => {
                this_machine().into_iter().chain(["localhost".to_string(), "127.0.0.1".to_string()]).collect()
            }
            host => vec![host.to_string()],
        }
    }
}

/// What the monitor's section says can be used, now.
pub fn check(ssl: &MonitorSsl) -> Result<(), Failure> {
    let Some(files) = ssl.files() else { return Ok(()) };
    let certificate = Certificate::read_valid(&files).map_err(failed)?;
    match ssl.ca_file.as_os_str().is_empty() {
        true => Ok(()),
        false => certificate.check_issuer(&ssl.ca_file).map_err(failed),
    }
}

fn failed(e: TlsError) -> Failure {
    let remedy = e.remedy();
    Failure::config(e, remedy)
}

fn this_machine() -> Option<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok())
}

/// Every address of a machine is none to call; its name may be one.
fn reachable(listen: &str) -> String {
    let Some(("0.0.0.0" | "[::]", port)) = split_address(listen) else { return listen.to_string() };
    this_machine().map_or_else(|| listen.to_string(), |name| format!("{name}:{port}"))
}

/// How nodes and commands are to name the monitor.
pub fn way_to(ssl: &MonitorSsl, address: &str) -> String {
    match (ssl.active, ssl.ca_file.as_os_str().is_empty()) {
        (false, _) => format!("--monitor http://{address}"),
        (true, true) => format!("--monitor https://{address}"),
        (true, false) => {
            format!("--monitor https://{address} --ssl-ca-file FILE, a copy of {}", ssl.ca_file.display())
        }
    }
}

#[derive(Debug, Args)]
pub struct EnableSsl {
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    server: ServerSsl,
    /// Who has issued the monitor's certificate; of a node: whom it trusts, default: whom this system trusts.
    #[arg(long, value_name = "FILE")]
    ssl_ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DisableSsl {
    #[command(flatten)]
    here: Here,
}

impl EnableSsl {
    pub async fn run(self) -> Result<(), Failure> {
        match self.here.local()? {
            Local::Monitor(places) => self.on_monitor(&places),
            Local::Node(places) => self.on_node(&places).await,
        }
    }

    fn on_monitor(&self, places: &Places) -> Result<(), Failure> {
        if !self.server.is_asked_for() {
            return Err(Failure::arguments(
                "which certificate the monitor is to show is not said",
                "say --ssl-self-signed, or name it with --server-cert FILE --server-key FILE",
            ));
        }
        let config = monitor::read_config(places)?;
        let ssl = self.server.convert(places, self.ssl_ca_file.as_deref());
        self.server.prepare(&ssl, &config.listen)?;
        let way = way_to(&ssl, &self.server.address(&config.listen));
        write(places, &MonitorConfig { ssl, ..config })?;
        tracing::info!("the monitor is found with {way}; tell its nodes with pgbaton enable ssl --pgdata DIR");
        stop::reload_if_running(places)
    }

    async fn on_node(&self, places: &Places) -> Result<(), Failure> {
        if self.server.is_asked_for() {
            return Err(Failure::arguments(
                "a node shows no certificate to anybody",
                "name the monitor's directory with --datadir; a node is told with --ssl-ca-file whom to trust",
            ));
        }
        let config = keeper::read_config(places)?;
        let monitor = config.monitor.replacen("http://", "https://", 1);
        let ssl = NodeSsl { ca_file: self.ssl_ca_file.as_deref().map(absolute).unwrap_or_default() };
        change_way(places, NodeConfig { monitor, ssl, ..config }).await
    }
}

impl DisableSsl {
    pub async fn run(self) -> Result<(), Failure> {
        match self.here.local()? {
            Local::Monitor(places) => {
                let config = monitor::read_config(&places)?;
                let ssl = MonitorSsl { active: false, ..config.ssl };
                tracing::info!("the monitor is found with {}", way_to(&ssl, &reachable(&config.listen)));
                write(&places, &MonitorConfig { ssl, ..config })?;
                stop::reload_if_running(&places)
            }
            Local::Node(places) => {
                let config = keeper::read_config(&places)?;
                let monitor = config.monitor.replacen("https://", "http://", 1);
                change_way(&places, NodeConfig { monitor, ssl: NodeSsl::default(), ..config }).await
            }
        }
    }
}

/// Asked before anything is written: a wrong file would leave the node without its monitor.
async fn change_way(places: &Places, config: NodeConfig) -> Result<(), Failure> {
    let monitor = Monitor::trusting(&config.monitor, &config.ssl.ca_file)?;
    monitor.state(Some(config.formation.clone()), Some(config.group)).await?;
    write(places, &config)?;
    tracing::info!("node \"{}\" calls {}", config.name, config.monitor);
    stop::reload_if_running(places)
}

fn write<T: serde::Serialize>(places: &Places, config: &T) -> Result<(), Failure> {
    config::write(&places.config(), config).map_err(|e| Failure::config(e, "check the permissions of its directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_an_address_that_can_be_called() {
        let server = |names: &[&str]| ServerSsl {
            ssl_self_signed: true,
            ssl_name: names.iter().map(ToString::to_string).collect(),
            server_cert: None,
            server_key: None,
        };
        let machine = this_machine().unwrap();
        for (names, listen, address) in [
            (&[][..], "monitor.example:6000", "monitor.example:6000".to_string()),
            (&[], "0.0.0.0:6000", format!("{machine}:6000")),
            (&[], "[::]:6000", format!("{machine}:6000")),
            (&["monitor.example", "10.0.0.1"], "0.0.0.0:6000", "monitor.example:6000".to_string()),
        ] {
            assert_eq!(server(names).address(listen), address);
        }
        assert_eq!(way_to(&MonitorSsl::default(), &reachable("0.0.0.0:1")), format!("--monitor http://{machine}:1"));
    }
}
