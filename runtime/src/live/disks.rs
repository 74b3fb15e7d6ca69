//! Small disks for nodes whose disk a story fills: file systems in memory, which only root may mount. A node's data
//! directory, its keeper's store and what they stage lie on one disk, as a clone must be moved into its place. The
//! server's log lies elsewhere, for the witness must not go blind with the node.

use anyhow::{Context, Result, bail};
use nix::unistd::{User, chown, geteuid};
use pgbaton_core::scenario::verb::{OnDisk, Whose};
use pgbaton_core::scenario::{Scenario, Verb};
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for a data directory, a second one while it is cloned, and the WAL of a short story.
const TMPFS: [&str; 5] = ["-t", "tmpfs", "-o", "size=768m,mode=755", "pgbaton-live"];
const FILLING: &str = "filling";

/// Unmounts when it is dropped, whatever way the run ends.
#[derive(Debug, Default)]
pub struct Disks(Vec<PathBuf>);

impl Disks {
    /// A disk for every node if the story fills any: who is hit is known only when the step fires.
    pub fn mount(base: &Path, scenario: &Scenario) -> Result<Disks> {
        let mut disks = Disks::default();
        if !fills(scenario) {
            return Ok(disks);
        }
        can_mount()?;
        let user = User::from_name("postgres")?;
        for name in &scenario.nodes() {
            let home = base.join(name);
            std::fs::create_dir_all(&home)?;
            mount(&TMPFS.map(OsStr::new), &home)?;
            disks.0.push(home.clone());
            let state_dir = crate::service::Places::node(&home.join("pgdata")).state_dir;
            std::fs::create_dir(&state_dir)?;
            for dir in [&home, &state_dir] {
                if let Some(user) = &user {
                    chown(dir, Some(user.uid), Some(user.gid))?;
                }
            }
            let log = log_elsewhere(base, name);
            std::fs::create_dir_all(base.join("log"))?;
            File::create(&log)?;
            let shown = state_dir.join("postgres.log");
            File::create(&shown)?;
            // Not by a link: a keeper that is root follows none.
            mount(&["--bind".as_ref(), log.as_os_str()], &shown)?;
        }
        Ok(disks)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for home in &self.0 {
            // Lazily: a process that is being killed may still be in it.
            match Command::new("umount").arg("--lazy").arg(home).status() {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::error!("{} is still mounted: umount ended with {status}", home.display()),
                Err(e) => tracing::error!("{} is still mounted: umount can't be run: {e}", home.display()),
            }
        }
    }
}

/// What the log in a node's state directory is in truth.
fn log_elsewhere(base: &Path, name: &str) -> PathBuf {
    base.join("log").join(format!("{name}-postgres.log"))
}

pub fn fills(scenario: &Scenario) -> bool {
    let fills = |verb: &Verb| matches!(verb, Verb::FillDisk(OnDisk { whose: Whose::Postgres, .. }));
    scenario.steps.iter().filter_map(|step| step.verb.as_ref()).any(fills)
}

/// An error says why not. Root in a container may be refused as well, so it is tried.
pub fn can_mount() -> Result<()> {
    if !geteuid().is_root() {
        bail!("to fill a node's disk, a small one is mounted for it, which only root may do; run this as root");
    }
    let trial = tempfile::Builder::new().prefix("pgbaton-mount-").tempdir()?;
    mount(&TMPFS.map(OsStr::new), trial.path())?;
    drop(Disks(vec![trial.path().to_path_buf()]));
    Ok(())
}

fn mount(what: &[&OsStr], at: &Path) -> Result<()> {
    let output = Command::new("mount").args(what).arg(at).output();
    let output = output.context("mount can't be run, and a disk that is to be filled is mounted")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("no small disk can be mounted here, so none can be filled: {}", said.trim());
    }
    Ok(())
}

/// Ends when no write finds room any more. Nothing is on the real disk's side: a home without a small disk is refused.
pub fn fill(home: &Path) -> Result<()> {
    let parent = home.parent().context("a home is below the run's directory")?;
    if device(home)? == device(parent)? {
        bail!("{} is no small disk, and is not filled", home.display());
    }
    let path = home.join(FILLING);
    let mut file = File::options().append(true).create(true).open(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    match std::io::copy(&mut std::io::repeat(0), &mut file) {
        Err(e) if e.kind() == ErrorKind::StorageFull => Ok(()),
        Err(e) => Err(e).with_context(|| format!("can't fill {}", home.display())),
        Ok(_) => bail!("{} took more than there is", home.display()),
    }
}

pub fn free(home: &Path) -> Result<()> {
    match std::fs::remove_file(home.join(FILLING)) {
        Err(e) if e.kind() == ErrorKind::NotFound => bail!("the disk {} is not full", home.display()),
        freed => Ok(freed?),
    }
}

fn device(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(path)?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::scenario::parse;

    fn story(verb: &str) -> Scenario {
        let text = format!(
            "title = \"t\"\n[cluster]\nnodes = [\"a\", \"b\"]\nprimary = \"a\"\n[[step]]\nat = \"1s\"\ndo = {verb}\n\
             [finally]\nconverge = \"1s\"\ninvariants = \"all\"\n"
        );
        parse("t.toml", &text).unwrap()
    }

    #[test]
    fn only_a_story_that_fills_a_disk_needs_one() {
        assert!(fills(&story("{ fill_disk = { node = \"a\", whose = \"postgres\" } }")));
        let dir = tempfile::tempdir().unwrap();
        let disks = Disks::mount(dir.path(), &story("{ kill_node = \"a\" }")).unwrap();
        assert!(disks.0.is_empty() && std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_disk_of_the_machine_is_never_filled() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("a");
        std::fs::create_dir(&home).unwrap();
        assert!(fill(&home).unwrap_err().to_string().contains("no small disk"));
        assert!(free(&home).unwrap_err().to_string().contains("not full"));
    }

    /// Where nothing can be mounted the reason is clear.
    #[test]
    fn a_small_disk_is_filled_freed_and_gone_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let story = story("{ fill_disk = { node = \"a\", whose = \"postgres\" } }");
        let disks = match Disks::mount(dir.path(), &story) {
            Ok(disks) => disks,
            Err(why) => {
                let why = format!("{why:#}");
                assert!(why.contains("only root may") || why.contains("can be mounted here"), "{why}");
                return;
            }
        };
        let home = dir.path().join("a");
        fill(&home).unwrap();
        let refused = std::fs::write(home.join("more"), [0; 8192]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        std::fs::write(home.join("pgdata.pgbaton/postgres.log"), "the log goes elsewhere").unwrap();
        free(&home).unwrap();
        std::fs::write(home.join("more"), [0; 8192]).unwrap();
        drop(disks);
        assert!(std::fs::read_dir(&home).unwrap().next().is_none(), "it is unmounted");
    }
}
