//! Disks of their own for nodes whose disk a story fills, stalls or makes read-only; only root may mount them. A node's
//! data directory, its keeper's state directory and what is staged there lie on one disk, as a clone must be moved into
//! its place. The server's log lies elsewhere, for the witness must not go blind with the node.
//!
//! A disk that is only ever filled is a file system in memory, and the keeper's store lies on it too. One that stalls or
//! goes read-only (`stalling`) is Postgres' alone in so far that the keeper's store lies elsewhere; what else is in the
//! state directory needs no disk to be written, but for settings of Postgres, which are synced, and hang as Postgres does.

mod stalling;

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
const LOG: &str = "postgres.log";
const STORE: &str = "keeper.redb";

/// Unmounts when it is dropped, whatever way the run ends.
#[derive(Debug, Default)]
pub struct Disks {
    /// In the order in which they were mounted.
    mounted: Vec<PathBuf>,
    /// What may be frozen.
    outer: Vec<PathBuf>,
}

impl Disks {
    /// A disk for every node if the story does anything to one: who is hit is known only when the step fires.
    pub fn mount(base: &Path, scenario: &Scenario) -> Result<Disks> {
        let mut disks = Disks::default();
        let stalls = stalls(scenario);
        if !stalls && !fills(scenario) {
            return Ok(disks);
        }
        can_mount()?;
        for name in &scenario.nodes() {
            let home = base.join(name);
            std::fs::create_dir_all(&home)?;
            if stalls {
                disks.mounted.extend(stalling::make(&home)?);
                disks.outer.push(stalling::outer(&home)?);
            } else {
                mount(&TMPFS.map(OsStr::new), &home)?;
                disks.mounted.push(home.clone());
            }
            let state_dir = state_dir(&home);
            std::fs::create_dir(&state_dir)?;
            if let Some(user) = User::from_name("postgres")? {
                for dir in [&home, &state_dir] {
                    chown(dir, Some(user.uid), Some(user.gid))?;
                }
            }
            for file in lie_elsewhere(&home) {
                File::create(state_dir.join(file))?;
                let truth = elsewhere(&home, file)?;
                std::fs::create_dir_all(truth.parent().unwrap_or(base))?;
                File::create(truth)?;
            }
            show_what_lies_elsewhere(&home)?;
        }
        Ok(disks)
    }

    pub fn thaw_at_the_end(&self) -> Thaw<'_> {
        Thaw(&self.outer)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            // Lazily: a process that is being killed may still be in it.
            match Command::new("umount").arg("--lazy").arg(at).status() {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::error!("{} is still mounted: umount ended with {status}", at.display()),
                Err(e) => tracing::error!("{} is still mounted: umount can't be run: {e}", at.display()),
            }
        }
    }
}

/// Thaws all disks when it is dropped: a process that waits for one can't be killed.
pub struct Thaw<'a>(&'a [PathBuf]);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        for outer in self.0 {
            if let Err(e) = stalling::thaw(outer) {
                tracing::error!("{} may still be frozen; say fsfreeze -u: {e:#}", outer.display());
            }
        }
    }
}

fn state_dir(home: &Path) -> PathBuf {
    crate::service::Places::node(&home.join("pgdata")).state_dir
}

/// Files of the state directory that are not on the node's own disk.
fn lie_elsewhere(home: &Path) -> &'static [&'static str] {
    let has_device = stalling::outer(home).is_ok_and(|outer| outer.exists());
    if has_device { &[LOG, STORE] } else { &[LOG] }
}

/// What such a file is in truth.
fn elsewhere(home: &Path, file: &str) -> Result<PathBuf> {
    let (base, name) = home.parent().zip(home.file_name()).context("a home is below the run's directory")?;
    let dir = base.join(if file == LOG { "log" } else { "stores" });
    Ok(dir.join(format!("{}-{file}", name.display())))
}

/// Not by a link: a keeper that is root follows none. What is shown already stays so.
fn show_what_lies_elsewhere(home: &Path) -> Result<()> {
    for file in lie_elsewhere(home) {
        let shown = state_dir(home).join(file);
        if device(&shown)? == device(home)? {
            mount(&["--bind".as_ref(), elsewhere(home, file)?.as_os_str()], &shown)?;
        }
    }
    Ok(())
}

