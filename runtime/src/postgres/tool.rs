//! Postgres' own programs: found, run as the right user, ended with us, and their complaints kept.

use super::PostgresConfig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use pgbaton_core::ports::PgError;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a program left behind.
pub struct Finished {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A command that runs a program of the installation as the user Postgres runs as. Its messages are
/// in English, because they are read here.
pub fn command(config: &PostgresConfig, program: &str) -> Command {
    let mut command = Command::new(config.bin_dir.join(program));
    // A child that inherits root's working directory may not be allowed to enter it.
    command.current_dir(&config.state_dir).env("LC_ALL", "C.UTF-8").env("LC_MESSAGES", "C");
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_for_libpq(name)) {
        command.env_remove(name);
    }
    if let Some(user) = &config.run_as {
        // With a uid set and no groups named, std drops the supplementary groups of root as well.
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", &user.dir).env("USER", &user.name);
    }
    command
}

/// Whatever our caller has set for its own connections (`PGSSLMODE`, `PGPASSFILE`, ...) would change ours.
fn is_for_libpq(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"PG") && !name.starts_with(b"PG_OOM_ADJUST_")
}

pub fn not_started(program: &str, config: &PostgresConfig, e: &std::io::Error) -> PgError {
    let path = config.bin_dir.join(program);
    let text = format!("{} can't be run: {e}", path.display());
    match e.kind() {
        ErrorKind::NotFound => PgError::Operator(format!("{text}; install PostgreSQL (apt-get install -y postgresql)")),
        ErrorKind::PermissionDenied => PgError::Operator(text),
        _ => PgError::Retry(text),
    }
}

/// Kills a program with all its children: `pg_basebackup` has one that would stream on and hold the slot.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ended_meanwhile = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a command to its end. Dropping the future kills it. `Condemned` when it began and its end isn't known.
pub async fn run(
    config: &PostgresConfig,
    program: &str,
    mut command: Command,
    stdin: Option<String>,
) -> Result<Finished, PgError> {
    command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.process_group(0).spawn().map_err(|e| not_started(program, config, &e))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // A program that ends early breaks the pipe; its exit status says more than that.
        let _broken_pipe = pipe.write_all(text.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|e| PgError::Condemned(format!("{program} was lost: {e}")))?;
    group.0 = None;
    Ok(Finished {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The last lines that say something, in one line.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "it said nothing".to_string();
    }
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_for_connections_of_others_is_taken_away() {
        for name in ["PGDATA", "PGSSLMODE", "PGTARGETSESSIONATTRS", "PGPASSWORD", "PGBATON_MONITOR"] {
            assert!(is_for_libpq(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "LANG", "PG_OOM_ADJUST_FILE", "PG_OOM_ADJUST_VALUE"] {
            assert!(!is_for_libpq(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_last_lines_are_kept_in_order() {
        assert_eq!(last_lines("a\n\n b \nc\n", 2), "b | c");
        assert_eq!(last_lines("\n", 2), "it said nothing");
    }
}
