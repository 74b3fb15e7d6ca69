//! The write-ahead log of a stopped server: what it holds past a fork, and a copy of that.

use super::control::{read_history, segment_name, segments};
use super::{LocalPostgres, files, tool};
use crate::disk;
use pgbaton_core::model::{Lsn, Position, Timeline};
use pgbaton_core::ports::PgError;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

const PAGE: u64 = 8192;
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;

/// One line of pg_waldump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    start: Lsn,
    bytes: u64,
    /// The rest of the segment after it is unused.
    is_switch: bool,
}

impl LocalPostgres {
    pub(super) async fn find_wal_past(&self, fork: Position) -> Result<Option<Lsn>, PgError> {
        self.stopped("reading the WAL")?;
        let control = self.control.read(&self.config).await.map_err(PgError::Retry)?;
        let segment_bytes = control.segment_bytes;
        let first = fork.lsn.0 / segment_bytes;
        // Segments before the first one present were removed; what is past the fork goes on in the rest.
        let present = segments(&self.config.pgdata, segment_bytes);
        let numbers = present.iter().filter(|(tli, number)| *tli == fork.tli && *number >= first).map(|(_, n)| *n);
        let Some(start) = numbers.min().map(|number| Lsn(fork.lsn.0.max(number * segment_bytes))) else {
            return Ok(None);
        };
        // On an ancestor of our own timeline, what lies beyond our own switch was never ours.
        let ours = control.describe(&self.config.pgdata).history;
        let limit = read_history(&self.config.pgdata, ours.tli).end_of(fork.tli).unwrap_or(Lsn(u64::MAX));
        let last = self.last_record(Position { lsn: start, ..fork }, limit).await?;
        Ok(last.map(|record| end_of(record, segment_bytes)))
    }

    /// The last of the records from `from` up to `limit`.
    async fn last_record(&self, from: Position, limit: Lsn) -> Result<Option<Record>, PgError> {
        let mut command = tool::command(&self.config, "pg_waldump");
        command.arg("-p").arg(self.config.pgdata.join("pg_wal"));
        command.arg("-t").arg(from.tli.to_string()).arg("-s").arg(from.lsn.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| tool::not_started("pg_waldump", &self.config, &e))?;
        let lost = |e: std::io::Error| PgError::Retry(format!("pg_waldump was lost: {e}"));
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let mut complaint = String::new();
        let mut errors = BufReader::new(stderr);
        let scan = async {
            let mut last = None;
            let mut lines = BufReader::new(stdout).split(b'\n');
            while let Some(line) = lines.next_segment().await? {
                let record = parse_record(&String::from_utf8_lossy(&line));
                last = record.filter(|r| r.start >= from.lsn && r.start < limit).or(last);
            }
            Ok::<_, std::io::Error>(last)
        };
        let (last, heard) = tokio::join!(scan, errors.read_to_string(&mut complaint));
        heard.map_err(lost)?;
        let status = child.wait().await.map_err(lost)?;
        let last = last.map_err(lost)?;
        came_to_the_end(status, last.is_some(), &complaint)?;
        Ok(last)
    }

    pub(super) async fn copy_wal_aside(&self, fork: Position, end: Lsn) -> Result<String, PgError> {
        let control = self.control.read(&self.config).await.map_err(PgError::Retry)?;
        let config = self.config.clone();
        files::off_the_loop(move || {
            let base = config.state_dir.join("diverged");
            files::private_dir(&config, &config.state_dir)?;
            files::private_dir(&config, &base)?;
            let flat = |lsn: Lsn| format!("{:08X}{:08X}", lsn.0 >> 32, lsn.0 & 0xffff_ffff);
            let target = base.join(format!("{}-{}-{}", fork.tli, flat(fork.lsn), flat(end)));
            if target.exists() {
                return Ok(target.to_string_lossy().into_owned());
            }
            let staged = target.with_extension("part");
            files::remove_tree(&staged)?;
            files::private_dir(&config, &staged)?;
            let size = control.segment_bytes;
            let (first, last) = (fork.lsn.0 / size, end.0.saturating_sub(1).max(fork.lsn.0) / size);
            // The end is known on the fork's own timeline only; of those that grew out of it, all there is.
            let diverged = |(tli, number): &(Timeline, u64)| {
                *number >= first && (*tli > fork.tli || (*tli == fork.tli && *number <= last))
            };
            let diverged: BTreeSet<_> = segments(&config.pgdata, size).into_iter().filter(diverged).collect();
            let names = diverged.iter().map(|(tli, number)| segment_name(*tli, *number, size));
            let histories: BTreeSet<u32> = diverged.iter().map(|(tli, _)| tli.0).collect();
            let histories = histories.into_iter().map(|tli| format!("{tli:08X}.history"));
            for name in names.chain(histories) {
                copy_durably(&config.pgdata.join("pg_wal").join(&name), &staged.join(&name))?;
            }
            disk::sync_dir(&staged)
                .and_then(|()| fs::rename(&staged, &target))
                .and_then(|()| disk::sync_dir(&base))
                .map_err(|e| files::failed("finish the copy", &target, &e))?;
            Ok(target.to_string_lossy().into_owned())
        })
        .await
    }
}

