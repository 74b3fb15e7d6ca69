//! Writes that somebody gave up: an operator by consent, or the policy of an async formation, each time with one
//! promotion, which takes away what the old primary may have acknowledged and may go on to acknowledge; or an operator
//! who chose another history.

use super::roles::{Promotion, promotions};
use super::trace::{Answered, Kind, Trace};
use super::unfenced::Unfenced;
use crate::model::Moment;
use std::collections::BTreeSet;
use std::time::Duration;

/// For so long an old primary whose lease has ended may go on, by what its clients see.
const LINGERS: Duration = Duration::from_secs(1);

pub struct GivenUp<'a> {
    moves: Vec<Promotion<'a>>,
    /// When a history was chosen.
    chosen: Vec<Moment>,
    /// Acknowledged by who was not waited for.
    late: BTreeSet<u64>,
}

impl<'a> GivenUp<'a> {
    pub fn of(trace: &'a Trace) -> GivenUp<'a> {
        let chooses = |kind: &Kind| matches!(kind, Kind::Told { order, answer: Answered::Accepted } if order.starts_with("AcceptTimeline"));
        let mut unfenced = Unfenced::of(trace);
        let mut late = BTreeSet::new();
        for event in &trace.events {
            unfenced.follow(event);
            match &event.kind {
                Kind::Acked { id, node, sent, .. } if unfenced.has(node, *sent) => _ = late.insert(*id),
                _ => {}
            }
        }
        GivenUp {
            moves: promotions(trace).into_iter().filter(|moved| moved.waiver.is_some()).collect(),
            chosen: trace.events.iter().filter(|e| chooses(&e.kind)).map(|e| e.at).collect(),
            late,
        }
    }

    /// Whether this write may be missing, as it was seen to be at `missed`, that this node had acknowledged, or shown, at
    /// that moment: it held the role then, or it had handed the write on to who did. Nobody gives up what is gone already.
    pub fn has(&self, id: u64, node: &str, at: Moment, missed: Moment) -> bool {
        let of = |moved: &Promotion| match moved.from == node {
            true => at <= moved.at + LINGERS,
            false => at <= moved.since,
        };
        self.late.contains(&id)
            || self.chosen.iter().any(|chosen| (at..=missed).contains(chosen))
            || self.moves.iter().any(|moved| moved.at <= missed && of(moved))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    const END: Moment = Moment(10_000_000);

    #[test]
    fn only_what_the_old_primary_had_until_then_is_given_up() {
        let run = |waiver, order: &str| {
            trace(vec![
                (0, node("a", Primary, Primary, 1)),
                (1000, given_up("b", 2, None)),
                (2000, given_up("c", 3, waiver)),
                (5000, Kind::Told { order: order.into(), answer: Answered::Accepted }),
            ])
        };
        let gave = |waiver, node, at: u64| GivenUp::of(&run(waiver, "Failover")).has(7, node, Moment(at * 1000), END);
        let by_consent = |node, at| gave(Some(Waiver::Operator), node, at);
        assert!(by_consent("b", 1900));
        assert!(by_consent("b", 3000), "its clients are told late");
        assert!(!by_consent("b", 3001));
        assert!(by_consent("a", 900), "b had it from a");
        assert!(!by_consent("a", 1100), "b was told to open by then");
        assert!(!by_consent("c", 2100));
        assert!(!gave(None, "b", 1900));
        let chosen = |missed| {
            let run = run(None, "AcceptTimeline { tli: 1 }");
            GivenUp::of(&run).has(7, "c", Moment(4_000_000), Moment(missed))
        };
        assert!(chosen(5_000_000));
        assert!(!chosen(4_900_000), "it was gone before that");
    }

    #[test]
    fn what_is_acknowledged_by_who_was_not_waited_for_is_given_up() {
        let acked_late = |more: Vec<(u64, Kind)>| {
            let row = given_up("b", 2, Some(Waiver::Operator));
            let begin = [(0, node("a", Primary, Primary, 1)), (1000, row)];
            let run = trace(begin.into_iter().chain(more).chain([(9000, acked(7, "a", 8900))]).collect());
            GivenUp::of(&run).has(7, "a", Moment(9_000_000), END)
        };
        assert!(acked_late(vec![]));
        assert!(!acked_late(vec![(2000, stored("a", 2, Demoted, None))]), "it had heard of it");
    }
}
