//! The file a shrunk story becomes.

use super::size::Way;
use super::{Failure, Shrunk};
use pgbaton_core::scenario::{Scenario, parse, write};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a story came from, for whoever reads the file later.
#[derive(Debug, Clone)]
pub struct Origin {
    /// A file, or the seed a plan was drawn from.
    pub source: String,
    /// The line that shrinks it again.
    pub command: String,
    /// Of the code that failed, if it is known.
    pub commit: Option<String>,
}

impl Origin {
    /// `source` is a file, or "seed 7". The commit is that of the working tree this runs in.
    pub fn new(source: &str, command: String) -> Origin {
        Origin { source: source.to_string(), command, commit: commit() }
    }
}

/// Whether it was changed since is said too.
fn commit() -> Option<String> {
    let described = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let said = described.ok().filter(|output| output.status.success())?;
    let commit = String::from_utf8(said.stdout).ok()?.trim().to_string();
    (!commit.is_empty()).then_some(commit)
}

/// Every file below is replayed by `cargo test`.
pub const REGRESS: &str = "scenarios/regress";

/// Where a shrunk story belongs.
pub fn usual_path(failure: &Failure, source: &str) -> PathBuf {
    Path::new(REGRESS).join(name(failure, source))
}

/// After its failure and its origin, as in `no-acknowledged-write-is-lost-node-killed.toml`.
fn name(failure: &Failure, source: &str) -> String {
    let source = Path::new(source).file_stem().map(|stem| stem.to_string_lossy().to_string());
    let (failure, source) = (slug(&failure.name), slug(&source.unwrap_or_default()));
    // A story that was shrunk before has the failure in its name.
    let name = if source.starts_with(&failure) { source } else { format!("{failure}-{source}") };
    format!("{name}.toml")
}

/// Names of failures are sentences; this much of one is enough for a file.
const LONGEST_NAME: usize = 48;

fn slug(text: &str) -> String {
    let mut slug = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if slug.len() + word.len() >= LONGEST_NAME {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(&word.to_ascii_lowercase());
    }
    slug
}

/// The whole text of the file.
pub fn text(shrunk: &Shrunk, origin: &Origin) -> String {
    let commit = origin.commit.as_ref().map(|commit| format!(", at commit {commit}")).unwrap_or_default();
    let head = format!(
        "Shrunk from {}{commit}: {}.\nIt failed with: {}\nBy: {}",
        origin.source,
        Way(shrunk.from, shrunk.to),
        shrunk.failure.describe(),
        origin.command
    );
    let title = format!("Shrunk: {}", shrunk.scenario.title.trim_start_matches("Shrunk: "));
    write(&Scenario { title, ..shrunk.scenario.clone() }, &head)
}

/// Puts a shrunk story into a folder, in place of what an earlier run has found there, and says where it is.
pub fn keep(dir: &Path, shrunk: &Shrunk, origin: &Origin) -> Result<PathBuf, String> {
    let path = dir.join(name(&shrunk.failure, &origin.source));
    save(&path, &text(shrunk, origin), true).map(|()| path)
}

/// Writes all of it or nothing, and nothing over a file that exists unless `force` says so.
pub fn save(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let shown = path.display();
    if let Err(why) = parse(&shown.to_string(), text) {
        return Err(format!("the shrunk story can't be read back, so it was not written: {why}\n{text}"));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => taken(path),
        _ => format!("{shown} can't be written: {e}"),
    };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    // Beside the place where it goes, or the last move would not be one step.
    let mut file = tempfile::Builder::new().permissions(mode()).tempfile_in(&dir).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let kept = if force { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map(|_| ()).map_err(|e| failed(e.error))
}

/// What to say of a file that is there already.
pub fn taken(path: &Path) -> String {
    format!("{} exists: write to another with --out, or replace it with --force", path.display())
}

/// As any file of a person.
fn mode() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_failure_and_its_origin() {
        let failure = |name: &str| Failure { name: name.into(), how: String::new(), invariant: true };
        let path = |name: &str, source: &str| usual_path(&failure(name), source).display().to_string();
        let once = path("a stall is lawful", "scenarios/fence/starved-primary.toml");
        assert_eq!(once, "scenarios/regress/a-stall-is-lawful-starved-primary.toml");
        assert_eq!(path("a stall is lawful", &once), once, "shrunk again, it keeps its name");
        assert_eq!(path("a stall is lawful", "seed 4711"), "scenarios/regress/a-stall-is-lawful-seed-4711.toml");
    }

    #[test]
    fn a_name_is_made_of_whole_words() {
        assert_eq!(slug("no acknowledged write is lost"), "no-acknowledged-write-is-lost");
        assert_eq!(
            slug("step #: not reached in time: State { node: Name(\"\"), state: Single }"),
            "step-not-reached-in-time-state-node-name-state"
        );
    }

    #[test]
    fn nothing_is_written_over_a_file_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("regress/x.toml");
        let text = |title: &str| {
            format!(
                "title = \"{title}\"\n[cluster]\nnodes = [\"a\"]\nprimary = \"a\"\n[finally]\nconverge = \"1s\"\ninvariants = \"all\"\n"
            )
        };
        save(&path, &text("one"), false).unwrap();
        let refused = save(&path, &text("two"), false).unwrap_err();
        assert!(refused.contains("x.toml exists") && refused.contains("--force"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text("one"));
        save(&path, &text("two"), true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text("two"));
        assert!(save(&path, "nonsense", true).unwrap_err().contains("can't be read back"));
        let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["x.toml"], "nothing half-written stays behind");
    }
}
