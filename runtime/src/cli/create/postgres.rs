//! `pgbaton create postgres`. Checks come first, from what is cheapest to mend; then the node registers,
//! and its configuration is written last. An interrupted command is resumed by running it again.

use super::checks;
use crate::cli::ask::{Monitor, monitor_url};
use crate::cli::failure::{Code, Failure};
use crate::config::{self, NodeConfig, NodeSsl, PostgresqlConfig};
use crate::postgres::find_installation;
use crate::service::places::absolute;
use crate::service::{Places, keeper, pidfile, postmaster};
use clap::{ArgAction, Args, ValueEnum};
use pgbaton_core::model::{KeeperSettings, name};
use pgbaton_core::shell::{RegisterError, ensure_registered};
use pgbaton_core::wire::{Register, Request};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CreatePostgres {
    /// Data directory: absent or empty, or that of an interrupted create.
    #[arg(long, short = 'D', env = "PGDATA")]
    pgdata: PathBuf,
    #[arg(long, short = 'p', default_value_t = 5432, value_parser = clap::value_parser!(u16).range(1..))]
    pgport: u16,
    /// Name or address under which clients and the other nodes reach this one.
    #[arg(long, short = 'n')]
    hostname: String,
    /// Default: node_<id>.
    #[arg(long, short = 'a')]
    name: Option<String>,
    /// Where the monitor listens: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, short, env = "PGBATON_MONITOR", value_name = "URL")]
    monitor: String,
    /// Who may have issued the monitor's certificate; default: whom this system trusts.
    #[arg(long, env = "PGBATON_SSL_CA_FILE", value_name = "FILE")]
    ssl_ca_file: Option<PathBuf>,
    #[arg(long, short, default_value = "default")]
    formation: String,
    #[arg(long, short, default_value_t = 0)]
    group: u32,
    /// How nodes and clients of the network log in.
    #[arg(long, short = 'A', default_value = "scram-sha-256")]
    auth: Auth,
    /// Addresses Postgres listens on.
    #[arg(long, short, default_value = "*", value_name = "ADDR")]
    listen: String,
    #[arg(long, short, default_value = "postgres")]
    dbname: String,
    /// 0: never promoted.
    #[arg(long, short = 'P', default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    candidate_priority: u8,
    /// Whether commits may wait for this node.
    #[arg(long, short = 'r', default_value_t = true, action = ArgAction::Set)]
    replication_quorum: bool,
    /// The pg_ctl to use; default: that of PATH, else the newest of Debian's.
    #[arg(long, short = 'C', value_name = "PATH")]
    pgctl: Option<PathBuf>,
    /// Who Postgres runs as when pgbaton is root; default: postgres.
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// TOML file with the keeper's settings, for others than the defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Stays as the service.
    #[arg(long, short = 'x')]
    run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Auth {
    Trust,
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

impl Auth {
    fn method(self) -> &'static str {
        match self {
            Auth::Trust => "trust",
            Auth::ScramSha256 => "scram-sha-256",
        }
    }
}

struct Plan {
    places: Places,
    /// Still without name and password when they are the monitor's to give.
    wanted: NodeConfig,
    settings: Option<KeeperSettings>,
    run: bool,
}

impl CreatePostgres {
    pub async fn run(self) -> Result<(), Failure> {
        let plan = self.convert()?;
        match checks::existing::<NodeConfig>(&plan.places.config())? {
            Some(existing) => {
                plan.compare(&existing)?;
                if plan.is_initialised().await && !plan.run {
                    let pgdata = plan.places.data.display();
                    tracing::info!("the node in {pgdata} exists already; use pgbaton run --pgdata {pgdata}");
                    return Ok(());
                }
            }
            None => plan.create().await?,
        }
        let aim = if plan.run { keeper::Aim::Serve } else { keeper::Aim::Initialise };
        keeper::run(&plan.places, aim).await
    }

    fn convert(self) -> Result<Plan, Failure> {
        if let Some(bad) = self.name.as_deref().and_then(name::bad_name) {
            return Err(Failure::arguments(format!("--name: {bad}"), name::NAME_REMEDY));
        }
        if let Some(bad) = name::bad_host(&self.hostname) {
            return Err(Failure::arguments(format!("--hostname: {bad}"), name::HOST_REMEDY));
        }
        let installation = find_installation(self.pgctl.as_deref()).map_err(|e| Failure::new(Code::Postgres, e, ""))?;
        let run_as = checks::run_as(self.run_as);
        run_as.as_deref().map(keeper::find_user).transpose()?;
        let places = Places::node(&self.pgdata);
        let settings = checks::settings(self.settings.as_deref())?;
        let wanted = NodeConfig {
            name: self.name.unwrap_or_default(),
            hostname: self.hostname,
            formation: self.formation,
            group: self.group,
            candidate_priority: self.candidate_priority,
            replication_quorum: self.replication_quorum,
            monitor: monitor_url(&self.monitor)?,
            postgresql: PostgresqlConfig {
                pgdata: places.data.clone(),
                bin_dir: installation.bin_dir,
                port: self.pgport,
                listen: self.listen,
                dbname: self.dbname,
                auth: self.auth.method().to_string(),
                run_as,
                replication_password: String::new(),
            },
            ssl: NodeSsl { ca_file: self.ssl_ca_file.as_deref().map(absolute).unwrap_or_default() },
            settings: settings.clone().unwrap_or_default(),
        };
        Ok(Plan { places, wanted, settings, run: self.run })
    }
}

impl Plan {
    /// Running the same command again is fine; running another one must not be taken for it.
    fn compare(&self, existing: &NodeConfig) -> Result<(), Failure> {
        let mut wanted = self.wanted.clone();
        wanted.postgresql.replication_password = existing.postgresql.replication_password.clone();
        if wanted.name.is_empty() {
            wanted.name = existing.name.clone();
        }
        if self.settings.is_none() {
            wanted.settings = existing.settings.clone();
        }
        if wanted == *existing {
            return Ok(());
        }
        Err(Failure::arguments(
            format!("a node with other options exists in {}", self.places.data.display()),
            format!("use the options it was created with, or change them in {}", self.places.config().display()),
        ))
    }

    /// From the readable copy, since the store itself is locked while a keeper runs.
    async fn is_initialised(&self) -> bool {
        if pidfile::running(&self.places.pid()).is_some() {
            return true;
        }
        let store = keeper::open_store(&self.places).await;
        store.is_ok_and(|store| store.holds(keeper::has_its_place))
    }

    async fn create(&self) -> Result<(), Failure> {
        let pgdata = &self.places.data;
        if !checks::absent_or_empty(pgdata)? {
            return Err(Failure::config(
                format!("\"{}\" holds data that pgbaton didn't make; nothing was changed", pgdata.display()),
                "name a directory that is absent or empty with --pgdata",
            ));
        }
        if postmaster::find(pgdata).is_none() {
            checks::port_is_free(&self.wanted.postgresql.listen, self.wanted.postgresql.port, "--pgport")?;
        }
        let monitor = Monitor::trusting(&self.wanted.monitor, &self.wanted.ssl.ca_file)?;
        monitor.ask(&Request::Uri { formation: None }).await?;
        let made_here = !self.places.state_dir.exists();
        // For the user Postgres runs as, and so is what comes into it: whoever runs the service can use it.
        let owner = self.wanted.postgresql.run_as.as_deref().map(keeper::find_user).transpose()?;
        checks::make_private(owner.as_ref(), &self.places.state_dir)?;
        let registered = self.register(&monitor).await;
        if registered.is_err() && made_here {
            // It holds an empty store and nothing else; a refused node leaves no trace.
            let _left_behind_at_worst = std::fs::remove_dir_all(&self.places.state_dir);
        }
        let config = registered?;
        config::write(&self.places.config(), &config)
            .map_err(|e| Failure::config(e, "check the permissions of its directory"))
    }

    async fn register(&self, monitor: &Monitor) -> Result<NodeConfig, Failure> {
        let store = keeper::open_store(&self.places).await?;
        let ask = Register {
            formation: self.wanted.formation.clone(),
            group: self.wanted.group,
            name: self.wanted.name.clone(),
            host: self.wanted.hostname.clone(),
            port: self.wanted.postgresql.port,
            candidate_priority: self.wanted.candidate_priority,
            replication_quorum: self.wanted.replication_quorum,
            system_id: None,
            again: None,
        };
        let registered = ensure_registered(monitor.link(), &store, ask).await.map_err(|e| match e {
            RegisterError::Store(e) => Failure::new(Code::State, e, "see that its disk is well"),
            RegisterError::Refused { reason, remedy } => Failure::monitor(reason, remedy),
            other => Failure::monitor(
                format!("can't register with the monitor at {}: {other}", monitor.url()),
                "run the same command again to go on",
            ),
        })?;
        let record = registered.record;
        tracing::info!("registered as node {}, \"{}\", in {}", record.node, record.name, record.group);
        let mut config = self.wanted.clone();
        config.name = record.name;
        config.postgresql.replication_password = registered.replication_password;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Wrapped {
        #[command(flatten)]
        create: CreatePostgres,
    }

    const GOOD: &[&str] = &["x", "--pgdata", "/tmp/none", "--hostname", "h", "--name", "a", "--monitor", "m:1"];

    #[test]
    fn defaults_are_those_users_know() {
        let create = Wrapped::try_parse_from(GOOD).unwrap().create;
        assert_eq!((create.pgport, create.candidate_priority, create.replication_quorum), (5432, 50, true));
        assert_eq!((create.formation.as_str(), create.group, create.listen.as_str()), ("default", 0, "*"));
    }

    #[test]
    fn bad_values_are_refused_by_the_parser() {
        for bad in [
            ["--pgport", "0"],
            ["--pgport", "65536"],
            ["--candidate-priority", "101"],
            ["--replication-quorum", "maybe"],
            ["--auth", "md4"],
            ["--group", "-1"],
        ] {
            let args = GOOD.iter().chain(bad.iter());
            assert!(Wrapped::try_parse_from(args).is_err(), "{bad:?}");
        }
    }
}
