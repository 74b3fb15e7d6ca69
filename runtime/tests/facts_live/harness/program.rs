//! Running Postgres' own programs as the user that Postgres accepts.

use super::version::user;
use nix::unistd::chown;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    /// Standard output and standard error.
    pub text: String,
}

pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGSERVICE", "PGAPPNAME"] {
        command.env_remove(name);
    }
    if let Some(user) = user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).env("HOME", &user.dir).env("USER", &user.name);
    }
    command
}

/// Ends with the future.
pub async fn run(command: Command) -> Finished {
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Finished { success: output.status.success(), text }
}

pub fn succeeds(command: Command) {
    succeeds_with(command, "");
}

pub fn succeeds_with(mut command: Command, input: &str) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    // Dropped at once, so that the program sees its end.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Owned by the user of the servers. In memory where there is much of it: hundreds of clusters are copied, and no
/// fact is about what a real disk keeps.
pub fn temporary_dir() -> tempfile::TempDir {
    const MUCH: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
    let base = if free > MUCH { memory } else { Path::new("/tmp") };
    let dir = tempfile::Builder::new().prefix("pgbaton-facts-").tempdir_in(base).unwrap();
    give_away(dir.path());
    dir
}

pub fn give_away(path: &Path) {
    if let Some(user) = user() {
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}
