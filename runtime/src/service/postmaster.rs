//! Finds the postmaster of a data directory, for commands that only look and never start or stop it.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Postmaster {
    pub pid: u32,
    pub port: Option<u16>,
}

/// `postmaster.pid` outlives a crash and its number may be used again, so the process must also be a
/// postgres whose working directory is this data directory (every postmaster goes there).
pub fn find(pgdata: &Path) -> Option<Postmaster> {
    let text = std::fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid: u32 = lines.next()?.trim().parse().ok()?;
    let port = lines.nth(2).and_then(|l| l.trim().parse().ok());
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let at_home = match std::fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(cwd) => std::fs::canonicalize(pgdata).is_ok_and(|home| home == cwd),
        // Not ours to look at: another user's process, which postgres' name must vouch for.
        Err(e) => e.kind() == std::io::ErrorKind::PermissionDenied,
    };
    (comm.trim() == "postgres" && at_home).then_some(Postmaster { pid, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_used_again_by_another_program_is_no_postmaster() {
        let dir = tempfile::tempdir().unwrap();
        let stale = format!("{}\n{}\n1700000000\n5432\n", std::process::id(), dir.path().display());
        std::fs::write(dir.path().join("postmaster.pid"), stale).unwrap();
        assert_eq!(find(dir.path()), None);
        assert_eq!(find(&dir.path().join("absent")), None);
    }
}
