//! TLS to the monitor, as a user sets it up, lives with it and renews it.

use jiff::{SignedDuration, Timestamp};
use pgbaton::tls::{Certificate, Files, issue};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn pgbaton(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
    for variable in ["PGDATA", "PGBATON_MONITOR", "PGBATON_SSL_CA_FILE"] {
        command.env_remove(variable);
    }
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// What it says, on either channel.
#[track_caller]
fn ends(args: &[&str], code: i32, texts: &[&str]) -> String {
    let output = pgbaton(args);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for text in texts {
        assert!(said.contains(text), "{args:?}: \"{text}\" is missing in: {said}");
    }
    said
}

/// The service ends with the test.
struct Running {
    service: Child,
    datadir: String,
    url: String,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.service.kill();
        let _reaped = self.service.wait();
    }
}

impl Running {
    /// Of `create monitor` with these options.
    fn create(dir: &Path, options: &[&str]) -> Running {
        let datadir = path(dir, "monitor");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let create = [&["create", "monitor", "--datadir", &datadir, "--listen", &listen], options].concat();
        ends(&create, 0, &["nodes find it with --monitor"]);
        let log = dir.join("log");
        let mut service = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
        service.args(["run", "--datadir", &datadir]).stdin(Stdio::null()).stdout(Stdio::null());
        let service = service.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let running = Running { service, datadir, url: format!("https://{listen}"), log };
        running.until_log("listens on");
        running
    }

