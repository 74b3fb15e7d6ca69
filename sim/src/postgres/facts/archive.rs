//! An archive that servers share, and what recovery takes from it.

use super::*;
use crate::postgres::Archive;
use pgbaton_core::ports::{PgError, StopMode};

impl Lab {
    /// `a` and `b` archive. `c` is down, and will restore from the archive unless somebody empties its setting.
    async fn archiving() -> (Lab, Archive) {
        let lab = Lab::trio().await;
        let archive = Archive::default();
        lab.pc.stop(StopMode::Fast).await.unwrap();
        for (host, port, role) in [(&lab.a, &lab.pa, StartAs::Primary), (&lab.b, &lab.pb, StartAs::Standby)] {
            host.use_archive(&archive);
            port.stop(StopMode::Fast).await.unwrap();
            port.start(role).await.unwrap();
        }
        lab.until_streams(&lab.b).await;
        lab.c.use_archive(&archive);
        lab.c.pg().knobs.restore_emptied = false;
        (lab, archive)
    }

    /// `b` was promoted; after that `a` has written row 1 and is stopped in order. `c` is behind the switch, and is to
    /// follow `b`.
    async fn dead_branch() -> (Lab, Archive) {
        let (lab, archive) = Lab::archiving().await;
        lab.seal_b().await;
        lab.pb.promote(Timeline(1)).await.unwrap();
        lab.pb.admit(&peers(&[A, C])).await.unwrap();
        assert!(lab.client("a").await.commits(1).await);
        lab.pa.stop(StopMode::Fast).await.unwrap();
        assert!(archive.holds(1));
        lab.pc.follow(C, Some(&source("b"))).await.unwrap();
        (lab, archive)
    }
}

#[test]
fn an_orderly_stop_archives_its_last_segment() {
    fact(|| async {
        let (lab, archive) = Lab::archiving().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.fate.sleep(BRIEF).await;
        assert!(!archive.holds(1), "the segment isn't full");
        lab.net.cut("a", "b");
        lab.pa.stop(StopMode::Fast).await.unwrap();
        assert!(archive.holds(1));
        let pg = lab.a.pg();
        let dir = pg.dir.as_ref().unwrap();
        assert_eq!(dir.checkpoint.lsn.0 % pg.settings.segment_bytes, 0, "it is the first of the next segment");
        assert_eq!(dir.state, pgbaton_core::model::ControlState::ShutDown);
    });
}

#[test]
fn a_standby_goes_on_from_the_archive_without_its_upstream() {
    fact(|| async {
        let (lab, _archive) = Lab::archiving().await;
        assert!(lab.client("a").await.commits(1).await);
        lab.pa.stop(StopMode::Fast).await.unwrap();
        lab.c.rogue_start().unwrap();
        lab.until("c shows it", || lab.c.visible_rows().contains(&1)).await;
    });
}

#[test]
fn a_dead_branch_in_the_archive_is_followed() {
    fact(|| async {
        let (lab, _archive) = Lab::dead_branch().await;
        assert!(lab.client("b").await.commits(2).await);
        lab.c.rogue_start().unwrap();
        lab.until("c shows it", || lab.c.visible_rows().contains(&1)).await;
        assert!(!lab.b.visible_rows().contains(&1));
        lab.until("c is refused", || !refusal(&lab.c).is_empty()).await;
        lab.fate.sleep(LONG).await;
        assert!(!lab.c.visible_rows().contains(&2), "and so it stays");
    });
}

#[test]
fn an_empty_restore_command_takes_no_dead_branch() {
    fact(|| async {
        let (lab, _archive) = Lab::dead_branch().await;
        lab.c.own_restore_command();
        lab.c.rogue_start().unwrap();
        lab.until_streams(&lab.c).await;
        assert!(lab.client("b").await.commits(2).await);
        lab.until("c shows it", || lab.c.visible_rows().contains(&2)).await;
        assert!(!lab.c.visible_rows().contains(&1));
    });
}

#[test]
fn a_rewind_takes_its_own_wal_from_the_archive_only_when_told_to() {
    fact(|| async {
        let (lab, archive) = Lab::dead_branch().await;
        lab.pb.checkpoint().await.unwrap();
        assert!(lab.client("b").await.commits(2).await);
        let last = lab.a.pg().dir.as_ref().unwrap().checkpoint.lsn;
        lab.a.pg().dir.as_mut().unwrap().wal.remove_before(last);
        let restores = |there: bool| lab.a.pg().knobs.restore_emptied = !there;
        restores(true);
        let refused = lab.a.rewind(&source("b")).await;
        assert!(matches!(&refused, Err(PgError::Condemned(why)) if why.contains("could not find")), "{refused:?}");
        restores(false);
        let refused = lab.a.rewind_with(&source("b"), true).await;
        assert!(matches!(&refused, Err(PgError::Operator(why)) if why.contains("is not set")), "{refused:?}");
        assert!(lab.a.visible_rows().contains(&1) && archive.holds(1));
        restores(true);
        lab.a.rewind_with(&source("b"), true).await.unwrap();
        lab.pa.follow(A, Some(&source("b"))).await.unwrap();
        lab.pa.start(StartAs::Standby).await.unwrap();
        lab.until("it follows", || lab.a.visible_rows() == [2].into()).await;
    });
}
