//! The settings pgbaton owns. They live in `<state_dir>/conf`, outside of PGDATA: a rewind and a clone copy
//! the source's files, and these must not be the source's. `postgresql.conf` includes them at its end.

use super::{PostgresConfig, files};
use crate::disk;
use pgbaton_core::model::{NodeId, Upstream};
use pgbaton_core::ports::PgError;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

pub const REPLICATION_ROLE: &str = "pgbaton_replicator";

const BEGIN: &str = "# pgbaton begin: managed, changes here are lost";
const END: &str = "# pgbaton end";
/// What this file includes at its start, so that the operator has the last word.
const DEFAULTS: &str = "pgbaton-defaults.conf";

/// `ALTER SYSTEM` and `pg_basebackup -R` write these to postgresql.auto.conf, which would win over ours.
const OWNED: [&str; 15] = [
    "port",
    "listen_addresses",
    "unix_socket_directories",
    "primary_conninfo",
    "primary_slot_name",
    "synchronous_standby_names",
    "synchronous_commit",
    "restore_command",
    "restart_after_crash",
    "recovery_target_timeline",
    "recovery_min_apply_delay",
    "hot_standby",
    "wal_log_hints",
    "full_page_writes",
    "promote_trigger_file",
];

/// How much of the disk WAL may take, unless the operator says otherwise. A forgotten slot may cost a standby a new clone, but
/// never the primary its disk; and a node whose slot was just made may need more than what came since.
const DEFAULT_SETTINGS: &str = "max_slot_wal_keep_size = '8GB'\nwal_keep_size = '512MB'\n";

/// Brings every file into shape before a start, also those that came with a clone or a rewind.
pub fn prepare(config: &PostgresConfig) -> Result<(), PgError> {
    let dir = config.conf_dir();
    files::private_dir(config, &config.state_dir)?;
    files::private_dir(config, &dir)?;
    files::private_dir(config, &config.seal_dir())?;
    // That nobody else can enter it is what keeps `local ... trust` private.
    files::private_dir(config, &config.socket_dir())?;
    let own = files::read(&config.pgdata.join("postgresql.conf")).unwrap_or_default();
    files::update(&dir.join("pgbaton.conf"), &(fixed(config) + wal_level(&own)))?;
    files::update(&dir.join(DEFAULTS), DEFAULT_SETTINGS)?;
    take_the_last_word(config)
}

/// What is read last counts: our files come after all that the operator has written, also since the last start.
pub fn take_the_last_word(config: &PostgresConfig) -> Result<(), PgError> {
    let main = config.pgdata.join("postgresql.conf");
    let text = disk::read(&main).map_err(|e| match e.kind() {
        ErrorKind::NotFound => PgError::Operator(format!(
            "{} is missing; pgbaton needs the configuration in the data directory: move it there",
            main.display()
        )),
        _ => files::failed("read", &main, &e),
    })?;
    if sets(&text, "restore_command") {
        tracing::warn!(
            "restore_command in {} has no effect: an archive may hold the end of a history that was given up, \
             so nodes take WAL from each other only",
            main.display()
        );
    }
    let defaults = format!("include_if_exists = {}", value(&config.conf_dir().join(DEFAULTS).to_string_lossy()));
    let text = with_first_line(&text, &defaults);
    files::update(&main, &with_block(&text, &includes(config), Place::End))?;
    clear_auto_conf(config)
}

fn includes(config: &PostgresConfig) -> String {
    let dir = config.conf_dir();
    let mut block = String::new();
    for name in ["pgbaton.conf", "pgbaton-standby.conf", "pgbaton-names.conf", "pgbaton-seal.conf"] {
        let path = dir.join(name);
        let _infallible = writeln!(block, "include_if_exists = {}", value(&path.to_string_lossy()));
    }
    block
}

/// What every server of a group is configured with.
pub fn fixed(config: &PostgresConfig) -> String {
    let mut text = String::from("# Written by pgbaton at every start; put your own settings into postgresql.conf.\n");
    let settings = [
        ("port", config.port.to_string()),
        ("listen_addresses", config.listen.clone()),
        ("unix_socket_directories", config.socket_dir().to_string_lossy().into_owned()),
        ("max_wal_senders", "20".into()),
        ("max_replication_slots", "20".into()),
        // pg_rewind needs both.
        ("wal_log_hints", "on".into()),
        ("full_page_writes", "on".into()),
        ("hot_standby", "on".into()),
        ("hot_standby_feedback", "on".into()),
        ("wal_sender_timeout", "5s".into()),
        ("wal_receiver_timeout", "4s".into()),
        ("wal_receiver_status_interval", "1s".into()),
        // The default of 5 s is what commits wait for when a primary comes back in place.
        ("wal_retrieve_retry_interval", "100ms".into()),
        // The keeper must see every crash; and with standby.signal in place a server that starts itself
        // over after one would come back read-only.
        ("restart_after_crash", "off".into()),
        ("synchronous_commit", "on".into()),
        ("recovery_target_timeline", "latest".into()),
        // A former primary archives what only it has; who takes that has forked. Also, what is sealed must not grow.
        ("restore_command", String::new()),
        // A standby that waits before it replays can't take over.
        ("recovery_min_apply_delay", "0".into()),
        ("log_destination", "stderr".into()),
        ("logging_collector", "off".into()),
        ("log_line_prefix", "%m [%p] %q%a ".into()),
    ];
    for (name, setting) in settings {
        let _infallible = writeln!(text, "{name} = {}", value(&setting));
    }
    text
}

