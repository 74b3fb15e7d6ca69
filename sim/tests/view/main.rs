//! `pgbaton-sim view` as a user has it: the file it writes, its complaints, and the page in a browser.

mod browser;
mod files;
mod page;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn story(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scenarios").join(name)
}

fn view(file: &Path, html: &Path) -> Output {
    let mut sim = Command::new(env!("CARGO_BIN_EXE_pgbaton-sim"));
    sim.arg("view").arg(file).arg("--html").arg(html).output().unwrap()
}

/// A page that must come about.
fn page_of(file: &Path, html: &Path) -> String {
    let output = view(file, html);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(html).unwrap()
}
