//! Two readers, one on the primary and one on a standby, may see two commits in opposite order: a commit that waits
//! for its standby is visible there first, while one that waits for nobody is visible here first. Postgres documents
//! it, and no setting of a failover tool changes it. So this is no checker: it finds what a story about it must show.

use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::collections::{BTreeMap, BTreeSet};

/// The reads of one node. They show the latest rows only.
#[derive(Default)]
struct Reads<'a>(Vec<(Moment, &'a BTreeSet<u64>)>);

impl Reads<'_> {
    /// Writes that came into sight after the read of this number: not in it, and in a later one.
    fn later(&self, number: usize) -> BTreeSet<u64> {
        let seen = self.0[number].1;
        let after = self.0[number + 1..].iter().flat_map(|(_, ids)| ids.iter().copied());
        after.filter(|id| !seen.contains(id)).collect()
    }
}

/// The first long fork of a run, in words.
pub fn seen(trace: &Trace) -> Option<String> {
    let (mut primaries, mut standbys): (BTreeMap<&str, Reads>, BTreeMap<&str, Reads>) = Default::default();
    for event in &trace.events {
        let (reads, node, ids) = match &event.kind {
            Kind::Read { node, ids } => (&mut primaries, node, ids),
            Kind::StandbyRead { node, ids } => (&mut standbys, node, ids),
            _ => continue,
        };
        reads.entry(node).or_default().0.push((event.at, ids));
    }
    for (primary, here) in &primaries {
        for (standby, there) in standbys.iter().filter(|(standby, _)| *standby != primary) {
            for (i, (at, shown)) in here.0.iter().enumerate() {
                let not_yet_here = here.later(i);
                for (j, (also, others)) in there.0.iter().enumerate() {
                    let Some(y) = others.intersection(&not_yet_here).next() else { continue };
                    let not_yet_there = there.later(j);
                    let Some(x) = shown.intersection(&not_yet_there).next() else { continue };
                    return Some(format!(
                        "{primary} shows {x} and not yet {y} at {:.3} s, {standby} shows {y} and not yet {x} at {:.3} s",
                        at.seconds(),
                        also.seconds()
                    ));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn here(ids: &[u64]) -> Kind {
        Kind::Read { node: "a".into(), ids: ids.iter().copied().collect() }
    }

    fn there(ids: &[u64]) -> Kind {
        Kind::StandbyRead { node: "b".into(), ids: ids.iter().copied().collect() }
    }

    #[test]
    fn opposite_orders_are_seen_and_mere_lag_is_none() {
        let forked = [(1, there(&[1, 2])), (2, here(&[1, 3])), (3, here(&[1, 2, 3])), (4, there(&[1, 2, 3]))];
        let says = seen(&trace(forked.to_vec())).unwrap();
        assert!(says.contains("a shows 3 and not yet 2") && says.contains("b shows 2 and not yet 3"), "{says}");
        let lag = [(1, there(&[1])), (2, here(&[1, 2])), (3, here(&[1, 2, 3])), (4, there(&[1, 2, 3]))];
        assert_eq!(seen(&trace(lag.to_vec())), None);
        let out_of_the_window = [(1, there(&[1, 2])), (2, here(&[3])), (3, here(&[3, 4])), (4, there(&[2, 3, 4]))];
        assert_eq!(seen(&trace(out_of_the_window.to_vec())), None, "old rows are left out of a read");
    }

    #[test]
    fn no_checker_takes_it_for_a_fault() {
        let forked = [(1, there(&[1, 2])), (2, here(&[1, 3])), (3, here(&[1, 2, 3])), (4, there(&[1, 2, 3]))];
        let end = [(9, found(&[1, 2, 3]))];
        let run = trace(forked.into_iter().chain(end).collect());
        let read = super::super::no_lost_read::check(&run);
        assert_eq!((read, super::super::no_lost_write::check(&run)), (Ok(()), Ok(())));
        // What only a standby has shown was promised to nobody.
        let lost = trace(vec![(1, there(&[7])), (9, found(&[1]))]);
        assert_eq!(super::super::no_lost_read::check(&lost), Ok(()));
    }
}