pub fn fills(scenario: &Scenario) -> bool {
    scenario.does(|verb| matches!(verb, Verb::FillDisk(OnDisk { whose: Whose::Postgres, .. })))
}

fn stalls(scenario: &Scenario) -> bool {
    scenario.does(|verb| {
        matches!(verb, Verb::StallDisk(OnDisk { whose: Whose::Postgres, .. }) | Verb::ReadOnlyDisk(OnDisk { .. }))
    })
}

/// An error says why not. Root in a container may be refused as well, so it is tried.
pub fn can_mount() -> Result<()> {
    if !geteuid().is_root() {
        bail!(
            "a node whose disk is filled, stalled or made read-only gets one of its own, which only root may mount; \
             run this as root"
        );
    }
    let trial = tempfile::Builder::new().prefix("pgbaton-mount-").tempdir()?;
    mount(&TMPFS.map(OsStr::new), trial.path())?;
    drop(Disks { mounted: vec![trial.path().to_path_buf()], outer: Vec::new() });
    Ok(())
}

fn mount(what: &[&OsStr], at: &Path) -> Result<()> {
    let output = Command::new("mount").args(what).arg(at).output();
    let output = output.context("mount can't be run, and a disk that something is done to is mounted")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("no disk can be mounted here, so none can be filled or stalled: {}", said.trim());
    }
    Ok(())
}

