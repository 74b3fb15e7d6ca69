//! The binary as a user runs it: exit codes, one clear error with its remedy, nothing half-written.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn pgbaton(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
    command.env_remove("PGDATA").env_remove("PGBATON_MONITOR").stdin(Stdio::null());
    command.args(args).output().unwrap()
}

#[track_caller]
fn fails(args: &[&str], code: i32, text: &[&str]) -> String {
    let output = pgbaton(args);
    let stderr = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in text {
        assert!(stderr.contains(part), "{args:?}: \"{part}\" is missing in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A create command that only fails for what the test changes.
fn create_postgres<'a>(pgdata: &'a str, port: &'a str, monitor: &'a str) -> Vec<&'a str> {
    let mut args = vec!["create", "postgres", "--pgdata", pgdata, "--pgport", port, "--monitor", monitor];
    args.extend(["--hostname", "127.0.0.1", "--name", "a", "--auth", "trust", "--run"]);
    args
}

/// A failed test must leave no service behind.
struct KilledAtTheEnd(Child);

impl Drop for KilledAtTheEnd {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_string_lossy().to_string()
}

#[test]
fn bad_arguments_end_with_1_and_help_with_0() {
    fails(&["create", "postgres", "--nonsense"], 1, &["--nonsense"]);
    fails(&["nonsense"], 1, &["nonsense"]);
    fails(&["show", "state"], 1, &["--monitor URL", "PGBATON_MONITOR"]);
    fails(&["run"], 1, &["--pgdata DIR"]);
    fails(&["show", "state", "--monitor", "postgres://h:1/x"], 1, &["http://HOST:PORT"]);
    fails(&["create", "monitor", "--datadir", "/tmp/none", "--listen", "7432"], 1, &["HOST:PORT"]);
    assert!(pgbaton(&["--help"]).status.success());
    let version = pgbaton(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("pgbaton "));
}

#[test]
fn a_missing_or_broken_configuration_ends_with_2_and_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let pgdata = path(dir.path(), "a");
    fails(&["run", "--pgdata", &pgdata], 2, &["a.pgbaton/config.toml", "create postgres"]);
    fails(&["status", "--pgdata", &pgdata], 2, &["create postgres"]);
    fails(&["show", "state", "--pgdata", &pgdata], 2, &["config.toml"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::create_dir(dir.path().join("a.pgbaton")).unwrap();
    std::fs::write(dir.path().join("a.pgbaton/config.toml"), "name = \"a\"\nnonsense = 1\n").unwrap();
    fails(&["run", "--pgdata", &pgdata], 2, &["config.toml:2", "nonsense"]);
    fails(&["reload", "--pgdata", &pgdata], 9, &["config.toml:2"]);
}

#[test]
fn a_monitor_that_does_not_answer_ends_with_6_within_3_seconds() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pgdata = path(dir.path(), "a");
    for port in [free_port(), mute.local_addr().unwrap().port()] {
        let url = format!("http://127.0.0.1:{port}");
        let began = Instant::now();
        fails(&["show", "state", "--monitor", &url], 6, &[&url, "pgbaton status"]);
        fails(&["perform", "switchover", "--monitor", &url], 6, &[&url]);
        let pgport = free_port().to_string();
        fails(&create_postgres(&pgdata, &pgport, &url), 6, &[&url]);
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_foreign_data_directory_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let pgdata = path(dir.path(), "a");
    std::fs::create_dir(&pgdata).unwrap();
    std::fs::write(dir.path().join("a/PG_VERSION"), "15\n").unwrap();
    let port = free_port().to_string();
    fails(&create_postgres(&pgdata, &port, "http://127.0.0.1:1"), 2, &[&pgdata, "nothing was changed", "--pgdata"]);
    let listen = format!("127.0.0.1:{}", free_port());
    fails(&["create", "monitor", "--datadir", &pgdata, "--listen", &listen], 2, &[&pgdata, "--datadir"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(&pgdata).unwrap().count(), 1);
}

#[test]
fn a_port_in_use_and_a_missing_postgres_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let pgdata = path(dir.path(), "a");
    let held = TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = held.local_addr().unwrap().port().to_string();
    fails(&create_postgres(&pgdata, &taken, "http://127.0.0.1:1"), 2, &[&taken, "--pgport"]);
    let mut args = create_postgres(&pgdata, "5432", "http://127.0.0.1:1");
    args.extend(["--pgctl", "/nonexistent"]);
    fails(&args, 5, &["/nonexistent", "pg_ctl"]);
    let listen = format!("127.0.0.1:{taken}");
    fails(&["create", "monitor", "--datadir", &pgdata, "--listen", &listen], 2, &[&taken, "--listen"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_monitor_is_created_once_and_runs_once() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = path(dir.path(), "monitor");
    let listen = format!("127.0.0.1:{}", free_port());
    let create = ["create", "monitor", "--datadir", &datadir, "--listen", &listen];
    for _ in 0..2 {
        let output = pgbaton(&create);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fails(&["create", "monitor", "--datadir", &datadir, "--listen", "127.0.0.1:1"], 1, &["other options"]);
    fails(&["status", "--datadir", &datadir], 3, &["isn't running"]);

    let mut monitor = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
    monitor.args(["run", "--datadir", &datadir]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut monitor = KilledAtTheEnd(monitor.spawn().unwrap());
    let url = format!("http://{listen}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pgbaton(&["show", "state", "--monitor", &url]).status.success() {
        assert!(Instant::now() < deadline, "the monitor doesn't answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    fails(&["run", "--datadir", &datadir], 3, &["another pgbaton runs here"]);
    assert!(pgbaton(&["status", "--datadir", &datadir]).status.success());
    let state = pgbaton(&["show", "state", "--monitor", &url, "--json"]);
    assert_eq!(String::from_utf8_lossy(&state.stdout).trim(), "[]");
    fails(&["perform", "switchover", "--monitor", &url], 6, &["no node has registered"]);
    fails(&["drop", "node", "--monitor", &url, "--name", "x"], 6, &["x"]);
    assert!(pgbaton(&["reload", "--datadir", &datadir]).status.success());
    assert!(pgbaton(&["stop", "--datadir", &datadir]).status.success());
    assert!(monitor.0.wait().unwrap().success());
    let unit = pgbaton(&["show", "systemd", "--datadir", &datadir]);
    assert!(String::from_utf8_lossy(&unit.stdout).contains("KillMode=process"));
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = path(dir.path(), "monitor");
    let listen = format!("127.0.0.1:{}", free_port());
    assert!(pgbaton(&["create", "monitor", "--datadir", &datadir, "--listen", &listen]).status.success());
    let mut show = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
    show.args(["show", "file", "--datadir", &datadir]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut show = show.spawn().unwrap();
    drop(show.stdout.take());
    let output = show.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
