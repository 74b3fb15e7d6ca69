//! What somebody does to a node's Postgres behind its keeper's back.

use super::cluster::Cluster;
use super::procs;
use crate::postgres::{ProcessWatch, find_installation};
use crate::service::postmaster;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::fs::{File, Permissions};
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

/// By then a stop or a start by hand has ended, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Past the proxy and the keeper, as somebody who is logged in on the machine. The first column of each row.
pub async fn sql(server: SocketAddrV4, text: &str) -> Result<Vec<String>> {
    let mut config = Config::new();
    config.host(server.ip().to_string()).port(server.port()).user("postgres").dbname("postgres");
    config.connect_timeout(Duration::from_secs(1)).application_name("by hand");
    let asked = async {
        let (client, connection) = config.connect(NoTls).await?;
        let carried = tokio::spawn(connection);
        let answer = client.simple_query(text).await;
        carried.abort();
        anyhow::Ok(answer?)
    };
    let messages = tokio::time::timeout(Duration::from_secs(5), asked).await.context("no answer within 5 s")??;
    let first = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
        _ => None,
    };
    Ok(messages.iter().filter_map(first).collect())
}

/// Each standby that asks for WAL is named in its source's log, from now on and in every clone of this server.
pub async fn log_replication(cluster: &Cluster, name: &str) -> Result<()> {
    let server = cluster.server(name)?;
    sql(server, "ALTER SYSTEM SET log_replication_commands = on").await?;
    sql(server, "SELECT pg_reload_conf()").await.map(drop)
}

