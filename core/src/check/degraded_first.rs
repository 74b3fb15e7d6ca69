//! S1b: no server works without a standby before the monitor has on record that it, who holds the role, may.

use super::contracts;
use super::rogues::Rogues;
use super::roles::Role;
use super::trace::{Kind, Trace};
use super::unfenced::Unfenced;
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut recorded = "";
    let mut alone: BTreeMap<&str, bool> = BTreeMap::new();
    let mut rogues = Rogues::default();
    let mut role = Role::default();
    let mut unfenced = Unfenced::of(trace);
    for event in &trace.events {
        rogues.follow(&event.kind);
        role.follow(event.at, &event.kind);
        unfenced.follow(event);
        let node = match &event.kind {
            Kind::Node { in_force, .. } => {
                recorded = in_force;
                continue;
            }
            Kind::Names { node, k, .. } => {
                alone.insert(node, *k == 0);
                if rogues.has(node) || unfenced.has(node, event.at) {
                    continue;
                }
                node
            }
            // Sent before another held the role.
            Kind::Acked { node, sent, .. } if role.holder != Some(node) && role.since.is_some_and(|at| *sent <= at) => {
                continue;
            }
            Kind::Acked { node, sent, warning: false, .. } if !unfenced.has(node, *sent) => node,
            _ => continue,
        };
        let holds = role.holder.is_none_or(|holder| holder == node);
        let may_be_alone = |recorded| Ok::<_, String>(holds && contracts::read(recorded)?.iter().any(|c| c.k == 0));
        // A monitor that is new to the group has nothing on record until it is told.
        let known = !recorded.is_empty();
        if known && alone.get(node.as_str()) == Some(&true) && !may_be_alone(recorded)? {
            return Err(format!(
                "{node} works without a standby at {:.3} s, on record is \"{recorded}\" and the role with {}",
                event.at.seconds(),
                role.holder.unwrap_or("nobody")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_primary_that_goes_on_alone_must_be_on_record_first() {
        let start = || (0, under("a", Primary, Primary, 1, "any 1 of (2)"));
        let recorded = (1, under("a", Primary, WaitPrimary, 1, "any 1 of (2); none"));
        assert_eq!(check(&trace(vec![start(), recorded, (2, names("a", 0, &[])), (3, acked(1, "a", 2))])), Ok(()));
        assert!(check(&trace(vec![start(), (2, names("a", 0, &[]))])).is_err());
        let rogue = || vec![start(), (1, fault(Fault::Rogue, &["b"])), (2, names("b", 0, &[]))];
        assert_eq!(check(&trace(rogue())), Ok(()));
        let told = rogue().into_iter().chain([(3, acked(1, "b", 2))]).collect();
        assert!(check(&trace(told)).is_err(), "its clients are told of no degradation");
        let late = vec![
            start(),
            (1, under("a", Primary, WaitPrimary, 1, "none")),
            (2, names("a", 0, &[])),
            (3, under("a", Primary, Primary, 1, "any 1 of (2)")),
            (4, acked(1, "a", 3)),
        ];
        assert!(check(&trace(late)).unwrap_err().contains("a works without a standby"));
        let replaced = |more: Vec<_>| {
            let begin = vec![(0, node("a", Primary, Primary, 1)), (1, names("a", 0, &[])), (2, given_up("b", 2, None))];
            check(&trace(begin.into_iter().chain(more).collect()))
        };
        assert_eq!(replaced(vec![(3, acked(1, "a", 1))]), Ok(()), "sent before");
        assert!(replaced(vec![(4, acked(1, "a", 3))]).unwrap_err().contains("the role with b"));
        assert!(replaced(vec![(4, names("a", 0, &[]))]).is_err());
    }
}
