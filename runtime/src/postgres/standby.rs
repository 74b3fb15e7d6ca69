//! A standby: whom it follows, when it certainly follows nobody any more, and how it becomes a primary.

use super::processes::is_server_process;
use super::sql::SqlError;
use super::watch::DirWatch;
use super::{LocalPostgres, conf, files, numbers, replication};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgbaton_core::model::{Lsn, NodeId, Position, Timeline, Upstream};
use pgbaton_core::ports::PgError;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

/// Replay and promotion raise no event that could be waited for from outside.
const POLL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(5);
/// A server that hasn't acted on new settings by then is asked whether it could read them.
pub(super) const SUSPICION: Duration = Duration::from_secs(1);

impl LocalPostgres {
    pub(super) async fn follow_upstream(&self, me: NodeId, upstream: Option<&Upstream>) -> Result<(), PgError> {
        conf::write_upstream(&self.config, me, upstream)?;
        files::remove(&self.seal_conf())?;
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = upstream.cloned();
        // Also when nothing has changed: who wrote it may have died before the signal.
        if let Some(postmaster) = self.processes.postmaster(&self.config) {
            postmaster.signal(Signal::SIGHUP);
            if upstream.is_some() {
                // Else it would go on with its old upstream, and nobody would signal again once the file is mended.
                self.complain_about_configuration("follow").await?;
            }
        }
        Ok(())
    }

    fn seal_conf(&self) -> PathBuf {
        self.config.conf_dir().join("pgbaton-seal.conf")
    }

    /// Proves that the WAL receiver is gone for good and that all WAL held is replayed.
    ///
    /// That the receiver isn't seen proves nothing: the startup process, which launches it, may not have read
    /// the emptied `primary_conninfo` yet. So a `restore_command` is written as well, one never used before,
    /// which notes the name of the segment it is asked for and fails. The startup process reads both settings
    /// in one go, and before it turns to the archive it ends the receiver. The first note therefore proves that
    /// no receiver runs and none will.
    ///
    /// The same segment noted twice proves the end of WAL: between the two the startup process has failed to find
    /// a next record in the archive, in pg_wal and by streaming, and it goes through this circle only when
    /// everything read before is replayed. (Before it takes connections a server reads some segments twice; so it is
    /// asked for its role first.) The receive position is no help there: it is unknown after a restart,
    /// and it may end inside a record. Each reload wakes the startup process from its pause between circles. It alone is
    /// told: a reload of all processes, six times in a row, is work that a promotion waits for.
    pub(super) async fn seal_wal(&self) -> Result<Position, PgError> {
        let postmaster = self.running("seal")?;
        if !conf::follows_nobody(&self.config) {
            return Err(PgError::Retry("seal: the node still follows an upstream".into()));
        }
        let startup = self.while_alive("seal", &postmaster, self.startup_process()).await?;
        let sealed = self.while_alive("seal", &postmaster, self.seal_running(startup)).await;
        // Without this the startup process would go on to run the command every 100 ms.
        files::remove(&self.seal_conf())?;
        self.reload_one(startup);
        sealed
    }

