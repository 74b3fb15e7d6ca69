//! The binary as a user runs it: exit codes, one clear error with its remedy, nothing half-written.

#[path = "support/port.rs"]
mod port;

use pgbaton::ports::HttpLink;
use pgbaton_core::ports::Link;
use pgbaton_core::wire::{self, Answer, Register, Request};
use port::free_port;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
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

/// A monitor that runs until the end of the test.
struct Monitor {
    _service: KilledAtTheEnd,
    datadir: String,
    url: String,
}

impl Monitor {
    fn start(dir: &Path) -> Monitor {
        let datadir = path(dir, "monitor");
        let listen = format!("127.0.0.1:{}", free_port());
        let mut service = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
        service.args(["create", "monitor", "--datadir", &datadir, "--listen", &listen, "--run"]);
        service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let monitor =
            Monitor { _service: KilledAtTheEnd(service.spawn().unwrap()), datadir, url: format!("http://{listen}") };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !monitor.run(&["show", "state"]).status.success() {
            assert!(Instant::now() < deadline, "the monitor doesn't answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        monitor
    }

    fn run(&self, args: &[&str]) -> Output {
        pgbaton(&[args, &["--monitor", &self.url]].concat())
    }

    #[track_caller]
    fn says(&self, args: &[&str], stdout: &str) {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), stdout, "{args:?}");
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], code: i32, text: &[&str]) {
        fails(&[args, &["--monitor", &self.url]].concat(), code, text);
    }

    /// A node that the monitor knows of and that never says a word.
    fn register(&self, name: &str, port: u16) {
        let ask = Register {
            formation: "default".into(),
            group: 0,
            name: name.into(),
            host: "127.0.0.1".into(),
            port,
            candidate_priority: 50,
            replication_quorum: true,
            system_id: None,
            again: None,
        };
        let call = async {
            let request = wire::encode(&Request::Register(ask));
            let bytes = HttpLink::new(&self.url).call(request, Duration::from_secs(3)).await.unwrap();
            wire::decode::<Answer>(&bytes).unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(call);
        assert!(matches!(answer, Answer::Registered { .. }), "{answer:?}");
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
    for (name, mode) in [("monitor", 0o700), ("monitor/monitor.redb", 0o600), ("monitor/config.toml", 0o600)] {
        let found = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
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
    assert!(String::from_utf8_lossy(&unit.stdout).contains("Restart=on-failure"));
}

#[test]
fn values_out_of_range_and_options_that_contradict_are_refused_before_anybody_is_asked() {
    let nobody = ["--monitor", "http://127.0.0.1:1"];
    for (args, text) in [
        (&["set", "node", "candidate-priority", "101", "--name", "a"][..], "101"),
        (&["set", "node", "replication-quorum", "maybe", "--name", "a"], "maybe"),
        (&["set", "formation", "number-sync-standbys", "many"], "many"),
        (&["set", "formation", "durability", "sometimes"], "degrade"),
        (&["set", "node", "metadata", "--node", "a"], "--hostname"),
        (&["set", "node", "candidate-priority", "5"], "--name"),
        (&["get", "node", "candidate-priority"], "--name"),
        (&["accept", "timeline", "--tli", "2"], "--reason"),
        (&["accept", "timeline", "--tli", "0", "--reason", "x"], "--tli"),
        (&["enable", "maintenance"], "--name"),
        (&["perform", "promotion"], "--name"),
        (&["drop", "node", "--hostname", "h"], "--pgport"),
        (&["drop", "node", "--name", "a", "--hostname", "h", "--pgport", "1"], "cannot be used with"),
        (&["drop", "node", "--name", "a", "--destroy"], "--pgdata DIR"),
        (&["create", "formation", "--kind", "citus"], "pgsql"),
        (&["create", "formation", "--enable-secondary", "--disable-secondary"], "cannot be used with"),
    ] {
        fails(&[args, &nobody].concat(), 1, &[text]);
    }
    fails(&["config", "get"], 1, &["--pgdata DIR"]);
    fails(&["drop", "monitor"], 1, &["--datadir"]);
}

#[test]
fn formations_are_created_changed_and_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = Monitor::start(dir.path());
    let create = ["create", "formation", "--formation", "f", "--number-sync-standbys", "1", "--dbname", "app"];
    monitor.says(&create, "");
    monitor.says(&create, "");
    monitor.refuses(&["create", "formation", "--formation", "f"], 6, &["other settings", "set formation"]);
    monitor.says(&["get", "formation", "durability", "-f", "f"], "strict");
    monitor.says(&["set", "formation", "durability", "async", "-f", "f"], "async");
    monitor.says(&["get", "formation", "durability", "-f", "f", "--json"], "{\n  \"durability\": \"async\"\n}");
    monitor.says(&["set", "formation", "number-sync-standbys", "2", "-f", "f"], "2");
    monitor.says(&["set", "formation", "number-sync-standbys", "2", "-f", "f"], "2");
    monitor.says(
        &["set", "formation", "number-sync-standbys", "0", "-f", "f", "--json"],
        "{\n  \"number-sync-standbys\": 0\n}",
    );
    monitor.says(&["get", "formation", "dbname", "-f", "f"], "app");
    monitor.says(&["get", "formation", "dbname", "-f", "f", "--json"], "{\n  \"dbname\": \"app\"\n}");
    monitor.says(&["disable", "secondary", "-f", "f"], "");
    monitor.says(&["get", "formation", "secondary", "-f", "f"], "false");
    monitor.says(&["enable", "secondary", "-f", "f"], "");
    monitor.says(&["get", "formation", "secondary", "-f", "f", "--json"], "{\n  \"secondary\": true\n}");
    let settings = monitor.run(&["get", "formation", "settings", "-f", "f"]).stdout;
    assert_eq!(settings, monitor.run(&["show", "settings", "-f", "f"]).stdout);
    monitor.says(&["drop", "formation", "-f", "f"], "");
    monitor.says(&["drop", "formation", "-f", "f"], "");
    monitor.refuses(&["set", "formation", "durability", "strict", "-f", "f"], 6, &["no formation f"]);
    monitor.refuses(&["get", "formation", "durability", "-f", "f"], 6, &["no formation f"]);
    let events = String::from_utf8(monitor.run(&["show", "events", "-f", "f"]).stdout).unwrap();
    let comments: Vec<&str> =
        events.lines().filter_map(|line| line.rsplit_once(" |    - | ")).map(|(_, c)| c).collect();
    assert_eq!(comments.len(), 7, "{events}");
    assert_eq!(comments[0], "formation f is created: number_sync_standbys 1, strict, secondary true, dbname app");
    let last = ["is set to secondary false", "is set to secondary true", "is dropped"];
    assert_eq!(comments[4..], last.map(|what| format!("formation f {what}")));
}

#[test]
fn what_is_asked_of_a_node_is_done_or_refused_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = Monitor::start(dir.path());
    monitor.register("a", 1);
    monitor.says(&["get", "node", "candidate-priority", "--name", "a"], "50");
    monitor.says(&["set", "node", "candidate-priority", "70", "--name", "a"], "70");
    monitor.says(
        &["set", "node", "candidate-priority", "80", "--name", "a", "--json"],
        "{\n  \"candidate-priority\": 80\n}",
    );
    monitor.says(
        &["get", "node", "candidate-priority", "--name", "a", "--json"],
        "{\n  \"candidate-priority\": 80,\n  \"name\": \"a\"\n}",
    );
    monitor.says(&["set", "node", "replication-quorum", "false", "--name", "a"], "false");
    monitor.says(&["set", "node", "metadata", "--node", "a", "--name", "b", "--pgport", "2"], "b 127.0.0.1:2");
    monitor.refuses(&["get", "node", "candidate-priority", "--name", "a"], 6, &["no node named", "b"]);
    let everywhere = ["set", "node", "metadata", "--node", "b", "--hostname", "all"];
    monitor.refuses(&everywhere, 6, &["can't be the host name", "letters"]);

    // A single node is the primary of its group.
    monitor.says(&["perform", "promotion", "--name", "b"], "");
    monitor.refuses(&["perform", "promotion", "--name", "x"], 6, &["x"]);
    monitor.refuses(&["perform", "failover", "--wait", "5"], 6, &["only node"]);
    monitor.refuses(&["enable", "maintenance", "--name", "b"], 1, &["--allow-failover"]);
    monitor.refuses(&["enable", "maintenance", "--name", "b", "--allow-failover"], 6, &["standby"]);
    monitor.refuses(&["drop", "formation"], 6, &["b"]);
    monitor.refuses(&["accept", "timeline", "--tli", "7", "--reason", "test"], 6, &["timeline 7"]);
    let timeline = monitor.run(&["show", "timeline"]);
    assert!(String::from_utf8_lossy(&timeline.stdout).contains("not known"), "{timeline:?}");
    monitor.refuses(&["drop", "node", "--hostname", "127.0.0.1", "--pgport", "9"], 6, &["no node at 127.0.0.1:9"]);
    let drop = ["drop", "node", "--hostname", "127.0.0.1", "--pgport", "2", "--wait", "1"];
    monitor.refuses(&drop, 12, &["within 1 seconds", "--force"]);
    assert!(monitor.run(&[&drop[..], &["--force"]].concat()).status.success());
    monitor.says(&["show", "state", "--json"], "[]");
}

