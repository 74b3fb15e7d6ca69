//! What a commit waits for, and what ends its wait.

use super::*;
use crate::postgres::PgDisk;
use futures_util::future::join;

#[test]
fn a_commit_waits_for_its_standby_and_is_in_the_log_meanwhile() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        let (client, other) = (lab.client("a").await, lab.client("a").await);
        assert!(client.commits(1).await);
        lab.net.cut("a", "b");
        client.begin(2);
        assert!(lab.still_waits(2).await);
        assert!(flushed(&lab.a, 2) && !flushed(&lab.b, 2));
        assert_eq!(other.rows().await, [1].into(), "invisible to all others");
        lab.net.heal_all();
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 2, warning: false })));
        assert!(flushed(&lab.b, 2));
        assert_eq!(other.rows().await, [1, 2].into());
    });
}

#[test]
fn a_waiting_commit_is_visible_on_the_standby_first() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        lab.net.cut_one_way("b", "a");
        let _waiting = lab.waiting(1).await;
        lab.until("b has replayed it", || lab.b.visible_rows().contains(&1)).await;
        assert!(lab.client("a").await.rows().await.is_empty());
        assert!(waits(&lab.a, 1));
    });
}

#[test]
fn two_commits_are_seen_in_opposite_order_on_primary_and_standby() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        lab.net.cut_one_way("b", "a");
        let waiting = lab.waiting(1).await;
        lab.until("b has replayed it", || lab.b.visible_rows().contains(&1)).await;
        let there = lab.client("b").await.rows().await;
        let local = lab.client("a").await.at(SyncCommit::Local).await;
        assert!(local.commits(2).await);
        let here = lab.client("a").await.rows().await;
        assert_eq!((here, there), ([2].into(), [1].into()));
        lab.net.heal_all();
        assert!(matches!(waiting.answer().await, Some(Packet::Committed { id: 1, warning: false })));
        assert_eq!(lab.client("a").await.rows().await, [1, 2].into());
    });
}

#[test]
fn a_cancelled_wait_is_a_success_with_a_warning() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let (one, two) = (lab.waiting(1).await, lab.waiting(2).await);
        let messenger = lab.net.connect("clients", "a", 5432).await.unwrap();
        messenger.send(Packet::Interrupt { backend: one.backend, terminate: false });
        assert!(matches!(one.answer().await, Some(Packet::Committed { id: 1, warning: true })));
        assert!(lab.still_waits(2).await, "that was not for this one");
        lab.a.cancel_waiters();
        assert!(matches!(two.answer().await, Some(Packet::Committed { id: 2, warning: true })));
        assert_eq!(lab.client("a").await.rows().await, [1, 2].into());
    });
}

#[test]
fn a_terminated_wait_acknowledges_nothing_and_keeps_the_commit() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let client = lab.waiting(1).await;
        lab.a.terminate_waiters();
        assert!(client.answer().await.is_none());
        assert_eq!(lab.client("a").await.rows().await, [1].into());
    });
}

#[test]
fn a_commit_that_waited_when_the_primary_crashed_is_there_after_its_restart() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let client = lab.waiting(1).await;
        lab.a.kill_server();
        assert!(client.answer().await.is_none());
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert_eq!(lab.client("a").await.rows().await, [1].into());
    });
}

#[test]
fn after_a_restart_in_place_commits_wait_until_the_standby_is_back() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        assert!(lab.client("a").await.commits(1).await);
        lab.a.kill_server();
        lab.net.cut("a", "b");
        lab.pa.start(StartAs::Primary).await.unwrap();
        let client = lab.waiting(2).await;
        assert!(lab.still_waits(2).await && !flushed(&lab.b, 2));
        lab.net.heal_all();
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 2, warning: false })));
        assert!(flushed(&lab.b, 2) && lab.is_served(&lab.b));
    });
}

#[test]
fn synchronous_commit_off_and_local_never_wait() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let local = lab.client("a").await.at(SyncCommit::Local).await;
        assert!(local.commits(1).await);
        assert!(flushed(&lab.a, 1));
        let off = lab.client("a").await.at(SyncCommit::Off).await;
        lab.a.set_disk(PgDisk::Stalled);
        assert!(off.commits(2).await);
        assert!(!flushed(&lab.a, 2));
        assert_eq!(off.rows().await, [1, 2].into());
        lab.a.set_disk(PgDisk::Ok);
        lab.until("the WAL writer flushes it", || flushed(&lab.a, 2)).await;
    });
}

