//! Who is a member of a group, as an operator says it with the binary, on real servers.

#[path = "support/port.rs"]
mod port;

use nix::unistd::{User, chown, geteuid};
use port::free_port;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A copy of an empty server is made and streams in a few seconds, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A group that ends with the test.
struct Group {
    dir: tempfile::TempDir,
    url: String,
    services: Vec<Child>,
    nodes: Vec<String>,
}

fn pgbaton() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
    for variable in ["PGDATA", "PGBATON_MONITOR", "PGBATON_SSL_CA_FILE"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

impl Drop for Group {
    fn drop(&mut self) {
        // A keeper that is killed leaves its server behind.
        for node in &self.nodes {
            let _ended_already = pgbaton().args(["stop", "--fast", "--pgdata", node]).output();
        }
        for service in &mut self.services {
            let _ended_already = service.kill();
            let _reaped = service.wait();
        }
    }
}

impl Group {
    /// A monitor that nobody has registered with yet.
    fn new() -> Group {
        let dir = tempfile::Builder::new().prefix("pgbaton-members-").tempdir_in("/tmp").unwrap();
        if let Some(user) = geteuid().is_root().then(|| User::from_name("postgres").unwrap().unwrap()) {
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let listen = format!("127.0.0.1:{}", free_port());
        let mut group = Group { url: format!("http://{listen}"), dir, services: Vec::new(), nodes: Vec::new() };
        let monitor = group.path("monitor");
        group.start(&["create", "monitor", "--datadir", &monitor, "--listen", &listen, "--run"]);
        group.until("the monitor answers", |group| group.run(&["show", "state"]).status.success().then_some(()));
        group
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn start(&mut self, args: &[&str]) {
        let mut service = pgbaton();
        service.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        self.services.push(service.spawn().unwrap());
    }

    /// What `create postgres` is given for a node of this name.
    fn creation(&self, name: &str, port: u16) -> Vec<String> {
        let (pgdata, port) = (self.path(name), port.to_string());
        let words = ["create", "postgres", "--pgdata", &pgdata, "--pgport", &port, "--monitor", &self.url];
        let who = ["--hostname", "127.0.0.1", "--listen", "127.0.0.1", "--name", name, "--auth", "trust"];
        words.into_iter().chain(who).map(str::to_string).collect()
    }

    fn join(&mut self, name: &str) {
        let create = [self.creation(name, free_port()), vec!["--run".into()]].concat();
        self.nodes.push(self.path(name));
        self.start(&create.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn run(&self, args: &[&str]) -> Output {
        pgbaton().args(args).args(["--monitor", &self.url]).output().unwrap()
    }

    /// The command ends like this, and says so.
    #[track_caller]
    fn ends(&self, args: &[&str], code: i32, texts: &[&str]) {
        let output = self.run(args);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for text in texts {
            assert!(said.contains(text), "{args:?}: \"{text}\" is missing in: {said}");
        }
    }

    /// Each node with what it is, and what it is to be where that is something else: whoever is on its way counts too.
    fn states(&self) -> Vec<(String, String)> {
        let shown = self.run(&["show", "state", "--json"]).stdout;
        let rows: Vec<Value> = serde_json::from_slice(&shown).unwrap_or_default();
        let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_string();
        let state = |row: &Value| match (word(row, "current_group_state"), word(row, "assigned_group_state")) {
            (is, to_be) if is == to_be => is,
            (is, to_be) => format!("{is}, to be {to_be}"),
        };
        rows.iter().map(|row| (word(row, "nodename"), state(row))).collect()
    }

    #[track_caller]
    fn until_states(&self, expected: &[(&str, &str)]) {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(node, state)| (node.to_string(), state.to_string())).collect();
        self.until(&format!("{expected:?}"), |group| (group.states() == expected).then_some(()));
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut holds: impl FnMut(&Group) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(there) = holds(self) {
                return there;
            }
            assert!(Instant::now() < deadline, "not in time: {what}; {:?}", self.states());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Over the server's own socket, as the user it runs as.
    #[track_caller]
    fn sql(&self, name: &str, text: &str) -> String {
        let socket = format!("{}.pgbaton/socket", self.path(name));
        let port = std::fs::read_dir(&socket).unwrap().find_map(|entry| {
            let file = entry.unwrap().file_name().into_string().unwrap();
            file.strip_prefix(".s.PGSQL.").and_then(|port| port.parse::<u16>().ok())
        });
        let mut wanted = tokio_postgres::Config::new();
        wanted.host_path(&socket).port(port.expect("a server listens")).user("postgres").dbname("postgres");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = wanted.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let rows = client.simple_query(text).await.unwrap();
            let first = rows.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
                _ => None,
            });
            first.unwrap_or_default()
        })
    }
}

#[test]
fn a_node_is_dropped_with_its_files_and_none_joins_until_secondaries_are_allowed() {
    let mut group = Group::new();
    group.join("a");
    group.until_states(&[("a", "single")]);
    group.join("b");
    group.until_states(&[("a", "primary"), ("b", "secondary")]);
    group.sql("a", "create table kept (id int)");
    // Who has standbys keeps them until they are dropped.
    group.ends(&["disable", "secondary"], 6, &["group default/0 has standbys", "drop them first"]);
    group.until_states(&[("a", "primary"), ("b", "secondary")]);

    let b = group.path("b");
    group.ends(&["drop", "node", "--destroy", "--pgdata", &b], 0, &["node \"b\" is dropped"]);
    let left: Vec<String> = [b.clone(), format!("{b}.pgbaton")].into_iter().filter(|p| Path::new(p).exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    group.until_states(&[("a", "single")]);
    group.sql("a", "insert into kept values (1)");

    group.ends(&["disable", "secondary"], 0, &["may have no standbys"]);
    let create = group.creation("b", free_port());
    let create: Vec<&str> = create.iter().map(String::as_str).collect();
    let refused = pgbaton().args(&create).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(6), "{said}");
    assert!(said.contains("takes no secondaries") && said.contains("enable secondary"), "{said}");
    assert_eq!(group.states(), [("a".to_string(), "single".to_string())]);

    group.ends(&["enable", "secondary"], 0, &["may have standbys"]);
    group.join("b");
    group.until_states(&[("a", "primary"), ("b", "secondary")]);
    group.until("b has it all", |group| (group.sql("b", "select count(*) from kept") == "1").then_some(()));
}
