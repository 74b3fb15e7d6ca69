//! pg_rewind and pg_basebackup: what they find to do, what they refuse, what they leave.

use super::*;
use crate::postgres::start::Pace;
use futures_util::future::join;
use pgbaton_core::model::{ControlState, Directory};
use pgbaton_core::ports::{PgError, StopMode};

impl Lab {
    /// `a` as a standby of `b`.
    async fn rejoin_a(&self) {
        self.pa.follow(A, Some(&source("b"))).await.unwrap();
        self.pa.start(StartAs::Standby).await.unwrap();
        self.until_streams(&self.a).await;
    }

    /// Nothing of a refused rewind was written, and it starts.
    fn is_as_it_was(&self, target: &PgHost) {
        let pg = target.pg();
        let dir = pg.dir.as_ref().unwrap();
        assert!(!dir.half_rewound && dir.history.tli == Timeline(1));
        assert!(dir.wal.inserts(dir.flushed).eq([1]), "its own row is there");
    }
}

/// What a keeper answers by a clone.
fn condemned(rewound: Result<(), PgError>) -> String {
    match rewound {
        Err(PgError::Condemned(why)) => why,
        other => panic!("not condemned but {other:?}"),
    }
}

#[test]
fn a_rewind_from_a_source_without_a_checkpoint_finds_nothing_to_do() {
    fact(|| async {
        let lab = Lab::forked().await;
        assert_eq!(lab.b.pg().dir.as_ref().unwrap().checkpoint.tli, Timeline(1));
        // It has recovered the crashed directory all the same.
        assert!(condemned(lab.pa.rewind(&source("b")).await).contains("had nothing to do"));
        assert!(flushed(&lab.a, 1), "the fork is still there");
        lab.pb.checkpoint().await.unwrap();
        lab.pa.rewind(&source("b")).await.unwrap();
        assert!(!flushed(&lab.a, 1) && flushed(&lab.a, 2));
        lab.rejoin_a().await;
    });
    // Newer ones look at the end of recovery as well.
    fact(|| async {
        let lab = Lab::forked().await;
        lab.a.configure(|settings| settings.version = 17);
        assert_eq!(lab.b.pg().dir.as_ref().unwrap().checkpoint.tli, Timeline(1));
        lab.pa.rewind(&source("b")).await.unwrap();
        assert!(!flushed(&lab.a, 1) && flushed(&lab.a, 2));
        lab.rejoin_a().await;
    });
}

#[test]
fn a_rewind_brings_a_diverged_server_back() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        lab.pa.rewind(&source("b")).await.unwrap();
        lab.rejoin_a().await;
        assert!(lab.client("b").await.commits(3).await);
        lab.until("a has all of b", || lab.a.visible_rows() == [2, 3].into()).await;
        assert_eq!(timeline(&lab.a), Timeline(2));
    });
}

#[test]
fn single_user_mode_recovers_a_promoted_server_on_its_new_timeline() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.stop(StopMode::Immediate).await.unwrap();
        let control = || lab.b.pg().dir.as_ref().map(|dir| (dir.state, dir.checkpoint.tli)).unwrap();
        assert_eq!(control(), (ControlState::InProduction, Timeline(1)));
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.pb.stop(StopMode::Fast).await.unwrap();
        assert_eq!(control().1, Timeline(1), "a standby makes no checkpoint");
        lab.pb.recover().await.unwrap();
        assert_eq!(control(), (ControlState::ShutDown, Timeline(2)));
        assert!(lab.b.pg().dir.as_ref().unwrap().standby_signal, "the port puts it back");
        lab.pb.follow(B, None).await.unwrap();
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until("b has its own, closed", || lab.b.visible_rows().contains(&2)).await;
        assert!(!lab.b.pg().is_open());
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        lab.pa.rewind(&source("b")).await.unwrap();
        lab.rejoin_a().await;
        lab.until("a has all of b", || lab.a.visible_rows().contains(&2)).await;
        assert_eq!(timeline(&lab.a), Timeline(2));
        assert!(!lab.a.visible_rows().contains(&1), "and nothing else");
    });
}

