//! Bringing a data directory back in line with its group: pg_rewind and pg_basebackup.

use super::access::PATIENCE;
use super::conf::REPLICATION_ROLE;
use super::create::stage;
use super::files::WithoutSignal;
use super::processes::clear_the_way;
use super::replication::Replication;
use super::{LocalPostgres, PostgresConfig, conf, files, tool};
use crate::disk;
use pgbaton_core::model::{ControlState, Directory, NodeId, Position, Timeline};
use pgbaton_core::ports::{PgError, Source};
use tokio::process::Command;
use tokio_postgres::NoTls;

impl LocalPostgres {
    pub(super) async fn run_rewind(&self, source: &Source) -> Result<(), PgError> {
        self.stopped("pg_rewind")?;
        // A single-user server, say, that an interrupted rewind has left behind.
        clear_the_way(&self.config).await?;
        files::private_dir(&self.config, &self.config.state_dir)?;
        conf::prepare(&self.config)?;
        // Single-user recovery, which pg_rewind runs on a crashed target, refuses standby.signal. Should the keeper die
        // meanwhile, an init system that starts this server would open it: our mark that it is being rebuilt keeps only
        // keepers from that. A target that was stopped in order is never without the signal.
        let directory = self.control.directory(&self.config).await;
        let stopped_in_order = matches!(
            &directory,
            Directory::Present(c) if matches!(c.state, ControlState::ShutDown | ControlState::ShutDownInRecovery)
        );
        files::remove_recovery_signal(&self.config)?;
        let away = if stopped_in_order { None } else { Some(WithoutSignal::take(&self.config)?) };
        let mut command = with_password(&self.config, "pg_rewind");
        let extra = [("dbname", "postgres".to_string())];
        command.arg("--target-pgdata").arg(&self.config.pgdata);
        command.arg("--source-server").arg(conf::tool_conninfo(source, &extra));
        let done = tool::run(&self.config, "pg_rewind", command, None).await;
        drop(away);
        // It has copied the source's files, also where that has no signal.
        let signal = files::put_standby_signal(&self.config);
        let done = done?;
        if !done.success {
            return Err(judge_rewind(&done.stderr));
        }
        signal?;
        if has_only_recovered(stopped_in_order, &done.stderr) {
            return Err(PgError::Condemned(
                "pg_rewind had nothing to do, and its recovery has written a checkpoint that the source doesn't have"
                    .into(),
            ));
        }
        // The source's files came along.
        conf::prepare(&self.config)?;
        match removed_by(source, &self.config).await {
            Some(begin) => Err(PgError::Condemned(format!(
                "pg_rewind is done, but recovery is to begin at {} on timeline {}, and the source has removed that WAL",
                begin.lsn, begin.tli
            ))),
            None => Ok(()),
        }
    }

    pub(super) async fn run_clone(&self, me: NodeId, source: &Source) -> Result<(), PgError> {
        self.stopped("pg_basebackup")?;
        clear_the_way(&self.config).await?;
        let staged = stage(&self.config, "clone").await?;
        self.check_room(source).await?;
        let mut command = with_password(&self.config, "pg_basebackup");
        command.arg("-d").arg(conf::tool_conninfo(source, &[]));
        command.arg("-D").arg(&staged.pgdata).args(["-X", "stream", "--checkpoint=fast", "--no-password"]);
        // While it is copied nothing else tells the slot that it may let WAL go.
        command.arg("-S").arg(me.standby_name()).arg("--status-interval=1");
        let done = tool::run(&self.config, "pg_basebackup", command, None).await?;
        if !done.success {
            let text = format!("pg_basebackup failed: {}", tool::last_lines(&done.stderr, 3));
            return Err(match done.stderr.contains("exists but is not empty") {
                true => PgError::Operator(format!("{text}; a tablespace of the source has its place taken here")),
                false => PgError::Retry(text),
            });
        }
        conf::write_upstream(&self.config, me, Some(source))?;
        files::put_standby_signal(&staged)?;
        conf::prepare(&staged)?;
        let config = self.config.clone();
        files::off_the_loop(move || files::swap_in(&config, &staged.pgdata)).await
    }
}

