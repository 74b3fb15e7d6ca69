//! S2: two nodes never acknowledge writes side by side, in the real time of the clients. Once a node that
//! was told to open is seen open, or has acknowledged its first write, no other acknowledges one that was sent after it.

use super::rogues::Rogues;
use super::roles::Role;
use super::trace::{Kind, Trace};
use super::unfenced::Frozen;
use crate::model::Moment;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let mut first_ack: Option<Moment> = None;
    let mut rogues = Rogues::default();
    let mut frozen = Frozen::default();
    for event in &trace.events {
        let before = role.holder;
        role.follow(event.at, &event.kind);
        if role.holder != before {
            first_ack = None;
        }
        let holder = role.holder;
        rogues.follow(&event.kind);
        frozen.follow(event.at, &event.kind);
        match &event.kind {
            // Where commits wait for nobody, nothing keeps one that a hand has opened from acknowledging.
            Kind::Acked { node, .. } if trace.terms.may_lose && rogues.has(node) => {}
            Kind::Acked { node, .. } if trace.terms.may_lose && frozen.has_just_woken(node, event.at) => {}
            Kind::Acked { node, warning: false, .. } | Kind::Opened { node, .. } if holder == Some(node.as_str()) => {
                first_ack.get_or_insert(event.at);
            }
            // A session that forgoes the wait for standbys is told of success by whoever is open.
            Kind::Acked { node, id, sent, warning: false, .. } => {
                if let (Some(holder), Some(first)) = (holder, first_ack)
                    && *sent > first
                {
                    return Err(format!(
                        "{node} acknowledged write {id} at {:.3} s, sent {:.3} s after {holder} was open",
                        event.at.seconds(),
                        sent.since(first).as_secs_f64()
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn the_old_primary_may_finish_what_was_sent_before_and_nothing_else() {
        let start = || {
            vec![
                (0, node("a", Single, Single, 1)),
                (1, acked(1, "a", 0)),
                (5, node("b", StopReplication, WaitPrimary, 2)),
            ]
        };
        let run = |more: Vec<_>| check(&trace(start().into_iter().chain(more).collect()));
        assert_eq!(run(vec![(6, acked(2, "a", 4)), (7, acked(3, "b", 6))]), Ok(()));
        assert_eq!(run(vec![(7, acked(3, "b", 6)), (8, acked(4, "a", 6))]), Ok(()), "sent before b's first");
        assert!(run(vec![(7, acked(3, "b", 6)), (9, acked(4, "a", 8))]).is_err());
        assert_eq!(
            run(vec![(7, acked(3, "b", 6)), (8, node("a", Demoted, Primary, 3)), (9, acked(4, "a", 8))]),
            Ok(()),
            "the role went back"
        );
    }

    fn step(text: &str) -> Kind {
        Kind::Step { text: text.into() }
    }

    #[test]
    fn an_asynchronous_formation_can_hold_neither_a_hand_nor_a_machine_that_wakes() {
        let run = |may_lose: bool, before: Option<Kind>, acked_at: u64| {
            let opened = [(1, node("a", Single, Single, 1)), (5, node("b", StopReplication, WaitPrimary, 2))];
            let mut events = vec![(2, step("suspend a"))];
            events.extend(opened);
            events.push((6, node("a", DemoteTimeout, Demoted, 2)));
            events.push((7, acked(3, "b", 6)));
            events.extend(before.map(|kind| (8, kind)));
            events.push((acked_at, acked(4, "a", acked_at - 1)));
            let mut trace = trace(events);
            trace.terms.may_lose = may_lose;
            check(&trace)
        };
        let wakes = || Some(step("resume a"));
        assert_eq!(run(true, wakes(), 900), Ok(()));
        assert!(run(true, wakes(), 1100).is_err(), "by then it must have closed");
        assert!(run(false, wakes(), 900).is_err(), "where commits wait, nobody vouches for it");
        assert!(run(true, None, 900).is_err());
        let mended = Some(fault(crate::check::Fault::Mend, &["a"]));
        assert!(run(true, mended, 900).is_err(), "another mend wakes nobody");
        assert_eq!(run(true, Some(fault(crate::check::Fault::Rogue, &["a"])), 2000), Ok(()));
    }
}
