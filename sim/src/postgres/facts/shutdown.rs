//! The three ways to stop a server, and what holds a stop up.

use super::*;
use crate::postgres::wal::Kind;
use pgbaton_core::model::ControlState;
use pgbaton_core::ports::StopMode;

fn state(host: &PgHost) -> ControlState {
    host.pg().dir.as_ref().unwrap().state
}

fn is_down(host: &PgHost) -> bool {
    host.pg().server.is_none()
}

#[test]
fn a_smart_stop_lets_sessions_go_on_committing() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        lab.a.begin_smart_stop();
        assert!(lab.a.facts().running().unwrap().stopping);
        assert_eq!(lab.try_client("a").await.err().as_deref(), Some("the database system is shutting down"));
        assert!(client.commits(1).await);
        lab.fate.sleep(LONG).await;
        assert!(client.commits(2).await && !is_down(&lab.a));
        drop(client);
        lab.until("it ends", || is_down(&lab.a)).await;
        assert_eq!(state(&lab.a), ControlState::ShutDown);
    });
}

#[test]
fn a_fast_stop_ends_sessions_before_its_checkpoint() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        lab.a.slow_checkpoint(LONG);
        assert!(client.commits(1).await);
        let end = held(&lab.a);
        lab.a.begin_stop();
        assert!(client.is_ended().await);
        assert_eq!(state(&lab.a), ControlState::InProduction);
        lab.until("it ends", || is_down(&lab.a)).await;
        let pg = lab.a.pg();
        let dir = pg.dir.as_ref().unwrap();
        let after: Vec<Kind> = dir.wal.records().iter().filter(|r| r.start >= end).map(|r| r.kind).collect();
        assert_eq!((after, dir.state), (vec![Kind::Shutdown], ControlState::ShutDown));
    });
}

#[test]
fn a_slow_checkpoint_holds_a_fast_stop_up_and_nobody_writes_meanwhile() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        lab.a.slow_checkpoint(LONG * 2);
        lab.a.begin_stop();
        assert!(client.is_ended().await);
        lab.fate.sleep(LONG).await;
        assert_eq!(lab.try_client("a").await.err().as_deref(), Some("the database system is shutting down"));
        assert!(!is_down(&lab.a));
        assert_eq!(state(&lab.a), ControlState::InProduction);
        lab.until("it ends", || is_down(&lab.a)).await;
        assert_eq!(state(&lab.a), ControlState::ShutDown);
    });
}

#[test]
fn a_fast_stop_ends_a_commit_that_waits_without_an_answer() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let client = lab.waiting(1).await;
        lab.pa.stop(StopMode::Fast).await.unwrap();
        assert!(client.answer().await.is_none());
        assert_eq!(state(&lab.a), ControlState::ShutDown, "nobody is waited for");
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(lab.client("a").await.rows().await, [1].into());
    });
}

#[test]
fn a_backend_that_is_told_to_end_takes_no_command_that_waits() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        madsim::runtime::Handle::current().pause(lab.a.process());
        client.begin(2);
        lab.fate.sleep(BRIEF).await;
        lab.a.begin_stop();
        madsim::runtime::Handle::current().resume(lab.a.process());
        assert!(client.is_ended().await);
        lab.until("it ends", || is_down(&lab.a)).await;
        assert!(flushed(&lab.a, 1) && !flushed(&lab.a, 2));
    });
}

#[test]
fn an_orderly_stop_ships_its_last_record_to_the_standby() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.net.cut_one_way("a", "b");
        lab.a.begin_stop();
        lab.until("the control file says so", || state(&lab.a) == ControlState::ShutDown).await;
        let checkpoint = lab.a.pg().dir.as_ref().unwrap().checkpoint.lsn;
        lab.fate.sleep(BRIEF).await;
        assert!(held(&lab.b) <= checkpoint && !is_down(&lab.a), "it waits for its standby");
        lab.net.heal_all();
        lab.until("it ends", || is_down(&lab.a)).await;
        assert!(held(&lab.b) > checkpoint);
        lab.pb.replayed_past(checkpoint).await.unwrap();
    });
    // However long that takes, as long as they say something.
    fact(|| async {
        let lab = Lab::pair().await;
        for by in [1500, 3000] {
            lab.net.slow("a", "b", Duration::from_millis(by));
            lab.fate.sleep(LONG).await;
        }
        let before = lab.fate.now();
        lab.a.begin_stop();
        lab.until("it ends", || is_down(&lab.a)).await;
        assert!(lab.fate.now().since(before) > Duration::from_secs(6));
        assert_eq!(held(&lab.b), held(&lab.a));
    });
}

#[test]
fn an_immediate_stop_is_a_crash() {
    fact(|| async {
        let lab = Lab::pair().await;
        let before = lab.pa.look().await.control().unwrap().checkpoint;
        assert!(lab.client("a").await.commits(1).await);
        lab.pa.stop(StopMode::Immediate).await.unwrap();
        let facts = lab.pa.look().await;
        let control = facts.control().unwrap();
        assert_eq!((control.state, control.checkpoint), (ControlState::InProduction, before));
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(lab.client("a").await.rows().await, [1].into());
    });
}

#[test]
fn a_hanging_archiver_holds_a_stop_up_though_the_control_file_says_shut_down() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.a.hang_archiver(true);
        lab.a.begin_stop();
        lab.fate.sleep(LONG).await;
        assert_eq!(state(&lab.a), ControlState::ShutDown);
        assert!(!is_down(&lab.a));
        assert_eq!(lab.try_client("a").await.err().as_deref(), Some("the database system is shutting down"));
        lab.a.hang_archiver(false);
        lab.until("it ends", || is_down(&lab.a)).await;
    });
}

#[test]
fn a_stopped_backend_holds_a_stop_up() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        lab.a.stop_backend(true);
        lab.a.begin_stop();
        assert!(client.is_ended().await);
        lab.fate.sleep(LONG).await;
        assert!(!is_down(&lab.a));
        assert_eq!(state(&lab.a), ControlState::InProduction);
        assert_eq!(lab.try_client("a").await.err().as_deref(), Some("the database system is shutting down"));
        lab.a.stop_backend(false);
        lab.until("it ends", || is_down(&lab.a)).await;
        assert_eq!(state(&lab.a), ControlState::ShutDown);
    });
}

#[test]
fn a_clean_stop_that_reached_the_standby_needs_no_rewind() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.pa.stop(StopMode::Fast).await.unwrap();
        let checkpoint = lab.pa.look().await.control().unwrap().checkpoint;
        lab.pb.replayed_past(checkpoint.lsn).await.unwrap();
        lab.seal_b().await;
        lab.pb.promote(Timeline(1)).await.unwrap();
        lab.pb.admit(&peers(&[A])).await.unwrap();
        lab.pa.follow(A, Some(&source("b"))).await.unwrap();
        lab.pa.start(StartAs::Standby).await.unwrap();
        assert!(lab.client("b").await.commits(2).await);
        lab.until("a has both", || lab.a.visible_rows() == [1, 2].into()).await;
        assert_eq!(timeline(&lab.a), Timeline(2));
    });
}