impl LocalPostgres {
    /// The old directory stays until the new one is whole, so both need room. What can't be found out is left to the
    /// copy itself.
    async fn check_room(&self, source: &Source) -> Result<(), PgError> {
        let size = tokio::time::timeout(PATIENCE, size_of(source, &self.config)).await;
        let needed = match size.unwrap_or_else(|_| Err("it doesn't answer in time".into())) {
            Ok(bytes) => bytes,
            Err(why) => {
                tracing::debug!("the size of the source isn't known: {why}");
                return Ok(());
            }
        };
        let dir = &self.config.state_dir;
        let free = disk::free_bytes(dir).map_err(|e| files::failed("look at", dir, &e))?;
        if free >= needed {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Err(PgError::Retry(format!(
            "no room for a copy of the source: it needs {} MiB in {}, beside what is there until it is whole, and {} MiB \
             are missing",
            mib(needed),
            dir.display(),
            mib(needed - free)
        )))
    }
}

/// Without its WAL, and without tablespaces that lie elsewhere. Whoever may log in is told that of the tablespace of the
/// database it is in.
async fn size_of(source: &Source, config: &PostgresConfig) -> Result<u64, String> {
    let mut wanted = tokio_postgres::Config::new();
    wanted.host(&source.host).port(source.port).user(REPLICATION_ROLE).dbname("postgres");
    wanted.password(&config.replication_password).connect_timeout(PATIENCE);
    let (client, connection) = wanted.connect(NoTls).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT pg_tablespace_size('pg_default')", &[]).await.map_err(|e| e.to_string())?;
    let bytes: i64 = row.try_get(0).map_err(|e| e.to_string())?;
    u64::try_from(bytes).map_err(|e| e.to_string())
}

/// Where recovery is to begin, by the label that pg_rewind has left, if the source has no WAL from there on: the server
/// would look for it for ever. An archive may have it; a copy of the source needs none.
async fn removed_by(source: &Source, config: &PostgresConfig) -> Option<Position> {
    let label = disk::read(&config.pgdata.join("backup_label")).ok()?;
    let begin = start_of_label(&label)?;
    let served = tokio::time::timeout(PATIENCE, async {
        Replication::to(source, &config.replication_password).await?.serves(begin).await
    });
    match served.await {
        Ok(Ok(served)) => (!served).then_some(begin),
        Ok(Err(e)) => {
            tracing::debug!("the source can't be asked for WAL: {e}");
            None
        }
        Err(_) => None,
    }
}

/// Of `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)`.
fn start_of_label(label: &str) -> Option<Position> {
    let line = label.lines().find_map(|line| line.strip_prefix("START WAL LOCATION: "))?;
    let (lsn, file) = line.split_once(" (file ")?;
    let tli = u32::from_str_radix(file.get(..8)?, 16).ok()?;
    Some(Position { tli: Timeline(tli), lsn: lsn.parse().ok()? })
}

/// Through the environment, which only the same user and root can read, unlike arguments.
fn with_password(config: &PostgresConfig, program: &str) -> Command {
    let mut command = tool::command(config, program);
    if config.auth != "trust" {
        command.env("PGPASSWORD", &config.replication_password);
    }
    command
}

/// Single-user recovery ends with a checkpoint record on the target's own timeline. Where no rewind follows that takes it
/// away, the directory has WAL of its own: a standby on it would skip what others have in that place.
fn has_only_recovered(stopped_in_order: bool, said: &str) -> bool {
    !stopped_in_order && said.contains("no rewind required")
}

/// Before it writes, a failure to reach the source may pass. Once it writes, any failure leaves a directory that
/// must never be started.
fn judge_rewind(stderr: &str) -> PgError {
    const OPERATOR: [&str; 3] = ["are from different systems", "ermission denied", "must be superuser"];
    const REACH: [&str; 7] = [
        "could not connect",
        "connection to server",
        "could not translate host name",
        "terminating connection",
        "server closed the connection",
        "no pg_hba.conf entry",
        "the database system is",
    ];
    let text = format!("pg_rewind failed: {}", tool::last_lines(stderr, 3));
    let any = |patterns: &[&str]| patterns.iter().any(|p| stderr.contains(p));
    let writes = stderr.contains("rewinding from last common checkpoint");
    match () {
        () if writes => PgError::Condemned(text),
        () if any(&OPERATOR) => PgError::Operator(text),
        () if any(&REACH) => PgError::Retry(text),
        () => PgError::Condemned(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_the_place_where_recovery_begins() {
        let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n";
        assert_eq!(start_of_label(label), Some(Position::new(1, 0x200_0028)));
        assert_eq!(start_of_label("CHECKPOINT LOCATION: 0/2000060"), None);
    }

    #[test]
    fn a_rewind_that_was_none_is_one_only_of_a_directory_that_was_stopped_in_order() {
        let none = "pg_rewind: source and target cluster are on the same timeline\npg_rewind: no rewind required";
        assert!(has_only_recovered(false, none) && !has_only_recovered(true, none));
        assert!(!has_only_recovered(
            false,
            "pg_rewind: rewinding from last common checkpoint at 0/2000060 on timeline 1"
        ));
    }

    #[test]
    fn a_rewind_that_has_begun_to_write_condemns_the_directory() {
        let judged = |text: &str| judge_rewind(text);
        let lost = "server closed the connection unexpectedly";
        assert!(matches!(judged(lost), PgError::Retry(_)));
        let begun = format!("pg_rewind: rewinding from last common checkpoint at 0/2000060 on timeline 1\n{lost}");
        assert!(matches!(judged(&begun), PgError::Condemned(_)));
        let ancestor = "could not find common ancestor of the source and target cluster's timelines";
        assert!(matches!(judged(ancestor), PgError::Condemned(_)));
        let foreign = "source and target clusters are from different systems";
        assert!(matches!(judged(foreign), PgError::Operator(_)));
    }
}
