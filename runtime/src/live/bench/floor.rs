//! What Postgres itself needs: bare servers with the binaries and the settings of a group, stopped and promoted by hand,
//! seen by the same client. Its inserts wait for nobody where there are two; with a third, which has to come over to the
//! new primary, they wait for that one, as in a group of three.
//!
//! The promotion is signalled as soon as the primary has ended. One in ten or so then takes `wal_retrieve_retry_interval`
//! (100 ms) longer: if the signal comes just when the startup process has found that nobody streams to it any more, it
//! is slept over. Medians don't show it.

use super::super::clients::{self, Clients, Target};
use super::super::hands;
use super::super::ledger::Ledger;
use super::super::procs;
use super::super::proxy::Addresses;
use super::super::reaper::{KillAtTheEnd, Reaper};
use super::course::{REST, WITHIN, home, workload};
use crate::postgres::{Installation, PostgresConfig, find_installation, fixed_settings};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown, geteuid};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Neither a server that is ready nor the ledger raises an event.
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FloorRun {
    pub nodes: usize,
    /// From the fast stop's signal to the end of the primary.
    pub stop: f64,
    /// From the signal to promote until the client has found a writable server and sends.
    pub promote: f64,
    /// Until that is acknowledged.
    pub insert: f64,
}

impl FloorRun {
    pub fn handover(&self) -> f64 {
        self.stop + self.promotion()
    }

    pub fn promotion(&self) -> f64 {
        self.promote + self.insert
    }
}

struct Lab<'a> {
    base: &'a Path,
    installation: Installation,
    user: Option<User>,
    addresses: Addresses,
    reaper: &'a Reaper,
}

const NAMES: [&str; 3] = ["first", "second", "third"];
const FIRST: usize = 0;
const SECOND: usize = 1;

pub async fn measure(nodes: usize, reaper: &Reaper) -> Result<FloorRun> {
    let (_temporary, base) = home()?;
    let _nothing_lives_on = KillAtTheEnd::AtHome(base.clone());
    let user = match geteuid().is_root() {
        true => User::from_name("postgres")?,
        false => None,
    };
    let addresses = Addresses::find(nodes, None)?;
    let lab = Lab { base: &base, installation: find_installation(None)?, user, addresses, reaper };
    lab.initdb().await?;
    let mut servers = vec![lab.start(FIRST).await?];
    for index in SECOND..nodes {
        lab.clone_first(index).await?;
        lab.follow(index, FIRST)?;
        servers.push(lab.start(index).await?);
    }
    if nodes > 2 {
        lab.set(SECOND, "synchronous_standby_names = 'ANY 1 (third)'")?;
        procs::signal_all(servers[SECOND].id().as_slice(), Signal::SIGHUP);
    }
    let targets: Arc<Vec<Target>> = Arc::new((0..nodes).map(|i| lab.target(i)).collect());
    clients::make_table(&targets).await?;
    let ledger = Arc::new(Ledger::begin());
    let clients = Clients::inserters(&[workload()], &targets, &ledger, 1);
    tokio::time::sleep(REST).await;
    let run = lab.hand_over(&mut servers, &ledger).await;
    ledger.stop();
    clients.stop().await?;
    for server in &mut servers[SECOND..] {
        server.kill().await?;
    }
    run
}

