//! Who may replicate from here, and whom commits wait for.

use super::conf::{Place, REPLICATION_ROLE, with_block};
use super::processes::Postmaster;
use super::sql::{SqlError, identifier, on_fresh_connection, quoted};
use super::standby::SUSPICION;
use super::{LocalPostgres, PostgresConfig, conf, files};
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use pgbaton_core::model::Peer;
use pgbaton_core::ports::{Names, PgError};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const NAMES: &str = "put synchronous_standby_names in force";
const POLL: Duration = Duration::from_millis(2);

/// What is proven of the names, for one life of the server.
#[derive(Clone)]
pub struct InForce {
    pid: i32,
    /// Those in force, unless others were written since.
    names: Option<String>,
    /// The checkpointer has told the backends to wait, and whatever was written since names somebody too.
    waits: bool,
}

/// The life of the server in which peers were admitted last.
#[derive(Clone)]
pub struct Admitted {
    pid: i32,
    /// As it was set up, on a primary.
    role: Option<String>,
}

impl LocalPostgres {
    pub(super) fn write_names(&self, names: &Names) -> Result<(), PgError> {
        if conf::write_names(&self.config, &names.0)? {
            // What was proven of the names before proves nothing of these, nor of the same when they come back.
            if let Some(known) = &mut *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) {
                (known.names, known.waits) = (None, known.waits && !names.0.is_empty());
            }
        }
        // Also when nothing has changed: who wrote it may have died before the signal. Not when they are known to be in force.
        let known = |pid| self.names_known_for(pid).is_some_and(|known| known.names.as_ref() == Some(&names.0));
        if let Some(postmaster) = self.processes.postmaster(&self.config).filter(|p| !known(p.pid)) {
            postmaster.signal(Signal::SIGHUP);
        }
        Ok(())
    }

    /// Three kinds of processes must know the names.
    /// - The postmaster: a backend forked after its reload shows them, and by then it has sent SIGHUP to all others.
    /// - The checkpointer: it alone sets the shared flag by which backends decide whether to wait at all. It serves
    ///   its SIGHUP before a checkpoint asked for later, so a checkpoint proves it. The flag changes only between
    ///   no names and some; the checkpoint is spared otherwise. It is spared for no names as well: until the flag
    ///   falls commits may wait in vain, which is slow but loses nothing.
    /// - The WAL senders: they release waiting commits by the names they know. One that has sent a record written
    ///   after the SIGHUP serves that before it hears the next reply, and replies are what it releases by.
    pub(super) async fn until_names_are_in_force(&self) -> Result<(), PgError> {
        let Some((postmaster, wanted, known)) = self.names_to_prove()? else { return Ok(()) };
        let work = async {
            let waits = known.is_some_and(|known| known.waits);
            if !waits && !wanted.is_empty() {
                self.working.run("CHECKPOINT").await.map_err(|e| e.during(NAMES))?;
                // Should the rest fail, this is known and asked for no second time.
                self.note_in_force(InForce { pid: postmaster.pid, waits: true, names: None });
            }
            self.senders_know().await
        };
        self.while_alive(NAMES, &postmaster, work).await?;
        self.note_in_force(InForce { pid: postmaster.pid, waits: !wanted.is_empty(), names: Some(wanted) });
        Ok(())
    }

    fn note_in_force(&self, proven: InForce) {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Some(proven);
    }

    /// The first of the three.
    pub(super) async fn until_names_are_shown(&self) -> Result<(), PgError> {
        let Some((postmaster, wanted, _)) = self.names_to_prove()? else { return Ok(()) };
        let work = async {
            let mut suspicious = Instant::now() + SUSPICION;
            while !self.shows_names(&wanted).await? {
                tokio::time::sleep(POLL).await;
                if Instant::now() > suspicious {
                    self.complain_about_configuration(NAMES).await?;
                    suspicious = Instant::now() + SUSPICION;
                }
            }
            Ok(())
        };
        self.while_alive(NAMES, &postmaster, work).await
    }

    /// Which names the running server is to have, and what is known of those it has; `None` when they are known to be in
    /// force.
    fn names_to_prove(&self) -> Result<Option<(Postmaster, String, Option<InForce>)>, PgError> {
        let postmaster = self.running(NAMES)?;
        let wanted = conf::read_names(&self.config);
        let known = self.names_known_for(postmaster.pid);
        let are_known = known.as_ref().is_some_and(|known| known.names.as_ref() == Some(&wanted));
        Ok((!are_known).then_some((postmaster, wanted, known)))
    }

    /// A standby has names in force that let no commit through. That its checkpointer has said so is proven here, where
    /// nobody waits for the checkpoint, and not in a promotion, where all do. If it fails, the promotion proves it.
    async fn be_ready_to_wait(&self, pid: i32) {
        let known = self.names_known_for(pid).is_some_and(|known| known.waits);
        if known {
            return;
        }
        let proof = async {
            self.until_names_are_shown().await?;
            self.until_names_are_in_force().await
        };
        if let Err(e) = proof.await {
            tracing::debug!("not ready for a promotion yet: {e}");
        }
    }

    fn names_known_for(&self, pid: i32) -> Option<InForce> {
        let known = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| known.pid == pid)
    }

    async fn shows_names(&self, wanted: &str) -> Result<bool, PgError> {
        const QUERY: &str = "SELECT setting, sourcefile FROM pg_settings WHERE name = 'synchronous_standby_names'";
        let rows = match on_fresh_connection(&self.config, QUERY).await {
            Ok(rows) => rows,
            Err(SqlError::NotYet | SqlError::Broken(_)) => return Ok(false),
            Err(e) => return Err(e.during(NAMES)),
        };
        let row = rows.first().ok_or_else(|| PgError::Retry(format!("{NAMES}: the server says nothing")))?;
        if row.get(1).is_some_and(|file| file.ends_with("postgresql.auto.conf")) {
            return Err(PgError::Operator(
                "synchronous_standby_names was set by ALTER SYSTEM, which wins over pgbaton: run ALTER SYSTEM RESET \
                 synchronous_standby_names"
                    .into(),
            ));
        }
        Ok(row.get(0) == Some(wanted))
    }

    async fn senders_know(&self) -> Result<(), PgError> {
        // Transactional, because only a commit flushes, and only flushed WAL is sent.
        const WRITE: &str = "SELECT CASE WHEN NOT pg_is_in_recovery() \
                             THEN pg_logical_emit_message(true, 'pgbaton', 'names') END";
        let written = self.working.query(WRITE, PATIENCE).await.map_err(|e| e.during(NAMES))?;
        let Some(lsn) = written.first().and_then(|row| row.get(0)) else {
            return Ok(());
        };
        let ask = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sent_lsn < {}::pg_lsn \
             AND application_name LIKE 'pgbaton\\_standby\\_%'",
            quoted(lsn)
        );
        loop {
            let rows = self.working.query(&ask, PATIENCE).await.map_err(|e| e.during(NAMES))?;
            if rows.first().and_then(|row| row.get(0)) == Some("0") {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn admit_peers(&self, peers: &[Peer]) -> Result<(), PgError> {
        let postmaster = self.running("admit peers")?;
        let role = self.ask("admit peers", "SELECT pg_is_in_recovery()::int, 0").await?;
        let standby = role.first().is_some_and(|(recovering, _)| recovering == "1");
        let before = self.admitted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The first time also when nothing has changed: who wrote it may have died before the signal.
        if write_hba(&self.config, peers).await? || before.is_none() {
            postmaster.signal(Signal::SIGHUP);
        }
        let role = match standby {
            true => None,
            false => Some(self.ensure_role(before.filter(|b| b.pid == postmaster.pid).and_then(|b| b.role)).await?),
        };
        self.ensure_slots(peers).await?;
        if standby {
            self.be_ready_to_wait(postmaster.pid).await;
        }
        let admitted = Admitted { pid: postmaster.pid, role };
        *self.admitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(admitted);
        Ok(())
    }

    /// A cluster that was made by somebody else has no such role, or one with another password. It is set up once in a
    /// life as primary, and again when somebody has changed it: each time writes WAL. Ends with its looks.
    async fn ensure_role(&self, as_set_up: Option<String>) -> Result<String, PgError> {
        let look = role_query();
        let found = self.ask("admit peers", &look).await?.pop().map(|(looks, _)| looks);
        if let Some(looks) = found.clone().filter(|_| found == as_set_up) {
            return Ok(looks);
        }
        for statement in role_statements(&self.config, found.is_none()) {
            self.ask("admit peers", &statement).await?;
        }
        let done = self.ask("admit peers", &look).await?.pop().map(|(looks, _)| looks);
        done.ok_or_else(|| PgError::Retry(format!("admit peers: the role {REPLICATION_ROLE} was taken away at once")))
    }
}

/// What pg_rewind reads a source by.
const READS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// All that is set up of the role, as one text.
fn role_query() -> String {
    let may = READS.map(|function| format!("has_function_privilege(oid, 'pg_catalog.{function}', 'EXECUTE')"));
    format!(
        "SELECT concat_ws(' ', rolcanlogin, rolreplication, rolvaliduntil, rolpassword, {}), 0 \
           FROM pg_authid WHERE rolname = {}",
        may.join(", "),
        quoted(REPLICATION_ROLE)
    )
}

/// The role by which nodes stream, clone and rewind from each other: what pg_rewind reads, and no more.
pub fn role_statements(config: &PostgresConfig, is_new: bool) -> Vec<String> {
    let role = identifier(REPLICATION_ROLE);
    let verb = if is_new { "CREATE" } else { "ALTER" };
    let password = quoted(&config.replication_password);
    let mut statements = vec![format!("{verb} ROLE {role} LOGIN REPLICATION PASSWORD {password}")];
    for function in READS {
        statements.push(format!("GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {role}"));
    }
    statements
}

async fn write_hba(config: &PostgresConfig, peers: &[Peer]) -> Result<bool, PgError> {
    let path = config.pgdata.join("pg_hba.conf");
    let text = files::read(&path)?;
    let all = join_all(peers.iter().map(|peer| addresses(&peer.host))).await;
    let hosts: BTreeSet<String> = all.into_iter().flatten().collect();
    files::update(&path, &with_block(&text, &hba_block(config, &hosts), Place::Start))
}

/// First in the file, because the first line that matches decides.
pub fn hba_block(config: &PostgresConfig, hosts: &BTreeSet<String>) -> String {
    // Nobody but the server's user and root can enter the socket's directory.
    let mut block = String::from("local all postgres trust\n");
    for host in hosts {
        for database in ["replication", "all"] {
            block.push_str(&format!("host {database} {REPLICATION_ROLE} {host} {}\n", config.auth));
        }
    }
    block
}

/// A host name is admitted by name, and by the addresses it has now: Postgres checks a name by asking for the
/// name of the address, which many networks can't tell.
async fn addresses(host: &str) -> Vec<String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return vec![masked(ip)];
    }
    let mut all = vec![host.to_string()];
    match tokio::time::timeout(Duration::from_secs(2), tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(found)) => all.extend(found.map(|address| masked(address.ip()))),
        Ok(Err(e)) => tracing::warn!("the address of {host} can't be found: {e}"),
        Err(_) => tracing::warn!("the address of {host} can't be found in time"),
    }
    all
}

fn masked(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}/32"),
        IpAddr::V6(ip) => format!("{ip}/128"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_are_admitted_by_name_and_by_address() {
        assert_eq!(addresses("10.0.0.7").await, ["10.0.0.7/32"]);
        assert_eq!(addresses("::1").await, ["::1/128"]);
        let local = addresses("localhost").await;
        assert_eq!(local[0], "localhost");
        assert!(local.iter().any(|a| a == "127.0.0.1/32"), "{local:?}");
    }
}