/// As the server's own user, without any of the keeper's settings.
pub async fn pg_ctl(cluster: &Cluster, name: &str, arguments: &[&str]) -> Result<()> {
    let node = cluster.node(name)?;
    let mut command = Command::new(find_installation(None)?.bin_dir.join("pg_ctl"));
    command.args(arguments).arg("-D").arg(&node.pgdata).current_dir(node.home());
    if let Some(user) = cluster.postgres_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let done = tokio::time::timeout(PATIENCE, cluster.output(command)).await;
    let output = done.with_context(|| format!("pg_ctl {} didn't end", arguments.join(" ")))??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pg_ctl {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

pub async fn start(cluster: &Cluster, name: &str) -> Result<()> {
    let log = cluster.node(name)?.log_by_hand();
    pg_ctl(cluster, name, &["start", "-W", "-l", &log.to_string_lossy()]).await
}

/// Ends when the server has. `pg_ctl` itself would wait for as long as the keeper's next server runs.
pub async fn stop(cluster: &Cluster, name: &str) -> Result<()> {
    let process = watch_postmaster(cluster, name)?;
    pg_ctl(cluster, name, &["stop", "-W", "-m", "fast"]).await?;
    let ended = tokio::time::timeout(PATIENCE, process.ended()).await;
    Ok(ended.with_context(|| format!("Postgres of {name} doesn't stop"))??)
}

/// The keeper may be the faster of the two; then there is nothing left to start.
pub async fn restart(cluster: &Cluster, name: &str) -> Result<()> {
    stop(cluster, name).await?;
    match start(cluster, name).await {
        Err(_) if postmaster::find(&cluster.node(name)?.pgdata).is_some() => Ok(()),
        started => started,
    }
}

/// One of the sessions that clients have there.
async fn client_backend(cluster: &Cluster, name: &str) -> Result<u32> {
    const QUERY: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbaton-live' ORDER BY pid LIMIT 1";
    let found = sql(cluster.server(name)?, QUERY).await?;
    let pid = found.first().with_context(|| format!("no client has a session on {name}"))?;
    Ok(pid.parse()?)
}

/// Ends when the postmaster has, which it does over this: the keeper has told it not to start over.
pub async fn crash_backend(cluster: &Cluster, name: &str) -> Result<()> {
    let (backend, postmaster) = (client_backend(cluster, name).await?, watch_postmaster(cluster, name)?);
    procs::signal_all(&[backend], Signal::SIGKILL);
    let ended = tokio::time::timeout(PATIENCE, postmaster.ended()).await;
    Ok(ended.with_context(|| format!("Postgres of {name} goes on without a backend"))??)
}

fn watch_postmaster(cluster: &Cluster, name: &str) -> Result<ProcessWatch> {
    let postmaster = postmaster::find(&cluster.node(name)?.pgdata);
    let postmaster = postmaster.with_context(|| format!("Postgres of {name} isn't running"))?;
    Ok(ProcessWatch::new(i32::try_from(postmaster.pid)?)?)
}

pub async fn stop_backend(cluster: &mut Cluster, name: &str) -> Result<()> {
    let pid = client_backend(cluster, name).await?;
    procs::signal_all(&[pid], Signal::SIGSTOP);
    cluster.frozen(name)?.push(pid);
    Ok(())
}

pub fn continue_backend(cluster: &mut Cluster, name: &str) -> Result<()> {
    let frozen = std::mem::take(cluster.frozen(name)?);
    ensure!(!frozen.is_empty(), "no backend of {name} is frozen");
    procs::signal_all(&frozen, Signal::SIGCONT);
    Ok(())
}

/// `function` is what is done to each session whose commit waits for a standby.
pub async fn to_waiters(cluster: &Cluster, name: &str, function: &str) -> Result<()> {
    let text = format!("SELECT {function}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    let done = sql(cluster.server(name)?, &text).await?;
    ensure!(!done.is_empty(), "no commit on {name} waits for a standby");
    Ok(())
}

pub async fn delay_apply(cluster: &Cluster, name: &str, by: Duration) -> Result<()> {
    let server = cluster.server(name)?;
    let set = match by.is_zero() {
        true => "ALTER SYSTEM RESET recovery_min_apply_delay".to_string(),
        false => format!("ALTER SYSTEM SET recovery_min_apply_delay = {}", by.as_millis()),
    };
    sql(server, &set).await?;
    sql(server, "SELECT pg_reload_conf()").await.map(drop)
}

/// No server knows it.
const UNKNOWN_PARAMETER: &str = "no_such_parameter = on";

pub fn break_config(cluster: &Cluster, name: &str) -> Result<()> {
    change_config(cluster, name, |text| format!("{text}\n{UNKNOWN_PARAMETER}\n"))
}

/// A copy of another node's directory has mended it already.
pub fn mend_config(cluster: &Cluster, name: &str) -> Result<()> {
    let mended = |text: &str| {
        text.lines().filter(|line| *line != UNKNOWN_PARAMETER).fold(String::new(), |all, line| all + line + "\n")
    };
    change_config(cluster, name, mended)
}

/// In a node's home; who holds it holds up the archiver.
const ARCHIVER_LOCK: &str = "archiver.lock";

/// An operator's lines at the top of the file. All servers share one archive; each
/// waits for a lock of its own before it keeps a segment there. The command runs in the data directory.
fn write_archive_settings(cluster: &Cluster, name: &str) -> Result<()> {
    let dir = cluster.base.join("archive");
    std::fs::create_dir_all(&dir)?;
    if let Some(user) = cluster.postgres_user() {
        nix::unistd::chown(&dir, Some(user.uid), Some(user.gid))?;
    }
    let dir = dir.display();
    let lines = format!(
        "archive_mode = on\n\
         archive_command = 'flock ../{ARCHIVER_LOCK} true && test ! -f {dir}/%f && cp %p {dir}/%f.part && mv {dir}/%f.part {dir}/%f'\n\
         restore_command = 'cp {dir}/%f %p'\n"
    );
    change_config(cluster, name, |text| lines + text)
}

/// In effect as far as a reload goes.
pub fn use_archive(cluster: &Cluster, name: &str) -> Result<()> {
    write_archive_settings(cluster, name)?;
    let postmaster = postmaster::find(&cluster.node(name)?.pgdata);
    let postmaster = postmaster.with_context(|| format!("Postgres of {name} isn't running"))?;
    procs::signal_all(&[postmaster.pid], Signal::SIGHUP);
    Ok(())
}

/// A server archives only once it was started with these settings.
pub async fn archive_from_now_on(cluster: &mut Cluster, name: &str) -> Result<()> {
    cluster.stop_service(name).await?;
    write_archive_settings(cluster, name)?;
    cluster.start_service(name)
}

/// Until the lock is dropped, at the latest when this program ends, however that comes.
pub fn hang_archiver(cluster: &mut Cluster, name: &str) -> Result<()> {
    ensure!(cluster.archiver(name)?.is_none(), "the archiver of {name} hangs already");
    let path = cluster.node(name)?.home().join(ARCHIVER_LOCK);
    let lock = File::options().write(true).create(true).truncate(false).open(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    lock.lock()?;
    *cluster.archiver(name)? = Some(lock);
    Ok(())
}

pub fn free_archiver(cluster: &mut Cluster, name: &str) -> Result<()> {
    let lock = cluster.archiver(name)?.take();
    lock.map(drop).with_context(|| format!("the archiver of {name} doesn't hang"))
}

/// In place: the file stays the server's own.
fn change_config(cluster: &Cluster, name: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
    let path = cluster.node(name)?.pgdata.join("postgresql.conf");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    std::fs::write(&path, change(&text)).with_context(|| format!("can't write {}", path.display()))
}

/// In both lock files that a killed server leaves behind. The other program runs as the server's user: what belongs to
/// anybody else can't be a postmaster to Postgres.
pub fn reuse_pid(cluster: &mut Cluster, name: &str) -> Result<()> {
    let pgdata = cluster.node(name)?.pgdata.clone();
    ensure!(postmaster::find(&pgdata).is_none(), "Postgres of {name} is running: its number is in use");
    let read = |lock: &Path| {
        std::fs::read_to_string(lock).with_context(|| format!("{name} left no {} behind", lock.display()))
    };
    let lock = pgdata.join("postmaster.pid");
    let text = read(&lock)?;
    let socket_dir = Path::new(text.lines().nth(4).context("the lock file doesn't say where the socket is")?);
    let lock_of_socket = socket_dir.join(format!(".s.PGSQL.{}.lock", cluster.server(name)?.port()));
    let stranger = cluster.add_stranger()?;
    for lock in [lock, lock_of_socket] {
        let text = read(&lock)?;
        let (_, rest) = text.split_once('\n').context("the lock file has one line only")?;
        std::fs::write(&lock, format!("{stranger}\n{rest}"))?;
    }
    Ok(())
}

/// A server goes on making files while they are removed, so a removal may find a directory filled again.
pub fn lose_directory(cluster: &Cluster, name: &str) -> Result<()> {
    let pgdata = &cluster.node(name)?.pgdata;
    for _ in 0..20 {
        match std::fs::remove_dir_all(pgdata) {
            Ok(()) => return Ok(()),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::NotFound) => {}
            Err(e) => return Err(e).with_context(|| format!("can't remove {}", pgdata.display())),
        }
        if !pgdata.exists() {
            return Ok(());
        }
    }
    anyhow::bail!("{} is filled faster than it can be removed", pgdata.display())
}