    /// Of one process, which reads the files itself.
    fn reload_one(&self, pid: i32) {
        if is_server_process(pid, &self.config.pgdata) {
            let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGHUP);
        }
    }

    async fn seal_running(&self, startup: i32) -> Result<Position, PgError> {
        // A restore_command of somebody else would be asked instead of ours, and go on to bring WAL after the seal.
        conf::take_the_last_word(&self.config)?;
        // Somebody may have paused it, or holds it back; what is sealed must be replayed.
        self.working.query("SELECT pg_wal_replay_resume()", PATIENCE).await.map_err(|e| e.during("seal"))?;
        self.end_apply_delay().await?;
        let dir = self.config.seal_dir();
        files::private_dir(&self.config, &dir)?;
        remove_notes(&dir);
        let notes = dir.join(format!("{:016x}", rand::random::<u64>()));
        let watch = DirWatch::new(&dir).map_err(|e| files::failed("watch", &dir, &e))?;
        let setting = format!("restore_command = {}\n", conf::value(&noting_command(&notes)));
        files::write_for_now(&self.seal_conf(), &setting)?;
        self.reload_one(startup);
        let mut seen = 0;
        loop {
            let text = fs::read_to_string(&notes).unwrap_or_default();
            if has_circled(&text) {
                break;
            }
            if text.len() > seen {
                seen = text.len();
                self.reload_one(startup);
            }
            match tokio::time::timeout(SUSPICION, watch.changed()).await {
                Ok(changed) => changed.map_err(|e| files::failed("watch", &dir, &e))?,
                Err(_) => self.complain_about_configuration("seal").await?,
            }
        }
        remove_notes(&dir);
        self.sealed_position().await
    }

    /// Postgres reads the delay anew while it waits, so the reload that begins the proof ends a wait that has begun.
    /// Our own files say zero: what says otherwise is read after them, and only `ALTER SYSTEM` is read after that. It
    /// may have been written without a reload, and would come into force with ours.
    async fn end_apply_delay(&self) -> Result<(), PgError> {
        const QUERY: &str = "
            SELECT current_setting('recovery_min_apply_delay') AS now,
                   (SELECT setting FROM pg_file_settings WHERE name = 'recovery_min_apply_delay'
                     ORDER BY seqno DESC LIMIT 1) AS written";
        const END: &str = "ALTER SYSTEM SET recovery_min_apply_delay = 0";
        let rows = self.working.query(QUERY, PATIENCE).await.map_err(|e| e.during("seal"))?;
        let column = |name: &str| rows.first().and_then(|row| row.get(name)).unwrap_or("0").to_string();
        let (now, written) = (column("now"), column("written"));
        let Some(delay) = [&now, &written].into_iter().find(|delay| *delay != "0") else {
            return Ok(());
        };
        tracing::warn!("recovery_min_apply_delay was {delay} and is set to 0, because this node gives its vote");
        self.working.query(END, PATIENCE).await.map(drop).map_err(|e| e.during("seal"))
    }

    /// Postgres ignores a configuration with an error in it as a whole, and says so only in its log.
    pub(super) async fn complain_about_configuration(&self, what: &str) -> Result<(), PgError> {
        const QUERY: &str = "SELECT string_agg(format('%s line %s: %s', sourcefile, sourceline, error), '; ')
              FROM pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied'";
        let rows = self.working.query(QUERY, PATIENCE).await.map_err(|e| e.during(what))?;
        match rows.first().and_then(|row| row.get(0)) {
            Some(errors) => Err(PgError::Operator(format!("{what}: Postgres can't read its configuration: {errors}"))),
            None => Ok(()),
        }
    }

    /// There is one as long as the server is in recovery.
    async fn startup_process(&self) -> Result<i32, PgError> {
        const QUERY: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup' AND pg_is_in_recovery()";
        let rows = self.working.query(QUERY, PATIENCE).await.map_err(|e| e.during("seal"))?;
        let pid = rows.first().and_then(|row| row.get(0)?.parse().ok());
        pid.ok_or_else(|| PgError::Retry("seal: the server is not in recovery".into()))
    }

    /// A receiver that was launched just before its end was decided finds that out by itself and exits.
    async fn sealed_position(&self) -> Result<Position, PgError> {
        const QUERY: &str = "
            SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walreceiver') AS receivers,
                   pg_last_wal_replay_lsn() AS replayed, current_setting('primary_conninfo') AS conninfo";
        loop {
            let rows = self.working.query(QUERY, PATIENCE).await.map_err(|e| e.during("seal"))?;
            let row = rows.first().ok_or_else(|| PgError::Retry("seal: the server says nothing".into()))?;
            let column = |name: &str| row.get(name).unwrap_or_default();
            if column("receivers") != "0" {
                tokio::time::sleep(POLL).await;
                continue;
            }
            if !column("conninfo").is_empty() {
                return Err(PgError::Operator("seal: primary_conninfo is set elsewhere, remove it there".into()));
            }
            let unread = |what: &str| PgError::Retry(format!("seal: the server's {what} can't be read"));
            let lsn: Lsn = column("replayed").parse().map_err(|_| unread("replay position"))?;
            let tli = replication::replayed_timeline(&self.config).await;
            let tli = tli.map_err(|e| PgError::Retry(format!("seal: the timeline can't be read: {e}")))?;
            return Ok(Position { tli, lsn });
        }
    }

    pub(super) async fn wait_for_replay(&self, lsn: Lsn) -> Result<(), PgError> {
        let postmaster = self.running("wait for replay")?;
        let sql = format!(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END \
             > '{lsn}'::pg_lsn)::int AS past"
        );
        self.while_alive("wait for replay", &postmaster, self.until(&sql, "wait for replay")).await
    }

    pub(super) async fn wait_for_wal(&self, lsn: Lsn) -> Result<(), PgError> {
        let postmaster = self.running("wait for WAL")?;
        let sql = format!(
            "SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= '{lsn}'::pg_lsn)::int AS held"
        );
        self.while_alive("wait for WAL", &postmaster, self.until(&sql, "wait for WAL")).await
    }

    pub(super) async fn end_recovery(&self, timeline: Timeline) -> Result<(), PgError> {
        let postmaster = self.running("promote")?;
        files::remove(&self.seal_conf())?;
        let own = replication::replayed_timeline(&self.config).await;
        let own = own.map_err(|e| PgError::Retry(format!("promote: the timeline can't be read: {e}")))?;
        numbers::take_below(&self.config, own, timeline)?;
        files::put_recovery_signal(&self.config)?;
        let promotion = async {
            // Told not to wait: the server would look every 100 ms.
            const PROMOTE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_promote(false) END";
            self.working.query(PROMOTE, PATIENCE).await.map_err(|e| e.during("promote"))?;
            self.until("SELECT (NOT pg_is_in_recovery())::int", "promote").await
        };
        let promoted = self.while_alive("promote", &postmaster, promotion).await;
        // Postgres removes the file at the end of recovery.
        files::put_standby_signal(&self.config)?;
        promoted?;
        files::remove_recovery_signal(&self.config)
    }

    /// Asks until the answer is 1.
    async fn until(&self, sql: &str, what: &str) -> Result<(), PgError> {
        loop {
            match self.working.query(sql, PATIENCE).await {
                Ok(rows) if rows.first().and_then(|row| row.get(0)) == Some("1") => return Ok(()),
                // A connection may fail while the server changes its state; its end is watched apart.
                Ok(_) | Err(SqlError::Broken(_) | SqlError::NotYet) => tokio::time::sleep(POLL).await,
                Err(e) => return Err(e.during(what)),
            }
        }
    }

    pub(super) async fn run_checkpoint(&self) -> Result<(), PgError> {
        let postmaster = self.running("checkpoint")?;
        let work = async { self.working.run("CHECKPOINT").await.map(drop).map_err(|e| e.during("checkpoint")) };
        self.while_alive("checkpoint", &postmaster, work).await
    }
}

fn remove_notes(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let _gone_already = fs::remove_file(entry.path());
    }
}

/// For the shell, which Postgres runs it with; it replaces `%f` and takes `%%` for a percent sign.
fn noting_command(notes: &Path) -> String {
    let path = notes.to_string_lossy().replace('\'', r"'\''").replace('%', "%%");
    format!("echo %f >> '{path}'; exit 1")
}

/// Whether some segment was asked for twice. Histories are asked for as well and don't count.
fn has_circled(notes: &str) -> bool {
    let mut asked = BTreeSet::new();
    let mut segments = notes.lines().filter(|name| name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit()));
    segments.any(|name| !asked.insert(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_one_segment_asked_for_twice() {
        let (a, b) = ("000000010000000000000003", "000000010000000000000004");
        assert!(!has_circled(&format!("00000002.history\n{a}\n00000002.history\n{b}\n")));
        assert!(has_circled(&format!("{a}\n00000002.history\n{a}\n")));
        assert!(!has_circled(&format!("{a}\n{}", &a[..20])));
        assert_eq!(noting_command(Path::new("/a'b/5%")), r"echo %f >> '/a'\''b/5%%'; exit 1");
    }
}
