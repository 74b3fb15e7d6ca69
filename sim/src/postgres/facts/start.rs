//! What a start makes of a directory, and what is known after it.

use super::*;
use crate::postgres::PgDisk;
use pgbaton_core::model::ControlState;
use pgbaton_core::ports::{PgError, StopMode};

impl Lab {
    async fn start_unsupervised(&self, host: &Arc<PgHost>) {
        host.rogue_start().unwrap();
        self.until("it is up", || is_up(host)).await;
    }
}

fn put_signal(host: &PgHost, there: bool) {
    host.pg().dir.as_mut().unwrap().standby_signal = there;
}

#[test]
fn a_server_without_its_signal_comes_up_writable_and_with_it_read_only() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.a.kill_server();
        put_signal(&lab.a, false);
        lab.start_unsupervised(&lab.a).await;
        assert!(lab.client("a").await.commits(1).await);
        assert_eq!(timeline(&lab.a), Timeline(1));
        lab.a.kill_server();
        put_signal(&lab.a, true);
        lab.start_unsupervised(&lab.a).await;
        let client = lab.client("a").await;
        assert!(client.read_only);
        assert_eq!(client.refusal(2).await, "cannot execute INSERT in a read-only transaction");
        lab.until("all is replayed", || lab.a.visible_rows().contains(&1)).await;
    });
}

#[test]
fn an_init_system_that_restarts_a_server_with_its_signal_gets_a_read_only_one() {
    fact(|| async {
        let lab = Lab::pair().await;
        // The port has put it back after the start.
        lab.a.kill_server();
        lab.start_unsupervised(&lab.a).await;
        assert!(lab.client("a").await.read_only && !lab.a.pg().is_open());
        // Nobody puts it back for whoever promotes by hand.
        lab.b.rogue_promote().unwrap();
        lab.until("it is open", || lab.b.pg().is_open()).await;
        lab.b.kill_server();
        lab.start_unsupervised(&lab.b).await;
        assert!(lab.b.pg().is_open());
    });
}

#[test]
fn a_backend_crash_with_the_signal_in_place_closes_the_primary() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        lab.a.configure(|settings| settings.restart_after_crash = true);
        let exits = lab.a.bells.exits.rings();
        lab.a.crash_backend().unwrap();
        assert!(client.is_ended().await);
        lab.until("it is up again", || is_up(&lab.a)).await;
        assert_eq!(lab.a.bells.exits.rings(), exits, "the postmaster lives on");
        let facts = lab.pa.look().await;
        let running = facts.running().unwrap();
        assert_eq!((running.in_recovery, running.position.tli), (true, Timeline(1)));
        lab.until("all is replayed", || lab.a.visible_rows().contains(&1)).await;
        lab.a.configure(|settings| settings.restart_after_crash = false);
        lab.a.crash_backend().unwrap();
        assert!(lab.a.pg().server.is_none() && lab.a.bells.exits.rings() > exits);
    });
}

#[test]
fn single_user_mode_refuses_the_signal() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pa.stop(StopMode::Immediate).await.unwrap();
        let refused = lab.a.recover_single_user().await.unwrap_err();
        assert_eq!(refused.to_string(), "standby mode is not supported by single-user servers");
        put_signal(&lab.a, false);
        let before = held(&lab.a);
        lab.a.recover_single_user().await.unwrap();
        assert!(held(&lab.a) > before, "and it writes");
    });
}

#[test]
fn crash_recovery_takes_time_for_the_wal_since_the_checkpoint() {
    fact(|| async {
        let lab = Lab::pair().await;
        let restart = async || {
            lab.a.kill_server();
            put_signal(&lab.a, false);
            let before = lab.fate.now();
            lab.a.launch();
            assert_eq!(lab.try_client("a").await.err().as_deref(), Some("the database system is starting up"));
            lab.until("it is up", || is_up(&lab.a)).await;
            lab.fate.now().since(before)
        };
        write_much(&lab.a, 100_000);
        let long = restart().await;
        let short = restart().await;
        assert!(long > Duration::from_secs(1) && short < Duration::from_millis(200), "{long:?} {short:?}");
    });
}

