//! A server in the hands of pgbaton's own port, for facts that are about it.

use super::Server;
use super::version::user;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgbaton::postgres::{LocalPostgres, PostgresConfig};
use std::ops::Deref;
use std::time::{Duration, Instant};

/// Its server ends with it.
pub struct Ported(LocalPostgres);

impl Deref for Ported {
    type Target = LocalPostgres;

    fn deref(&self) -> &LocalPostgres {
        &self.0
    }
}

impl Ported {
    /// On the directory of a server that was never started.
    pub fn on(server: &Server) -> Ported {
        Ported(LocalPostgres::new(PostgresConfig {
            bin_dir: server.version.bin.clone(),
            pgdata: server.pgdata.clone(),
            port: server.port,
            listen: "127.0.0.1".into(),
            run_as: user(),
            auth: "trust".into(),
            replication_password: "secret".into(),
            dbname: "postgres".into(),
            state_dir: server.pgdata.with_extension("pgbaton"),
        }))
    }
}

impl Drop for Ported {
    fn drop(&mut self) {
        let Some(pid) = self.postmaster_pid() else { return };
        let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        let give_up = Instant::now() + Duration::from_secs(10);
        while self.postmaster_pid().is_some() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
