//! L8: one fault or order moves the role twice at most, and soon: to another node, and on when that one is no good. So does
//! the end of all faults.

use super::roles::Role;
use super::trace::{Fault, Kind, Trace};
use crate::model::Moment;
use std::time::Duration;

const MOVES_PER_FAULT: usize = 2;
/// Silence takes its timeout, a lease its time, a stop with a slow checkpoint is given half a minute, and so is the old
/// primary that opens again after it; a candidate that turns out to be no good takes the same again.
const WINDOW: Duration = Duration::from_secs(90);

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let (mut moves, mut causes): (Vec<Moment>, Vec<Moment>) = Default::default();
    let mut healed: Option<Moment> = None;
    for event in &trace.events {
        match &event.kind {
            // Without a lease the monitor's death is no cause.
            Kind::Fault { fault: Fault::Monitor | Fault::MonitorStore, .. } if !trace.terms.may_lose => {}
            Kind::Fault { .. } => causes.push(event.at),
            Kind::Healed => healed = Some(event.at),
            _ => {}
        }
        let Some(moved) = role.follow(event.at, &event.kind) else { continue };
        moves.push(event.at);
        let recent = |all: &[Moment]| all.iter().filter(|at| event.at.since(**at) <= WINDOW).count();
        let (went, struck) = (recent(&moves), recent(&causes));
        let (to, at) = (moved.to, event.at.seconds());
        // What goes wrong at points in the code is told by nobody, until all that is over.
        let is_told = !trace.terms.fault_points || healed.is_some();
        if is_told && went > MOVES_PER_FAULT * struck {
            return Err(format!("the role moved {went} times in {WINDOW:?} of {struck} faults, to {to} at {at:.3} s"));
        }
        let after = moves.iter().filter(|at| healed.is_some_and(|healed| **at > healed)).count();
        if after > MOVES_PER_FAULT {
            return Err(format!("the role moved {after} times after the last fault, to {to} at {at:.3} s"));
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
    fn a_role_that_goes_to_and_fro_is_found() {
        let moves = |n: u64| {
            let rows = (0..=n).map(|i| (i, node(if i % 2 == 0 { "a" } else { "b" }, Primary, Primary, i)));
            check(&trace([(0, fault(Fault::Machine, &["a"]))].into_iter().chain(rows).collect()))
        };
        assert_eq!(moves(2), Ok(()));
        assert!(moves(3).unwrap_err().contains("moved 3 times in 90s of 1 faults"));
    }

    #[test]
    fn what_happened_long_ago_or_ended_moves_it_no_more() {
        let move_at = |at: u64, to: &str| (at, node(to, Primary, Primary, at));
        let moved = |at| check(&trace(vec![move_at(0, "a"), (1, fault(Fault::Machine, &["a"])), move_at(at, "b")]));
        assert_eq!(moved(90_001), Ok(()));
        assert!(moved(90_002).unwrap_err().contains("1 times in 90s of 0 faults"));
        let healed = |n: u64| {
            let faults = (0..9).map(|_| (1, fault(Fault::Machine, &["a"])));
            let moves = (0..=n).map(|i| move_at(10 + i, if i % 2 == 0 { "a" } else { "b" }));
            check(&trace(faults.chain([(2, Kind::Healed)]).chain(moves).collect()))
        };
        assert_eq!(healed(2), Ok(()));
        assert!(healed(3).unwrap_err().contains("3 times after the last fault"));
    }
}