#[test]
fn a_crash_recovery_cut_short_begins_anew() {
    fact(|| async {
        let lab = Lab::pair().await;
        write_much(&lab.a, 100_000);
        lab.a.kill_server();
        put_signal(&lab.a, false);
        let before = lab.a.facts().control().cloned();
        for _ in 0..2 {
            lab.a.launch();
            lab.fate.sleep(BRIEF * 2).await;
            assert!(lab.try_client("a").await.is_err() && lab.pa.look().await.control() == before.as_ref());
            lab.a.kill_server();
            assert_eq!(lab.a.facts().control().cloned(), before, "that says nothing of it");
        }
        let since = lab.fate.now();
        lab.a.launch();
        lab.until("it is up", || is_up(&lab.a)).await;
        let took = lab.fate.now().since(since);
        assert!(took > BRIEF * 3, "{took:?}");
        assert_eq!(lab.a.visible_rows().len(), 100_000);
    });
}

#[test]
fn a_standby_is_up_once_it_is_consistent_and_replays_the_rest_then() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.pa.checkpoint().await.unwrap();
        lab.until("b has replayed it", || lab.replayed_by_b() == held(&lab.a)).await;
        lab.pb.checkpoint().await.unwrap();
        lab.b.set_apply_delay(LONG);
        assert!(lab.client("a").await.commits(2).await);
        lab.until("b has it", || flushed(&lab.b, 2)).await;
        lab.b.kill_server();
        lab.start_unsupervised(&lab.b).await;
        lab.fate.sleep(BRIEF).await;
        assert_eq!(lab.client("b").await.rows().await, [1].into());
        assert!(lab.replayed_by_b() < held(&lab.b));
        assert_eq!(receiver(&lab.b), None, "first what it has");
        lab.b.set_apply_delay(Duration::ZERO);
        lab.until("b shows it", || lab.b.visible_rows() == [1, 2].into()).await;
        lab.until_streams(&lab.b).await;
        // A primary's control file says nothing of the kind.
        lab.a.kill_server();
        lab.a.set_apply_delay(LONG);
        put_signal(&lab.a, true);
        lab.start_unsupervised(&lab.a).await;
        let client = lab.client("a").await;
        assert_eq!((client.read_only, client.rows().await), (true, [1, 2].into()));
    });
    // What that is lies between the last restartpoint and what was replayed.
    fact(|| async {
        let lab = Lab::pair().await;
        write_much(&lab.a, 10_000);
        lab.until("b has replayed it", || lab.replayed_by_b() == held(&lab.a)).await;
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            lab.b.kill_server();
            lab.start_unsupervised(&lab.b).await;
            seen.insert(lab.replayed_by_b());
            lab.until_streams(&lab.b).await;
        }
        assert!(seen.len() > 1 && seen.iter().all(|replayed| *replayed <= held(&lab.b)), "{seen:?}");
    });
}

#[test]
fn after_a_restart_a_standby_does_not_know_what_it_received() {
    fact(|| async {
        let lab = Lab::pair().await;
        write_much(&lab.a, 50);
        lab.until("b has it", || held(&lab.b) == held(&lab.a)).await;
        lab.b.kill_server();
        lab.pb.follow(B, None).await.unwrap();
        lab.pb.start(StartAs::Standby).await.unwrap();
        let received = || lab.b.pg().server.as_ref().unwrap().received;
        assert_eq!(received(), None);
        let look = async || lab.pb.look().await.running().unwrap().clone();
        let first = look().await;
        assert_eq!(first.position.lsn, first.replayed, "no more than that is known");
        let sealed = lab.pb.seal().await.unwrap();
        assert_eq!((sealed.lsn, received()), (held(&lab.a), None));
        assert_eq!(look().await.position, sealed);
    });
}

#[test]
fn a_restarted_receiver_starts_at_a_segment() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || held(&lab.b) == held(&lab.a)).await;
        let received = || lab.b.pg().server.as_ref().unwrap().received.map(|(_, lsn)| lsn);
        let before = received();
        lab.a.kill_server();
        lab.pa.start(StartAs::Primary).await.unwrap();
        lab.until_streams(&lab.b).await;
        assert!(received() >= before, "a server that lives remembers");
        lab.b.kill_server();
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until("a receiver is asked for", || received().is_some()).await;
        assert_eq!(received().unwrap().0 % (16 << 20), 0);
        assert!(received() < before);
        let position = lab.pb.look().await.running().unwrap().position;
        assert!(position.lsn >= before.unwrap(), "what is replayed is held all the same");
        lab.until_streams(&lab.b).await;
        assert!(received() < before, "only WAL that is new to it moves it");
        assert!(lab.client("a").await.commits(2).await);
        lab.until("new WAL", || received() > before).await;
    });
}

