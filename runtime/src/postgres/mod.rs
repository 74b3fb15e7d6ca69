//! The port `Postgres` on a real server. One file, one idea:
//! `processes` the postmaster as a process, `sql` talking to it, `look` what is seen, `run` start and stop,
//! `standby` following, sealing, promoting, `numbers` of timelines, `stranded` why nothing arrives, `probe` whether the
//! disk takes writes, `access` who may connect and what commits
//! wait for, `slots` whose WAL is kept, `wal` the log of a stopped server, `create` and `rebuild` new data directories,
//! `conf`, `control`, `files`, `replication`, `tool`, `watch` the means; `apart` keeps all of it off the keeper's loop.

mod access;
mod apart;
mod conf;
mod control;
mod create;
mod files;
mod install;
mod look;
mod numbers;
mod probe;
mod processes;
mod rebuild;
mod replication;
mod run;
mod slots;
mod sql;
mod standby;
mod stranded;
mod tool;
mod wal;
mod watch;

pub use apart::Apart;
pub use conf::{REPLICATION_ROLE, fixed as fixed_settings, names_on_disk, upstream_on_disk};
pub use control::{control_file, history_file, parse_history};
pub use install::{InstallError, Installation, find_installation};
pub use processes::is_doomed;
pub use watch::{DirWatch, ProcessWatch, registered};

use nix::unistd::User;
use pgbaton_core::model::{Facts, Lsn, NodeId, Peer, Position, Timeline, Upstream};
use pgbaton_core::ports::{Names, PgError, Postgres, Source, StartAs, StopMode};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub struct PostgresConfig {
    pub bin_dir: PathBuf,
    pub pgdata: PathBuf,
    pub port: u16,
    /// `listen_addresses`.
    pub listen: String,
    /// Whom Postgres runs as; needed when the keeper is root, which Postgres refuses to be.
    pub run_as: Option<User>,
    /// Method of pg_hba.conf for nodes of the group: `trust` or `scram-sha-256`.
    pub auth: String,
    pub replication_password: String,
    /// Made at creation, for the application.
    pub dbname: String,
    /// Beside PGDATA, on the same file system, because PGDATA is replaced whole by a clone.
    pub state_dir: PathBuf,
}

impl PostgresConfig {
    /// A Unix socket's path is limited to 107 bytes; where the state directory lies too deep, a private
    /// directory in /tmp serves. Its name follows from PGDATA, so that a restarted keeper finds it.
    pub fn socket_dir(&self) -> PathBuf {
        const LONGEST: usize = 107;
        let dir = self.state_dir.join("socket");
        let socket = dir.join(format!(".s.PGSQL.{}.lock", self.port));
        if socket.as_os_str().len() <= LONGEST {
            return dir;
        }
        let mut hasher = DefaultHasher::new();
        self.pgdata.hash(&mut hasher);
        PathBuf::from(format!("/tmp/pgbaton-{:016x}", hasher.finish()))
    }

    pub fn log_file(&self) -> PathBuf {
        self.state_dir.join("postgres.log")
    }

    fn conf_dir(&self) -> PathBuf {
        self.state_dir.join("conf")
    }

    fn seal_dir(&self) -> PathBuf {
        self.state_dir.join("seal")
    }
}

/// The local data directory and server.
pub struct LocalPostgres {
    config: Arc<PostgresConfig>,
    processes: processes::Processes,
    control: control::ControlCache,
    /// Looks have a connection of their own, so that they never wait behind a checkpoint.
    watching: sql::Session,
    working: sql::Session,
    in_force: Mutex<Option<access::InForce>>,
    admitted: Mutex<Option<access::Admitted>>,
    /// As told last; a server adopted from an earlier keeper is followed up before this is needed.
    following: Mutex<Option<Upstream>>,
    questions: stranded::Questions,
    disk: probe::DiskProbe,
    renewal: slots::Renewal,
    rebuilding: Arc<tokio::sync::Mutex<()>>,
}

impl LocalPostgres {
    /// Touches nothing yet.
    pub fn new(config: PostgresConfig) -> LocalPostgres {
        let config = Arc::new(config);
        LocalPostgres {
            processes: processes::Processes::default(),
            control: control::ControlCache::default(),
            watching: sql::Session::new(config.clone()),
            working: sql::Session::new(config.clone()),
            in_force: Mutex::new(None),
            admitted: Mutex::new(None),
            following: Mutex::new(None),
            questions: stranded::Questions::default(),
            disk: probe::DiskProbe::default(),
            renewal: slots::Renewal::default(),
            rebuilding: Arc::default(),
            config,
        }
    }

