//! S6: whoever is promoted was chosen by a sealed set that meets every set able to acknowledge a commit, under
//! every contract that may have been in force; unless the old primary had stopped in order, and its last record is there,
//! or somebody answers for what may be missing.

use super::succession::{Succession, Successions};
use super::trace::Trace;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut successions = Successions::default();
    for event in &trace.events {
        let judged = |s: &Succession| !s.has_last_record(s.held);
        let Some(next) = successions.follow(event)?.filter(judged) else { continue };
        if let Some(contract) = next.must_prove().find(|c| c.can_acknowledge_without(&next.sealed)) {
            return Err(format!(
                "{} took over from {} at {:.3} s while {} of {:?} could still acknowledge without {:?}",
                next.moved.to,
                next.moved.from,
                event.at.seconds(),
                contract.k,
                contract.members,
                next.sealed
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    fn elected(in_force: &str, old: crate::model::NodeState, sealed: &[&str]) -> Result<(), String> {
        let mut events = vec![(0, under("a", Primary, Primary, 1, in_force)), (4, under("a", old, old, 2, in_force))];
        events.extend(sealed.iter().map(|n| (5, under(n, ReportLsn, ReportLsn, 2, in_force))));
        events.push((6, under("b", ReportLsn, WaitPrimary, 2, "none")));
        check(&trace(events))
    }

    #[test]
    fn a_promise_that_is_stored_counts_whatever_its_node_says_it_is() {
        let elected = |epoch: u64| {
            check(&trace(vec![
                (0, under("a", Primary, Primary, 2, "any 1 of (2, 3)")),
                (1, under("c", Secondary, ReportLsn, 2, "any 1 of (2, 3)")),
                (2, stored("c", epoch, ReportLsn, Some(100))),
                (3, under("b", ReportLsn, ReportLsn, 2, "any 1 of (2, 3)")),
                (4, under("c", Secondary, ReportLsn, 2, "any 1 of (2, 3)")),
                (5, under("b", ReportLsn, WaitPrimary, 2, "none")),
            ]))
        };
        assert_eq!(elected(2), Ok(()));
        assert!(elected(1).unwrap_err().contains("could still acknowledge without"), "of an older epoch");
    }

    #[test]
    fn a_set_that_misses_a_set_able_to_acknowledge_may_not_elect() {
        let elected = |in_force, sealed: &[&str]| elected(in_force, DemoteTimeout, sealed);
        assert_eq!(elected("any 1 of (2)", &["b"]), Ok(()));
        assert_eq!(elected("any 1 of (2, 3)", &["b", "c"]), Ok(()));
        assert_eq!(elected("any 2 of (2, 3)", &["b"]), Ok(()));
        assert!(elected("any 1 of (2, 3)", &["b"]).is_err());
        assert!(elected("any 1 of (2); any 1 of (2, 3)", &["b"]).is_err());
        assert!(elected("none", &["b", "c"]).is_err());
        assert!(elected("any 1 of (3)", &["b"]).is_err());
    }

    #[test]
    fn an_orderly_stop_needs_no_quorum_but_the_last_record() {
        let handed = |stops: bool, held: u64| {
            let in_force = "any 1 of (2, 3)";
            let mut events = vec![
                (0, under("a", Primary, Primary, 1, in_force)),
                (1, under("a", Draining, Draining, 2, in_force)),
                (3, stored("b", 2, StopReplication, Some(held))),
                (4, under("b", StopReplication, WaitPrimary, 2, "none")),
            ];
            events.extend(stops.then(|| (2, drained("a", 2, in_force, 100))));
            let mut trace = trace(events);
            trace.sort();
            check(&trace)
        };
        assert_eq!(handed(true, 120), Ok(()));
        assert!(handed(true, 100).is_err(), "it lacks the record that begins there");
        assert!(handed(false, 120).is_err(), "that it was told to drain is no proof");
    }

    #[test]
    fn only_the_promotion_that_somebody_answers_for_needs_no_quorum() {
        let moved = |more: Vec<_>| {
            let begin = vec![(0, node("a", Primary, Primary, 1)), (1, given_up("b", 2, Some(Waiver::Operator)))];
            check(&trace(begin.into_iter().chain(more).collect()))
        };
        assert_eq!(moved(vec![]), Ok(()));
        assert_eq!(moved(vec![(2, given_up("a", 3, Some(Waiver::Policy)))]), Ok(()));
        assert!(moved(vec![(2, given_up("a", 3, None))]).is_err());
    }

    #[test]
    fn a_policy_answers_for_nothing_that_a_standby_had_to_acknowledge() {
        let moved = |in_force: &str, sealed: &[&str], waiver| {
            let begin = [(0, under("a", Primary, Primary, 1, in_force))];
            let votes = sealed.iter().map(|n| (1, under(n, ReportLsn, ReportLsn, 2, in_force)));
            check(&trace(begin.into_iter().chain(votes).chain([(2, given_up("b", 2, Some(waiver)))]).collect()))
        };
        let by_policy = |in_force: &str, sealed: &[&str]| moved(in_force, sealed, Waiver::Policy);
        assert_eq!(by_policy("none", &["b"]), Ok(()));
        assert_eq!(by_policy("any 1 of (2); none", &["b"]), Ok(()));
        assert_eq!(by_policy("none; any 2 of (2, 3)", &["b"]), Ok(()));
        let unproven = by_policy("any 1 of (2, 3); none", &["b"]);
        assert!(unproven.unwrap_err().contains("b took over from a at 0.002 s while 1 of {NodeId(2), NodeId(3)}"));
        assert!(by_policy("none; any 1 of (3)", &["b"]).is_err());
        assert_eq!(moved("any 1 of (2, 3); none", &["b"], Waiver::Operator), Ok(()));
    }
}