#[test]
fn a_crash_loses_what_was_not_flushed_and_nothing_else() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.a.set_disk(PgDisk::Stalled);
        let off = lab.client("a").await.at(SyncCommit::Off).await;
        assert!(off.commits(2).await);
        lab.a.kill_server();
        lab.a.set_disk(PgDisk::Ok);
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(lab.client("a").await.rows().await, [1].into());
        // What a standby has handed to its kernel outlives its processes, and may be lost with the power.
        lab.until_streams(&lab.b).await;
        lab.b.set_disk(PgDisk::Stalled);
        let written = || lab.b.pg().dir.as_ref().unwrap().written;
        let before = written();
        assert!(lab.client("a").await.commits(3).await);
        lab.until("written there", || written() > before).await;
        let count = written();
        lab.b.lose_power();
        assert!(written() == count || written() == count - 1);
    });
}

#[test]
fn the_death_of_the_postmaster_is_news_at_once_and_only_once() {
    fact(|| async {
        let lab = Lab::pair().await;
        let before = lab.fate.now();
        lab.a.kill_server();
        lab.pa.changed().await;
        assert_eq!(lab.fate.now().since(before).as_millis(), 0);
        assert!(lab.fate.timeout(BRIEF, lab.pa.changed()).await.is_none());
        assert!(lab.a.pg().server.is_none());
        assert!(matches!(lab.net.connect("b", "a", 5432).await, Err(crate::net::Refused)));
    });
}

#[test]
fn children_outlive_a_killed_postmaster_for_a_moment() {
    fact(|| async {
        let lab = Lab::pair().await;
        let (idle, busy) = (lab.client("a").await, lab.client("a").await);
        lab.a.set_disk(PgDisk::Stalled);
        busy.begin(1);
        lab.until("it is in the middle", || !lab.a.pg().server.as_ref().unwrap().commits.is_empty()).await;
        lab.a.kill_postmaster();
        lab.pa.changed().await;
        assert!(matches!(lab.pa.look().await.server, pgbaton_core::model::Server::Down));
        assert!(idle.is_ended().await);
        let refused = lab.pa.start(StartAs::Primary).await;
        assert!(matches!(refused, Err(PgError::Retry(_))), "no second server beside it: {refused:?}");
        lab.a.set_disk(PgDisk::Ok);
        lab.until("the busy one is gone", || lab.a.pg().server.is_none()).await;
        assert!(lab.fate.timeout(BRIEF, lab.pa.changed()).await.is_none(), "no news: the postmaster died before");
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(lab.client("a").await.rows().await, [1].into(), "it got as far as the disk");
    });
}

#[test]
fn cached_control_data_of_a_running_standby_is_stale() {
    fact(|| async {
        let lab = Lab::pair().await;
        write_much(&lab.a, 100);
        lab.pa.checkpoint().await.unwrap();
        lab.until("b has replayed it", || held(&lab.a) == lab.replayed_by_b()).await;
        let shown = || lab.b.pg().dir.as_ref().unwrap().control();
        assert!(shown().checkpoint.lsn < lab.a.pg().dir.as_ref().unwrap().checkpoint.lsn);
        assert_eq!(shown().state, ControlState::InRecovery);
        lab.pb.checkpoint().await.unwrap();
        assert_eq!(shown().checkpoint, lab.a.pg().dir.as_ref().unwrap().checkpoint);
    });
}

impl Lab {
    pub(super) fn replayed_by_b(&self) -> Lsn {
        let mut pg = self.b.pg();
        let (dir, server) = pg.running().unwrap();
        dir.wal.end_of(server.replayed)
    }
}

#[test]
fn a_standby_makes_no_restartpoint_twice_at_one_checkpoint() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pa.checkpoint().await.unwrap();
        lab.until("b has replayed it", || lab.replayed_by_b() == held(&lab.a)).await;
        lab.b.slow_checkpoint(LONG);
        let took = async || {
            let since = lab.fate.now();
            lab.pb.checkpoint().await.unwrap();
            lab.fate.now().since(since)
        };
        assert!(took().await > LONG);
        assert!(took().await < BRIEF);
    });
}
