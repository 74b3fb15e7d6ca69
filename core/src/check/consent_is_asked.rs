//! S4, S8: an operator answers for what a new primary may lack only if one was asked: the order that consents came since
//! the role moved last.

use super::CONSENT;
use super::roles::{Role, is_reset};
use super::trace::{Kind, Trace};
use crate::model::Waiver;

/// Logs of a live world count milliseconds, so an order may seem to come after what it has led to.
const MICROS_OF_A_LOG: u64 = 1000;

pub fn check(trace: &Trace) -> Result<(), String> {
    let orders: Vec<u64> = trace
        .events
        .iter()
        .filter(|e| matches!(&e.kind, Kind::Asked { order } if order.contains(CONSENT)))
        .map(|e| e.at.0 / MICROS_OF_A_LOG)
        .collect();
    let mut role = Role::default();
    let mut moved_last = 0;
    for event in &trace.events {
        if is_reset(&event.kind) {
            // The order may be older than what this store knows of the role.
            moved_last = 0;
        }
        let Some(moved) = role.follow(event.at, &event.kind) else { continue };
        let at = moved.at.0 / MICROS_OF_A_LOG;
        if moved.waiver == Some(Waiver::Operator) && !orders.iter().any(|order| (moved_last..=at).contains(order)) {
            let at = moved.at.seconds();
            return Err(format!("at {at:.3} s {} opens by an operator's consent, and nobody asked for that", moved.to));
        }
        moved_last = at;
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
    fn consent_that_nobody_gave_since_the_role_moved_last_is_found() {
        let asked = |at: u64, consents: bool| {
            let order = if consents { format!("Failover, {CONSENT}") } else { "Failover".to_string() };
            (at, Kind::Asked { order })
        };
        let run = |before: Vec<(u64, Kind)>, waiver| {
            let begin = [(0, node("a", Primary, Primary, 1))];
            check(&trace(begin.into_iter().chain(before).chain([(9, given_up("b", 3, waiver))]).collect()))
        };
        let operator = Some(Waiver::Operator);
        assert_eq!(run(vec![asked(5, true)], operator), Ok(()));
        assert_eq!(run(vec![asked(9, true)], operator), Ok(()), "within one millisecond");
        assert!(run(vec![], operator).unwrap_err().contains("b opens by an operator's consent"));
        assert!(run(vec![asked(5, false)], operator).is_err());
        assert_eq!(run(vec![], Some(Waiver::Policy)), Ok(()));
        assert_eq!(run(vec![], None), Ok(()));
        let used = || vec![asked(2, true), (4, given_up("c", 2, operator))];
        assert!(run(used(), operator).is_err(), "that one was for c");
        let restored = [used(), vec![(5, fault(Fault::MonitorStore, &[]))]].concat();
        assert_eq!(run(restored, operator), Ok(()), "an old store knows of the order, and not what became of it");
    }
}
