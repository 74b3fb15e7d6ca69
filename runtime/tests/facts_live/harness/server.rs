//! One server: its directory, its settings, its processes. Killed when it goes out of scope.

use super::port::free_port;
use super::program;
use super::session::{Pending, Session, refusal};
use super::version::Version;
use super::{PATIENCE, POLL, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub struct Server {
    pub name: String,
    pub port: u16,
    pub pgdata: PathBuf,
    pub version: &'static Version,
    settings: Mutex<BTreeMap<String, String>>,
    postmaster: Mutex<Option<Child>>,
    /// For questions only; a new session for each would cost more than all the rest.
    asking: tokio::sync::Mutex<Option<Session>>,
}

/// A process that the kernel has stopped; it goes on when this goes out of scope.
pub struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ended_meanwhile = kill(self.0, Signal::SIGCONT);
    }
}

pub fn freeze(pid: i32) -> Frozen {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    Frozen(Pid::from_raw(pid))
}

fn conninfo(name: &str, port: u16) -> String {
    format!("host=127.0.0.1 port={port} user=postgres application_name={name}")
}

impl Server {
    pub fn new(version: &'static Version, name: &str, pgdata: PathBuf) -> Server {
        let server = Server {
            name: name.into(),
            port: free_port(),
            pgdata,
            version,
            settings: Mutex::default(),
            postmaster: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        };
        server.set("port", &server.port.to_string());
        server
    }

    pub fn pgdata_text(&self) -> &str {
        self.pgdata.to_str().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.pgdata.with_extension("log")
    }

    pub async fn until_log(&self, text: &str) {
        until(&format!("{} logs {text:?}", self.name), async || self.log().contains(text)).await;
    }

    // Settings.

    /// Written, and not more than that: a running server doesn't know yet.
    pub fn set(&self, name: &str, value: &str) {
        self.settings.lock().unwrap().insert(name.into(), value.into());
        self.write_settings();
    }

    /// After a tool has brought another server's settings.
    pub fn write_settings(&self) {
        let line = |(name, value): (&String, &String)| format!("{name} = '{}'\n", value.replace('\'', "''"));
        let text: String = self.settings.lock().unwrap().iter().map(line).collect();
        let path = self.pgdata.join("postgresql.auto.conf");
        fs::write(&path, text).unwrap();
        program::give_away(&path);
    }

    /// Written, and new sessions see it.
    pub async fn set_now(&self, name: &str, value: &str) {
        self.set(name, value);
        self.signal(Signal::SIGHUP);
        until(&format!("{name} = {value}"), async || self.try_ask(&format!("SHOW {name}")).await.unwrap() == value)
            .await;
    }

    /// Names in force: the checkpointer, which tells all backends, has read them.
    pub async fn set_names(&self, names: &str) {
        self.set_now("synchronous_standby_names", names).await;
        // The file is read before anything else it is asked for.
        self.run("CHECKPOINT").await;
    }

    pub fn follow(&self, port: u16) {
        self.follow_as(&self.name, port);
    }

    pub fn follow_as(&self, name: &str, port: u16) {
        self.set("primary_conninfo", &conninfo(name, port));
        self.put_signal();
    }

    /// Once a tool has brought the files of another: with settings of its own again, it streams from this one.
    pub async fn rejoin(&self, upstream: &Server) {
        self.follow(upstream.port);
        self.start().await;
        upstream.until_streams(&self.name).await;
    }

    /// Elsewhere, while it runs.
    pub async fn follow_now(&self, port: u16) {
        self.set_now("primary_conninfo", &conninfo(&self.name, port)).await;
    }

    pub fn put_signal(&self) {
        self.put_file("standby.signal", "");
    }

    pub fn has_signal(&self) -> bool {
        self.pgdata.join("standby.signal").exists()
    }

    pub fn remove_signal(&self) {
        fs::remove_file(self.pgdata.join("standby.signal")).unwrap();
    }

    pub fn put_file(&self, name: &str, text: &str) {
        let path = self.pgdata.join(name);
        fs::write(&path, text).unwrap();
        program::give_away(&path);
    }

    /// The WAL of this stopped server moves to another disk.
    pub fn put_wal_on(&self, disk: &Path) {
        move_to(disk, &self.pgdata.join("pg_wal"));
    }

