//! pg_rewind and pg_basebackup: what they find to do, what they refuse, what they leave.

use super::*;
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
}

#[test]
fn a_rewind_from_a_source_without_a_checkpoint_finds_nothing_to_do() {
    fact(|| async {
        let lab = Lab::forked().await;
        assert_eq!(lab.b.pg().dir.as_ref().unwrap().checkpoint.tli, Timeline(1));
        lab.pa.rewind(&source("b")).await.unwrap();
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
        // It needs its own log back to the last checkpoint that both have.
        let lab = Lab::forked().await;
        lab.pb.checkpoint().await.unwrap();
        let end = held(&lab.a);
        lab.a.pg().dir.as_mut().unwrap().wal.remove_before(end);
        assert!(matches!(lab.pa.rewind(&source("b")).await, Err(PgError::Condemned(_))));
        assert!(!lab.a.pg().dir.as_ref().unwrap().half_rewound, "nothing was written");
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
