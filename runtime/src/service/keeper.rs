//! The keeper of a node as a process.

use super::mirror::MirroredStore;
use super::pidfile::PidFile;
use super::signals::{Asked, Signals};
use super::{Places, pidfile};
use crate::cli::failure::{Code, Failure};
use crate::config::{self, NodeConfig};
use crate::ports::{BootClock, HttpLink, RedbStore};
use crate::postgres::{Apart, LocalPostgres, PostgresConfig};
use nix::unistd::User;
use pgbaton_core::model::{KeeperRecord, NodeState};
use pgbaton_core::shell::{KeeperExit, KeeperPorts, StopRequest, run_keeper};
use std::future::pending;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout};

/// How long a reload waits for a node that is on its way; copies of a whole data directory it never cuts short.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);

/// A copy that has ended well is marked as whole by then. One of all of it that failed stays marked.
const MARK_PATIENCE: Duration = Duration::from_secs(2);

pub type KeeperStore = MirroredStore<RedbStore>;

/// What a keeper process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    Serve,
    /// Only until the node has taken its place in the group; then Postgres is stopped again.
    Initialise,
    Stop(StopRequest),
}

/// Runs until asked to stop, until the node is dropped, or until only a person can help.
pub async fn run(places: &Places, aim: Aim) -> Result<(), Failure> {
    let _one_instance = take_pid_file(places)?;
    let mut signals = Signals::listen().map_err(|e| Failure::new(Code::Internal, e, "look at the limits"))?;
    let store = open_store(places).await?;
    let mut config: NodeConfig = read_config(places)?;
    tracing::info!(
        "keeper of node \"{}\", data directory {}, monitor {}",
        config.name,
        places.data.display(),
        config.monitor
    );
    // Without it the node is as one whose link to the monitor is cut, which is no reason to keep Postgres down.
    if let Err(e) = HttpLink::trusting_file(&config.monitor, &config.ssl.ca_file).usable() {
        tracing::error!("the monitor can't be called: {e}; correct it, and run pgbaton reload");
    }
    if store.holds(|record| record.state == NodeState::Dropped) {
        return Err(dropped(&config));
    }
    // Each turn is one life of core's loop. Ending it early is to the node what a crash of the keeper is: the
    // next life finds everything it needs in the store and in Postgres, which goes on meanwhile.
    let mut next = aim;
    let exit = loop {
        match one_life(&config, places, &store, &mut signals, next).await? {
            Life::Over(exit) => break exit,
            Life::Stops(request) => next = Aim::Stop(request),
            Life::Reloads => match read_config(places) {
                Ok(read) => {
                    tracing::info!("{} is in effect now", places.config().display());
                    config = read;
                }
                Err(failure) => tracing::error!("the configuration stays as it was: {failure}"),
            },
        }
    };
    match exit {
        KeeperExit::Stopped if aim == Aim::Initialise && !store.holds(has_its_place) => Err(Failure::new(
            Code::Internal,
            "interrupted before the node was initialised",
            "run the same command again to go on",
        )),
        KeeperExit::Stopped => {
            tracing::info!("stopped, and so is Postgres");
            Ok(())
        }
        KeeperExit::Dropped => Err(dropped(&config)),
        KeeperExit::Fatal(why) => Err(Failure::new(Code::Fatal, why, "")),
    }
}

fn dropped(config: &NodeConfig) -> Failure {
    Failure::new(
        Code::Dropped,
        format!("node \"{}\" was dropped from its formation; Postgres is stopped", config.name),
        "remove its data directory, and the one beside it, and create it anew to have it back",
    )
}

enum Life {
    Over(KeeperExit),
    Stops(StopRequest),
    Reloads,
}

