//! One story on one version: its directory and the servers in it.

use super::program::{self, Finished};
use super::proxy::Proxy;
use super::server::Server;
use super::version::{Version, versions};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Whatever the number of test threads, so many stories have servers at a time.
static STORIES: Semaphore = Semaphore::const_new(4);
const LONGEST_STORY: Duration = Duration::from_secs(120);

pub struct Lab {
    pub version: &'static Version,
    dir: TempDir,
}

/// Tells the story on every version, side by side.
pub fn fact(story: impl AsyncFn(&Lab) + Sync) {
    let wrong: Vec<u32> = std::thread::scope(|scope| {
        let story = &story;
        let tell = |version| scope.spawn(move || on_version(version, story));
        let threads: Vec<_> = versions().iter().map(|version| (version.major, tell(version))).collect();
        threads.into_iter().filter_map(|(major, thread)| thread.join().is_err().then_some(major)).collect()
    });
    assert!(wrong.is_empty(), "not so on PostgreSQL {wrong:?}, see the panics above");
}

fn on_version(version: &'static Version, story: &impl AsyncFn(&Lab)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _turn = STORIES.acquire().await.unwrap();
        let lab = Lab { version, dir: program::temporary_dir() };
        let since = Instant::now();
        tokio::time::timeout(LONGEST_STORY, story(&lab)).await.expect("the story has no end");
        eprintln!("    PostgreSQL {}: {:.1} s", version.major, since.elapsed().as_secs_f64());
    });
}

impl Lab {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A stopped server, a copy of the one new cluster. All such servers are of the same system.
    pub fn server(&self, name: &str) -> Server {
        let pgdata = self.dir.path().join(name);
        program::succeeds(super::version::copying(self.version.template(), &pgdata));
        Server::new(self.version, name, pgdata)
    }

    pub async fn primary(&self, name: &str) -> Server {
        let server = self.server(name);
        server.start().await;
        server
    }

    /// A standby of a primary that has lost no WAL yet, streaming.
    pub async fn standby(&self, name: &str, of: &Server) -> Server {
        self.standby_through(name, of, of.port).await
    }

    pub async fn standby_through(&self, name: &str, of: &Server, port: u16) -> Server {
        let server = self.server(name);
        server.follow(port);
        server.start().await;
        of.until_streams(name).await;
        server
    }

    /// A primary `a`, and `b` that streams from it.
    pub async fn pair(&self) -> (Server, Server) {
        let a = self.primary("a").await;
        let b = self.standby("b", &a).await;
        (a, b)
    }

    /// The same with a network between them that can be cut.
    pub async fn distant_pair(&self) -> (Server, Proxy, Server) {
        let a = self.primary("a").await;
        let proxy = Proxy::to(a.port).await;
        let b = self.standby_through("b", &a, proxy.port).await;
        (a, proxy, b)
    }

    /// Runs a program of this version to its end.
    pub async fn run(&self, name: &str, arguments: &[&str]) -> Finished {
        let mut command = program::command(&self.version.bin.join(name));
        command.args(arguments);
        program::run(command).await
    }

    pub async fn rewind(&self, target: &Server, source_port: u16) -> Finished {
        self.rewind_with(target, source_port, &[]).await
    }

    pub async fn rewind_with(&self, target: &Server, source_port: u16, options: &[&str]) -> Finished {
        let source = format!("host=127.0.0.1 port={source_port} user=postgres dbname=postgres");
        let usual = ["--target-pgdata", target.pgdata_text(), "--source-server", &source];
        self.run("pg_rewind", &[&usual, options].concat()).await
    }

    /// A base backup takes the place of a stopped server's directory. Its settings are the source's then.
    pub async fn clone(&self, target: &Server, source_port: u16, options: &[&str]) -> Finished {
        std::fs::remove_dir_all(&target.pgdata).unwrap();
        let port = source_port.to_string();
        let usual = ["-D", target.pgdata_text(), "-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        self.run("pg_basebackup", &[&usual, options].concat()).await
    }

    /// Records of a stopped server's WAL from here on, one per line.
    pub async fn wal_from(&self, server: &Server, timeline: u32, start: &str) -> String {
        let wal = server.pgdata.join("pg_wal");
        let timeline = timeline.to_string();
        let dumped = self.run("pg_waldump", &["-p", wal.to_str().unwrap(), "-t", &timeline, "-s", start]).await;
        // It ends in an error at the end of WAL, always.
        dumped.text.lines().filter(|line| line.starts_with("rmgr:")).map(|line| format!("{line}\n")).collect()
    }
}