/// Ends when no write finds room any more. Nothing is done to the real disk: a home without a disk of its own is refused.
pub fn fill(home: &Path) -> Result<()> {
    is_its_own(home)?;
    let path = home.join(FILLING);
    let mut file = File::options().append(true).create(true).open(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    match std::io::copy(&mut std::io::repeat(0), &mut file) {
        Err(e) if e.kind() == ErrorKind::StorageFull => Ok(()),
        Err(e) => Err(e).with_context(|| format!("can't fill {}", home.display())),
        Ok(_) => bail!("{} took more than there is", home.display()),
    }
}

pub fn stall(home: &Path) -> Result<()> {
    is_its_own(home)?;
    stalling::stall(home)
}

pub fn make_read_only(home: &Path) -> Result<()> {
    is_its_own(home)?;
    stalling::abort(home)
}

pub fn free(home: &Path) -> Result<()> {
    is_its_own(home)?;
    let outer = stalling::outer(home)?;
    if outer.exists() {
        if stalling::thaw(&outer)? {
            return Ok(());
        }
        if stalling::is_read_only(home)? {
            let nested: Vec<PathBuf> = lie_elsewhere(home).iter().map(|file| state_dir(home).join(file)).collect();
            let done = stalling::mount_anew(home, &nested);
            // Also when somebody still uses it; one that can't be mended is not there.
            let shown = if is_its_own(home).is_ok() { show_what_lies_elsewhere(home) } else { Ok(()) };
            return done.and(shown);
        }
    }
    match std::fs::remove_file(home.join(FILLING)) {
        Err(e) if e.kind() == ErrorKind::NotFound => bail!("nothing is wrong with the disk {}", home.display()),
        freed => Ok(freed?),
    }
}

fn is_its_own(home: &Path) -> Result<()> {
    let parent = home.parent().context("a home is below the run's directory")?;
    if device(home)? == device(parent)? {
        bail!("{} is no disk of its own, and is left alone", home.display());
    }
    Ok(())
}

fn device(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(path)?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::scenario::parse;
    use std::io::Write;
    use std::time::Duration;

    fn story(verb: &str) -> Scenario {
        let text = format!(
            "title = \"t\"\n[cluster]\nnodes = [\"a\", \"b\"]\nprimary = \"a\"\n[[step]]\nat = \"1s\"\ndo = {verb}\n\
             [finally]\nconverge = \"1s\"\ninvariants = \"all\"\n"
        );
        parse("t.toml", &text).unwrap()
    }

    /// Where nothing can be mounted the reason is clear.
    fn disks(base: &Path, verb: &str) -> Option<Disks> {
        let story = story(&format!("{{ {verb} = {{ node = \"a\", whose = \"postgres\" }} }}"));
        match Disks::mount(base, &story) {
            Ok(disks) => Some(disks),
            Err(why) => {
                let why = format!("{why:#}");
                assert!(why.contains("only root may") || why.contains("can be mounted here"), "{why}");
                None
            }
        }
    }

    #[test]
    fn only_a_story_that_does_something_to_a_disk_needs_one() {
        assert!(fills(&story("{ fill_disk = { node = \"a\", whose = \"postgres\" } }")));
        let dir = tempfile::tempdir().unwrap();
        let disks = Disks::mount(dir.path(), &story("{ kill_node = \"a\" }")).unwrap();
        assert!(disks.mounted.is_empty() && std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_disk_of_the_machine_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("a");
        std::fs::create_dir(&home).unwrap();
        for harm in [fill, stall, make_read_only, free] {
            assert!(harm(&home).unwrap_err().to_string().contains("no disk of its own"));
        }
    }

    #[test]
    fn a_small_disk_is_filled_freed_and_gone_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disks) = disks(dir.path(), "fill_disk") else { return };
        let home = dir.path().join("a");
        assert!(free(&home).unwrap_err().to_string().contains("nothing is wrong"));
        fill(&home).unwrap();
        let refused = std::fs::write(home.join("more"), [0; 8192]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        std::fs::write(home.join("pgdata.pgbaton/postgres.log"), "the log goes elsewhere").unwrap();
        free(&home).unwrap();
        std::fs::write(home.join("more"), [0; 8192]).unwrap();
        drop(disks);
        assert!(std::fs::read_dir(&home).unwrap().next().is_none(), "it is unmounted");
    }

    #[test]
    fn a_stalled_disk_syncs_nothing_until_it_is_thawed_and_the_store_lies_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disks) = disks(dir.path(), "stall_disk") else { return };
        let home = dir.path().join("a");
        stall(&home).unwrap();
        let sync = |path: PathBuf| {
            let (done, waits) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let mut file = File::create(path).unwrap();
                file.write_all(&[0; 8192]).unwrap();
                file.sync_all().unwrap();
                done.send(()).unwrap();
            });
            waits
        };
        sync(home.join("pgdata.pgbaton/keeper.redb")).recv_timeout(Duration::from_secs(60)).unwrap();
        let waits = sync(home.join("data"));
        assert!(waits.recv_timeout(Duration::from_secs(1)).is_err());
        drop(disks.thaw_at_the_end());
        waits.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(free(&home).unwrap_err().to_string().contains("nothing is wrong"));
        drop(disks);
        assert!(std::fs::read_dir(&home).unwrap().next().is_none(), "it is unmounted");
    }

    #[test]
    fn a_read_only_disk_is_mounted_anew_once_nobody_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let Some(_disks) = disks(dir.path(), "read_only_disk") else { return };
        let home = dir.path().join("a");
        let mut open = File::create(home.join("open")).unwrap();
        make_read_only(&home).unwrap();
        assert_eq!(open.write_all(b"x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        std::fs::write(home.join("pgdata.pgbaton/keeper.redb"), "the store lies elsewhere").unwrap();
        assert!(format!("{:#}", free(&home).unwrap_err()).contains("only when nothing uses it"));
        drop(open);
        free(&home).unwrap();
        std::fs::write(home.join("open"), "x").unwrap();
        let stored = std::fs::read_to_string(home.join("pgdata.pgbaton/keeper.redb")).unwrap();
        assert_eq!(stored, "the store lies elsewhere");
    }

    #[test]
    fn who_can_not_mend_a_disk_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disks) = disks(dir.path(), "read_only_disk") else { return };
        let home = dir.path().join("a");
        make_read_only(&home).unwrap();
        let image = File::options().write(true).open(disks.outer[0].join("inner.img")).unwrap();
        let length = image.metadata().unwrap().len();
        // Nothing is left of it.
        image.set_len(0).unwrap();
        image.set_len(length).unwrap();
        let why = format!("{:#}", free(&home).unwrap_err());
        assert!(why.contains("e2fsck can't mend") && why.contains("Bad magic number"), "{why}");
    }
}