#[test]
fn an_idle_standby_can_be_cloned() {
    fact(|| async {
        let lab = Lab::pair().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || lab.b.visible_rows().contains(&1)).await;
        lab.pb.checkpoint().await.unwrap();
        lab.pa.stop(StopMode::Immediate).await.unwrap();
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        lab.pc.clone_from(C, &source("b")).await.unwrap();
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until("c has all of b", || lab.c.visible_rows().contains(&1)).await;
        lab.until("c streams", || calls_itself_streaming(&lab.c)).await;
    });
}

#[test]
fn a_rewind_needs_its_own_wal_back_to_the_last_common_checkpoint() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        lab.a.pg().dir.as_mut().unwrap().standby_signal = false;
        lab.a.recover_single_user().await.unwrap();
        let whole = lab.a.pg().dir.as_ref().unwrap().wal.clone();
        let end = held(&lab.a);
        lab.a.pg().dir.as_mut().unwrap().wal.remove_before(end);
        let refused = condemned(lab.pa.rewind(&source("b")).await);
        assert!(refused.contains("could not find previous WAL record"), "{refused}");
        lab.is_as_it_was(&lab.a);
        lab.a.pg().dir.as_mut().unwrap().wal = whole;
        lab.pa.rewind(&source("b")).await.unwrap();
        lab.rejoin_a().await;
    });
}

#[test]
fn a_rewind_needs_a_target_that_logs_hints_or_has_checksums() {
    fact(|| async {
        let lab = Lab::pair().await;
        for host in [&lab.a, &lab.b] {
            host.pg().dir.as_mut().unwrap().pages.checksums = false;
        }
        let logged = |host: &PgHost| host.pg().dir.as_ref().unwrap().pages.hints_logged;
        lab.a.configure(|settings| settings.wal_log_hints = false);
        assert!(logged(&lab.a), "by its next start");
        lab.pa.stop(StopMode::Fast).await.unwrap();
        lab.pa.start(StartAs::Primary).await.unwrap();
        lab.until("b has replayed it", || !logged(&lab.b)).await;
        lab.seal_b().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.pb.promote(Timeline(1)).await.unwrap();
        assert!(logged(&lab.b), "its own now");
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        assert!(lab.client("b").await.commits(2).await);
        lab.pb.checkpoint().await.unwrap();
        lab.pa.stop(StopMode::Fast).await.unwrap();
        lab.a.configure(|settings| settings.wal_log_hints = true);
        let refused = condemned(lab.pa.rewind(&source("b")).await);
        assert!(refused.contains("target server needs to use either"), "{refused}");
        lab.is_as_it_was(&lab.a);
        // A copy of the source needs neither.
        lab.pa.clone_from(A, &source("b")).await.unwrap();
        lab.rejoin_a().await;
    });
    // Either is enough.
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        lab.a.pg().dir.as_mut().unwrap().pages.hints_logged = false;
        lab.pa.rewind(&source("b")).await.unwrap();
        lab.rejoin_a().await;
    });
}

#[test]
fn a_rewind_needs_a_source_that_writes_full_pages() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        for host in [&lab.a, &lab.b] {
            host.configure(|settings| settings.full_page_writes = false);
        }
        let before = held(&lab.a);
        let refused = condemned(lab.pa.rewind(&source("b")).await);
        assert!(refused.contains("full_page_writes must be enabled in the source server"), "{refused}");
        lab.is_as_it_was(&lab.a);
        assert_eq!(held(&lab.a), before, "not even recovered");
        lab.pc.clone_from(C, &source("b")).await.unwrap();
        lab.b.configure(|settings| settings.full_page_writes = true);
        lab.pa.rewind(&source("b")).await.unwrap();
        lab.rejoin_a().await;
    });
}

