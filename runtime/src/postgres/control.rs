//! The data directory without its server: the control file and the timeline histories.

use super::files::off_the_loop;
use super::{PostgresConfig, tool};
use crate::disk;
use pgbaton_core::model::wal::Switch;
use pgbaton_core::model::{Control, ControlState, Directory, History, Lsn, Position, Timeline};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// It reads one small file; a look must end in any case.
const PATIENCE: Duration = Duration::from_secs(5);

/// The control file as read last, so that looking again at a stopped server starts no program.
#[derive(Default)]
pub struct ControlCache {
    last: Mutex<Option<(Stamp, ControlFile)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: SystemTime,
}

/// The part of pg_controldata's output that is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    pub system_id: u64,
    pub state: ControlState,
    /// A primary that is stopped in order writes this once its last session has ended.
    pub shuts_down: bool,
    pub checkpoint: Position,
    pub min_recovery_tli: Timeline,
    pub segment_bytes: u64,
}

impl ControlCache {
    pub async fn read(&self, config: &PostgresConfig) -> Result<ControlFile, String> {
        let path = config.pgdata.join("global/pg_control");
        let meta = fs::metadata(&path).map_err(|e| format!("{} can't be read: {e}", path.display()))?;
        let modified = meta.modified().map_err(|e| format!("{}: {e}", path.display()))?;
        let stamp = Stamp { inode: meta.ino(), modified };
        if let Some((_, known)) = self.lock().as_ref().filter(|(at, _)| *at == stamp) {
            return Ok(known.clone());
        }
        let file = read_control(config, PATIENCE).await?;
        *self.lock() = Some((stamp, file.clone()));
        Ok(file)
    }

    /// Reads the whole directory's state. On a disk that stalls even a file's name may take for ever to be looked up.
    pub async fn directory(&self, config: &Arc<PostgresConfig>) -> Directory {
        let read = tokio::time::timeout(PATIENCE, self.read_directory(config));
        let stuck = || format!("{} doesn't answer within {PATIENCE:?}: is its disk stuck?", config.pgdata.display());
        read.await.unwrap_or_else(|_| Directory::Unusable { reason: stuck() })
    }