/// At least what replication needs. `logical` is more than that, and kept.
fn wal_level(own: &str) -> &'static str {
    match own.lines().rfind(|line| name_of(line) == "wal_level").is_some_and(is_logical) {
        true => "wal_level = 'logical'\n",
        false => "wal_level = 'replica'\n",
    }
}

fn is_logical(line: &str) -> bool {
    let value = line.trim_start()["wal_level".len()..].trim_start_matches([' ', '\t', '=']);
    value.trim_start_matches('\'').get(..7).is_some_and(|start| start.eq_ignore_ascii_case("logical"))
}

/// Writes whom to follow; tells whether that is a change.
pub fn write_upstream(config: &PostgresConfig, me: NodeId, upstream: Option<&Upstream>) -> Result<bool, PgError> {
    let text = match upstream {
        Some(upstream) => format!(
            "primary_conninfo = {}\nprimary_slot_name = {}\n",
            value(&conninfo(config, me, upstream)),
            value(&me.standby_name())
        ),
        None => "primary_conninfo = ''\nprimary_slot_name = ''\n".to_string(),
    };
    files::private_dir(config, &config.conf_dir())?;
    files::update(&config.conf_dir().join("pgbaton-standby.conf"), &text)
}

pub fn follows_nobody(config: &PostgresConfig) -> bool {
    fs::read_to_string(config.conf_dir().join("pgbaton-standby.conf"))
        .is_ok_and(|text| text.starts_with("primary_conninfo = ''\n"))
}

pub fn write_names(config: &PostgresConfig, names: &str) -> Result<bool, PgError> {
    files::private_dir(config, &config.conf_dir())?;
    let text = format!("synchronous_standby_names = {}\n", value(names));
    files::update(&config.conf_dir().join("pgbaton-names.conf"), &text)
}

/// The names written last; none when nothing was written. They hold no quotes.
pub fn read_names(config: &PostgresConfig) -> String {
    names_on_disk(&config.state_dir)
}

/// As [`read_names`], for who only looks.
pub fn names_on_disk(state_dir: &Path) -> String {
    let text = fs::read_to_string(state_dir.join("conf/pgbaton-names.conf")).unwrap_or_default();
    text.split('\'').nth(1).unwrap_or_default().to_string()
}

/// The `primary_conninfo` written last; empty when it follows nobody.
pub fn upstream_on_disk(state_dir: &Path) -> String {
    let text = fs::read_to_string(state_dir.join("conf/pgbaton-standby.conf")).unwrap_or_default();
    let setting = text.lines().find_map(|line| line.strip_prefix("primary_conninfo = '")?.strip_suffix('\''));
    setting.unwrap_or_default().replace("''", "'")
}

fn conninfo(config: &PostgresConfig, me: NodeId, upstream: &Upstream) -> String {
    let mut parts = source_parts(upstream);
    if config.auth != "trust" {
        parts.push(("password", config.replication_password.clone()));
    }
    parts.push(("application_name", me.standby_name()));
    join(&parts)
}