#[test]
fn a_rewind_recovers_a_crashed_target_first() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        let state = |host: &PgHost| host.facts().control().unwrap().state;
        lab.a.pg().dir.as_mut().unwrap().standby_signal = true;
        let refused = condemned(lab.a.rewind(&source("b")).await);
        assert!(refused.contains("standby mode is not supported by single-user servers"), "{refused}");
        assert_eq!(state(&lab.a), ControlState::InProduction);
        lab.a.pg().dir.as_mut().unwrap().standby_signal = false;
        let before = held(&lab.a);
        assert!(matches!(lab.a.rewind(&source("c")).await, Err(PgError::Retry(_))));
        assert_eq!((held(&lab.a), state(&lab.a)), (before, ControlState::InProduction), "the source is asked first");
        // On the same timeline that is all.
        lab.pc.clone_from(C, &source("b")).await.unwrap();
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.c).await;
        lab.pc.stop(StopMode::Immediate).await.unwrap();
        lab.c.pg().dir.as_mut().unwrap().standby_signal = false;
        let before = held(&lab.c);
        lab.c.rewind(&source("b")).await.unwrap();
        assert_eq!(state(&lab.c), ControlState::ShutDown, "and it is no standby any more");
        assert!(held(&lab.c) > before, "it has written WAL");
        lab.pa.rewind(&source("b")).await.unwrap();
        lab.rejoin_a().await;
    });
}

#[test]
fn a_rewind_succeeds_against_a_source_that_has_removed_what_recovery_needs() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        let end = held(&lab.b);
        lab.b.pg().dir.as_mut().unwrap().wal.remove_before(end);
        lab.a.pg().dir.as_mut().unwrap().standby_signal = false;
        lab.a.rewind(&source("b")).await.unwrap();
        lab.a.rogue_start().unwrap();
        lab.fate.sleep(Duration::from_secs(30)).await;
        assert!(lab.a.pg().server.is_some() && !is_up(&lab.a), "it looks for its WAL for ever");
        lab.a.kill_server();
        // The keeper's hand looks for it, and doesn't give it out as a good one.
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        let end = held(&lab.b);
        lab.b.pg().dir.as_mut().unwrap().wal.remove_before(end);
        assert!(matches!(lab.pa.rewind(&source("b")).await, Err(PgError::Condemned(_))));
    });
}

#[test]
fn a_rewind_of_the_same_timeline_finds_nothing_to_do() {
    fact(|| async {
        let lab = Lab::trio().await;
        lab.c.rogue_promote().unwrap();
        lab.until("c is open", || lab.c.pg().is_open()).await;
        assert!(lab.client("a").await.commits(1).await);
        lab.until("b has it", || flushed(&lab.b, 1)).await;
        lab.seal_b().await;
        lab.pb.promote(Timeline(1)).await.unwrap();
        lab.pb.checkpoint().await.unwrap();
        lab.pc.checkpoint().await.unwrap();
        assert!(lab.client("c").await.commits(2).await);
        lab.pc.stop(StopMode::Fast).await.unwrap();
        lab.pc.rewind(&source("b")).await.unwrap();
        assert!(flushed(&lab.c, 2) && !flushed(&lab.c, 1));
        // Nobody streams over to another history of the same number, however.
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        lab.pc.follow(C, Some(&source("b"))).await.unwrap();
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.until("it is told", || !refusal(&lab.c).is_empty()).await;
        assert!(!lab.is_served(&lab.c));
    });
}

#[test]
fn a_rewind_needs_a_stopped_target() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pa.start(StartAs::Primary).await.unwrap();
        lab.pb.checkpoint().await.unwrap();
        assert!(matches!(lab.pa.rewind(&source("b")).await, Err(PgError::Retry(_))));
        assert_eq!(lab.client("a").await.rows().await, [1].into());
    });
}

#[test]
fn a_rewind_needs_the_same_system() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pc.create().await.unwrap();
        let refused = lab.pc.rewind(&source("a")).await.unwrap_err();
        assert_eq!(refused, PgError::Operator("source and target are from different systems".into()));
    });
}

