//! What a stopped node must do before it can follow another: nothing, rewind, or be cloned.

use crate::model::{Control, History, Lsn, Position};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejoin {
    /// All its WAL is part of the upstream's lineage.
    Follow,
    /// It holds WAL past the fork; how far, if known.
    Rewind { fork: Position, end: Lsn },
    /// Whether it holds WAL past the fork isn't known yet.
    Inspect { fork: Position },
    /// It shares no timeline with the upstream, or has another history under the number of one that is: a rewind goes
    /// by numbers and would find nothing to do, or too little. Its WAL past the fork is kept first, if there is a fork.
    Clone { aside: Option<(Position, Lsn)> },
}

/// `past` is the result of an inspection: the fork it was made for and the end of the WAL past it.
///
/// Lineages are compared by their switch points, never by the number of the timeline: a node on the
/// same number may hold another history. Two that leave their parent at the same point can't be told apart even so: one that
/// `strayed`, by writing when nobody had told it to, has written its timeline from the first record on.
pub fn rejoin(own: &Control, strayed: bool, upstream: &History, past: Option<(Position, Option<Lsn>)>) -> Rejoin {
    let Some(fork) = upstream.fork(&own.history) else {
        return Rejoin::Clone { aside: None };
    };
    if strayed && upstream.is_kin(&own.history) {
        return Rejoin::Clone { aside: Some((own.history.beginning(), own.checkpoint.lsn)) };
    }
    if fork.lsn == Lsn(u64::MAX) {
        return Rejoin::Follow;
    }
    if upstream.end_of(own.history.tli).is_some() && !upstream.is_kin(&own.history) {
        return Rejoin::Clone { aside: Some((fork, own.checkpoint.lsn.max(fork.lsn))) };
    }
    if own.history.tli != fork.tli {
        // It went on to a timeline that the upstream never had.
        return Rejoin::Rewind { fork, end: own.checkpoint.lsn.max(fork.lsn) };
    }
    match past {
        Some((inspected, end)) if inspected == fork => match end {
            Some(end) => Rejoin::Rewind { fork, end },
            None => Rejoin::Follow,
        },
        _ => Rejoin::Inspect { fork },
    }
}

/// Whether a standby that has replayed so far can't be fed by this upstream. A timeline newer than the upstream's is no
/// fork: the standby knew of a promotion before its upstream did.
pub fn is_forked(own: &History, replayed: Lsn, upstream: &History) -> bool {
    match upstream.end_of(own.tli) {
        Some(end) => replayed > end || !upstream.is_kin(own),
        None => own.tli < upstream.tli,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ControlState, Timeline};

    fn control(history: History, checkpoint: u64) -> Control {
        let checkpoint = Position { tli: history.tli, lsn: Lsn(checkpoint) };
        Control { system_id: 1, state: ControlState::InProduction, checkpoint, history }
    }

    #[test]
    fn a_fork_is_wal_past_the_switch_or_an_equal_number_of_another_lineage() {
        let root = History::root(Timeline(1));
        let upstream = root.branch(Timeline(3), Lsn(100));
        let forked = |own: &History, replayed| is_forked(own, Lsn(replayed), &upstream);
        assert!(!forked(&root, 100));
        assert!(forked(&root, 101));
        assert!(forked(&root.branch(Timeline(2), Lsn(50)), 60));
        assert!(forked(&root.branch(Timeline(3), Lsn(90)), 95));
        assert!(!forked(&root.branch(Timeline(4), Lsn(100)), 200));
    }

    #[test]
    fn what_strayed_under_a_number_that_the_group_knows_is_cloned_and_kept_from_the_first_record() {
        let root = History::root(Timeline(1));
        let twin = root.branch(Timeline(2), Lsn(100));
        let upstream = twin.branch(Timeline(3), Lsn(130));
        let strayed = |own: &History| rejoin(&control(own.clone(), 150), true, &upstream, None);
        let aside = |tli, lsn| Rejoin::Clone { aside: Some((Position::new(tli, lsn), Lsn(150))) };
        assert_eq!(strayed(&twin), aside(1, 100));
        assert_eq!(strayed(&root), aside(1, 0), "opened without a promotion");
        let later = root.branch(Timeline(2), Lsn(120));
        assert_eq!(strayed(&later), aside(1, 100), "what it received past the fork is kept as well");
        let unknown = root.branch(Timeline(4), Lsn(100));
        assert_eq!(strayed(&unknown), Rejoin::Rewind { fork: Position::new(1, 100), end: Lsn(150) });
    }

    #[test]
    fn by_nothing_by_rewind_or_by_clone_as_the_lineage_demands() {
        let root = History::root(Timeline(1));
        let upstream = root.branch(Timeline(2), Lsn(100));
        let fork = Position::new(1, 100);
        let same_number = root.branch(Timeline(2), Lsn(80));
        let end = Some(Lsn(150));
        let table = [
            (root.clone(), None, Rejoin::Inspect { fork }),
            (root.clone(), Some((fork, None)), Rejoin::Follow),
            (root.clone(), Some((fork, end)), Rejoin::Rewind { fork, end: Lsn(150) }),
            (root.clone(), Some((Position::new(1, 50), None)), Rejoin::Inspect { fork }),
            (upstream.clone(), None, Rejoin::Follow),
            (same_number, None, Rejoin::Clone { aside: Some((Position::new(1, 80), Lsn(120))) }),
            (root.branch(Timeline(3), Lsn(80)), None, Rejoin::Rewind { fork: Position::new(1, 80), end: Lsn(120) }),
            (History::root(Timeline(9)), None, Rejoin::Clone { aside: None }),
        ];
        for (own, past, expected) in table {
            assert_eq!(rejoin(&control(own.clone(), 120), false, &upstream, past), expected, "{own:?} {past:?}");
        }
    }
}