#[test]
fn remote_write_is_acknowledged_before_the_standby_flushes() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        let writing = lab.client("a").await.at(SyncCommit::RemoteWrite).await;
        lab.b.set_disk(PgDisk::Stalled);
        assert!(writing.commits(1).await);
        assert!(!flushed(&lab.b, 1));
        let flushing = lab.waiting(2).await;
        assert!(lab.still_waits(2).await);
        lab.b.set_disk(PgDisk::Ok);
        assert!(matches!(flushing.answer().await, Some(Packet::Committed { id: 2, warning: false })));
    });
}

/// What `b` has, by itself, after it was left like this with row 2 written and not flushed.
async fn left_to_itself(ends: impl Fn(&Lab)) -> BTreeSet<u64> {
    let lab = Lab::pair().await;
    lab.set_names("pgbaton_standby_2").await;
    let client = lab.client("a").await;
    assert!(client.commits(1).await);
    lab.b.set_disk(PgDisk::Stalled);
    assert!(client.at(SyncCommit::RemoteWrite).await.commits(2).await && !flushed(&lab.b, 2));
    ends(&lab);
    lab.b.set_disk(PgDisk::Ok);
    lab.pb.follow(B, None).await.unwrap();
    lab.pb.start(StartAs::Standby).await.unwrap();
    lab.pb.seal().await.unwrap();
    lab.b.visible_rows()
}

#[test]
fn remote_write_outlives_the_standbys_processes_and_not_its_loss_of_power() {
    fact(|| async {
        assert_eq!(left_to_itself(|lab| lab.b.kill_server()).await, [1, 2].into());
        let mut left = BTreeSet::new();
        for _ in 0..16 {
            let power = |lab: &Lab| {
                lab.b.lose_power();
                lab.net.power_on("b");
            };
            left.insert(left_to_itself(power).await);
        }
        // It may have come as far as the medium.
        assert_eq!(left, [[1].into(), [1, 2].into()].into());
    });
}

#[test]
fn remote_apply_waits_for_replay() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        lab.b.set_apply_delay(LONG);
        let applying = lab.client("a").await.at(SyncCommit::RemoteApply).await;
        applying.begin(1);
        assert!(lab.client("a").await.commits(2).await, "flushed there is enough for others");
        assert!(flushed(&lab.b, 1) && lab.still_waits(1).await);
        lab.b.set_apply_delay(Duration::ZERO);
        assert!(matches!(applying.answer().await, Some(Packet::Committed { id: 1, warning: false })));
        assert!(lab.b.visible_rows().contains(&1));
    });
}

#[test]
fn any_k_takes_any_of_the_listed() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.set_names("ANY 1 (pgbaton_standby_2, pgbaton_standby_3)").await;
        let client = lab.client("a").await;
        lab.b.kill_server();
        assert!(client.commits(1).await);
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.b).await;
        lab.c.kill_server();
        assert!(client.commits(2).await);
        lab.set_names("ANY 2 (pgbaton_standby_2, pgbaton_standby_3)").await;
        client.begin(3);
        assert!(lab.still_waits(3).await, "one of two is not enough");
        lab.pc.start(StartAs::Standby).await.unwrap();
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 3, .. })));
    });
}

#[test]
fn first_n_moves_on_to_the_next_by_itself() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.set_names("FIRST 1 (pgbaton_standby_2, pgbaton_standby_3)").await;
        lab.b.set_disk(PgDisk::Stalled);
        let client = lab.waiting(1).await;
        lab.until("c has it", || flushed(&lab.c, 1)).await;
        assert!(lab.still_waits(1).await, "it is the other one's word that counts");
        lab.b.kill_server();
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 1, .. })));
        assert!(client.commits(2).await);
    });
}

#[test]
fn names_are_compared_without_case_and_a_star_matches_all() {
    fact(|| async {
        let lab = Lab::trio().await;
        let client = lab.client("a").await;
        lab.set_names("PGBATON_Standby_2").await;
        assert!(client.commits(1).await);
        lab.b.kill_server();
        client.begin(2);
        assert!(lab.still_waits(2).await);
        lab.call(&lab.c, "stranger", Some("pgbaton_standby_3"));
        lab.until("under another name", || lab.c.pg().server.as_ref().unwrap().conninfo_changes > 0).await;
        lab.until_streams(&lab.c).await;
        assert!(waits(&lab.a, 2));
        lab.set_names("*").await;
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 2, .. })));
    });
}

