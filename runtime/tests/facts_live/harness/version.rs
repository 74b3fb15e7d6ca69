//! Which versions of PostgreSQL are here, and a new cluster of each to copy from.

use super::program;
use nix::unistd::{User, geteuid};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

#[derive(Debug)]
pub struct Version {
    pub major: u32,
    /// As `postgres --version` says it.
    pub full: String,
    pub bin: PathBuf,
    template: OnceLock<PathBuf>,
}

/// Small segments make directories cheap to copy. Sockets are left out: clients come over loopback.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 16MB
max_connections = 30
wal_log_hints = on
wal_keep_size = 512MB
wal_retrieve_retry_interval = 200ms
checkpoint_timeout = 1h
autovacuum = off
lc_messages = 'C'
";

/// Two databases less are two thirds less to copy.
const FIRST_STATEMENTS: &str = "CREATE TABLE t (n int)
UPDATE pg_database SET datistemplate = false
DROP DATABASE template0
DROP DATABASE template1
";

/// All that are installed, oldest first: those of Debian and those that scripts/fetch-postgres-17 has put here.
pub fn versions() -> &'static [Version] {
    static VERSIONS: OnceLock<Vec<Version>> = OnceLock::new();
    VERSIONS.get_or_init(|| {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/postgres");
        let mut found: Vec<Version> =
            ["/usr/lib/postgresql".into(), fetched].iter().flat_map(|base| installed_below(base)).collect();
        found.sort_by_key(|version| version.major);
        assert!(!found.is_empty(), "no PostgreSQL 15 or newer is installed, see scripts/install-deps");
        found
    })
}

fn installed_below(base: &Path) -> Vec<Version> {
    let Ok(entries) = fs::read_dir(base) else {
        return Vec::new();
    };
    let found = entries.flatten().filter_map(|entry| {
        let bin = fs::canonicalize(entry.path().join("bin")).ok()?;
        bin.join("pg_ctl").is_file().then(|| Version::at(bin))
    });
    found.filter(|version| version.major >= 15).collect()
}

/// Postgres refuses to run as root.
pub fn user() -> Option<User> {
    geteuid()
        .is_root()
        .then(|| User::from_name("postgres").unwrap().expect("root needs a user postgres to run servers"))
}

impl Version {
    fn at(bin: PathBuf) -> Version {
        let output = program::command(&bin.join("postgres")).arg("--version").output();
        let output = output.unwrap_or_else(|e| panic!("the servers' user can't run {}: {e}", bin.display()));
        let full = String::from_utf8_lossy(&output.stdout).trim().to_string();
        let digits = full.rsplit_once("(PostgreSQL) ").map(|(_, v)| v.chars().take_while(char::is_ascii_digit));
        let major = digits.and_then(|d| d.collect::<String>().parse().ok());
        let major = major.unwrap_or_else(|| panic!("{} --version says {full:?}", bin.join("postgres").display()));
        Version { major, full, bin, template: OnceLock::new() }
    }

    /// A stopped cluster with our settings, made once for each build directory.
    pub fn template(&self) -> &Path {
        self.template.get_or_init(|| {
            let name: String = self.full.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:x}", settings_mark()));
            if !kept.join("PG_VERSION").exists() {
                self.make_template(&kept);
            }
            kept
        })
    }

    fn make_template(&self, kept: &Path) {
        let work = program::temporary_dir();
        let made = work.path().join("new");
        let mut initdb = program::command(&self.bin.join("initdb"));
        initdb.args(["-D", made.to_str().unwrap(), "-U", "postgres", "-A", "trust", "-N"]);
        initdb.args(["--no-locale", "-E", "UTF8", "--wal-segsize=1"]);
        program::succeeds(initdb);
        let conf = made.join("postgresql.conf");
        fs::write(&conf, fs::read_to_string(&conf).unwrap() + SETTINGS).unwrap();
        let mut single = program::command(&self.bin.join("postgres"));
        single.args(["--single", "-D", made.to_str().unwrap(), "-c", "synchronous_commit=off", "postgres"]);
        program::succeeds_with(single, FIRST_STATEMENTS);
        // Another run of these tests may be here at the same time: whole or not at all, and the first one counts.
        let beside = kept.with_extension(std::process::id().to_string());
        program::succeeds(copying(&made, &beside));
        if fs::rename(&beside, kept).is_err() {
            fs::remove_dir_all(&beside).unwrap();
        }
    }
}

fn settings_mark() -> u32 {
    SETTINGS
        .bytes()
        .chain(FIRST_STATEMENTS.bytes())
        .fold(7, |mark: u32, byte| mark.wrapping_mul(31).wrapping_add(byte.into()))
}

/// Keeps owners where it may.
pub fn copying(from: &Path, to: &Path) -> Command {
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto"]).arg(from).arg(to);
    cp
}
