//! A new cluster. It is made beside its place and moved there finished, so an interrupted creation leaves
//! nothing that could be taken for a data directory.

use super::access::{hba_block, role_statements};
use super::conf::{Place, with_block};
use super::processes::end_tools;
use super::sql::{identifier, quoted};
use super::{LocalPostgres, PostgresConfig, conf, files, tool};
use crate::disk;
use pgbaton_core::ports::PgError;
use std::collections::BTreeSet;
use std::path::PathBuf;

impl LocalPostgres {
    pub(super) async fn create_cluster(&self) -> Result<(), PgError> {
        let config = &self.config;
        match disk::is_empty_or_missing(&config.pgdata) {
            Ok(true) => {}
            Ok(false) => return Err(PgError::Operator(format!("create: {} is not empty", config.pgdata.display()))),
            Err(e) => return Err(files::failed("read", &config.pgdata, &e)),
        }
        let staged = stage(config, "create").await?;
        init(&staged).await?;
        conf::prepare(&staged)?;
        let hba = staged.pgdata.join("pg_hba.conf");
        let text = files::read(&hba)?;
        let block = hba_block(&staged, &BTreeSet::new());
        files::update(&hba, &with_block(&text, &block, Place::Start))?;
        populate(&staged).await?;
        files::put_standby_signal(&staged)?;
        let config = self.config.clone();
        files::off_the_loop(move || files::swap_in(&config, &staged.pgdata)).await
    }
}

/// The same configuration on a directory in the making, which is empty afterwards.
pub async fn stage(config: &PostgresConfig, name: &str) -> Result<PostgresConfig, PgError> {
    files::private_dir(config, &config.state_dir)?;
    files::check_movable(config)?;
    let pgdata: PathBuf = config.state_dir.join(name);
    end_tools(&pgdata).await?;
    files::remove_tree(&pgdata)?;
    files::private_dir(config, &pgdata)?;
    Ok(PostgresConfig { pgdata, ..config.clone() })
}

async fn init(staged: &PostgresConfig) -> Result<(), PgError> {
    let mut command = tool::command(staged, "initdb");
    command.arg("-D").arg(&staged.pgdata).args(["-U", "postgres", "--data-checksums", "--encoding=UTF8"]);
    // The order of a locale of the operating system changes with its version, and then differs between nodes.
    command.args(["--locale=C.UTF-8", "--auth-local=trust"]).arg(format!("--auth-host={}", staged.auth));
    if staged.auth != "trust" {
        // initdb insists on a superuser's password here. Over the socket none is asked for, so a random one will do.
        let path = staged.state_dir.join("initdb-password");
        let password: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        files::write_for_now(&path, &password)?;
        command.arg("--pwfile").arg(&path);
    }
    let done = tool::run(staged, "initdb", command, None).await;
    files::remove(&staged.state_dir.join("initdb-password"))?;
    let done = done?;
    if done.success {
        return Ok(());
    }
    Err(PgError::Retry(format!("initdb failed: {}", tool::last_lines(&done.stderr, 3))))
}

/// In single-user mode: no port, no socket, nobody who could connect to a half-made cluster. It ends with a
/// shutdown checkpoint.
async fn populate(staged: &PostgresConfig) -> Result<(), PgError> {
    let mut statements = role_statements(staged, true);
    if staged.dbname != "postgres" {
        statements.push(format!("CREATE DATABASE {}", identifier(&staged.dbname)));
    }
    if let Some(bad) = statements.iter().find(|s| s.contains('\n')) {
        let name = quoted(bad);
        return Err(PgError::Operator(format!("names and passwords must not have line breaks: {name}")));
    }
    let mut command = tool::command(staged, "postgres");
    command.args(["--single", "-c", "exit_on_error=on", "-c", "log_destination=stderr", "-D"]);
    command.arg(&staged.pgdata).arg("postgres");
    let script = statements.join("\n") + "\n";
    let done = tool::run(staged, "postgres", command, Some(script)).await?;
    if done.success {
        return Ok(());
    }
    Err(PgError::Retry(format!("the new cluster can't be set up: {}", tool::last_lines(&done.stderr, 3))))
}
