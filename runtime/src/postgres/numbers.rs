//! Numbers of timelines that are taken without a timeline: a history file that says so stands for each.

use super::control::history_file;
use super::{PostgresConfig, files};
use crate::disk;
use pgbaton_core::model::Timeline;
use pgbaton_core::ports::PgError;
use std::fs;

/// By which such a file is told from a real history.
const MARK: &str = "number reserved by pgbaton";

/// Postgres takes the first number without a history file, counting up from its own timeline. What is placed here
/// leaves that timeline at the very start of WAL, so a server in recovery finds that it has passed the fork long ago
/// and doesn't follow it. A start beside it is refused at once; without an ancestor in the file it would wait for WAL
/// of that timeline for ever.
///
/// Numbers of the past are filled in as well: a clone brings the history of its last timeline only, and a follower
/// that comes from far behind fetches the file of every number it has not.
pub fn take_below(config: &PostgresConfig, own: Timeline, timeline: Timeline) -> Result<(), PgError> {
    for number in 2..timeline.0 {
        let path = history_file(&config.pgdata, Timeline(number));
        if !path.exists() {
            files::write(&path, &reservation(own, Timeline(number)))?;
        }
    }
    Ok(())
}

/// Postgres insists that ancestors have smaller numbers.
fn reservation(own: Timeline, number: Timeline) -> String {
    format!("{}\t0/1\t{MARK}\n", own.0.min(number.0 - 1))
}

/// Before a start: a promotion that never came, or a follower that was interrupted while it fetched histories, leaves
/// reservations above the server's own timeline. Those below it stay, because followers ask for them.
pub fn release_above(config: &PostgresConfig, own: Timeline) -> Result<(), PgError> {
    let wal = config.pgdata.join("pg_wal");
    let entries = fs::read_dir(&wal).map_err(|e| files::failed("read", &wal, &e))?;
    let mut released = false;
    for entry in entries {
        let entry = entry.map_err(|e| files::failed("read", &wal, &e))?;
        let number = entry.file_name().to_str().and_then(parse_history_name);
        if number.is_some_and(|number| number > own) && disk::read(&entry.path()).is_ok_and(|text| text.contains(MARK))
        {
            released |= files::remove(&entry.path())?;
        }
    }
    if released {
        disk::sync_dir(&wal).map_err(|e| files::failed("sync", &wal, &e))?;
    }
    Ok(())
}

fn parse_history_name(name: &str) -> Option<Timeline> {
    let digits = name.strip_suffix(".history").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(Timeline)
}

#[cfg(test)]
mod tests {
    use super::super::control::parse_history;
    use super::*;
    use pgbaton_core::model::Position;

    #[test]
    fn a_reservation_names_an_ancestor_that_it_left_before_any_wal() {
        let history = parse_history(Timeline(3), &reservation(Timeline(2), Timeline(3)));
        assert_eq!(history.ancestors.len(), 1);
        assert!(!history.contains(Position::new(2, 0x100_0028)));
        assert_eq!(reservation(Timeline(5), Timeline(2)).split('\t').next(), Some("1"), "smaller than its own number");
    }

    #[test]
    fn only_histories_are_looked_into() {
        assert_eq!(parse_history_name("0000000A.history"), Some(Timeline(10)));
        assert_eq!(parse_history_name("0000000A.history.tmp"), None);
        assert_eq!(parse_history_name("000000010000000000000003"), None);
    }
}
