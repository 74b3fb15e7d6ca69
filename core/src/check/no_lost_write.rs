//! S1: a write that was acknowledged without a warning is there from the next promotion on, as far as it is read, and at
//! the end. Writes whose fate the client doesn't know may be there or not.

use super::given_up::GivenUp;
use super::rogues::Rogues;
use super::roles::Role;
use super::stall;
use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

/// A reader waits for its answer no longer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
struct Ack<'a> {
    node: &'a str,
    sent: Moment,
    at: Moment,
}

/// By their numbers, and in the order in which they were sent.
#[derive(Default)]
struct Acks<'a> {
    by_id: BTreeMap<u64, Ack<'a>>,
    sent: BTreeSet<(Moment, u64)>,
}

impl<'a> Acks<'a> {
    fn add(&mut self, id: u64, ack: Ack<'a>) {
        self.by_id.insert(id, ack);
        self.sent.insert((ack.sent, id));
    }

    fn sent_after(&self, at: Moment) -> impl Iterator<Item = (u64, Ack<'a>)> {
        self.sent.range((Excluded((at, u64::MAX)), Unbounded)).map(|(_, id)| (*id, self.by_id[id]))
    }
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let given_up = GivenUp::of(trace);
    let mut acked = Acks::default();
    let (mut found, mut began) = (Vec::new(), false);
    let mut role = Role::default();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        role.follow(event.at, &event.kind);
        rogues.follow(&event.kind);
        match &event.kind {
            Kind::Acked { id, node, sent, warning: false, .. } => {
                acked.add(*id, Ack { node, sent: *sent, at: event.at });
            }
            Kind::Read { node, ids } if role.holder == Some(node) && !rogues.has(node) => {
                let given_up = |id, ack: &Ack| given_up.has(id, ack.node, ack.at, event.at);
                let gone = missing_from(ids, &acked, event.at).find(|(id, ack)| !given_up(*id, ack));
                if let Some((id, ack)) = gone {
                    let (read, was) = (event.at.seconds(), ack.at.seconds());
                    let by = ack.node;
                    return Err(format!(
                        "{node} showed no write {id} at {read:.3} s, acknowledged by {by} at {was:.3} s"
                    ));
                }
            }
            Kind::Found { ids, .. } => found.push(ids),
            Kind::ClientsBegan => began = true,
            _ => {}
        }
    }
    let acked = acked.by_id;
    if acked.is_empty() {
        return if began { Err("no write was ever acknowledged".into()) } else { Ok(()) };
    }
    let may_wait = trace.terms.drawn || trace.terms.stalled.is_some();
    if found.is_empty() && may_wait && stall::reason(trace).is_ok() {
        // The group waits for those that hold it.
        return Ok(());
    }
    if found.is_empty() {
        return Err("no primary could be read at the end".into());
    }
    // Whoever is open at the end must have them all.
    let is_lost = |id: u64, ack: &Ack| {
        found.iter().any(|ids| !ids.contains(&id)) && !given_up.has(id, ack.node, ack.at, trace.end())
    };
    let lost: Vec<_> = acked.iter().filter(|(id, ack)| is_lost(**id, ack)).collect();
    let Some((id, Ack { node, at, .. })) = lost.first() else {
        return Ok(());
    };
    Err(format!(
        "{} of {} lost, the first is write {id}, acknowledged by {node} at {:.3} s",
        lost.len(),
        acked.len(),
        at.seconds()
    ))
}

/// Writes that should have been in this read: one that is in it was acknowledged before they began, so they come after
/// it, and the read shows all from some place on.
fn missing_from<'a>(ids: &'a BTreeSet<u64>, acked: &'a Acks, read: Moment) -> impl Iterator<Item = (u64, Ack<'a>)> {
    let oldest = ids.iter().filter_map(|id| acked.by_id.get(id)).map(|ack| ack.at).min();
    let must_show = move |ack: &Ack| ack.at + PATIENCE < read;
    let since = oldest.into_iter().flat_map(|oldest| acked.sent_after(oldest));
    since.filter(move |(id, ack)| must_show(ack) && !ids.contains(id))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    #[test]
    fn a_missing_write_is_a_loss_and_an_unacknowledged_one_is_not() {
        assert_eq!(check(&trace(vec![(1, acked(1, "a", 0)), (9, found(&[1, 7]))])), Ok(()));
        let broken = check(&trace(vec![(1, acked(1, "a", 0)), (2, acked(2, "a", 1)), (9, found(&[1]))]));
        assert!(broken.unwrap_err().starts_with("1 of 2 lost, the first is write 2, acknowledged by a"));
        assert!(check(&trace(vec![(1, acked(1, "a", 0))])).is_err(), "nothing was read at the end");
        assert!(
            check(&trace(vec![(1, acked(1, "a", 0)), (9, found(&[])), (9, found(&[1]))])).is_err(),
            "one has it not"
        );
        assert!(check(&trace(vec![(0, Kind::ClientsBegan)])).is_err(), "clients that were never served");
    }

    #[test]
    fn a_write_that_the_next_primary_does_not_show_is_lost_before_the_end() {
        let read = |by: &str, ids: &[u64]| Kind::Read { node: by.into(), ids: ids.iter().copied().collect() };
        let shows = |by: &str, waiver, ids: &[u64], at| {
            let run = vec![
                (0, node("a", Primary, Primary, 1)),
                (100, acked(1, "a", 90)),
                (120, acked(2, "a", 110)),
                (200, given_up("b", 2, waiver)),
                (at, read(by, ids)),
                (9000, found(&[1, 2, 3])),
            ];
            check(&trace(run))
        };
        assert_eq!(shows("b", None, &[1, 2, 3], 2200), Ok(()));
        let lost = shows("b", None, &[1, 3], 2200);
        assert_eq!(lost, Err("b showed no write 2 at 2.200 s, acknowledged by a at 0.120 s".into()));
        assert_eq!(shows("b", None, &[1, 3], 2100), Ok(()), "it may have been read before that");
        assert_eq!(shows("b", None, &[2, 3], 2200), Ok(()), "only the latest are shown");
        assert_eq!(shows("a", None, &[1], 2200), Ok(()), "the old primary is judged at its end");
        assert_eq!(shows("b", Some(Waiver::Policy), &[1, 3], 2200), Ok(()), "given up");
    }

    #[test]
    fn a_policy_forgives_no_loss_of_what_a_standby_had_to_acknowledge() {
        let lost = |told_to_go_on_alone: u64| {
            let mut run = trace(vec![
                (0, under("a", Primary, Primary, 1, "any 1 of (2, 3)")),
                (told_to_go_on_alone, under("a", Primary, Primary, 1, "any 1 of (2, 3); none")),
                (100, acked(1, "a", 90)),
                (200, given_up("b", 2, Some(Waiver::Policy))),
                (9000, found(&[])),
            ]);
            run.sort();
            check(&run)
        };
        assert_eq!(lost(95), Ok(()));
        assert!(lost(150).unwrap_err().contains("the first is write 1, acknowledged by a"));
    }

    #[test]
    fn a_later_consent_forgives_no_earlier_loss() {
        let run = vec![
            (0, node("a", Primary, Primary, 1)),
            (90, acked(1, "a", 80)),
            (110, acked(2, "a", 100)),
            (200, given_up("b", 2, None)),
            (2500, Kind::Read { node: "b".into(), ids: [1, 3].into() }),
            (5000, given_up("c", 3, Some(Waiver::Policy))),
            (9000, found(&[1, 3])),
        ];
        assert!(check(&trace(run)).unwrap_err().contains("b showed no write 2 at 2.500 s"));
    }
}
