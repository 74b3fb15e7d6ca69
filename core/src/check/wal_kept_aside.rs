//! S11: what a rewind or a clone takes away is kept first, acknowledged or not: an operator may want it back. What a rebuild
//! has brought, and nobody has started since, is its source's.

use super::trace::{Kind, Trace};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut kept: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut brought: BTreeSet<&str> = BTreeSet::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Opened { node, .. } | Kind::Received { node, .. } => _ = brought.remove(node.as_str()),
            Kind::Rebuilt { node, .. } if !brought.insert(node) => {}
            Kind::KeptAside { node, ids } => kept.entry(node).or_default().extend(ids),
            Kind::Rebuilt { node, gone } => {
                let kept = kept.entry(node).or_default();
                if let Some(id) = gone.difference(kept).next() {
                    let at = event.at.seconds();
                    return Err(format!("{node} was rebuilt at {at:.3} s, and the WAL of write {id} was not kept"));
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
    fn a_write_that_a_rewind_took_away_is_kept_or_missed() {
        let rebuilt = |gone: &[u64]| Kind::Rebuilt { node: "a".into(), gone: gone.iter().copied().collect() };
        let kept = |node: &str, ids: &[u64]| Kind::KeptAside { node: node.into(), ids: ids.iter().copied().collect() };
        assert_eq!(check(&trace(vec![(1, rebuilt(&[]))])), Ok(()));
        assert_eq!(check(&trace(vec![(0, kept("a", &[3, 4])), (1, rebuilt(&[3, 4]))])), Ok(()));
        assert!(check(&trace(vec![(0, kept("a", &[3])), (1, rebuilt(&[3, 4]))])).unwrap_err().contains("write 4"));
        assert!(check(&trace(vec![(0, kept("b", &[3])), (1, rebuilt(&[3]))])).is_err());
        assert!(check(&trace(vec![(0, rebuilt(&[3])), (1, kept("a", &[3]))])).is_err());
        let again = |between| check(&trace(vec![(0, rebuilt(&[])), (1, between), (2, rebuilt(&[3]))]));
        assert_eq!(again(kept("b", &[3])), Ok(()), "the first has brought it");
        assert!(again(opened("a", 2)).is_err());
    }
}
