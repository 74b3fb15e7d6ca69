//! S11: a rewind or a clone takes away no acknowledged write, as its source holds them all; but for those that somebody
//! has given up.

use super::given_up::GivenUp;
use super::trace::{Kind, Trace};
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let given_up = GivenUp::of(trace);
    let mut acked = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Acked { id, node, warning: false, .. } => {
                acked.insert(*id, (node, event.at));
            }
            Kind::Rebuilt { node, gone } => {
                let promised =
                    |id: &&u64| acked.get(*id).is_some_and(|(by, at)| !given_up.has(**id, by, *at, event.at));
                if let Some(id) = gone.iter().find(promised) {
                    let at = event.at.seconds();
                    return Err(format!("{node} was rebuilt at {at:.3} s without write {id}, which was acknowledged"));
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
    use crate::model::NodeState;

    #[test]
    fn only_writes_on_no_promise_may_go() {
        let rebuilt = |gone: &[u64]| Kind::Rebuilt { node: "a".into(), gone: gone.iter().copied().collect() };
        assert_eq!(check(&trace(vec![(0, acked(1, "a", 0)), (1, rebuilt(&[2, 3]))])), Ok(()));
        assert!(check(&trace(vec![(0, acked(2, "a", 0)), (1, rebuilt(&[2, 3]))])).is_err());
        let under_policy = |acked_at| {
            let row = given_up("b", 2, Some(crate::model::Waiver::Policy));
            let mut trace = trace(vec![
                (0, node("a", NodeState::Primary, NodeState::Primary, 1)),
                (acked_at, acked(2, "a", 0)),
                (1000, row),
                (9000, rebuilt(&[2])),
            ]);
            trace.sort();
            check(&trace)
        };
        assert_eq!(under_policy(900), Ok(()));
        assert!(under_policy(5000).is_err(), "long after that");
        let too_late = trace(vec![
            (0, node("a", NodeState::Primary, NodeState::Primary, 1)),
            (900, acked(2, "a", 0)),
            (1000, given_up("b", 2, None)),
            (2000, rebuilt(&[2])),
            (9000, given_up("c", 3, Some(crate::model::Waiver::Policy))),
        ]);
        assert!(check(&too_late).unwrap_err().contains("a was rebuilt at 2.000 s without write 2"));
    }
}
