//! S11: a rewind or a clone takes away no acknowledged write, as its source holds them all.

use super::trace::{Kind, Trace};
use std::collections::BTreeSet;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut acked = BTreeSet::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Acked { id, warning: false, .. } => {
                acked.insert(*id);
            }
            Kind::Rebuilt { node, gone } => {
                if let Some(id) = gone.intersection(&acked).next() {
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

    #[test]
    fn only_writes_on_no_promise_may_go() {
        let rebuilt = |gone: &[u64]| Kind::Rebuilt { node: "a".into(), gone: gone.iter().copied().collect() };
        assert_eq!(check(&trace(vec![(0, acked(1, "a", 0)), (1, rebuilt(&[2, 3]))])), Ok(()));
        assert!(check(&trace(vec![(0, acked(2, "a", 0)), (1, rebuilt(&[2, 3]))])).is_err());
    }
}
