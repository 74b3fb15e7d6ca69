//! S1: the policy of an asynchronous formation gives up no more than its bound, as far as an operator's screen showed how
//! much the old primary had written when another was chosen in its place.

use super::roles::{Promotion, Role};
use super::trace::{Kind, Trace};
use crate::model::{Position, Waiver};
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let mut shown: BTreeMap<&str, Position> = BTreeMap::new();
    let mut chosen: Option<(Promotion, Position)> = None;
    for event in &trace.events {
        if let Some(moved) = role.follow(event.at, &event.kind) {
            let known = shown.get(moved.from).filter(|_| moved.waiver == Some(Waiver::Policy));
            chosen = known.map(|known| (moved, *known));
        }
        match &event.kind {
            Kind::Shown { node, position, .. } => _ = shown.insert(node, *position),
            Kind::Branched { node, parent, fork, .. } => {
                let Some((moved, known)) = chosen.filter(|(moved, _)| moved.to == node) else { continue };
                let given_up = if known.tli == *parent { known.lsn.bytes_past(*fork) } else { 0 };
                let bound = trace.terms.async_loss_bytes;
                if given_up > bound {
                    return Err(format!(
                        "{node} begins at {fork}, and {} was known to have written {given_up} bytes more, up to {}: \
                         policy gives up {bound}",
                        moved.from, known.lsn
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
    use super::super::trace::Terms;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn policy_that_gives_up_more_than_its_bound_is_found() {
        let run = |tli: u32, known: u64, later: u64, waiver| {
            let shown = |lsn: u64| Kind::Shown {
                node: "a".into(),
                position: Position::new(tli, lsn),
                health: 1,
                pending: None,
            };
            let events = vec![
                (0, node("a", Primary, Primary, 1)),
                (1, shown(known)),
                (2, given_up("b", 2, waiver)),
                (3, shown(later)),
                (4, branched("b", 2, 1, 1000)),
            ];
            let terms = Terms { async_loss_bytes: 100, ..Terms::default() };
            check(&Trace { terms, ..trace(events) })
        };
        let policy = Some(Waiver::Policy);
        assert_eq!(run(1, 1100, 1100, policy), Ok(()));
        assert!(run(1, 1101, 1101, policy).unwrap_err().contains("101 bytes more"));
        assert_eq!(run(1, 1100, 5000, policy), Ok(()), "nobody knew of it when b was chosen");
        assert_eq!(run(1, 900, 900, policy), Ok(()), "b has more than was known");
        assert_eq!(run(1, 5000, 5000, Some(Waiver::Operator)), Ok(()), "an operator answers for all of it");
        assert_eq!(run(2, 5000, 5000, policy), Ok(()), "its WAL is of another timeline");
    }
}
