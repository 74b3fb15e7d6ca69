//! The one decision a keeper takes alone: to close. It is always safe, so the question is only when
//! staying open would be pointless or dangerous.

use crate::model::{Contract, Facts, KeeperRecord, Moment, NodeState, Server};
use crate::mutant;
use std::time::Duration;

/// Enough members stream from here to acknowledge: then at most n - k of them can have been sealed, and
/// nobody can have been elected in our place.
pub fn sees_members(contract: &Contract, facts: &Facts) -> bool {
    let Some(running) = facts.running() else { return false };
    let streaming = running.senders.iter().filter(|s| s.streaming && contract.members.contains(&s.node)).count();
    streaming >= contract.k as usize
}

/// When a writable node must close by itself, unless it hears or sees something until then; `None` for one that
/// never must.
///
/// A primary under a contract that has neither heard from the monitor nor seen its members can't acknowledge a
/// thing, and may have been replaced. One that acknowledges alone by policy has a lease from the monitor, and
/// nobody is promoted before it has ended. Any other without a contract stays open: that it acknowledges alone was
/// recorded at the monitor before, so nobody is promoted in its place without an operator's recorded consent.
pub fn closes_at(
    record: &KeeperRecord,
    facts: &Facts,
    heard: Moment,
    seen: Moment,
    patience: Duration,
) -> Option<Moment> {
    if mutant!(FenceNeverArms) {
        return None;
    }
    let opened = record.state.is_writable() || facts.is_open() && may_be_open(record);
    if opened && record.contract.as_ref().is_some_and(|c| !c.is_none()) {
        return Some(heard.max(if mutant!(LonelyPrimaryCloses) { heard } else { seen }) + patience);
    }
    if record.state.is_writable() && lease(record).is_none() && mutant!(LonelyPrimaryCloses) {
        return Some(heard + patience);
    }
    lease_ends(record, heard)
}

/// When it may acknowledge alone no longer, if it may at all and not for ever.
pub fn lease_ends(record: &KeeperRecord, heard: Moment) -> Option<Moment> {
    if !may_be_open(record) || mutant!(FenceNeverArms) {
        return None;
    }
    Some(heard + lease(record)?)
}

/// It is open, or is told to open: its server is open before that is stored, and a disk may take its time.
fn may_be_open(record: &KeeperRecord) -> bool {
    record.state.is_writable() || record.goal().is_some_and(NodeState::is_writable)
}

/// When a keeper that has just begun is to take the monitor as heard last. A lease is counted by who was told of it:
/// what an earlier life knew of it is lost, and it may be over. The monitor waits for a tenth of it longer than it
/// lasts; a quarter of that is left for one call, which a monitor that is there answers in no time.
pub fn heard_before(record: &KeeperRecord, now: Moment) -> Moment {
    if mutant!(LeaseOutlivesKeeper) {
        return now;
    }
    let lease = lease(record).unwrap_or_default();
    now - (lease - lease / 40)
}

/// Open by its lease alone: a keeper that can't say a word to the monitor can't renew it, and must close.
pub fn is_leased(record: &KeeperRecord) -> bool {
    may_be_open(record) && lease(record).is_some() && !mutant!(LeaseOutlivesKeeper)
}

/// How long the stop of a server under a lease may take, once it is to be closed: half of the time by which the monitor
/// waits longer than that lasts.
pub fn stop_limit(record: &KeeperRecord) -> Option<Duration> {
    lease(record).map(|lease| lease / 20)
}

/// When a server whose lease ends then has to be gone.
pub fn dies_at(record: &KeeperRecord, ends: Option<Moment>) -> Option<Moment> {
    ends.zip(stop_limit(record)).map(|(ends, longer)| ends + longer)
}

/// Whether a monitor whose connection to it breaks now, and whose probe is refused, would take it for dead and its lease
/// for over. So it doesn't open its server again before the monitor has answered to the news that it isn't open.
pub fn is_taken_for_dead(record: &KeeperRecord, facts: &Facts) -> bool {
    let opens = record.state.is_writable() && record.goal().is_some_and(NodeState::is_writable);
    opens && lease(record).is_some() && is_closed(facts)
}

/// It went down, or came up in recovery.
fn is_closed(facts: &Facts) -> bool {
    match &facts.server {
        Server::Down => true,
        Server::Up(running) => running.in_recovery,
        Server::Starting | Server::Stuck { .. } => false,
    }
}

/// How long it may go on by its assignment without hearing from the monitor, if that is limited.
fn lease(record: &KeeperRecord) -> Option<Duration> {
    record.assignment.as_ref().and_then(|a| a.lease_ms).map(Duration::from_millis)
}