#[test]
fn who_takes_the_last_candidate_away_is_told_so_and_the_log_tells_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = Monitor::start(dir.path());
    monitor.register("a", 1);
    monitor.register("b", 2);
    for (priority, told) in
        [("0", "automatic failover of group default/0 is off"), ("50", "failover of group default/0 is on")]
    {
        let output = monitor.run(&["set", "node", "candidate-priority", priority, "--name", "b"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), priority);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let log = String::from_utf8(monitor.run(&["show", "events"]).stdout).unwrap();
        assert!(said.contains(told) && log.contains(told), "{told}: {said} {log}");
    }
}

#[test]
fn the_configuration_is_read_changed_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = path(dir.path(), "monitor");
    let listen = format!("127.0.0.1:{}", free_port());
    assert!(pgbaton(&["create", "monitor", "--datadir", &datadir, "--listen", &listen]).status.success());
    let config = |args: &[&str]| {
        let output = pgbaton(&[&["config"], args, &["--datadir", &datadir]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    assert_eq!(config(&["get", "listen"]), listen);
    assert_eq!(config(&["get", "settings.probe_period"]), "1s");
    assert_eq!(config(&["set", "settings.probe_period", "2s"]), "2s");
    assert_eq!(config(&["get", "settings.probe_period", "--json"]), "\"2s\"");
    assert!(config(&["get"]).contains("probe_period = \"2s\""));
    config(&["check"]);
    for (args, text) in [
        (&["get", "settings.nonsense"][..], "probe_period"),
        (&["set", "settings.nonsense", "1"], "no option"),
        (&["set", "settings.probe_period", "soon"], "soon"),
        (&["set", "settings.events_kept", "some"], "some"),
        (&["set", "listen", "here"], "HOST:PORT"),
    ] {
        fails(&[&["config"], args, &["--datadir", &datadir]].concat(), 2, &[text]);
    }
    assert_eq!(config(&["get", "settings.probe_period"]), "2s", "what is refused changes nothing");
    fails(&["drop", "monitor", "--datadir", &path(dir.path(), "other"), "--destroy"], 2, &["create monitor"]);
    assert!(pgbaton(&["drop", "monitor", "--datadir", &datadir]).status.success());
    fails(&["run", "--datadir", &datadir], 2, &["create monitor"]);
}

#[test]
fn a_monitor_is_dropped_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = Monitor::start(dir.path());
    assert!(pgbaton(&["drop", "monitor", "--datadir", &monitor.datadir, "--destroy"]).status.success());
    assert!(!Path::new(&monitor.datadir).exists());
    monitor.refuses(&["show", "state"], 6, &["can't be asked"]);
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
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