async fn one_life(
    config: &NodeConfig,
    places: &Places,
    store: &KeeperStore,
    signals: &mut Signals,
    aim: Aim,
) -> Result<Life, Failure> {
    let postgres = LocalPostgres::new(postgres_config(config, places)?);
    let rebuilding = postgres.rebuilding();
    let ports = KeeperPorts {
        clock: BootClock,
        link: HttpLink::trusting_file(&config.monitor, &config.ssl.ca_file),
        store: store.clone(),
        postgres: Apart::new(postgres),
    };
    let (ask, asked) = oneshot::channel();
    let mut keeper = pin!(run_keeper(ports, config.settings.clone(), stop_request(aim, store.clone(), asked)));
    let mut ask = Some(ask);
    let mut stopping = match aim {
        Aim::Stop(request) => Some(request),
        Aim::Serve | Aim::Initialise => None,
    };
    let mut reload = None;
    loop {
        tokio::select! {
            biased;
            exit = &mut keeper => return Ok(Life::Over(exit)),
            () = may_reload(store, &rebuilding, reload) => return Ok(Life::Reloads),
            signal = signals.next() => match (signal, stopping) {
                (Asked::Stop(request), None) => {
                    log_stop(request);
                    (stopping, reload) = (Some(request), None);
                    if let Some(ask) = ask.take() {
                        let _loop_that_listens = ask.send(request);
                    }
                }
                (Asked::Stop(StopRequest::Fast), Some(StopRequest::HandOver)) => {
                    log_stop(StopRequest::Fast);
                    return Ok(Life::Stops(StopRequest::Fast));
                }
                (Asked::Stop(_), Some(_)) => tracing::info!("already stopping"),
                (Asked::Reload, None) => {
                    tracing::info!("the configuration is read again as soon as no step is running");
                    reload.get_or_insert_with(|| Instant::now() + RELOAD_PATIENCE);
                }
                (Asked::Reload, Some(_)) => {}
            },
        }
    }
}

async fn stop_request(aim: Aim, store: KeeperStore, asked: oneshot::Receiver<StopRequest>) -> StopRequest {
    // The sender lives as long as the loop that awaits this, so there is always an answer.
    let asked = async { asked.await.unwrap_or(StopRequest::Fast) };
    match aim {
        Aim::Stop(request) => request,
        Aim::Serve => asked.await,
        Aim::Initialise => tokio::select! {
            biased;
            request = asked => request,
            () = store.until(has_its_place) => StopRequest::Fast,
        },
    }
}

fn log_stop(request: StopRequest) {
    match request {
        StopRequest::HandOver => tracing::info!("asked to stop: hands over first, then stops Postgres"),
        StopRequest::Fast => tracing::info!("asked to stop at once: stops Postgres without handing over"),
    }
}

/// Ends when a reload that is due by then does the least harm: at rest, or else between two tries of what may fail for
/// ever under the old configuration. A copy that has just ended is between no tries before it is marked as whole: under its
/// mark all of it would be copied anew. Never without one.
async fn may_reload(store: &KeeperStore, rebuilding: &Mutex<()>, due: Option<Instant>) {
    let Some(due) = due else { return pending().await };
    let between_tries = async {
        tokio::time::sleep_until(due).await;
        let _no_copy_begins = rebuilding.lock().await;
        let _failed_at_worst = timeout(MARK_PATIENCE, store.until(|record| record.rebuild.is_none())).await;
    };
    tokio::select! {
        () = store.until(KeeperRecord::is_at_rest) => {}
        () = between_tries => {}
    }
}

/// The node has a data directory and a role.
pub fn has_its_place(record: &KeeperRecord) -> bool {
    let state = record.state;
    record.rebuild.is_none() && (state.is_writable() || matches!(state, NodeState::Catchingup | NodeState::Secondary))
}

fn take_pid_file(places: &Places) -> Result<PidFile, Failure> {
    PidFile::take(&places.pid()).map_err(|e| match e {
        pidfile::PidFileError::Taken(_) => Failure::new(Code::State, e, "stop it first, with pgbaton stop"),
        e @ pidfile::PidFileError::Io(_) => Failure::new(
            Code::State,
            format!("{}: {e}", places.pid().display()),
            "check the permissions of its directory",
        ),
    })
}