#[test]
fn two_standbys_of_one_name_both_count() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.call(&lab.b, "twin", Some("pgbaton_standby_2"));
        lab.call(&lab.c, "twin", Some("pgbaton_standby_3"));
        let twins = || {
            let pg = lab.a.pg();
            let senders = pg.server.as_ref().unwrap().senders.values();
            senders.filter(|s| s.streaming && s.application == "twin").count()
        };
        lab.until("both stream", || twins() == 2).await;
        lab.set_names("ANY 2 (twin)").await;
        let client = lab.client("a").await;
        assert!(client.commits(1).await);
        lab.c.kill_server();
        client.begin(2);
        lab.until("b has it", || flushed(&lab.b, 2)).await;
        assert!(lab.still_waits(2).await, "one connection counts once");
    });
}

#[test]
fn a_name_that_nobody_bears_blocks_all_commits() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let _one = lab.waiting(1).await;
        let _other = lab.waiting(2).await;
        assert!(lab.still_waits(1).await && waits(&lab.a, 2) && flushed(&lab.b, 2));
        lab.fate.sleep(LONG * 6).await;
        assert!(waits(&lab.a, 1) && waits(&lab.a, 2), "time ends no wait");
    });
}

#[test]
fn a_standby_in_catchup_does_not_count() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        lab.b.kill_server();
        let client = lab.waiting(1).await;
        let wanted = held(&lab.a);
        write_much(&lab.a, 60_000);
        let sender = || lab.a.pg().server.as_ref().unwrap().senders.values().next().cloned();
        lab.b.rogue_start().unwrap();
        lab.until("b confirms that commit", || sender().is_some_and(|s| s.flushed >= wanted)).await;
        assert!(!sender().unwrap().streaming && waits(&lab.a, 1), "confirmed, and yet not counted");
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 1, .. })));
        assert!(sender().unwrap().streaming);
    });
}

#[test]
fn emptying_the_names_releases_waiters_as_success() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("nobody").await;
        let client = lab.waiting(1).await;
        lab.set_names("").await;
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 1, warning: false })));
    });
}

#[test]
fn new_names_are_in_force_later_than_written() {
    fact(|| async {
        let lab = Lab::pair().await;
        let client = lab.client("a").await;
        let before = lab.fate.now();
        lab.pa.set_names(&Names("nobody".into())).await.unwrap();
        assert_eq!(lab.a.pg().dir.as_ref().unwrap().names, "nobody");
        let in_force = || lab.a.pg().server.as_ref().unwrap().names.rank("nobody").is_some();
        assert!(!in_force());
        lab.pa.names_in_force().await.unwrap();
        assert!(in_force());
        let took = lab.fate.now().since(before);
        assert!(took >= Duration::from_millis(1) && took <= Duration::from_millis(51), "{took:?}");
        client.begin(1);
        assert!(lab.still_waits(1).await);
    });
}

#[test]
fn a_checkpoint_under_way_holds_the_first_names_up() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.a.slow_checkpoint(LONG);
        let since = lab.fate.now();
        let names = async {
            lab.fate.sleep(BRIEF).await;
            lab.pa.set_names(&Names("nobody".into())).await.unwrap();
            lab.pa.names_shown().await.unwrap();
            assert!(lab.client("a").await.commits(1).await, "shown, and yet that commit didn't wait");
            assert!(lab.fate.now().since(since) < LONG);
            lab.pa.names_in_force().await.unwrap();
            assert!(lab.fate.now().since(since) > LONG);
            let _waiting = lab.waiting(2).await;
        };
        let (checkpoint, ()) = join(lab.pa.checkpoint(), names).await;
        checkpoint.unwrap();
    });
}

#[test]
fn a_cascaded_standby_never_counts() {
    fact(|| async {
        let lab = Lab::chain().await;
        lab.set_names("pgbaton_standby_3").await;
        let _waiting = lab.waiting(1).await;
        lab.until("c has it", || flushed(&lab.c, 1)).await;
        assert!(lab.still_waits(1).await);
    });
}

#[test]
fn a_prepared_wait_survives_a_reload_of_the_same_names() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("ANY 1 (pgbaton_standby_2)").await;
        lab.net.cut("a", "b");
        let client = lab.waiting(1).await;
        lab.set_names("ANY 1 (pgbaton_standby_2)").await;
        assert!(lab.still_waits(1).await);
        lab.net.heal_all();
        assert!(matches!(client.answer().await, Some(Packet::Committed { id: 1, warning: false })));
    });
}