    /// All of this stopped server but its log moves to another disk, and is on the medium there.
    pub fn put_on(&self, disk: &Path) {
        move_to(disk, &self.pgdata);
        let mut sync = std::process::Command::new("sync");
        sync.arg("--file-system").arg(disk);
        program::succeeds(sync);
    }

    // Processes.

    /// Started, not waited for.
    pub fn launch(&self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.log_file()).unwrap();
        let mut command = program::command(&self.version.bin.join("postgres"));
        command.arg("-D").arg(&self.pgdata).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        assert!(self.postmaster.lock().unwrap().replace(child).is_none(), "{} runs already", self.name);
    }

    pub async fn start(&self) {
        self.launch();
        self.until_ready().await;
    }

    pub async fn until_ready(&self) {
        until(&format!("{} takes connections", self.name), async || {
            assert!(self.is_running(), "{} ended while it started", self.name);
            self.is_ready()
        })
        .await;
    }

    /// What the server itself writes into its pid file.
    pub fn is_ready(&self) -> bool {
        let text = fs::read_to_string(self.pgdata.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let pid = lines.next().and_then(|line| line.parse::<i32>().ok());
        pid == self.postmaster_pid() && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    pub fn postmaster_pid(&self) -> Option<i32> {
        self.postmaster.lock().unwrap().as_ref().map(|child| i32::try_from(child.id()).unwrap())
    }

    pub fn is_running(&self) -> bool {
        let mut postmaster = self.postmaster.lock().unwrap();
        let ended = postmaster.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
        if ended {
            *postmaster = None;
        }
        postmaster.is_some()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.postmaster_pid().unwrap_or_else(|| panic!("{} doesn't run", self.name));
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub async fn until_ended(&self) {
        until(&format!("{} ends", self.name), async || !self.is_running()).await;
    }

    pub async fn stop_fast(&self) {
        self.signal(Signal::SIGINT);
        self.until_ended().await;
    }

    pub async fn stop_immediately(&self) {
        self.signal(Signal::SIGQUIT);
        self.until_ended().await;
    }

    /// All its processes at once, as a power cut has it, except that the kernel keeps what it was given.
    pub async fn kill_all(&self) {
        let children = self.children();
        self.signal(Signal::SIGKILL);
        for child in &children {
            let _ended_meanwhile = kill(Pid::from_raw(*child), Signal::SIGKILL);
        }
        self.until_ended().await;
        until("the children are gone", async || !children.iter().any(|pid| is_alive(*pid))).await;
    }

    pub fn children(&self) -> Vec<i32> {
        let Some(postmaster) = self.postmaster_pid() else {
            return Vec::new();
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| parent(*pid) == Some(postmaster)).collect()
    }

    /// The process id of an auxiliary process, as pg_stat_activity calls it.
    pub async fn process(&self, backend_type: &str) -> i32 {
        self.ask(&format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{backend_type}'"))
            .await
            .parse()
            .unwrap()
    }

    pub async fn freeze(&self, backend_type: &str) -> Frozen {
        freeze(self.process(backend_type).await)
    }

    // Clients.

    pub async fn session(&self) -> Session {
        Session::open(self.port).await.unwrap_or_else(|e| panic!("{}: {}", self.name, refusal(&e)))
    }

    /// The first value of the answer, as text. In a session of its own that is kept.
    pub async fn ask(&self, sql: &str) -> String {
        let mut kept = self.asking.lock().await;
        if kept.as_ref().is_none_or(|session| session.is_closed()) {
            *kept = Some(self.session().await);
        }
        let answer = kept.as_ref().unwrap().ask(sql).await;
        answer.unwrap_or_else(|e| panic!("{}: {sql}: {}", self.name, refusal(&e)))
    }

    /// In a new session.
    pub async fn try_ask(&self, sql: &str) -> Result<String, String> {
        let session = Session::open(self.port).await.map_err(|e| refusal(&e))?;
        session.ask(sql).await.map_err(|e| refusal(&e))
    }

    /// No session of the harness is left.
    pub async fn hang_up(&self) {
        *self.asking.lock().await = None;
    }

    /// In a new session.
    pub async fn run(&self, sql: &str) {
        self.session().await.run(sql).await;
    }

    pub async fn count(&self) -> u64 {
        self.ask("SELECT count(*) FROM t").await.parse().unwrap()
    }

    /// Asks until the expression is true.
    pub async fn until(&self, expression: &str) {
        let since = Instant::now();
        let mut kept = self.asking.lock().await;
        loop {
            let asked = async {
                if kept.is_none() {
                    *kept = Some(Session::open(self.port).await?);
                }
                kept.as_ref().unwrap().ask(&format!("SELECT ({expression})::text")).await
            };
            let asked = asked.await;
            match &asked {
                Ok(answer) if answer == "true" => return,
                Ok(_) => {}
                Err(_) => *kept = None,
            }
            assert!(since.elapsed() < PATIENCE, "in vain on {}: {expression}: {asked:?}", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// A commit that is seen waiting for standbys.
    pub async fn waiting_commit(&self, sql: &str) -> Pending {
        let pending = self.session().await.begin(sql);
        until("the commit waits", async || pending.waits(self).await).await;
        pending
    }

    // Replication.

    pub async fn until_streams(&self, name: &str) {
        self.until(&format!("(SELECT state FROM pg_stat_replication WHERE application_name = '{name}') = 'streaming'"))
            .await;
    }

    /// Where its WAL ends now, flushed.
    pub async fn end(&self) -> String {
        self.ask("SELECT pg_current_wal_flush_lsn()").await
    }

    /// Until this standby holds all that the primary has, on disk.
    pub async fn until_received(&self, from: &Server) {
        let end = from.end().await;
        self.until(&format!("pg_last_wal_receive_lsn() >= '{end}'")).await;
    }

    pub async fn until_replayed(&self, from: &Server) {
        let end = from.end().await;
        self.until(&format!("pg_last_wal_replay_lsn() >= '{end}'")).await;
    }

    /// Promoted and open.
    pub async fn promote(&self) {
        assert_eq!(self.ask("SELECT pg_promote(false)").await, "t");
        self.until("NOT pg_is_in_recovery()").await;
    }

    /// Of the segment it writes now.
    pub async fn timeline(&self) -> u32 {
        let name = self.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").await;
        u32::from_str_radix(&name[..8], 16).unwrap()
    }

    /// A line of pg_controldata, by its label.
    pub async fn control(&self, label: &str) -> String {
        let mut command = program::command(&self.version.bin.join("pg_controldata"));
        command.arg(&self.pgdata);
        let shown = program::run(command).await;
        assert!(shown.success, "{}", shown.text);
        let value = shown.text.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {label:?} in {}", shown.text)).trim().to_string()
    }
}

/// Leaves a link behind.
fn move_to(disk: &Path, dir: &Path) {
    let there = disk.join(dir.file_name().unwrap());
    program::succeeds(super::version::copying(dir, &there));
    fs::remove_dir_all(dir).unwrap();
    std::os::unix::fs::symlink(there, dir).unwrap();
}

fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_string).collect())
}

fn parent(pid: i32) -> Option<i32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// A zombie is dead.
pub fn is_alive(pid: i32) -> bool {
    stat_fields(pid).is_some_and(|fields| !["Z", "X"].contains(&fields[0].as_str()))
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(25).collect();
            eprintln!("the log of {} ({}):", self.name, self.version.full);
            last.iter().rev().for_each(|line| eprintln!("    {line}"));
        }
        let children = self.children();
        if let Some(mut postmaster) = self.postmaster.lock().unwrap_or_else(|e| e.into_inner()).take() {
            // By itself, because a killed one leaves its shared memory behind for good.
            let pid = Pid::from_raw(i32::try_from(postmaster.id()).unwrap());
            for child in &children {
                let _ended_meanwhile = kill(Pid::from_raw(*child), Signal::SIGCONT);
            }
            let _ended_meanwhile = kill(pid, Signal::SIGQUIT);
            let give_up = Instant::now() + Duration::from_secs(10);
            while postmaster.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ended_meanwhile = postmaster.kill();
            let _reaped = postmaster.wait();
        }
        for child in children.iter().filter(|child| is_alive(**child)) {
            let _ended_meanwhile = kill(Pid::from_raw(*child), Signal::SIGKILL);
        }
    }
}