    pub fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Held while a data directory is made or changed as a whole: who cuts that short makes it start over.
    pub fn rebuilding(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.rebuilding.clone()
    }

    /// The process id of the running postmaster.
    pub fn postmaster_pid(&self) -> Option<i32> {
        self.processes.postmaster(&self.config).map(|p| p.pid)
    }

    fn running(&self, what: &str) -> Result<processes::Postmaster, PgError> {
        let postmaster = self.processes.postmaster(&self.config);
        postmaster.ok_or_else(|| PgError::Retry(format!("{what}: the server isn't running")))
    }

    fn stopped(&self, what: &str) -> Result<(), PgError> {
        match self.processes.postmaster(&self.config) {
            None => Ok(()),
            Some(p) => Err(PgError::Retry(format!("{what} needs a stopped server, but postmaster {} runs", p.pid))),
        }
    }

    /// Waits for a server's own work, however long it takes, but not beyond the server's life.
    async fn while_alive<T>(
        &self,
        what: &str,
        postmaster: &processes::Postmaster,
        work: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T, PgError> {
        tokio::select! {
            biased;
            result = work => result,
            () = postmaster.gone() => Err(PgError::Retry(format!(
                "{what}: the server has ended: {}", run::log_tail(&self.config, 0)
            ))),
        }
    }
}

impl Postgres for LocalPostgres {
    async fn look(&self) -> Facts {
        self.look_at_all().await
    }

    async fn changed(&self) {
        self.processes.events.notified().await;
    }

    async fn create(&self) -> Result<(), PgError> {
        let _whole = self.rebuilding.lock().await;
        self.create_cluster().await
    }

    async fn recover(&self) -> Result<(), PgError> {
        self.recover_alone().await
    }

    async fn start(&self, role: StartAs) -> Result<(), PgError> {
        self.start_server(role).await
    }

    async fn stop(&self, mode: StopMode) -> Result<(), PgError> {
        self.stop_server(mode).await
    }

    async fn follow(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        self.follow_upstream(me, upstream).await
    }

    async fn seal(&self) -> Result<Position, PgError> {
        self.seal_wal().await
    }

    async fn replayed_past(&self, lsn: Lsn) -> Result<(), PgError> {
        self.wait_for_replay(lsn).await
    }

    async fn holds(&self, lsn: Lsn) -> Result<(), PgError> {
        self.wait_for_wal(lsn).await
    }

    async fn advance_slots(&self, lsn: Lsn) -> Result<(), PgError> {
        self.move_slots(lsn).await
    }

    async fn set_names(&self, names: &Names) -> Result<(), PgError> {
        self.write_names(names)
    }

    async fn names_shown(&self) -> Result<(), PgError> {
        self.until_names_are_shown().await
    }

    async fn names_in_force(&self) -> Result<(), PgError> {
        self.until_names_are_in_force().await
    }

    async fn promote(&self, timeline: Timeline) -> Result<(), PgError> {
        self.end_recovery(timeline).await
    }

    async fn checkpoint(&self) -> Result<(), PgError> {
        self.run_checkpoint().await
    }

    async fn admit(&self, peers: &[Peer]) -> Result<(), PgError> {
        self.admit_peers(peers).await
    }

    async fn wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.find_wal_past(fork).await
    }

    async fn keep_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        self.copy_wal_aside(fork, end).await
    }

    async fn rewind(&self, source: &Source) -> Result<(), PgError> {
        let _whole = self.rebuilding.lock().await;
        self.run_rewind(source).await
    }

    async fn clone_from(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        let _whole = self.rebuilding.lock().await;
        self.run_clone(me, source).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_that_would_be_too_long_is_replaced_by_a_short_one() {
        let config = |base: &str| PostgresConfig {
            bin_dir: "/usr/bin".into(),
            pgdata: format!("{base}/node").into(),
            port: 5432,
            listen: "*".into(),
            run_as: None,
            auth: "trust".into(),
            replication_password: String::new(),
            dbname: "postgres".into(),
            state_dir: format!("{base}/node.pgbaton").into(),
        };
        assert_eq!(config("/srv").socket_dir(), PathBuf::from("/srv/node.pgbaton/socket"));
        let deep = config(&format!("/{}", "d".repeat(90)));
        assert!(deep.socket_dir().starts_with("/tmp"), "{:?}", deep.socket_dir());
        assert_eq!(deep.socket_dir(), deep.socket_dir());
        assert_ne!(deep.socket_dir(), config(&format!("/{}", "e".repeat(90))).socket_dir());
    }
}
