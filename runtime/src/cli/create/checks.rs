//! What must hold before anything is written.

use crate::cli::failure::{Code, Failure};
use crate::config::{self, ConfigError};
use crate::disk;
use nix::unistd::{User, geteuid};
use serde::de::DeserializeOwned;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::Path;

/// A directory that is absent or empty may be filled; anything else is somebody's data.
pub fn absent_or_empty(dir: &Path) -> Result<bool, Failure> {
    disk::is_empty_or_missing(dir).map_err(|e| {
        Failure::config(
            format!("\"{}\" can't be used as a data directory: {e}", dir.display()),
            "name a directory that is absent or empty",
        )
    })
}

/// The configuration of an earlier `create`, if there was one.
pub fn existing<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    match config::read(path) {
        Ok(config) => Ok(Some(config)),
        Err(ConfigError::Missing(_)) => Ok(None),
        Err(e) => Err(Failure::config(e, "correct the file, or remove it to create anew")),
    }
}

/// Settings handed in as a file of their own.
pub fn settings<T: DeserializeOwned>(path: Option<&Path>) -> Result<Option<T>, Failure> {
    let Some(path) = path else { return Ok(None) };
    config::read(path).map(Some).map_err(|e| Failure::config(e, "correct the file named with --settings"))
}

/// Nobody listens there, and this machine has the address.
pub fn port_is_free(host: &str, port: u16, option: &str) -> Result<(), Failure> {
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "*" | "" => "0.0.0.0",
        host => host,
    };
    let taken = |e: io::Error| {
        Failure::config(
            format!("can't listen on {host}:{port}: {e}"),
            format!("choose another with {option}, or stop the program that uses it"),
        )
    };
    // A server may be given several addresses; the first that this machine can't use is the answer.
    for one in host.split(',').map(str::trim) {
        let mut addresses = (one, port).to_socket_addrs().map_err(taken)?;
        addresses.try_for_each(|a| TcpListener::bind(a).map(drop)).map_err(taken)?;
    }
    Ok(())
}

/// Postgres refuses to run as root, so a keeper that is root runs it as another user.
pub fn run_as(asked: Option<String>) -> Option<String> {
    if geteuid().is_root() {
        let user = asked.unwrap_or_else(|| "postgres".to_string());
        tracing::info!("this is root: Postgres will run as user \"{user}\" (--run-as)");
        return Some(user);
    }
    if asked.is_some() {
        tracing::info!("--run-as has a meaning for root only; Postgres will run as this user");
    }
    None
}

/// Makes a directory that only its owner can enter: it holds the password of the replication role.
pub fn make_private(owner: Option<&User>, dir: &Path) -> Result<(), Failure> {
    disk::private_dir(owner, dir).map_err(|e| {
        Failure::new(
            Code::Config,
            format!("can't make directory \"{}\": {e}", dir.display()),
            "check the permissions of the directory above it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_refused_with_the_option_that_changes_it() {
        let held = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = held.local_addr().unwrap().port();
        for host in ["*", "127.0.0.1", "127.0.0.1,localhost"] {
            let failure = port_is_free(host, port, "--pgport").unwrap_err();
            assert!(failure.to_string().contains("--pgport"), "{host}: {failure}");
        }
        drop(held);
        port_is_free("*", port, "--pgport").unwrap();
    }

    #[test]
    fn only_absent_and_empty_directories_may_be_filled() {
        let dir = tempfile::tempdir().unwrap();
        assert!(absent_or_empty(dir.path()).unwrap());
        assert!(absent_or_empty(&dir.path().join("absent")).unwrap());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!absent_or_empty(dir.path()).unwrap());
        assert!(absent_or_empty(&dir.path().join("file")).is_err());
    }
}