    async fn read_directory(&self, config: &Arc<PostgresConfig>) -> Directory {
        let files = config.clone();
        let special = off_the_loop(move || Ok(without_control(&files))).await;
        if let Ok(Some(special)) = special {
            return special;
        }
        let read = async {
            let file = self.read(config).await?;
            let files = config.clone();
            let described = off_the_loop(move || Ok(file.describe(&files.pgdata))).await;
            described.map_err(|e| e.to_string())
        };
        read.await.map_or_else(|reason| Directory::Unusable { reason }, Directory::Present)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Stamp, ControlFile)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControlFile {
    pub fn describe(&self, pgdata: &Path) -> Control {
        let known = self.checkpoint.tli.max(self.min_recovery_tli);
        let tli = newest_timeline(pgdata, known, self.checkpoint.lsn, self.segment_bytes);
        Control {
            system_id: self.system_id,
            state: if is_unstarted_copy(pgdata) { ControlState::InRecovery } else { self.state },
            checkpoint: self.checkpoint,
            history: read_history(pgdata, tli),
        }
    }
}

/// The control file of a fresh copy is that of the server it was made of. Recovery begins with the label, and takes it
/// away.
fn is_unstarted_copy(pgdata: &Path) -> bool {
    pgdata.join("backup_label").exists()
}

/// What can be said of a directory that is no data directory.
fn without_control(config: &PostgresConfig) -> Option<Directory> {
    let pgdata = &config.pgdata;
    match disk::is_empty_or_missing(pgdata) {
        Ok(true) => return Some(Directory::Absent),
        Ok(false) => {}
        Err(e) => {
            let reason = format!("{} can't be read: {e}", pgdata.display());
            return Some(Directory::Unusable { reason });
        }
    }
    match fs::read_to_string(pgdata.join("PG_VERSION")) {
        Ok(_) => None,
        Err(e) => Some(Directory::Unusable {
            reason: format!(
                "{} is not empty and not a data directory of PostgreSQL (PG_VERSION: {e}); it isn't touched",
                pgdata.display()
            ),
        }),
    }
}

async fn read_control(config: &PostgresConfig, patience: Duration) -> Result<ControlFile, String> {
    let mut command = tool::command(config, "pg_controldata");
    command.arg("-D").arg(&config.pgdata);
    // A parent that is there in any case: this looks only, and the state directory may not exist yet.
    command.current_dir("/");
    let run = tokio::time::timeout(patience, tool::run(config, "pg_controldata", command, None)).await;
    let stuck = |_| {
        format!("pg_controldata doesn't end within {patience:?}: is the disk of {} stuck?", config.pgdata.display())
    };
    let done = run.map_err(stuck)?.map_err(|e| e.to_string())?;
    if !done.success {
        return Err(format!("pg_controldata failed: {}", tool::last_lines(&done.stderr, 2)));
    }
    parse_control(&done.stdout).ok_or_else(|| {
        format!(
            "pg_controldata of {} says something unexpected about {}: {}",
            config.bin_dir.display(),
            config.pgdata.display(),
            tool::last_lines(&format!("{}{}", done.stdout, done.stderr), 2)
        )
    })
}

/// As read by a program that only looks, and isn't the keeper's.
pub fn control_file(bin_dir: &Path, pgdata: &Path) -> Option<ControlFile> {
    let mut command = std::process::Command::new(bin_dir.join("pg_controldata"));
    let output = command.arg("-D").arg(pgdata).current_dir("/").env("LC_ALL", "C.UTF-8").output().ok()?;
    parse_control(&String::from_utf8_lossy(&output.stdout))
}

fn parse_control(text: &str) -> Option<ControlFile> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let said = field("Database cluster state")?;
    let state = match said {
        "shut down" => ControlState::ShutDown,
        "shut down in recovery" => ControlState::ShutDownInRecovery,
        "in archive recovery" => ControlState::InRecovery,
        // Crash recovery of a primary, an interrupted shutdown, a cluster that was never opened: whatever it
        // was doing, it was doing it as a primary and ended without order.
        "in production" | "in crash recovery" | "shutting down" | "starting up" => ControlState::InProduction,
        _ => return None,
    };
    Some(ControlFile {
        system_id: field("Database system identifier")?.parse().ok()?,
        state,
        shuts_down: matches!(said, "shutting down" | "shut down"),
        checkpoint: Position {
            tli: Timeline(field("Latest checkpoint's TimeLineID")?.parse().ok()?),
            lsn: field("Latest checkpoint location")?.parse().ok()?,
        },
        min_recovery_tli: Timeline(field("Min recovery ending loc's timeline")?.parse().ok()?),
        segment_bytes: field("Bytes per WAL segment")?.parse().ok()?,
    })
}

/// The first timeline has none.
pub fn history_file(pgdata: &Path, tli: Timeline) -> PathBuf {
    pgdata.join(format!("pg_wal/{:08X}.history", tli.0))
}

pub fn read_history(pgdata: &Path, tli: Timeline) -> History {
    let path = history_file(pgdata, tli);
    let Ok(text) = fs::read_to_string(&path) else {
        if tli.0 > 1 {
            tracing::warn!("{} is missing, so the ancestors of this timeline are unknown", path.display());
        }
        return History::root(tli);
    };
    parse_history(tli, &text)
}

pub fn parse_history(tli: Timeline, text: &str) -> History {
    History { tli, ancestors: text.lines().filter_map(parse_switch).collect() }
}

/// `1\t0/3000158\tno recovery target specified`
fn parse_switch(line: &str) -> Option<Switch> {
    let mut words = line.split_whitespace();
    let tli = Timeline(words.next()?.parse().ok()?);
    let at = words.next()?.parse().ok()?;
    Some(Switch { tli, at })
}

