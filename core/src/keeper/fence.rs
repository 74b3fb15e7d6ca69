//! The one decision a keeper takes alone: to close. It is always safe, so the question is only when
//! staying open would be pointless or dangerous.

use crate::model::{Contract, Facts, KeeperRecord, Moment, Server};
use std::time::Duration;

/// Enough members stream from here to acknowledge: then at most n - k of them can have been sealed, and
/// nobody can have been elected in our place.
pub fn sees_members(contract: &Contract, facts: &Facts) -> bool {
    let Some(running) = facts.running() else { return false };
    let streaming = running.senders.iter().filter(|s| s.streaming && contract.members.contains(&s.node)).count();
    streaming >= contract.k as usize
}

/// A primary under a contract that has neither heard from the monitor nor seen its members for this long
/// can't acknowledge a thing, and may have been replaced.
///
/// Without a contract it stays open: that it acknowledges alone was recorded at the monitor before, so
/// nobody is promoted in its place without an operator's recorded consent.
pub fn must_close(record: &KeeperRecord, now: Moment, heard: Moment, seen: Moment, patience: Duration) -> bool {
    let under_contract = record.contract.as_ref().is_some_and(|c| !c.is_none());
    record.state.is_writable() && under_contract && now >= closes_at(heard, seen, patience)
}

pub fn closes_at(heard: Moment, seen: Moment, patience: Duration) -> Moment {
    heard.max(seen) + patience
}

/// Its server went down, or came up in recovery, under a contract: commits that waited for a standby would
/// become visible after a restart although a standby may be promoted without them. It stays closed
/// until it is told what it is.
pub fn closed_by_crash(record: &KeeperRecord, facts: &Facts) -> bool {
    let under_contract = record.contract.as_ref().is_some_and(|c| !c.is_none());
    let closed = match &facts.server {
        Server::Down => true,
        Server::Up(running) => running.in_recovery,
        Server::Starting | Server::Stuck { .. } => false,
    };
    record.state.is_writable() && under_contract && closed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::model::NodeState;

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
            let verdict = must_close(record, second(now), second(heard), second(seen), PATIENCE);
            assert_eq!(verdict, expected, "{} heard {heard} seen {seen} now {now}", record.state);
        }
    }

    #[test]
    fn after_a_crash_only_a_primary_without_a_contract_may_come_back_by_itself() {
        assert!(closed_by_crash(&record(NodeState::Primary, Some(any(1))), &down()));
        assert!(closed_by_crash(&record(NodeState::Primary, Some(any(1))), &standby()));
        assert!(!closed_by_crash(&record(NodeState::Primary, Some(any(1))), &open(None)));
        assert!(!closed_by_crash(&record(NodeState::WaitPrimary, Some(none(1))), &down()));
        assert!(!closed_by_crash(&record(NodeState::Demoted, Some(any(1))), &down()));
    }
}
