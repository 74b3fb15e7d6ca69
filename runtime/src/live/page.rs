//! A run as a page to look at, the same as that of a simulated one.

use super::outcome::Outcome;
use anyhow::{Context, Result, bail};
use pgbaton_core::scenario::Scenario;
use pgbaton_core::view::{self, Run};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Before an hour is played for nothing: one file has one page, and the page has a place.
pub fn check(html: &Path, files: &[PathBuf]) -> Result<()> {
    if files.len() > 1 {
        bail!("--html is for one file, and {} are given", files.len());
    }
    if html == Path::new("-") || html.is_dir() || !directory(html).is_dir() {
        bail!("--html {}: a page goes to a file in a directory that exists; name one, as run.html", html.display());
    }
    Ok(())
}

/// Written beside and put in its place as a whole.
pub fn write(html: &Path, file: &Path, scenario: &Scenario, outcome: &Outcome) -> Result<()> {
    let page = view::page(&Run {
        title: &scenario.title,
        place: "live",
        reproduce: &format!("reproduce: pgbaton-live run {}", file.display()),
        story: std::fs::read_to_string(file).ok().as_deref(),
        trace: &outcome.trace,
        verdicts: &outcome.verdicts,
        unmet: &outcome.unmet,
    });
    let whole = || -> Result<()> {
        let usual = std::fs::Permissions::from_mode(0o666);
        let mut beside = tempfile::Builder::new().prefix(".page-").permissions(usual).tempfile_in(directory(html))?;
        beside.write_all(page.as_bytes())?;
        beside.persist(html)?;
        Ok(())
    };
    whole().with_context(|| format!("--html {}", html.display()))
}

fn directory(html: &Path) -> &Path {
    html.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}