/// It ends with an error where the WAL ends. One that died or couldn't read has told nothing of what comes after.
fn came_to_the_end(status: ExitStatus, has_records: bool, complaint: &str) -> Result<(), PgError> {
    const ENDS: [&str; 3] = ["could not find a valid record", "error in WAL record at", "could not find file"];
    let says = |patterns: &[&str]| patterns.iter().any(|pattern| complaint.contains(pattern));
    let text = format!("pg_waldump, {status}: {}", tool::last_lines(complaint, 2));
    match status.code() {
        None => Err(PgError::Retry(text)),
        Some(0) => Ok(()),
        Some(_) if !has_records && says(&["ermission denied", "could not open directory"]) => {
            Err(PgError::Operator(text))
        }
        Some(_) if has_records || says(&ENDS) => Ok(()),
        Some(_) => Err(PgError::Retry(text)),
    }
}

/// A file that isn't there was removed by Postgres long ago; what is there is kept.
fn copy_durably(from: &Path, to: &Path) -> Result<(), PgError> {
    let mut source = match disk::open_to_read(from) {
        Ok(source) => source,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(files::failed("read", from, &e)),
    };
    let copied = disk::create_anew(to, 0o600)
        .and_then(|mut copy| io::copy(&mut source, &mut copy).and_then(|_| copy.sync_all()));
    copied.map_err(|e| files::failed("copy WAL to", to, &e))
}

/// `rmgr: Heap  len (rec/tot):     54/   174, tx:  735, lsn: 0/01502A88, prev 0/01502A50, desc: INSERT ...`
fn parse_record(line: &str) -> Option<Record> {
    let (_, lengths) = line.strip_prefix("rmgr: ")?.split_once("len (rec/tot):")?;
    let (lengths, rest) = lengths.split_once(',')?;
    let (_, lsn) = rest.split_once("lsn: ")?;
    let (_, total) = lengths.split_once('/')?;
    Some(Record {
        start: lsn.split(',').next()?.trim().parse().ok()?,
        bytes: total.trim().parse().ok()?,
        is_switch: line.starts_with("rmgr: XLOG ") && rest.contains("desc: SWITCH"),
    })
}

/// Where the next record would start: a record goes on across pages, each of which begins with a header.
fn end_of(record: Record, segment_bytes: u64) -> Lsn {
    let (mut at, mut left) = (record.start.0, record.bytes);
    loop {
        let room = PAGE - at % PAGE;
        if left <= room {
            at += left;
            break;
        }
        left -= room;
        at += room;
        at += if at.is_multiple_of(segment_bytes) { SEGMENT_HEADER } else { PAGE_HEADER };
    }
    if record.is_switch {
        return Lsn(at.next_multiple_of(segment_bytes));
    }
    Lsn(at.next_multiple_of(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_pg_waldump_that_dies_has_not_found_the_end() {
        let judged = |raw, has_records, text| came_to_the_end(ExitStatus::from_raw(raw), has_records, text);
        let failed = 1 << 8;
        let end = "pg_waldump: error: could not find a valid record after 0/2000000";
        assert_eq!(judged(failed, false, end), Ok(()));
        assert_eq!(
            judged(failed, true, "pg_waldump: error: error in WAL record at 0/1: invalid record length"),
            Ok(())
        );
        assert!(matches!(judged(9, true, ""), Err(PgError::Retry(_))), "killed on its way");
        assert!(matches!(judged(failed, false, "pg_waldump: error: out of memory"), Err(PgError::Retry(_))));
        assert!(matches!(judged(failed, false, "could not open file: Permission denied"), Err(PgError::Operator(_))));
    }

    #[test]
    fn records_are_read_and_end_where_the_next_one_starts() {
        let line = "rmgr: Heap        len (rec/tot):     54/   174, tx:        735, lsn: 0/01502A88, prev 0/01502A50, desc: INSERT off 1";
        let record = parse_record(line).unwrap();
        assert_eq!((record.start, record.bytes, record.is_switch), (Lsn(0x150_2A88), 174, false));
        assert_eq!(end_of(record, 16 << 20), Lsn(0x150_2A88 + 176));
        let across = Record { start: Lsn(0x1FF0), bytes: 20, is_switch: false };
        assert_eq!(end_of(across, 16 << 20), Lsn(0x2000 + 24 + 8));
        let segment = Record { start: Lsn((16 << 20) - 16), bytes: 24, is_switch: false };
        assert_eq!(end_of(segment, 16 << 20), Lsn((16 << 20) + 40 + 8));
        let switch = Record { start: Lsn(0x150_2A88), bytes: 24, is_switch: true };
        assert_eq!(end_of(switch, 16 << 20), Lsn(0x200_0000));
        assert_eq!(parse_record("pg_waldump: first record is after 0/1"), None);
    }
}