#[test]
fn a_source_that_dies_leaves_a_half_rewound_directory() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        let death = async {
            lab.until("it has begun", || lab.a.pg().dir.as_ref().unwrap().half_rewound).await;
            lab.b.kill_server();
        };
        let (rewound, ()) = join(lab.pa.rewind(&source("b")), death).await;
        assert!(matches!(rewound, Err(PgError::Condemned(_))), "{rewound:?}");
        assert!(lab.a.pg().dir.as_ref().unwrap().half_rewound);
        assert!(lab.a.rogue_start().is_err(), "its WAL is half the source's");
    });
}

#[test]
fn a_base_backup_that_loses_its_source_leaves_nothing_usable() {
    fact(|| async {
        let lab = Lab::pair().await;
        let death = async {
            lab.fate.sleep(Duration::from_millis(150)).await;
            lab.a.kill_server();
        };
        let (cloned, ()) = join(lab.pc.clone_from(C, &source("a")), death).await;
        assert!(matches!(cloned, Err(PgError::Retry(_))), "{cloned:?}");
        assert_eq!(lab.pc.look().await.directory, Directory::Absent);
        assert!(lab.pc.start(StartAs::Standby).await.is_err());
    });
}

#[test]
fn a_base_backup_begins_with_a_checkpoint() {
    fact(|| async {
        let lab = Lab::pair().await;
        write_much(&lab.a, 100);
        let checkpoint = |host: &PgHost| host.pg().dir.as_ref().unwrap().checkpoint;
        let before = checkpoint(&lab.a);
        lab.a.slow_checkpoint(LONG);
        let since = lab.fate.now();
        lab.pc.clone_from(C, &source("a")).await.unwrap();
        assert!(lab.fate.now().since(since) > LONG, "however long it takes");
        assert!(checkpoint(&lab.a).lsn > before.lsn);
        assert_eq!(checkpoint(&lab.c), checkpoint(&lab.a));
        // One that takes its time hurries once another is asked for that has none.
        lab.a.slow_checkpoint(Duration::ZERO);
        lab.a.configure(|settings| settings.checkpoint_timeout = Duration::from_secs(100_000));
        let (before, since) = (checkpoint(&lab.a), lab.fate.now());
        let from = source("a");
        let copy = lab.c.base_backup_after(Pace::Spread, C, &from);
        let hurry = async {
            lab.fate.sleep(BRIEF * 4).await;
            assert_eq!(checkpoint(&lab.a), before);
            lab.pa.checkpoint().await.unwrap();
        };
        let (cloned, ()) = join(copy, hurry).await;
        cloned.unwrap();
        let took = lab.fate.now().since(since);
        assert!(took > BRIEF * 4 && took < LONG, "{took:?}");
    });
}

#[test]
fn a_base_backup_lasts_as_long_as_its_size_takes() {
    fact(|| async {
        let lab = Lab::pair().await;
        let clone = async || {
            let since = lab.fate.now();
            lab.pc.clone_from(C, &source("a")).await.unwrap();
            lab.fate.now().since(since)
        };
        let little = clone().await;
        lab.a.configure(|settings| settings.row_bytes = 1 << 30);
        assert!(lab.client("a").await.commits(1).await);
        let much = clone().await;
        // Each is drawn anew.
        assert!(much > little * 5 && much > Duration::from_secs(9), "{little:?} {much:?}");
    });
}

