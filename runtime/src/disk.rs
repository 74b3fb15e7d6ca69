//! Files and directories on this machine's disks. A keeper that is root works in directories of the user Postgres runs
//! as, who could lay a link there to any place: so no file is opened through one. And what is made belongs to the owner
//! of its directory, who is to be able to use it as well, whoever runs the next command.

use nix::libc;
use nix::unistd::{User, geteuid};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replaces the whole file: a reader, and the next start after a power cut, sees the old or the new text.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (staged, file) = stage(path, bytes, mode)?;
    file.sync_all()?;
    fs::rename(staged, path)?;
    sync_dir(directory_of(path))
}

/// As [`replace`], for what need not outlive the machine.
pub fn replace_for_now(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (staged, _) = stage(path, bytes, mode)?;
    fs::rename(staged, path)
}

fn stage(path: &Path, bytes: &[u8], mode: u32) -> io::Result<(PathBuf, File)> {
    let mut staged: OsString = path.into();
    staged.push(".pgbaton-new");
    let mut file = create_anew(Path::new(&staged), mode)?;
    file.write_all(bytes)?;
    Ok((staged.into(), file))
}

/// What is left there from before goes first, so owner and mode are those of now.
pub fn create_anew(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    give_to_owner_of(directory_of(path), &file)?;
    Ok(file)
}

/// Opens the file itself, as the options say; one that is made is for its owner only.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path).map_err(not_followed)?;
    give_to_owner_of(directory_of(path), &file)?;
    Ok(file)
}

pub fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path).map_err(not_followed)
}

pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_to_read(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn not_followed(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(libc::ELOOP) => denied("it is a symbolic link, which is not followed; put the file itself there"),
        _ => e,
    }
}

fn denied(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why.into())
}

/// Only root can, and only what is root's and has no other name is given away.
fn give_to_owner_of(dir: &Path, file: &File) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (owner, found) = (fs::metadata(dir)?, file.metadata()?);
    if owner.uid() == found.uid() || found.uid() != 0 || found.nlink() != 1 {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Makes a directory that only `owner` can enter, by default the user of this process. Those above it that are missing
/// are made as well. One that is there already must be the owner's or our own.
pub fn private_dir(owner: Option<&User>, path: &Path) -> io::Result<()> {
    make_dir(owner, path, 0o700)?;
    let dir = open_dir(path)?;
    let found = dir.metadata()?;
    let wanted = owner.map_or_else(geteuid, |user| user.uid);
    if found.uid() != wanted.as_raw() && found.uid() != geteuid().as_raw() {
        return Err(denied(format!("it belongs to user {}, not to user {wanted}; remove it", found.uid())));
    }
    give(&dir, owner)?;
    if found.mode() & 0o777 != 0o700 {
        dir.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn make_dir(owner: Option<&User>, path: &Path, mode: u32) -> io::Result<()> {
    let make = || DirBuilder::new().mode(mode).create(path);
    match make() {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            make_dir(owner, path.parent().ok_or(e)?, 0o755)?;
            make()?;
        }
        made => made?,
    }
    give(&open_dir(path)?, owner)
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => denied("it is no directory; remove it"),
        _ => e,
    })
}

fn give(dir: &File, owner: Option<&User>) -> io::Result<()> {
    match owner {
        Some(user) if dir.metadata()?.uid() != user.uid.as_raw() => {
            fchown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        }
        _ => Ok(()),
    }
}

pub fn is_empty_or_missing(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What others than root may still write there.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_link_laid_in_the_way_is_neither_written_through_nor_read_through() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("file"));
        fs::write(&victim, "theirs").unwrap();
        symlink(&victim, dir.path().join("file.pgbaton-new")).unwrap();
        symlink(&victim, &path).unwrap();
        for refused in [
            open(&path, OpenOptions::new().append(true).create(true)).map(drop),
            open(&path, OpenOptions::new().write(true).truncate(true)).map(drop),
            read(&path).map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.kind() == ErrorKind::PermissionDenied && refused.to_string().contains("symbolic link"));
        }
        replace(&path, b"ours", 0o600).unwrap();
        assert_eq!((read(&path).unwrap().as_str(), read(&victim).unwrap().as_str()), ("ours", "theirs"));
        assert_eq!((mode(&path), fs::read_dir(dir.path()).unwrap().count()), (0o600, 2));
    }

    #[test]
    fn a_directory_is_made_private_and_one_behind_a_link_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("above/inner");
        private_dir(None, &inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        let link = dir.path().join("link");
        symlink(&inner, &link).unwrap();
        assert!(private_dir(None, &link).unwrap_err().to_string().contains("no directory"));
        assert_eq!(mode(&inner), 0o755);
        private_dir(None, &inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
    }

    /// Only root can make anything for somebody else.
    #[test]
    fn what_root_makes_belongs_to_the_owner_of_its_directory() {
        let Some(user) = geteuid().is_root().then(|| User::from_name("nobody").unwrap()).flatten() else { return };
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("above/home");
        private_dir(Some(&user), &home).unwrap();
        let file = home.join("file");
        replace(&file, b"text", 0o600).unwrap();
        drop(open(&home.join("log"), OpenOptions::new().append(true).create(true)).unwrap());
        for path in [home.as_path(), &file, &home.join("log"), &dir.path().join("above")] {
            assert_eq!(fs::metadata(path).unwrap().uid(), user.uid.as_raw(), "{}", path.display());
        }
        let theirs = private_dir(None, &home).unwrap_err().to_string();
        assert!(theirs.contains("remove it"), "{theirs}");
        private_dir(Some(&user), &home).unwrap();
    }
}
