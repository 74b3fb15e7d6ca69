//! Promotions, timelines and who follows whom.

use super::*;
use crate::postgres::DataDir;
use pgbaton_core::model::{ControlState, Stranded};
use pgbaton_core::ports::StopMode;

#[test]
fn a_promotion_takes_the_next_number_and_leaves_the_control_file_behind() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.seal_b().await;
        lab.pb.promote(Timeline(1)).await.unwrap();
        let look = async || lab.pb.look().await.running().unwrap().clone();
        let first = look().await;
        assert!(!first.in_recovery);
        assert_eq!((first.position.tli, first.checkpoint_tli), (Timeline(2), Timeline(1)));
        let directory = || lab.b.pg().dir.clone().unwrap();
        assert_eq!(directory().state, ControlState::InProduction, "by this an end of recovery is told");
        assert_eq!(directory().recovery_ended_on, Some(Timeline(2)), "that is what newer tools look at");
        assert!(directory().standby_signal, "the port puts it back");
        lab.until("the checkpoint comes", || directory().checkpoint.tli == Timeline(2)).await;
        assert_eq!(look().await.checkpoint_tli, Timeline(2));
    });
}

#[test]
fn two_servers_promoted_apart_choose_the_same_number() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.c.rogue_promote().unwrap();
        lab.until("c is open", || lab.c.pg().is_open()).await;
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        lab.seal_b().await;
        lab.pb.promote(Timeline(1)).await.unwrap();
        let history = |host: &PgHost| host.pg().dir.as_ref().unwrap().history.clone();
        let (of_b, of_c) = (history(&lab.b), history(&lab.c));
        assert_eq!((of_b.tli, of_c.tli), (Timeline(2), Timeline(2)));
        assert_ne!(of_b.ancestors, of_c.ancestors, "other histories of the same number");
        assert_eq!(of_b.fork(&of_c).unwrap().tli, Timeline(1));
    });
}

#[test]
fn a_history_file_in_the_directory_takes_a_number() {
    fact(|| async {
        let lab = Lab::chain().await;
        let put = |host: &PgHost, tli: u32| {
            let tli = Timeline(tli);
            host.pg().dir.as_mut().unwrap().histories.insert(tli, History::root(tli));
        };
        lab.seal_b().await;
        put(&lab.b, 2);
        // Behind a gap nobody looks.
        put(&lab.b, 7);
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert_eq!(timeline(&lab.b), Timeline(3));
        assert!(lab.client("b").await.commits(1).await);
        lab.until("c follows there", || lab.c.visible_rows().contains(&1)).await;
        assert_eq!(timeline(&lab.c), Timeline(3));
        lab.pc.follow(C, None).await.unwrap();
        lab.pc.seal().await.unwrap();
        lab.pc.promote(Timeline(6)).await.unwrap();
        assert_eq!(timeline(&lab.c), Timeline(6));
        // It is no child of what another directory holds, which doesn't start beside it.
        lab.pa.stop(StopMode::Fast).await.unwrap();
        put(&lab.a, 2);
        assert!(lab.fate.timeout(LONG, lab.pa.start(StartAs::Standby)).await.is_none(), "it looks there for ever");
        assert!(!is_up(&lab.a));
        lab.a.kill_server();
        lab.a.pg().dir.as_mut().unwrap().histories.clear();
        // One that is only reserved is refused, but that the port takes away before a start.
        lab.a.pg().dir.as_mut().unwrap().reserve_below(Timeline(4));
        lab.a.rogue_start().unwrap();
        lab.until("it is refused", || lab.a.pg().server.is_none()).await;
        lab.pa.start(StartAs::Standby).await.unwrap();
        assert!(lab.a.pg().dir.as_ref().unwrap().histories.is_empty());
    });
    // Followers fetch every history on their way.
    fact(|| async {
        let lab = Lab::trio().await;
        lab.pc.stop(StopMode::Immediate).await.unwrap();
        lab.seal_b().await;
        lab.pb.promote(Timeline(3)).await.unwrap();
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        assert!(lab.client("b").await.commits(1).await);
        let histories = |change: &dyn Fn(&mut DataDir)| change(lab.b.pg().dir.as_mut().unwrap());
        let aside = lab.b.pg().dir.as_ref().unwrap().histories[&Timeline(2)].clone();
        histories(&|dir| drop(dir.histories.remove(&Timeline(2))));
        lab.pc.follow(C, Some(&source("b"))).await.unwrap();
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until("it is told", || refusal(&lab.c) == "could not receive timeline history file 2").await;
        histories(&|dir| drop(dir.histories.insert(Timeline(2), aside.clone())));
        lab.until("c follows there", || lab.c.visible_rows().contains(&1)).await;
    });
}

