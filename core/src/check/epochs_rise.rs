//! S3, the monitor's side: the epoch never falls, and it rises whenever the role moves. That a keeper refuses a lower
//! one is seen in its log only.

use super::trace::{Kind, Trace};
use crate::model::Epoch;

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut last = Epoch::ZERO;
    let mut holder: Option<(&str, Epoch)> = None;
    for event in &trace.events {
        let Kind::Node { node, goal, epoch, .. } = &event.kind else {
            continue;
        };
        if *epoch < last {
            return Err(format!("epoch {epoch} at {:.3} s, after epoch {last}", event.at.seconds()));
        }
        last = *epoch;
        if !goal.is_writable() {
            continue;
        }
        if let Some((old, then)) = holder
            && old != node
            && then >= *epoch
        {
            return Err(format!(
                "the role moved from {old} to {node} at {:.3} s within epoch {epoch}",
                event.at.seconds()
            ));
        }
        holder = Some((node, *epoch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_fall_and_a_move_within_one_epoch_are_found() {
        let first = || (0, node("a", Single, Single, 1));
        assert_eq!(check(&trace(vec![first(), (1, node("b", StopReplication, WaitPrimary, 2))])), Ok(()));
        assert!(check(&trace(vec![first(), (1, node("b", StopReplication, WaitPrimary, 1))])).is_err());
        assert!(
            check(&trace(vec![(0, node("a", Single, Single, 2)), (1, node("b", Secondary, Secondary, 1))])).is_err()
        );
    }
}