impl Lab<'_> {
    fn target(&self, index: usize) -> Target {
        let address = self.addresses.server(index);
        Target { node: NAMES[index].to_string(), address, dbname: "postgres".into() }
    }

    fn config(&self, index: usize) -> PostgresConfig {
        let home = self.base.join(NAMES[index]);
        PostgresConfig {
            bin_dir: self.installation.bin_dir.clone(),
            pgdata: home.join("pgdata"),
            port: self.addresses.server(index).port(),
            listen: self.addresses.server(index).ip().to_string(),
            run_as: self.user.clone(),
            auth: "trust".into(),
            replication_password: String::new(),
            dbname: "postgres".into(),
            state_dir: home,
        }
    }

    fn command(&self, index: usize, program: &str) -> Result<Command> {
        let home = self.base.join(NAMES[index]);
        std::fs::create_dir_all(&home)?;
        let mut command = Command::new(self.installation.bin_dir.join(program));
        command.current_dir(&home).stdin(Stdio::null()).env_remove("PGDATA").kill_on_drop(true).process_group(0);
        if let Some(user) = &self.user {
            chown(&home, Some(user.uid), Some(user.gid))?;
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Ok(command)
    }

    async fn tool(&self, mut command: Command) -> Result<()> {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = self.reaper.spawn(&mut command)?.wait_with_output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    async fn initdb(&self) -> Result<()> {
        let mut command = self.command(0, "initdb")?;
        command.args(["-D", "pgdata", "-U", "postgres", "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8"]);
        command.args(["--auth", "trust"]);
        self.tool(command).await.context("initdb")
    }

    async fn clone_first(&self, index: usize) -> Result<()> {
        let source = self.addresses.server(FIRST);
        let mut command = self.command(index, "pg_basebackup")?;
        command.args(["-D", "pgdata", "-U", "postgres", "--checkpoint=fast"]);
        command.arg("-h").arg(source.ip().to_string()).arg("-p").arg(source.port().to_string());
        self.tool(command).await.context("pg_basebackup")?;
        File::create(self.config(index).pgdata.join("standby.signal"))?;
        Ok(())
    }

    /// In force with the next start or reload.
    fn follow(&self, index: usize, upstream: usize) -> Result<()> {
        let source = self.addresses.server(upstream);
        let whom =
            format!("host={} port={} user=postgres application_name={}", source.ip(), source.port(), NAMES[index]);
        self.set(index, &format!("primary_conninfo = '{whom}'"))
    }

    /// What is written last counts.
    fn set(&self, index: usize, setting: &str) -> Result<()> {
        let path = self.config(index).pgdata.join("postgresql.conf");
        Ok(writeln!(OpenOptions::new().append(true).open(path)?, "{setting}")?)
    }

    /// What a keeper's server is configured with, under the operator's own file.
    async fn start(&self, index: usize) -> Result<Child> {
        let config = self.config(index);
        self.set(index, &format!("{}\nunix_socket_directories = ''", fixed_settings(&config)))?;
        let log = File::create(config.log_file())?;
        let mut command = self.command(index, "postgres")?;
        command.args(["-D", "pgdata"]).stdout(log.try_clone()?).stderr(log);
        let child = self.reaper.spawn(&mut command).context("can't start postgres")?;
        let limit = Instant::now() + WITHIN;
        while let Err(e) = hands::sql(self.addresses.server(index), "SELECT 1").await {
            let said = || std::fs::read_to_string(config.log_file()).unwrap_or_default();
            ensure!(Instant::now() < limit, "a bare server doesn't come up: {e:#}\n{}", said());
            tokio::time::sleep(POLL).await;
        }
        Ok(child)
    }

    async fn hand_over(&self, servers: &mut [Child], ledger: &Ledger) -> Result<FloorRun> {
        let signal = |server: &Child, signal| procs::signal_all(server.id().as_slice(), signal);
        let began = Instant::now();
        signal(&servers[FIRST], Signal::SIGINT);
        servers[FIRST].wait().await?;
        let stopped = Instant::now();
        File::create(self.config(SECOND).pgdata.join("promote"))?;
        signal(&servers[SECOND], Signal::SIGUSR1);
        for (index, other) in servers.iter().enumerate().skip(SECOND + 1) {
            self.follow(index, SECOND)?;
            signal(other, Signal::SIGHUP);
        }
        let (sent, acked) = loop {
            if let Some(found) = ledger.first_acknowledged_by(NAMES[SECOND]) {
                break found;
            }
            ensure!(stopped.elapsed() < WITHIN, "the bare standby takes no writes after its promotion");
            tokio::time::sleep(POLL).await;
        };
        Ok(FloorRun {
            nodes: servers.len(),
            stop: (stopped - began).as_secs_f64(),
            promote: sent.saturating_duration_since(stopped).as_secs_f64(),
            insert: (acked - sent).as_secs_f64(),
        })
    }
}