#[test]
fn a_delay_set_to_nothing_by_reload_ends_at_once() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.b.set_apply_delay(LONG * 100);
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        assert!(lab.b.visible_rows().is_empty());
        let asked = lab.fate.now();
        lab.b.set_apply_delay(Duration::ZERO);
        lab.until("b shows it", || lab.b.visible_rows().contains(&1)).await;
        assert!(lab.fate.now().since(asked) < BRIEF);
    });
}

#[test]
fn a_promotion_replays_all_it_has_received_first() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.b.set_apply_delay(LONG);
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        assert!(lab.b.visible_rows().is_empty());
        let end = held(&lab.b);
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert_eq!(lab.client("b").await.rows().await, [1].into());
        assert_eq!(lab.b.pg().dir.as_ref().unwrap().history.ancestors[0].at, end);
    });
}

#[test]
fn a_promotion_lasts_as_long_as_replay_of_what_was_received() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.b.set_apply_delay(LONG * 100);
        let before = lab.replayed_by_b();
        write_much(&lab.a, MANY);
        lab.until("b has it", || held(&lab.b) == held(&lab.a)).await;
        assert_eq!(lab.replayed_by_b(), before);
        let (end, asked) = (held(&lab.b), lab.fate.now());
        lab.b.rogue_promote().unwrap();
        lab.fate.sleep(BRIEF).await;
        let replayed = lab.replayed_by_b();
        assert!(before < replayed && replayed < end && !lab.b.pg().is_open(), "on its way, and closed");
        lab.until("b is open", || lab.b.pg().is_open()).await;
        let took = lab.fate.now().since(asked);
        assert!(took > BRIEF * 3, "{took:?}");
        assert_eq!(lab.b.visible_rows().len() as u64, MANY);
    });
}

#[test]
fn a_promotion_waits_for_no_attempt_to_reach_an_upstream() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.net.cut("a", "b");
        lab.until("it tries again", || receiver(&lab.b).is_some() && !calls_itself_streaming(&lab.b)).await;
        lab.fate.sleep(BRIEF).await;
        assert!(receiver(&lab.b).is_some() && !calls_itself_streaming(&lab.b), "there is no answer");
        let asked = lab.fate.now();
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert!(lab.fate.now().since(asked) < BRIEF);
    });
}

#[test]
fn an_apply_delay_holds_replay_back_but_not_receiving() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        lab.b.set_apply_delay(LONG);
        let before = lab.fate.now();
        assert!(lab.client("a").await.commits(1).await);
        assert!(lab.fate.now().since(before) < BRIEF && lab.b.visible_rows().is_empty());
        lab.until("in the end", || lab.b.visible_rows().contains(&1)).await;
        assert!(lab.fate.now().since(before) >= LONG);
        assert!(lab.client("a").await.commits(2).await);
        let asked = lab.fate.now();
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert!(lab.fate.now().since(asked) < BRIEF, "a promotion doesn't wait for the delay");
        assert!(lab.b.visible_rows().contains(&2));
    });
}