pub async fn open_store(places: &Places) -> Result<KeeperStore, Failure> {
    let damaged = |e: &dyn std::fmt::Display| {
        Failure::new(
            Code::State,
            format!("{}: {e}", places.store().display()),
            "see that no other process uses it, and that its disk is well",
        )
    };
    let store = RedbStore::open(&places.store()).map_err(|e| damaged(&e))?;
    MirroredStore::new(store, places.mirror()).await.map_err(|e| damaged(&e))
}

pub fn read_config(places: &Places) -> Result<NodeConfig, Failure> {
    config::read(&places.config()).map_err(|e| {
        let remedy = if e.is_missing() {
            "create the node with pgbaton create postgres, or name its data directory with --pgdata"
        } else {
            "correct the file"
        };
        Failure::config(e, remedy)
    })
}

pub fn postgres_config(config: &NodeConfig, places: &Places) -> Result<PostgresConfig, Failure> {
    let pg = &config.postgresql;
    let run_as = match &pg.run_as {
        Some(name) => Some(find_user(name)?),
        None => None,
    };
    Ok(PostgresConfig {
        bin_dir: pg.bin_dir.clone(),
        pgdata: places.data.clone(),
        port: pg.port,
        listen: pg.listen.clone(),
        run_as,
        auth: pg.auth.clone(),
        replication_password: pg.replication_password.clone(),
        dbname: pg.dbname.clone(),
        state_dir: places.state_dir.clone(),
    })
}

pub fn find_user(name: &str) -> Result<User, Failure> {
    let known = User::from_name(name).ok().flatten();
    known.ok_or_else(|| {
        Failure::arguments(
            format!("there is no user \"{name}\" on this machine"),
            "Postgres refuses to run as root; name the user it shall run as with --run-as",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{GroupKey, NodeId, Rebuild};
    use pgbaton_core::ports::{Change, Store};
    use pgbaton_core::stored;

    #[tokio::test]
    async fn a_reload_waits_for_a_copy_and_not_for_what_fails_for_ever() {
        const MOMENT: Duration = Duration::from_millis(20);
        let dir = tempfile::tempdir().unwrap();
        // Its node never comes to rest.
        std::fs::create_dir(dir.path().join("a.pgbaton")).unwrap();
        let store = open_store(&Places::node(&dir.path().join("a"))).await.unwrap();
        let rebuilding = Mutex::new(());
        let (now, later) = (Some(Instant::now()), Some(Instant::now() + RELOAD_PATIENCE));
        timeout(MOMENT, may_reload(&store, &rebuilding, None)).await.unwrap_err();
        timeout(MOMENT, may_reload(&store, &rebuilding, later)).await.unwrap_err();
        let copying = rebuilding.lock().await;
        timeout(MOMENT, may_reload(&store, &rebuilding, now)).await.unwrap_err();
        drop(copying);
        timeout(RELOAD_PATIENCE, may_reload(&store, &rebuilding, now)).await.unwrap();
    }

    #[tokio::test]
    async fn a_reload_lets_a_copy_that_has_ended_be_marked_as_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a.pgbaton")).unwrap();
        let store = open_store(&Places::node(&dir.path().join("a"))).await.unwrap();
        let group = GroupKey { formation: "default".into(), group: 0 };
        let mut record = KeeperRecord::new(group, NodeId(1), "a".into());
        record.state = NodeState::Catchingup;
        let save = async |version, rebuild| {
            let record = KeeperRecord { rebuild, ..record.clone() };
            store.commit(version, vec![Change::Put("keeper".into(), stored::encode(&record))]).await.unwrap()
        };
        let version = save(0, Some(Rebuild::Clone)).await;
        let rebuilding = Mutex::new(());
        let mut reload = pin!(may_reload(&store, &rebuilding, Some(Instant::now())));
        timeout(Duration::from_millis(50), &mut reload).await.unwrap_err();
        assert!(rebuilding.try_lock().is_err(), "the next copy doesn't begin meanwhile");
        save(version, None).await;
        timeout(Duration::from_millis(500), reload).await.unwrap();
    }
}
