//! L8: one fault or order moves the role twice at most: to another node, and on when that one is no good.

use super::roles::Role;
use super::trace::{Fault, Kind, Trace};

const MOVES_PER_FAULT: usize = 2;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut role = Role::default();
    let (mut moves, mut causes) = (0, 0);
    for event in &trace.events {
        if matches!(&event.kind, Kind::Fault { fault, .. } if !matches!(fault, Fault::Monitor | Fault::MonitorStore)) {
            causes += 1;
        }
        let Some(moved) = role.follow(event.at, &event.kind) else { continue };
        moves += 1;
        if moves > MOVES_PER_FAULT * causes {
            return Err(format!(
                "the role moved {moves} times after {causes} faults, to {} at {:.3} s",
                moved.to,
                event.at.seconds()
            ));
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
        assert!(moves(3).unwrap_err().contains("moved 3 times after 1 faults"));
    }
}