/// For pg_rewind and pg_basebackup, which get the password through the environment.
pub fn tool_conninfo(source: &Upstream, extra: &[(&'static str, String)]) -> String {
    let mut parts = source_parts(source);
    parts.extend_from_slice(extra);
    join(&parts)
}

fn source_parts(upstream: &Upstream) -> Vec<(&'static str, String)> {
    vec![
        ("host", upstream.host.clone()),
        ("port", upstream.port.to_string()),
        ("user", REPLICATION_ROLE.into()),
        ("connect_timeout", "2".into()),
        ("tcp_user_timeout", "5000".into()),
        ("keepalives_idle", "2".into()),
        ("keepalives_interval", "1".into()),
        ("keepalives_count", "3".into()),
    ]
}

fn join(parts: &[(&str, String)]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let words: Vec<String> = parts.iter().map(|(key, text)| format!("{key}={}", quoted(text))).collect();
    words.join(" ")
}

/// A quoted value of a configuration file.
pub fn value(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Start,
    End,
}

/// The text with the managed block replaced, and moved to the place where it counts.
pub fn with_block(text: &str, block: &str, place: Place) -> String {
    let mut rest = String::new();
    let mut managed = false;
    for line in text.lines() {
        match line {
            BEGIN => managed = true,
            END => managed = false,
            _ if managed => {}
            _ => {
                rest.push_str(line);
                rest.push('\n');
            }
        }
    }
    match place {
        Place::Start => format!("{BEGIN}\n{block}{END}\n{rest}"),
        Place::End => format!("{rest}{BEGIN}\n{block}{END}\n"),
    }
}

/// The text with this line at its start, instead of one that a clone or a rewind has brought along.
fn with_first_line(text: &str, line: &str) -> String {
    let rest = text.lines().filter(|other| !(other.starts_with("include_if_exists") && other.contains(DEFAULTS)));
    [line].into_iter().chain(rest).fold(String::new(), |text, line| text + line + "\n")
}

/// Whether a file of settings has a line for this one.
fn sets(text: &str, name: &str) -> bool {
    text.lines().any(|line| name_of(line) == name)
}

/// A setting's name, in whatever case and with or without an equals sign after it.
fn name_of(line: &str) -> String {
    line.trim_start().split(['=', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase()
}

fn clear_auto_conf(config: &PostgresConfig) -> Result<(), PgError> {
    let path = config.pgdata.join("postgresql.auto.conf");
    let Ok(text) = disk::read(&path) else {
        return Ok(());
    };
    let is_owned = |line: &&str| match name_of(line).as_str() {
        "wal_level" => !is_logical(line),
        name => OWNED.contains(&name),
    };
    let dropped: Vec<&str> = text.lines().filter(is_owned).collect();
    if dropped.is_empty() {
        return Ok(());
    }
    tracing::warn!("taken out of {}, pgbaton manages these: {}", path.display(), dropped.len());
    let kept: String = text.lines().filter(|line| !is_owned(line)).map(|line| format!("{line}\n")).collect();
    files::update(&path, &kept).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{History, Timeline};

    #[test]
    fn a_block_is_replaced_and_put_where_it_counts() {
        let once = with_block("a = 1\nb = 2", "x\n", Place::End);
        assert_eq!(once, format!("a = 1\nb = 2\n{BEGIN}\nx\n{END}\n"));
        assert_eq!(with_block(&once, "x\n", Place::End), once);
        let moved = with_block(&format!("{once}c = 3\n"), "y\n", Place::Start);
        assert_eq!(moved, format!("{BEGIN}\ny\n{END}\na = 1\nb = 2\nc = 3\n"));
    }

    #[test]
    fn a_setting_is_found_in_whatever_way_it_is_written() {
        for text in ["a=1\nrestore_command = 'x'", "  Restore_Command='x'", "restore_command\t'x'"] {
            assert!(sets(text, "restore_command"), "{text}");
        }
        assert!(!sets("#restore_command = 'x'\n# restore_command = 'x'", "restore_command"));
    }

    #[test]
    fn logical_is_kept_and_any_other_wal_level_is_enough_for_replication() {
        for logical in
            ["wal_level = logical", "WAL_LEVEL 'Logical' # for Debezium", "wal_level=minimal\nwal_level=logical"]
        {
            assert_eq!(wal_level(logical), "wal_level = 'logical'\n", "{logical}");
        }
        for other in ["", "#wal_level = logical", "wal_level = minimal", "wal_level = logical\nwal_level = replica"] {
            assert_eq!(wal_level(other), "wal_level = 'replica'\n", "{other}");
        }
    }

    #[test]
    fn what_is_included_first_is_there_once_whoever_wrote_it() {
        let own = "include_if_exists = '/a/conf/pgbaton-defaults.conf'";
        let once = with_first_line("port = 1\nwal_keep_size = 0", own);
        assert_eq!(once, format!("{own}\nport = 1\nwal_keep_size = 0\n"));
        let copied = once.replace("/a/", "/b/");
        assert_eq!(with_first_line(&copied, own), once);
    }

    #[test]
    fn values_and_connection_strings_can_hold_quotes() {
        let upstream = Upstream {
            node: NodeId(1),
            host: "it's".into(),
            port: 5432,
            history: History::root(Timeline(1)),
            opening: false,
        };
        let text = tool_conninfo(&upstream, &[]);
        assert!(text.starts_with(r"host='it\'s' port='5432'"), "{text}");
        assert_eq!(value("a'b\\c"), "'a''b\\\\c'");
    }
}
