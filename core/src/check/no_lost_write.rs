//! S1: a write that was acknowledged without a warning is there at the end. Writes whose fate the client
//! doesn't know may be there or not.

use super::stall;
use super::trace::{Kind, Trace};
use std::collections::BTreeMap;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut acked = BTreeMap::new();
    let (mut found, mut began) = (Vec::new(), false);
    for event in &trace.events {
        match &event.kind {
            Kind::Acked { id, node, warning: false, .. } => {
                acked.insert(*id, (node, event.at));
            }
            Kind::Found { ids, .. } => found.push(ids),
            Kind::ClientsBegan => began = true,
            _ => {}
        }
    }
    if acked.is_empty() {
        return if began { Err("no write was ever acknowledged".into()) } else { Ok(()) };
    }
    if found.is_empty() && trace.terms.drawn && stall::reason(trace).is_ok() {
        // The group waits for those that hold it.
        return Ok(());
    }
    if found.is_empty() {
        return Err("no primary could be read at the end".into());
    }
    // Whoever is open at the end must have them all.
    let lost: Vec<_> = acked.iter().filter(|(id, _)| found.iter().any(|ids| !ids.contains(id))).collect();
    let Some((id, (node, at))) = lost.first() else {
        return Ok(());
    };
    Err(format!(
        "{} of {} lost, the first is write {id}, acknowledged by {node} at {:.3} s",
        lost.len(),
        acked.len(),
        at.seconds()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

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
}