/// Its server went down, or came up in recovery, under a contract: commits that waited for a standby would
/// become visible after a restart although a standby may be promoted without them. It stays closed
/// until it is told what it is. So does one that had a lease in an earlier life of its keeper, and has not heard
/// from the monitor in this one: the lease may have ended, and the role moved.
pub fn closed_by_crash(record: &KeeperRecord, facts: &Facts, heard: bool) -> bool {
    let under_contract = record.contract.as_ref().is_some_and(|c| !c.is_none());
    let bound = under_contract || (lease(record).is_some() && !heard && !mutant!(LeaseOutlivesKeeper));
    record.state.is_writable() && bound && is_closed(facts) && !mutant!(OpensAfterCrash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::model::{Assignment, Epoch, NodeState};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn only_an_isolated_primary_under_a_contract_closes() {
        let second = |s| Moment::ZERO + Duration::from_secs(s);
        let synchronous = record(NodeState::Primary, Some(any(1)));
        let table = [
            (&synchronous, 0, 0, 19, false),
            (&synchronous, 0, 0, 20, true),
            (&synchronous, 15, 0, 30, false),
            (&synchronous, 0, 15, 30, false),
            (&synchronous, 15, 10, 35, true),
            (&record(NodeState::WaitPrimary, Some(none(2))), 0, 0, 3600, false),
            (&record(NodeState::Single, Some(none(1))), 0, 0, 3600, false),
            (&record(NodeState::Secondary, None), 0, 0, 3600, false),
        ];
        for (record, heard, seen, now, expected) in table {
            let at = closes_at(record, &down(), second(heard), second(seen), PATIENCE);
            assert_eq!(
                at.is_some_and(|at| at <= second(now)),
                expected,
                "{} heard {heard} seen {seen} now {now}",
                record.state
            );
        }
    }

    #[test]
    fn one_that_has_opened_again_and_awaits_its_members_closes_like_any_primary() {
        let contract = Some(any(1));
        let opening = told(record(NodeState::DemoteTimeout, contract.clone()), NodeState::Primary, contract);
        let end = |facts: &Facts| closes_at(&opening, facts, Moment::ZERO, Moment::ZERO, PATIENCE);
        assert_eq!((end(&open(None)), end(&down())), (Some(Moment::ZERO + PATIENCE), None));
    }

    #[test]
    fn a_lease_of_an_earlier_life_is_worth_less_than_the_monitor_waits_beyond_it() {
        let second = |s| Moment::ZERO + Duration::from_secs(s);
        let mut leased = record(NodeState::Primary, Some(none(1)));
        leased.assignment =
            Some(Assignment { lease_ms: Some(10_000), ..Assignment::new(Epoch(3), NodeState::Primary) });
        let heard = heard_before(&leased, second(100));
        let slack = Duration::from_secs(10) / 10;
        assert_eq!(closes_at(&leased, &down(), heard, second(100), PATIENCE), Some(second(100) + slack / 4));
        assert!(closed_by_crash(&leased, &down(), false), "it doesn't open by itself");
        assert!(!closed_by_crash(&leased, &down(), true), "the monitor knows that it is there");
        let degraded = record(NodeState::WaitPrimary, Some(none(1)));
        assert_eq!(heard_before(&degraded, second(100)), second(100));
        assert!(!closed_by_crash(&degraded, &down(), false));
    }

    #[test]
    fn a_lease_ends_whatever_standbys_are_in_sight() {
        let second = |s| Moment::ZERO + Duration::from_secs(s);
        let mut leased = record(NodeState::Primary, Some(none(1)));
        leased.assignment =
            Some(Assignment { lease_ms: Some(10_000), ..Assignment::new(Epoch(3), NodeState::Primary) });
        assert_eq!(closes_at(&leased, &down(), second(5), second(14), PATIENCE), Some(second(15)));
    }

    #[test]
    fn after_a_crash_only_a_primary_without_a_contract_may_come_back_by_itself() {
        assert!(closed_by_crash(&record(NodeState::Primary, Some(any(1))), &down(), true));
        assert!(closed_by_crash(&record(NodeState::Primary, Some(any(1))), &standby(), true));
        assert!(!closed_by_crash(&record(NodeState::Primary, Some(any(1))), &open(None), true));
        assert!(!closed_by_crash(&record(NodeState::WaitPrimary, Some(none(1))), &down(), true));
        assert!(!closed_by_crash(&record(NodeState::Demoted, Some(any(1))), &down(), true));
    }
}