#[test]
fn after_a_seal_nothing_arrives_although_the_receiver_outlived_the_reload() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.set_names("pgbaton_standby_2").await;
        let client = lab.client("a").await;
        lab.pb.follow(B, None).await.unwrap();
        client.begin(1);
        let acknowledged = lab.fate.timeout(BRIEF, client.end.recv()).await.is_some();
        let sealed = lab.pb.seal().await.unwrap();
        assert!(!acknowledged || lab.b.visible_rows().contains(&1), "what was acknowledged is held");
        if acknowledged {
            client.begin(2);
        }
        lab.fate.sleep(LONG).await;
        assert_eq!(lab.pb.look().await.running().unwrap().position, sealed);
        assert!(!lab.b.visible_rows().contains(&2));
    });
}

#[test]
fn a_follower_behind_the_switch_follows_to_the_new_timeline() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.pc.follow(C, None).await.unwrap();
        lab.pc.seal().await.unwrap();
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        lab.seal_b().await;
        lab.pb.promote(Timeline(1)).await.unwrap();
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        assert!(lab.client("b").await.commits(2).await);
        lab.pc.follow(C, Some(&source("b"))).await.unwrap();
        lab.until("c has both", || lab.c.visible_rows() == [1, 2].into()).await;
        assert_eq!(lab.pc.look().await.running().unwrap().position.tli, Timeline(2));
    });
}

/// To one that may ask again, and to one that is refused.
const FORKED: &str = "forked off timeline 1 before the current recovery point";
const NOT_THERE: &str = "is not in this server's history";
/// Worth more than a segment.
const MANY: u64 = 100_000;

impl Lab {
    /// `a` follows `b`, and is past the switch by so many rows.
    async fn past_the_switch(rows: u64) -> Lab {
        let lab = Lab::pair().await;
        lab.seal_b().await;
        write_much(&lab.a, rows);
        lab.pb.promote(Timeline(1)).await.unwrap();
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        lab.pa.stop(StopMode::Immediate).await.unwrap();
        lab.pa.follow(A, Some(&source("b"))).await.unwrap();
        lab.pa.start(StartAs::Standby).await.unwrap();
        lab
    }
}

#[test]
fn a_forked_follower_is_refused_for_ever() {
    fact(|| async {
        for (rows, told) in [(1, FORKED), (MANY, NOT_THERE)] {
            let lab = Lab::past_the_switch(rows).await;
            let client = lab.client("b").await;
            assert!(client.commits(3).await && client.commits(4).await);
            lab.until("it is told", || refusal(&lab.a).contains(told)).await;
            let before = held(&lab.a);
            lab.fate.sleep(LONG).await;
            let facts = lab.pa.look().await;
            let running = facts.running().unwrap();
            assert_eq!((running.in_recovery, running.stranded), (true, Some(Stranded::Forked)));
            assert!(lab.b.pg().server.as_ref().unwrap().senders.is_empty());
            assert_eq!((held(&lab.a), timeline(&lab.a)), (before, Timeline(1)));
        }
    });
}

#[test]
fn a_forked_receiver_stays_within_the_segment_of_the_switch() {
    fact(|| async {
        for (rows, told, stays) in [(1, FORKED, true), (MANY, NOT_THERE, false)] {
            let lab = Lab::past_the_switch(rows).await;
            lab.until("it is told", || refusal(&lab.a).contains(told)).await;
            for _ in 0..2 {
                lab.until("it calls itself streaming", || calls_itself_streaming(&lab.a)).await;
                let asking = receiver(&lab.a);
                assert!(asking.is_some() && !lab.is_served(&lab.a));
                lab.until("it is told again", || !calls_itself_streaming(&lab.a)).await;
                lab.until("it asks again", || calls_itself_streaming(&lab.a)).await;
                assert_eq!(receiver(&lab.a) == asking, stays, "{rows} rows past it");
            }
        }
    });
}

#[test]
fn a_primary_that_changed_its_names_keeps_its_followers() {
    fact(|| async {
        let lab = Lab::pair().await;
        let connections = || lab.a.pg().server.as_ref().unwrap().senders.keys().copied().collect::<Vec<_>>();
        let before = connections();
        for names in ["pgbaton_standby_2", "ANY 1 (pgbaton_standby_2, pgbaton_standby_3)", "ANY (", ""] {
            lab.set_names(names).await;
        }
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        assert_eq!((connections(), before.len()), (before, 1));
    });
}