    #[track_caller]
    fn until_log(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            if log.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "\"{text}\" is missing in: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn show_state<'a>(&'a self, url: &'a str, ca_file: &'a str) -> Vec<&'a str> {
        vec!["show", "state", "--monitor", url, "--ssl-ca-file", ca_file]
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_string_lossy().to_string()
}

/// Good for 127.0.0.1, from an hour ago until in so many seconds, with the key that is there.
fn put_certificate(files: &Files, ends_in: i64) -> Certificate {
    let now = Timestamp::now();
    let (from, until) = (now - SignedDuration::from_hours(1), now + SignedDuration::from_secs(ends_in));
    let key = files.key.exists().then_some(files.key.as_path());
    issue(&["127.0.0.1".into()], from, until, key).unwrap().write(files).unwrap();
    Certificate::read(files).unwrap()
}

#[test]
fn a_self_signed_monitor_is_spoken_to_by_who_has_a_copy_of_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = Running::create(dir.path(), &["--ssl-self-signed"]);
    let cert = path(Path::new(&monitor.datadir), "server.crt");
    let copy = path(dir.path(), "copy.crt");
    std::fs::copy(&cert, &copy).unwrap();
    ends(&monitor.show_state(&monitor.url, &copy), 0, &[]);
    ends(&["show", "state", "--monitor", &monitor.url], 6, &["this system's store", "--ssl-ca-file"]);
    ends(&monitor.show_state(&monitor.url, "/none.crt"), 2, &["can't read \"/none.crt\""]);
    let plain = monitor.url.replacen("https", "http", 1);
    ends(&monitor.show_state(&plain, &copy), 6, &["https://"]);
    ends(&["config", "get", "ssl.cert_file", "--datadir", &monitor.datadir], 0, &[&cert]);
    ends(&["show", "file", "--config", "--contents", "--datadir", &monitor.datadir], 0, &["[ssl]", "active = true"]);
    ends(&["config", "check", "--datadir", &monitor.datadir], 0, &[]);
    // Another one with the same key needs no word to anybody.
    ends(&["enable", "ssl", "--ssl-self-signed", "--datadir", &monitor.datadir], 0, &["--ssl-ca-file"]);
    assert_ne!(std::fs::read(&cert).unwrap(), std::fs::read(&copy).unwrap());
    ends(&monitor.show_state(&monitor.url, &copy), 0, &[]);
    ends(&["disable", "ssl", "--datadir", &monitor.datadir], 0, &["--monitor http://"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pgbaton(&monitor.show_state(&plain, &copy)).status.success() {
        assert!(Instant::now() < deadline, "it goes on with TLS");
    }
    ends(&monitor.show_state(&monitor.url, &copy), 6, &["speaks no TLS", "http://"]);
}

#[test]
fn an_expired_certificate_is_named_with_its_date_and_replaced_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files { cert: dir.path().join("c.crt"), key: dir.path().join("c.key") };
    put_certificate(&files, 3600);
    let (cert, key) = (path(dir.path(), "c.crt"), path(dir.path(), "c.key"));
    let ca = path(dir.path(), "ca.crt");
    std::fs::copy(&cert, &ca).unwrap();
    let options = ["--server-cert", &cert, "--server-key", &key, "--ssl-ca-file", &ca];
    let mut monitor = Running::create(dir.path(), &options);
    let reload = ["reload", "--datadir", &monitor.datadir];
    ends(&monitor.show_state(&monitor.url, &ca), 0, &[]);

    // One that ends while it is in use.
    let short = put_certificate(&files, 3).until().to_string();
    ends(&reload, 0, &[]);
    monitor.until_log(&format!("the certificate in \"{cert}\" expired on {short}"));
    ends(&monitor.show_state(&monitor.url, &ca), 6, &["has expired on", &short, "pgbaton reload"]);
    monitor.until_log("hangs up");
    assert!(monitor.service.try_wait().unwrap().is_none(), "the monitor goes on");

    // One that is of no use is refused, where somebody reads it.
    ends(&reload, 9, &["expired on", &short, &cert]);
    ends(&["config", "check", "--datadir", &monitor.datadir], 2, &[&cert, &short]);
    put_certificate(&files, 3600);
    ends(&reload, 0, &[]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pgbaton(&monitor.show_state(&monitor.url, &ca)).status.success() {
        assert!(Instant::now() < deadline, "the new certificate isn't shown");
    }
    let began = std::fs::read_to_string(&monitor.log).unwrap().matches("listens on").count();
    assert_eq!(began, 1, "no connection was ended for it");
}

#[test]
fn certificates_that_can_not_be_used_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let put = |dir: &Path, ends_in| {
        let files = Files { cert: dir.join("c.crt"), key: dir.join("c.key") };
        put_certificate(&files, ends_in);
        (path(dir, "c.crt"), path(dir, "c.key"))
    };
    let ((cert, key), (others_cert, others_key)) = (put(dir.path(), -60), put(other.path(), 3600));
    let datadir = path(dir.path(), "monitor");
    let create = |options: &[&str], code, texts: &[&str]| {
        let base = ["create", "monitor", "--datadir", &datadir, "--listen", "127.0.0.1:1"];
        ends(&[&base, options].concat(), code, texts);
        assert!(!Path::new(&datadir).exists());
    };
    create(&["--server-cert", &cert], 1, &["--server-key"]);
    create(&["--no-ssl", "--ssl-self-signed"], 1, &["--no-ssl"]);
    create(&["--server-cert", &cert, "--server-key", &key], 2, &["expired on", &cert, "pgbaton reload"]);
    create(&["--server-cert", &others_cert, "--server-key", &key], 2, &[&key, "is not that of the certificate"]);
    create(&["--server-cert", &others_key, "--server-key", &others_key], 2, &[&others_key, "holds no certificate"]);
    let issuer = ["--server-cert", &others_cert, "--server-key", &others_key, "--ssl-ca-file", &cert];
    create(&issuer, 2, &["was not issued by anyone", &cert]);
    let pgdata = path(dir.path(), "a");
    let node = ["create", "postgres", "--pgdata", &pgdata, "--hostname", "h", "--monitor", "https://127.0.0.1:1"];
    ends(&[&node[..], &["--ssl-ca-file", &key]].concat(), 2, &[&key, "holds no certificate"]);
    assert!(!dir.path().join("a.pgbaton").exists());
}
