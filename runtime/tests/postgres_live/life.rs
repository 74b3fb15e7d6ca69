//! A server is made, started, stopped and seen.

use crate::harness::{Base, Node, on_every_version, timed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgbaton_core::model::{ControlState, Directory, History, Server, Timeline};
use pgbaton_core::ports::{PgError, Postgres, StartAs, StopMode};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn a_new_cluster_starts_closed_opens_and_is_adopted_by_the_next_keeper() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        assert_eq!(a.pg.look().await.directory, Directory::Absent);
        std::fs::create_dir_all(a.pg.config().state_dir.join("create/half-made")).unwrap();
        timed("create", a.pg.create()).await;
        let facts = a.pg.look().await;
        let control = facts.control().expect("a data directory").clone();
        assert_eq!((facts.server, control.state), (Server::Down, ControlState::ShutDown));
        assert_eq!(control.history, History::root(Timeline(1)));
        assert!(a.has_signal(), "an unsupervised start must be read-only");
        assert!(matches!(a.pg.create().await, Err(PgError::Operator(_))));

        timed("start as standby", a.pg.start(StartAs::Standby)).await;
        assert!(a.running().await.in_recovery);
        timed("fast stop", a.pg.stop(StopMode::Fast)).await;
        timed("start as primary", a.pg.start(StartAs::Primary)).await;
        assert!(a.has_signal(), "put back as soon as the server is open");
        let open = a.running().await;
        assert!(!open.in_recovery);
        assert_eq!(open.position.tli, Timeline(1));
        timed("start when running", a.pg.start(StartAs::Primary)).await;
        a.execute("CREATE TABLE t (n int)").await;

        let pid = a.pg.postmaster_pid().unwrap();
        let again = a.seen_anew();
        assert_eq!(again.pg.postmaster_pid(), Some(pid));
        assert!(again.pg.look().await.is_open());
        let (told, watching) = (again.pg.changed(), Instant::now());
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        told.await;
        assert!(watching.elapsed() < Duration::from_millis(100), "{:?}", watching.elapsed());
        tokio::time::timeout(Duration::from_millis(100), a.pg.changed()).await.expect("the parent knows as well");
        let dead = again.pg.look().await;
        assert_eq!(dead.server, Server::Down);
        assert_eq!(dead.control().unwrap().state, ControlState::InProduction);
        timed("start after kill -9", again.pg.start(StartAs::Primary)).await;
        assert_eq!(again.count().await, 0);
        timed("immediate stop", again.pg.stop(StopMode::Immediate)).await;
        timed("stop when stopped", again.pg.stop(StopMode::Fast)).await;
        assert_eq!(again.pg.look().await.server, Server::Down);
    });
}

#[test]
fn a_server_is_stopped_although_its_signal_can_not_be_put_in_place() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        a.pg.create().await.unwrap();
        a.pg.start(StartAs::Primary).await.unwrap();
        std::fs::remove_file(a.pgdata().join("standby.signal")).unwrap();
        let in_the_way = a.pgdata().join("standby.signal.pgbaton-new/x");
        std::fs::create_dir_all(&in_the_way).unwrap();
        let told = a.pg.stop(StopMode::Fast).await.unwrap_err();
        assert!(told.to_string().contains("standby.signal"), "{told}");
        assert_eq!(a.pg.look().await.server, Server::Down);
        std::fs::remove_dir_all(in_the_way.parent().unwrap()).unwrap();
        a.pg.stop(StopMode::Fast).await.unwrap();
        assert!(a.has_signal());
    });
}

#[test]
fn a_wal_level_above_what_is_needed_is_kept() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        a.pg.create().await.unwrap();
        let level = async || a.client().await.query_one("SHOW wal_level", &[]).await.unwrap().get::<_, String>(0);
        let conf = a.pgdata().join("postgresql.conf");
        for (set, in_force) in [("minimal", "replica"), ("logical", "logical")] {
            let text = std::fs::read_to_string(&conf).unwrap();
            std::fs::write(&conf, format!("{text}wal_level = {set}\n")).unwrap();
            a.pg.start(StartAs::Primary).await.unwrap();
            assert_eq!(level().await, in_force);
            a.pg.stop(StopMode::Fast).await.unwrap();
        }
    });
}

#[test]
fn a_server_whose_directory_was_removed_is_seen_and_can_be_stopped() {
    on_every_version(async |base: &Base| {
        for mode in [StopMode::Fast, StopMode::Immediate] {
            let a = Node::new(base, 1, "trust");
            a.pg.create().await.unwrap();
            a.pg.start(StartAs::Primary).await.unwrap();
            std::fs::remove_dir_all(a.pgdata()).unwrap();
            let facts = a.pg.look().await;
            assert_eq!(facts.directory, Directory::Absent);
            eprintln!("    the server is said to be {:?}", facts.server);
            timed("stop without a directory", a.pg.stop(mode)).await;
            assert_eq!(
                a.pg.look().await,
                pgbaton_core::model::Facts { directory: Directory::Absent, server: Server::Down }
            );

            // The next keeper finds no pid file; the processes are there all the same.
            let a = Node::new(base, 1, "trust");
            a.pg.create().await.unwrap();
            a.pg.start(StartAs::Primary).await.unwrap();
            let pid = a.pg.postmaster_pid().unwrap();
            std::fs::remove_dir_all(a.pgdata()).unwrap();
            timed("stop by the next keeper", a.seen_anew().pg.stop(mode)).await;
            assert!(
                !Path::new(&format!("/proc/{pid}/cwd")).exists()
                    || std::fs::read_link(format!("/proc/{pid}/cwd")).is_err()
            );
        }
    });
}

#[test]
fn what_is_no_data_directory_is_not_touched() {
    on_every_version(async |base: &Base| {
        let a = Node::new(base, 1, "trust");
        std::fs::create_dir(a.pgdata()).unwrap();
        assert_eq!(a.pg.look().await.directory, Directory::Absent);
        std::fs::write(a.pgdata().join("letters.txt"), "dear").unwrap();
        let Directory::Unusable { reason } = a.pg.look().await.directory else {
            panic!("usable");
        };
        assert!(reason.contains("not a data directory"), "{reason}");
        assert!(matches!(a.pg.start(StartAs::Standby).await, Err(PgError::Operator(_))));
        assert!(matches!(a.pg.create().await, Err(PgError::Operator(_))));
        assert!(a.pgdata().join("letters.txt").exists());
        assert!(!a.has_signal());
        assert!(matches!(a.pg.seal().await, Err(PgError::Retry(_))));
    });
}
