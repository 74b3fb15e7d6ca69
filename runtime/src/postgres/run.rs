//! Starting and stopping the server.

use super::processes::{PidFile, Postmaster, clear_the_way, end_orphans, kill_server};
use super::watch::DirWatch;
use super::{LocalPostgres, PostgresConfig, conf, files, numbers, tool};
use crate::disk;
use files::WithoutSignal;
use nix::sys::signal::Signal;
use pgbaton_core::model::{Control, Directory};
use pgbaton_core::ports::{PgError, StartAs, StopMode};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::pin::pin;
use std::time::Duration;

/// Crash recovery takes the time it takes. This bounds one call only: the server goes on, and the next
/// call waits on.
const LONGEST_START: Duration = Duration::from_secs(120);

/// A disk that is well does what is asked of it in less.
const GLANCE: Duration = Duration::from_millis(200);

impl LocalPostgres {
    pub(super) async fn start_server(&self, role: StartAs) -> Result<(), PgError> {
        if let Some(postmaster) = self.processes.postmaster(&self.config) {
            self.ready(&postmaster, 0).await?;
            return files::put_standby_signal(&self.config);
        }
        self.make_ready("start").await?;
        match role {
            StartAs::Standby => {
                files::put_standby_signal(&self.config)?;
                self.start_and_wait().await
            }
            StartAs::Primary => {
                // Back before the call ends in any way: the server reads it once, early in its start.
                let away = WithoutSignal::take(&self.config)?;
                let started = self.start_and_wait().await;
                away.put_back()?;
                started
            }
        }
    }

    /// In single-user mode: no port, no socket. Without statements it does nothing but recover and check point.
    pub(super) async fn recover_alone(&self) -> Result<(), PgError> {
        self.stopped("recovery")?;
        self.make_ready("recover").await?;
        let mut command = tool::command(&self.config, "postgres");
        command.args(["--single", "-c", "log_destination=stderr", "-c", "logging_collector=off", "-D"]);
        command.arg(&self.config.pgdata).arg("postgres");
        let control = self.config.pgdata.join("global/pg_control");
        let written = || fs::metadata(&control).and_then(|m| m.modified()).ok();
        let watch = DirWatch::new(&self.config.pgdata.join("global"));
        let watch = watch.map_err(|e| files::failed("watch", &control, &e))?;
        let before = written();
        let away = WithoutSignal::take(&self.config)?;
        let mut run = pin!(tool::run(&self.config, "postgres", command, None));
        // It is read once, before recovery is noted in the control file. Should the keeper die amid that, an init system
        // that starts this server would open it.
        let begun = async { while written() == before && watch.changed().await.is_ok() {} };
        let done = tokio::select! {
            biased;
            done = &mut run => Some(done),
            () = begun => None,
        };
        away.put_back()?;
        let done = match done {
            Some(done) => done,
            None => run.await,
        };
        match done {
            Ok(done) if done.success => Ok(()),
            Ok(done) => Err(PgError::Retry(format!("recovery failed: {}", tool::last_lines(&done.stderr, 3)))),
            // Recovery cut short begins anew.
            Err(PgError::Condemned(lost)) => Err(PgError::Retry(lost)),
            Err(e) => Err(e),
        }
    }

    /// Whatever an earlier server or tool has left behind is out of the way.
    async fn make_ready(&self, what: &str) -> Result<(), PgError> {
        let fit = fit(self.control.directory(&self.config).await);
        let control = fit.map_err(|problem| PgError::Operator(format!("{what}: {problem}")))?;
        clear_the_way(&self.config).await?;
        numbers::release_above(&self.config, control.history.tli)?;
        conf::prepare(&self.config)?;
        files::remove_recovery_signal(&self.config)?;
        files::remove(&self.config.conf_dir().join("pgbaton-seal.conf")).map(drop)
    }

    async fn start_and_wait(&self) -> Result<(), PgError> {
        let log_from = fs::metadata(self.config.log_file()).map_or(0, |m| m.len());
        let postmaster = self.processes.spawn(&self.config).await?;
        self.ready(&postmaster, log_from).await
    }

    /// Ends when the server takes connections, which it writes to its pid file.
    async fn ready(&self, postmaster: &Postmaster, log_from: u64) -> Result<(), PgError> {
        let pgdata = &self.config.pgdata;
        let watch = DirWatch::new(pgdata).map_err(|e| files::failed("watch", pgdata, &e))?;
        let is_ready = || PidFile::read(pgdata).is_some_and(|f| f.pid == postmaster.pid && f.status == "ready");
        let waiting = async {
            while !is_ready() {
                watch.changed().await.map_err(|e| files::failed("watch", pgdata, &e))?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            result = waiting => result,
            () = postmaster.gone() => Err(PgError::Retry(format!(
                "the server ended while it started: {}", log_tail(&self.config, log_from)
            ))),
            () = tokio::time::sleep(LONGEST_START) => Err(PgError::Retry(format!(
                "the server is still starting, it says: {}", log_tail(&self.config, log_from)
            ))),
        }
    }

    pub(super) async fn stop_server(&self, mode: StopMode) -> Result<(), PgError> {
        let shut = self.shut().await;
        match mode {
            // What can't be read is no reason to wait.
            StopMode::Immediate if shut.is_err() || !self.shuts_down().await => {
                kill_server(&self.config.pgdata, self.processes.postmaster(&self.config)).await;
                Ok(())
            }
            StopMode::Fast | StopMode::Immediate => {
                if let Some(postmaster) = self.processes.postmaster(&self.config) {
                    // However long it takes: the shutdown checkpoint is what a lossless handover stands on.
                    postmaster.signal(Signal::SIGINT);
                    postmaster.gone().await;
                }
                end_orphans(&self.config.pgdata).await?;
                match shut {
                    Ok(()) => Ok(()),
                    Err(_) => self.shut().await,
                }
            }
        }
    }

    /// A disk that takes no file, or stalls, must not keep a server open that is to be closed.
    async fn shut(&self) -> Result<(), PgError> {
        let config = self.config.clone();
        let shut = files::off_the_loop(move || files::put_standby_signal(&config));
        let late = |_| PgError::Retry("standby.signal could not be put in place in time: is the disk stuck?".into());
        let shut = tokio::time::timeout(GLANCE, shut).await.map_err(late).flatten();
        if let Err(e) = &shut {
            tracing::warn!("a server that somebody starts here now is open: {e}");
        }
        shut
    }

    /// A running server is being stopped, and has no session left.
    async fn shuts_down(&self) -> bool {
        let runs = self.processes.postmaster(&self.config).is_some();
        let read = tokio::time::timeout(GLANCE, self.control.read(&self.config)).await;
        runs && read.is_ok_and(|control| control.is_ok_and(|control| control.shuts_down))
    }
}

fn fit(directory: Directory) -> Result<Control, String> {
    match directory {
        Directory::Present(control) => Ok(control),
        Directory::Absent => Err("there is no data directory".to_string()),
        Directory::Unusable { reason } => Err(reason),
    }
}

/// The last lines of the server's log, from this byte on.
pub fn log_tail(config: &PostgresConfig, from: u64) -> String {
    const MOST: u64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = disk::open_to_read(&config.log_file())?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(MOST)).min(end)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => tool::last_lines(&text, 3),
        Err(e) => format!("{} can't be read: {e}", config.log_file().display()),
    }
}
