//! Disks that can stall or go read-only: a file system on a device that is a file on another file system. While the outer
//! one is frozen, what is cached can be read and written, and what goes to the device hangs. The inner one has no
//! journal: with one, all that changes a directory hangs as soon as a commit of the journal does.

use super::mount;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Room for a data directory, a second one while it is cloned, and the WAL of a short story; sparse, so none is taken.
const INNER: u64 = 768 << 20;
const OUTER: u64 = 896 << 20;
/// What the kernel says to whoever thaws a disk that isn't frozen, and says for nothing else.
const NOT_FROZEN: &str = "unfreeze failed: Invalid argument";
/// Errors that `e2fsck` has mended.
const MENDED: i32 = 2;

/// The mount points, in the order in which they were made.
pub fn make(home: &Path) -> Result<[PathBuf; 2]> {
    let outer = outer(home)?;
    std::fs::create_dir_all(&outer)?;
    format(&outer.with_extension("img"), OUTER, &[])?;
    mount_image(&outer.with_extension("img"), &outer)?;
    let made = [outer, home.to_path_buf()];
    let image = image(home)?;
    format(&image, INNER, &["-O", "^has_journal"]).and_then(|()| mount_image(&image, home)).inspect_err(|_| {
        let _reported = run("umount", &[made[0].as_os_str()]);
    })?;
    Ok(made)
}

pub fn outer(home: &Path) -> Result<PathBuf> {
    let (base, name) = home.parent().zip(home.file_name()).context("a home is below the run's directory")?;
    Ok(base.join("disks").join(name))
}

fn image(home: &Path) -> Result<PathBuf> {
    Ok(outer(home)?.join("inner.img"))
}

fn format(image: &Path, bytes: u64, options: &[&str]) -> Result<()> {
    File::create(image)?.set_len(bytes)?;
    let options = options.iter().map(OsStr::new).chain(["-q".as_ref(), "-F".as_ref(), image.as_os_str()]);
    succeeds("mkfs.ext4", &options.collect::<Vec<_>>())
}

fn mount_image(image: &Path, at: &Path) -> Result<()> {
    mount(&["-o".as_ref(), "loop".as_ref(), image.as_os_str()], at)
}

pub fn stall(home: &Path) -> Result<()> {
    succeeds("fsfreeze", &["-f".as_ref(), outer(home)?.as_os_str()])
}

/// False for one that wasn't stalled.
pub fn thaw(outer: &Path) -> Result<bool> {
    let output = run("fsfreeze", &["-u".as_ref(), outer.as_os_str()])?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(true),
        false if said.contains(NOT_FROZEN) => Ok(false),
        false => bail!("fsfreeze failed: {}", said.trim()),
    }
}

/// What the kernel does after an error; files that are open for writing don't prevent it.
pub fn abort(home: &Path) -> Result<()> {
    succeeds("mount", &["-o".as_ref(), "remount,abort".as_ref(), home.as_os_str()])
}

pub fn is_read_only(home: &Path) -> Result<bool> {
    let trial = home.join("trial");
    match File::create(&trial) {
        Err(e) if e.kind() == ErrorKind::ReadOnlyFilesystem => Ok(true),
        made => {
            made.with_context(|| format!("can't look whether {} takes writes", home.display()))?;
            std::fs::remove_file(trial)?;
            Ok(false)
        }
    }
}

/// As an operator does it who finds it read-only: nobody may use it meanwhile, and it is checked. `nested` is mounted in
/// it and gone afterwards.
pub fn mount_anew(home: &Path, nested: &[PathBuf]) -> Result<()> {
    for point in nested.iter().map(PathBuf::as_path).chain([home]) {
        succeeds("umount", &[point.as_os_str()]).context("it can be mounted anew only when nothing uses it")?;
    }
    let image = image(home)?;
    let checked = run("e2fsck", &["-f".as_ref(), "-y".as_ref(), image.as_os_str()])?;
    if checked.status.code().is_none_or(|code| code > MENDED) {
        let said = [checked.stderr, checked.stdout].concat();
        bail!("e2fsck can't mend {}: {}", image.display(), String::from_utf8_lossy(&said).trim());
    }
    mount_image(&image, home)
}

fn run(program: &str, arguments: &[&OsStr]) -> Result<Output> {
    let done = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    done.with_context(|| format!("{program} can't be run, and disks that stall or go read-only need it"))
}

fn succeeds(program: &str, arguments: &[&OsStr]) -> Result<()> {
    let output = run(program, arguments)?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thaw_that_fails_is_not_taken_for_a_disk_that_was_well() {
        let dir = tempfile::tempdir().unwrap();
        let why = thaw(&dir.path().join("gone")).unwrap_err().to_string();
        assert!(why.contains("No such file"), "{why}");
    }
}