impl Lab {
    /// `b` dies amid its promotion.
    async fn cut_short(&self) {
        self.seal_b().await;
        self.b.rogue_promote().unwrap();
        let begun = || self.b.pg().dir.as_ref().unwrap().begun.is_some();
        self.until("the files are there", begun).await;
        self.b.kill_server();
        assert!(begun() && !self.b.pg().dir.as_ref().unwrap().standby_signal);
    }
}

#[test]
fn a_promotion_cut_short_leaves_files_of_a_timeline_that_a_plain_start_does_not_open() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        lab.cut_short().await;
        let control = || lab.b.facts().control().unwrap().clone();
        assert_eq!((control().state, control().checkpoint.tli), (ControlState::InRecovery, Timeline(1)));
        assert_eq!(control().history.tli, Timeline(2), "that is what the files say");
        lab.b.rogue_start().unwrap();
        lab.until("it is open", || lab.b.pg().is_open()).await;
        assert_eq!(lab.b.facts().running().unwrap().position.tli, Timeline(1));
        assert!(lab.client("b").await.commits(2).await);
        assert_eq!(lab.b.pg().dir.as_ref().unwrap().next_tli(), Timeline(3));
        // Once it has a checkpoint past the switch the segment there counts no more.
        lab.pb.checkpoint().await.unwrap();
        lab.b.kill_server();
        assert_eq!(control().history.tli, Timeline(1));
    });
    fact(|| async {
        let lab = Lab::pair().await;
        lab.cut_short().await;
        lab.pb.follow(B, Some(&source("a"))).await.unwrap();
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until("it is told", || refusal(&lab.b) == "timeline 1 is behind recovery timeline 2").await;
        assert!(!lab.is_served(&lab.b));
        // Promoted after all it takes the number after that.
        lab.pa.stop(StopMode::Immediate).await.unwrap();
        lab.pb.follow(B, None).await.unwrap();
        lab.pb.seal().await.unwrap();
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert_eq!(timeline(&lab.b), Timeline(3));
    });
}

#[test]
fn a_recovery_signal_outlives_a_promotion_and_forbids_a_start_without_an_archive() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.b.pg().dir.as_mut().unwrap().recovery_signal = true;
        lab.pb.stop(StopMode::Immediate).await.unwrap();
        lab.b.rogue_start().unwrap();
        lab.until("it is up", || is_up(&lab.b)).await;
        assert!(lab.b.pg().server.as_ref().unwrap().in_recovery, "as a standby");
        lab.cut_short().await;
        refuses_to_start(&lab, &lab.b).await;
        // The port takes it away.
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert!(!lab.b.pg().dir.as_ref().unwrap().recovery_signal);
    });
    fact(|| async {
        let lab = Lab::pair().await;
        lab.seal_b().await;
        lab.b.pg().dir.as_mut().unwrap().recovery_signal = true;
        lab.b.rogue_promote().unwrap();
        lab.until("it is open", || lab.b.pg().is_open()).await;
        let (client, ours) = (lab.client("b").await, || lab.b.pg().dir.as_ref().unwrap().recovery_signal);
        assert!(client.commits(1).await && ours());
        lab.b.kill_server();
        refuses_to_start(&lab, &lab.b).await;
        lab.pb.start(StartAs::Primary).await.unwrap();
        assert_eq!((timeline(&lab.b), lab.client("b").await.rows().await), (Timeline(2), [1].into()));
    });
}

async fn refuses_to_start(lab: &Lab, host: &Arc<PgHost>) {
    let before = host.pg().dir.as_ref().unwrap().control();
    host.rogue_start().unwrap();
    lab.until("it is refused", || host.pg().server.is_none()).await;
    assert_eq!(host.pg().dir.as_ref().unwrap().control(), before);
}
