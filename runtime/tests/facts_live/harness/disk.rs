//! Disks that fill up, stall or take no writes any more. They are mounts, so they need root.

use super::{Lab, program};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set where nothing can be mounted, such as in a container: facts that need a mount are left out then.
const WITHOUT: &str = "PGBATON_FACTS_WITHOUT_MOUNTS";

/// False, and said so, where the user has excused this machine.
fn can_mount() -> bool {
    if !may_mount() {
        eprintln!("    NOT SHOWN HERE: {WITHOUT} is set");
    }
    may_mount()
}

pub fn may_mount() -> bool {
    std::env::var_os(WITHOUT).is_none()
}

fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said} (set {WITHOUT}=1 where it isn't allowed)");
}

struct Mount(PathBuf);

impl Mount {
    fn new(kind: &[&str], what: &str, at: PathBuf) -> Mount {
        std::fs::create_dir(&at).unwrap();
        command("mount", &[kind, &[what, at.to_str().unwrap()]].concat());
        program::give_away(&at);
        Mount(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: processes that are being killed may still be in it.
        let _reported = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// In memory, of a fixed size.
pub struct SmallDisk(Mount);

impl SmallDisk {
    pub fn new(lab: &Lab, megabytes: u32) -> Option<SmallDisk> {
        let size = format!("size={megabytes}m");
        can_mount().then(|| SmallDisk(Mount::new(&["-t", "tmpfs", "-o", &size], "tmpfs", lab.path().join("small"))))
    }

    pub fn path(&self) -> &Path {
        &self.0.0
    }

    pub fn grow(&self, megabytes: u32) {
        command("mount", &["-o", &format!("remount,size={megabytes}m"), self.0.0.to_str().unwrap()]);
    }
}

/// A file system on a device whose own disk can be frozen: what is cached can be read, what goes to the
/// device hangs.
pub struct StallingDisk {
    // In the order of their end.
    inner: Mount,
    outer: Mount,
}

/// What was on the device at some time, without all that was in the cache of its file system only.
pub struct Medium(PathBuf);

pub struct Stalled<'a>(&'a StallingDisk);

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        command("fsfreeze", &["-u", self.0.outer.0.to_str().unwrap()]);
    }
}

impl StallingDisk {
    pub fn new(lab: &Lab) -> Option<StallingDisk> {
        can_mount().then(|| {
            let outer = ext4(lab.path(), "outer", 64);
            let inner = ext4(&outer.0, "inner", 48);
            StallingDisk { inner, outer }
        })
    }

    pub fn path(&self) -> &Path {
        &self.inner.0
    }

    /// Until the guard goes out of scope.
    pub fn stall(&self) -> Stalled<'_> {
        command("fsfreeze", &["-f", self.outer.0.to_str().unwrap()]);
        Stalled(self)
    }

    /// What a loss of power would leave now: while it stalls nothing is added to that.
    pub fn medium(&self) -> Medium {
        let (image, kept) = (self.inner.0.with_extension("img"), self.outer.0.with_extension("medium"));
        command("cp", &["--sparse=always", image.to_str().unwrap(), kept.to_str().unwrap()]);
        Medium(kept)
    }

    /// The power was lost at that time and is back. Nobody may have a file on it open.
    pub fn come_back(&self, with: Medium) {
        let at = self.path().to_str().unwrap();
        command("umount", &[at]);
        command("mount", &["-o", "loop", with.0.to_str().unwrap(), at]);
    }
}

/// A file system that the kernel makes read-only as after an error, with files open.
pub struct AbortingDisk(Mount);

impl AbortingDisk {
    pub fn new(lab: &Lab) -> Option<AbortingDisk> {
        can_mount().then(|| AbortingDisk(ext4(lab.path(), "aborting", 96)))
    }

    pub fn path(&self) -> &Path {
        &self.0.0
    }

    pub fn abort(&self) {
        command("mount", &["-o", "remount,abort", self.path().to_str().unwrap()]);
    }

    /// Mounted anew, which recovers its journal. Nobody may have a file on it open.
    pub fn mend(&self) {
        let (image, at) = (self.path().with_extension("img"), self.path().to_str().unwrap());
        command("umount", &[at]);
        command("mount", &["-o", "loop", image.to_str().unwrap(), at]);
    }
}

fn ext4(dir: &Path, name: &str, megabytes: u64) -> Mount {
    let image = dir.join(format!("{name}.img"));
    std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
    let device = image.to_str().unwrap();
    command("mkfs.ext4", &["-q", "-F", device]);
    let mount = Mount::new(&["-o", "loop"], device, dir.join(name));
    // Else the server's user may not make anything in it.
    program::give_away(&mount.0);
    mount
}
