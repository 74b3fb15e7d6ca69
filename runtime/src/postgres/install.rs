//! Where the Postgres programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub bin_dir: PathBuf,
    /// 15, 16, ...
    pub major: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    #[error(
        "no PostgreSQL found in PATH or /usr/lib/postgresql; install it (apt-get install -y postgresql) or name its pg_ctl with --pgctl"
    )]
    Missing,
    #[error("{0} can't be used as pg_ctl: {1}; name the pg_ctl of a PostgreSQL installation")]
    Unusable(PathBuf, String),
    #[error("{0} is PostgreSQL {1}; pgbaton needs 15 or later")]
    TooOld(PathBuf, u32),
}

const OLDEST: u32 = 15;

/// The given `pg_ctl`, else the one in PATH, else the newest of Debian's versioned directories.
pub fn find_installation(pg_ctl: Option<&Path>) -> Result<Installation, InstallError> {
    if let Some(pg_ctl) = pg_ctl {
        return inspect(pg_ctl);
    }
    let in_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|dir| dir.join("pg_ctl")).find(|file| file.is_file()));
    // Debian's wrapper directory holds no server programs, so a pg_ctl there isn't taken at its word.
    if let Some(found) = in_path.and_then(|file| inspect(&file).ok()) {
        return Ok(found);
    }
    let newest = debian_versions(Path::new("/usr/lib/postgresql")).into_iter().max();
    match newest {
        Some((_, pg_ctl)) => inspect(&pg_ctl),
        None => Err(InstallError::Missing),
    }
}

fn debian_versions(base: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(base) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let pg_ctl = entry.path().join("bin/pg_ctl");
            pg_ctl.is_file().then_some((version, pg_ctl))
        })
        .collect()
}

fn inspect(pg_ctl: &Path) -> Result<Installation, InstallError> {
    let unusable = |why: String| InstallError::Unusable(pg_ctl.to_path_buf(), why);
    let real = std::fs::canonicalize(pg_ctl).map_err(|e| unusable(e.to_string()))?;
    let bin_dir = real.parent().ok_or_else(|| unusable("it has no directory".into()))?.to_path_buf();
    let postgres = bin_dir.join("postgres");
    let output = Command::new(&postgres)
        .arg("--version")
        .output()
        .map_err(|e| unusable(format!("{}: {e}", postgres.display())))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let major = parse_major(&text).ok_or_else(|| unusable(format!("postgres --version says \"{text}\"")))?;
    if major < OLDEST {
        return Err(InstallError::TooOld(bin_dir, major));
    }
    Ok(Installation { bin_dir, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, or `17beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once(") ")?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_a_wrong_program_is_named() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 17beta1"), Some(17));
        assert_eq!(parse_major("something else"), None);
        let error = find_installation(Some(Path::new("/nowhere/pg_ctl"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/pg_ctl"), "{error}");
    }
}
