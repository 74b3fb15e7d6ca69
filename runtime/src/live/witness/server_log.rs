//! What a server says in its log, as far as the checkers want to know it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pgbaton_core::model::{NodeId, Timeline};
use std::collections::BTreeSet;

/// One line of a log whose prefix is `%m [%p] %q%a `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since 1970.
    pub at: u64,
    pub pid: u32,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// By the postmaster: its number is that of the process.
    Starts,
    /// The server is out of recovery.
    TakesWrites,
    /// The postmaster ends all sessions and takes no new ones.
    EndsSessions,
    ShutDown,
    /// The postmaster has read other `synchronous_standby_names`.
    Names(Names),
    /// Its end of recovery begins this timeline; the history file follows.
    Begins(Timeline),
    /// The history file is written.
    HasBegun,
    /// This standby has asked for WAL.
    Asked(NodeId),
    /// The WAL receiver, whose number this is, gets WAL.
    Receives,
    /// The process ends by an error.
    Dies,
}

/// How many of whom a commit waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub k: usize,
    pub of: BTreeSet<NodeId>,
}

impl Names {
    /// Reads what pgbaton writes; no other form occurs.
    pub fn read(setting: &str) -> Names {
        let parts = setting.strip_prefix("ANY ").and_then(|rest| rest.strip_suffix(')')?.split_once(" ("));
        let Some((k, of)) = parts else { return Names::default() };
        let of = of.split(", ").filter_map(NodeId::from_standby_name).collect();
        Names { k: k.parse().unwrap_or_default(), of }
    }
}

/// None for what is of no interest. The server logs in UTC, because the live run gives it that time zone.
pub fn read(line: &str) -> Option<Line> {
    let (at, rest) = line.split_at_checked(23)?;
    let at: DateTime = at.parse().ok()?;
    let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let (_, rest) = rest.split_once(" [")?;
    let (pid, rest) = rest.split_once("] ")?;
    Some(Line { at: at.try_into().ok()?, pid: pid.parse().ok()?, said: judge(rest)? })
}

/// `application LOG:  text`; the application is missing, or empty, with most processes.
fn judge(rest: &str) -> Option<Said> {
    if rest.starts_with("FATAL:  ") || rest.contains(" FATAL:  ") {
        return Some(Said::Dies);
    }
    let (application, text) = rest.split_once("LOG:  ")?;
    if text.starts_with("received replication command: START_REPLICATION") {
        return NodeId::from_standby_name(application.trim()).map(Said::Asked);
    }
    if let Some(timeline) = text.strip_prefix("selected new timeline ID: ") {
        return timeline.parse().ok().map(Timeline).map(Said::Begins);
    }
    if let Some(names) = text.strip_prefix("parameter \"synchronous_standby_names\" changed to \"") {
        return Some(Said::Names(Names::read(names.trim_end_matches('"'))));
    }
    match text {
        // The file that held them is gone: it waits for nobody.
        "parameter \"synchronous_standby_names\" removed from configuration file, reset to default" => {
            Some(Said::Names(Names::default()))
        }
        "database system is ready to accept connections" => Some(Said::TakesWrites),
        "received fast shutdown request" => Some(Said::EndsSessions),
        "database system is shut down" => Some(Said::ShutDown),
        "archive recovery complete" => Some(Said::HasBegun),
        _ if text.starts_with("starting PostgreSQL ") => Some(Said::Starts),
        _ if text.starts_with("started streaming WAL ") || text.starts_with("restarted WAL streaming ") => {
            Some(Said::Receives)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_real_servers_are_read() {
        let said = |rest: &str| {
            let line = read(&format!("2026-11-24 10:47:51.766 UTC [26198] {rest}"));
            line.map(|line| {
                assert_eq!((line.at, line.pid), (1_795_517_271_766, 26_198));
                line.said
            })
        };
        assert_eq!(said("LOG:  starting PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on x86_64"), Some(Said::Starts));
        assert_eq!(said("LOG:  database system is ready to accept connections"), Some(Said::TakesWrites));
        assert_eq!(said("LOG:  database system is ready to accept read-only connections"), None);
        assert_eq!(said("LOG:  selected new timeline ID: 12"), Some(Said::Begins(Timeline(12))));
        let command = "LOG:  received replication command: START_REPLICATION SLOT \"x\" 0/3000000 TIMELINE 1";
        assert_eq!(said(&format!("pgbaton_standby_2 {command}")), Some(Said::Asked(NodeId(2))));
        assert_eq!(said(&format!("pg_basebackup {command}")), None);
        assert_eq!(said("LOG:  started streaming WAL from primary at 0/3000000 on timeline 1"), Some(Said::Receives));
        let ended = "terminating walreceiver process due to administrator command";
        assert_eq!(said(&format!("FATAL:  {ended}")), Some(Said::Dies));
        assert_eq!(said(&format!("pgbaton-live FATAL:  {ended}")), Some(Said::Dies));
        assert_eq!(read("\tand a second line of it"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let changed =
            |to: &str| judge(&format!("LOG:  parameter \"synchronous_standby_names\" changed to \"{to}\"")).unwrap();
        assert_eq!(changed(""), Said::Names(Names { k: 0, of: [].into() }));
        let gone = "LOG:  parameter \"synchronous_standby_names\" removed from configuration file, reset to default";
        assert_eq!(judge(gone), Some(Said::Names(Names::default())));
        let two = Names { k: 1, of: [NodeId(2), NodeId(13)].into() };
        assert_eq!(changed("ANY 1 (pgbaton_standby_2, pgbaton_standby_13)"), Said::Names(two));
        assert_eq!(changed("ANY 1 (pgbaton_nobody)"), Said::Names(Names { k: 1, of: [].into() }));
    }
}
