//! `pgbaton create monitor`.

use super::checks;
use crate::cli::failure::{Code, Failure};
use crate::cli::ssl::{self, ServerSsl};
use crate::config::{self, MonitorConfig, MonitorSsl};
use crate::ports::{RedbStore, split_address};
use crate::service::{Places, monitor, pidfile};
use clap::Args;
use pgbaton_core::model::MonitorSettings;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CreateMonitor {
    /// Where the monitor keeps its state.
    #[arg(long)]
    datadir: PathBuf,
    /// Address to listen on.
    #[arg(long, short, value_name = "HOST:PORT")]
    listen: String,
    #[command(flatten)]
    ssl: ServerSsl,
    /// Who has issued --server-cert: it is checked, and nodes are to have a copy.
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    ssl_ca_file: Option<PathBuf>,
    /// Takes connections in the clear, which is the default: for a private network.
    #[arg(long, short = 'N', conflicts_with_all = ["ssl_self_signed", "server_cert"])]
    no_ssl: bool,
    /// TOML file with the monitor's settings, for others than the defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Stays as the service.
    #[arg(long, short = 'x')]
    run: bool,
}

struct Plan {
    places: Places,
    host: String,
    port: u16,
    ssl: MonitorSsl,
    server: ServerSsl,
    /// In the clear because somebody says so.
    no_ssl: bool,
    settings: Option<MonitorSettings>,
    run: bool,
}

impl CreateMonitor {
    pub async fn run(self) -> Result<(), Failure> {
        let plan = self.convert()?;
        let config_file = plan.places.config();
        match checks::existing::<MonitorConfig>(&config_file)? {
            Some(existing) => plan.compare(&existing)?,
            None => plan.create()?,
        }
        if plan.run {
            return monitor::run(&plan.places).await;
        }
        Ok(())
    }

    fn convert(self) -> Result<Plan, Failure> {
        let (host, port) = split_address(&self.listen).ok_or_else(|| {
            Failure::arguments(
                format!("\"{}\" is no address to listen on", self.listen),
                "write --listen HOST:PORT, as 0.0.0.0:7432",
            )
        })?;
        let places = Places::monitor(&self.datadir);
        Ok(Plan {
            ssl: self.ssl.convert(&places, self.ssl_ca_file.as_deref()),
            server: self.ssl,
            no_ssl: self.no_ssl,
            places,
            host: host.to_string(),
            port,
            settings: checks::settings(self.settings.as_deref())?,
            run: self.run,
        })
    }
}

impl Plan {
    fn config(&self) -> MonitorConfig {
        MonitorConfig {
            listen: format!("{}:{}", self.host, self.port),
            ssl: self.ssl.clone(),
            settings: self.settings.clone().unwrap_or_default(),
        }
    }

    fn compare(&self, existing: &MonitorConfig) -> Result<(), Failure> {
        let wanted = self.config();
        let settings_differ = self.settings.is_some() && wanted.settings != existing.settings;
        if wanted.listen != existing.listen || wanted.ssl != existing.ssl || settings_differ {
            return Err(Failure::arguments(
                format!("a monitor with other options exists in {}", self.places.data.display()),
                format!("change them in {}", self.places.config().display()),
            ));
        }
        if !self.run {
            let dir = self.places.data.display();
            tracing::info!("the monitor in {dir} exists already; start it with pgbaton run --datadir {dir}");
        }
        Ok(())
    }

    /// The configuration is written last: without it, nothing counts as created.
    fn create(&self) -> Result<(), Failure> {
        let dir = &self.places.data;
        // What an interrupted `create` leaves is a store without a configuration.
        if !checks::absent_or_empty(dir)? && !self.places.store().exists() {
            return Err(Failure::config(
                format!("\"{}\" holds something that is not a monitor's; nothing was changed", dir.display()),
                "name a directory that is absent or empty with --datadir",
            ));
        }
        if pidfile::running(&self.places.pid()).is_none() {
            checks::port_is_free(&self.host, self.port, "--listen")?;
        }
        if !self.server.is_self_signed() {
            ssl::check(&self.ssl)?;
        }
        // One that is there already stays whosever it is; what is secret in it is its owner's only.
        if !dir.exists() {
            checks::make_private(None, dir)?;
        }
        RedbStore::open(&self.places.store()).map_err(|e| {
            Failure::new(
                Code::State,
                format!("{}: {e}", self.places.store().display()),
                "see that no other process uses it, and that its disk is well",
            )
        })?;
        let config = self.config();
        self.server.prepare(&self.ssl, &config.listen)?;
        config::write(&self.places.config(), &config)
            .map_err(|e| Failure::config(e, "check the permissions of its directory"))?;
        tracing::info!("created the monitor in {}", dir.display());
        if !self.ssl.active && !self.no_ssl {
            tracing::warn!("nodes and commands come in the clear; --ssl-self-signed or --server-cert makes it TLS");
        }
        tracing::info!("nodes find it with {}", ssl::way_to(&self.ssl, &self.server.address(&config.listen)));
        Ok(())
    }
}