#[test]
fn a_base_backup_streams_its_wal_beside_the_copy_and_fails_when_its_slot_is_lost() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.a.configure(|settings| {
            settings.row_bytes = settings.segment_bytes;
            settings.wal_keep_size = 0;
            settings.max_slot_wal_keep_size = Some(4 * settings.segment_bytes);
        });
        let copies = Duration::from_secs(10);
        lab.c.configure(|settings| settings.base_backup_takes = Some(copies));
        let first = || lab.a.pg().dir.as_ref().unwrap().wal.held_from();
        for (at_once, succeeds) in [(1, true), (8, false)] {
            let begin = lab.a.pg().dir.as_ref().unwrap().end().lsn;
            let writes = async {
                let client = lab.client("a").await;
                for id in 1..=8 {
                    assert!(client.commits(100 * at_once + id).await);
                    if id % at_once == 0 {
                        assert!(lab.a.checkpoint().await);
                        lab.a.renew_lost_slots();
                        lab.fate.sleep(Duration::from_millis(1100)).await;
                    }
                }
            };
            let (cloned, ()) = join(lab.pc.clone_from(C, &source("a")), writes).await;
            assert_eq!(cloned.is_ok(), succeeds, "{cloned:?}");
            assert!(first() > begin, "what was written first is gone");
            lab.a.renew_lost_slots();
        }
    });
}

#[test]
fn a_crash_amid_a_base_backup_leaves_the_source_as_any_crash_does() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.c.configure(|settings| settings.base_backup_takes = Some(LONG));
        let amid = async |ends: &dyn Fn()| {
            lab.fate.sleep(BRIEF).await;
            ends();
            lab.until("it is down", || lab.a.pg().server.is_none()).await;
        };
        let (cloned, ()) = join(lab.pc.clone_from(C, &source("a")), amid(&|| lab.a.kill_server())).await;
        assert!(cloned.is_err());
        lab.pa.start(StartAs::Primary).await.unwrap();
        assert!(lab.client("a").await.commits(1).await);
        assert_eq!(timeline(&lab.a), Timeline(1));
        // Nor does a stop wait for it.
        let (cloned, ()) = join(lab.pc.clone_from(C, &source("a")), amid(&|| lab.a.begin_stop())).await;
        assert!(cloned.is_err());
        assert_eq!(lab.a.facts().control().unwrap().state, ControlState::ShutDown);
    });
}

#[test]
fn a_base_backup_carries_no_slots() {
    fact(|| async {
        let lab = Lab::pair().await;
        lab.pc.clone_from(C, &source("a")).await.unwrap();
        let slots = |host: &PgHost| host.pg().dir.as_ref().unwrap().slots.len();
        assert_eq!((slots(&lab.a), slots(&lab.c)), (2, 0));
    });
}

#[test]
fn a_directory_says_whether_its_server_has_been_open() {
    fact(|| async {
        let lab = Lab::pair().await;
        let state = |host: &PgHost| host.facts().control().unwrap().state;
        lab.b.lose_power();
        assert_eq!(state(&lab.b), ControlState::InRecovery);
        lab.net.power_on("b");
        lab.pb.start(StartAs::Standby).await.unwrap();
        lab.until_streams(&lab.b).await;
        lab.b.rogue_promote().unwrap();
        lab.until("b is open", || lab.b.pg().is_open()).await;
        lab.b.lose_power();
        assert_eq!(state(&lab.b), ControlState::InProduction);
        lab.net.power_on("b");
        lab.pb.start(StartAs::Primary).await.unwrap();
        lab.pb.stop(StopMode::Fast).await.unwrap();
        assert_eq!(state(&lab.b), ControlState::ShutDown);

        lab.pc.clone_from(C, &source("a")).await.unwrap();
        assert_eq!((state(&lab.a), state(&lab.c)), (ControlState::InProduction, ControlState::InRecovery));
        lab.pc.start(StartAs::Standby).await.unwrap();
        lab.c.lose_power();
        assert_eq!(state(&lab.c), ControlState::InRecovery);
    });
}

#[test]
fn a_rewind_copies_the_configuration_of_its_source() {
    fact(|| async {
        let lab = Lab::forked().await;
        lab.pb.set_names(&Names("theirs".into())).await.unwrap();
        lab.pa.set_names(&Names("mine".into())).await.unwrap();
        lab.pb.checkpoint().await.unwrap();
        lab.pa.rewind(&source("b")).await.unwrap();
        assert_eq!(lab.a.pg().dir.as_ref().unwrap().names, "theirs");
    });
}