/// WAL of a later timeline may have been received, though the control file doesn't say so before the next
/// restart point: the segments in `pg_wal` do. It counts when it descends from the timeline known for sure.
pub fn newest_timeline(pgdata: &Path, known: Timeline, at: Lsn, segment_bytes: u64) -> Timeline {
    let from = at.0 / segment_bytes;
    let mut newest = known;
    for (tli, number) in segments(pgdata, segment_bytes) {
        let descends = || read_history(pgdata, tli).end_of(known).is_some_and(|end| at <= end);
        if tli > newest && number >= from && descends() {
            newest = tli;
        }
    }
    newest
}

/// The segments present, as timeline and number.
pub fn segments(pgdata: &Path, segment_bytes: u64) -> Vec<(Timeline, u64)> {
    let Ok(entries) = fs::read_dir(pgdata.join("pg_wal")) else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| parse_segment(entry.file_name().to_str()?, segment_bytes)).collect()
}

fn parse_segment(name: &str, segment_bytes: u64) -> Option<(Timeline, u64)> {
    if name.len() != 24 {
        return None;
    }
    let part = |range| u32::from_str_radix(name.get(range)?, 16).ok();
    let per_file = (1u64 << 32) / segment_bytes;
    let number = u64::from(part(8..16)?) * per_file + u64::from(part(16..24)?);
    Some((Timeline(part(0..8)?), number))
}

pub fn segment_name(tli: Timeline, number: u64, segment_bytes: u64) -> String {
    let per_file = (1u64 << 32) / segment_bytes;
    format!("{:08X}{:08X}{:08X}", tli.0, number / per_file, number % per_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
pg_control version number:            1300
Database system identifier:           7421234567890123456
Database cluster state:               shut down in recovery
Latest checkpoint location:           0/3000060
Latest checkpoint's REDO location:    0/3000028
Latest checkpoint's TimeLineID:       2
Min recovery ending loc's timeline:   3
Bytes per WAL segment:                16777216
";

    #[test]
    fn the_control_file_is_read_and_unknown_states_are_not_guessed() {
        let file = parse_control(OUTPUT).unwrap();
        assert_eq!(file.state, ControlState::ShutDownInRecovery);
        assert_eq!(file.checkpoint, Position::new(2, 0x300_0060));
        assert_eq!((file.min_recovery_tli, file.segment_bytes), (Timeline(3), 16 << 20));
        assert_eq!(parse_control(&OUTPUT.replace("shut down in recovery", "unrecognized status code")), None);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("pg_controldata");
        fs::write(&program, "#!/bin/sh\nexec tail -f /dev/null\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let config = PostgresConfig {
            bin_dir: dir.path().into(),
            pgdata: dir.path().into(),
            port: 5432,
            listen: "*".into(),
            run_as: None,
            auth: "trust".into(),
            replication_password: String::new(),
            dbname: "postgres".into(),
            state_dir: dir.path().into(),
        };
        let why = read_control(&config, Duration::from_millis(50)).await.unwrap_err();
        assert!(why.contains("doesn't end within 50ms"), "{why}");
    }

    #[test]
    fn histories_and_segments_tell_the_newest_descendant() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("pg_wal");
        fs::create_dir(&wal).unwrap();
        fs::write(wal.join("00000002.history"), "1\t0/3000158\tno recovery target specified\n").unwrap();
        fs::write(wal.join("00000005.history"), "4\t0/3000158\tof another lineage\n").unwrap();
        for name in ["000000010000000000000003", "000000020000000000000003", "000000050000000000000003"] {
            fs::write(wal.join(name), "").unwrap();
        }
        let branch = History::root(Timeline(1)).branch(Timeline(2), Lsn(0x300_0158));
        assert_eq!(read_history(dir.path(), Timeline(2)), branch);
        let newest = |at| newest_timeline(dir.path(), Timeline(1), Lsn(at), 16 << 20);
        assert_eq!(newest(0x300_0000), Timeline(2));
        assert_eq!(newest(0x400_0000), Timeline(1));
        assert_eq!(segment_name(Timeline(2), 256, 16 << 20), "000000020000000100000000");
        assert_eq!(parse_segment("000000020000000100000000", 16 << 20), Some((Timeline(2), 256)));
        assert_eq!(parse_segment("000000020000000100000000.partial", 16 << 20), None);
    }
}
