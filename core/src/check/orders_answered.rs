//! L6: every order is answered in time, by success or by a stated refusal. Only a monitor that was killed or cut
//! off may owe an answer.

use super::trace::{Answered, Fault, Kind, Trace};
use crate::model::Moment;
use std::collections::BTreeMap;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(15);

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut open: BTreeMap<&str, Moment> = BTreeMap::new();
    // A process may die at a point in the code.
    let mut reachable = !trace.terms.fault_points;
    for event in &trace.events {
        match &event.kind {
            Kind::Fault { fault: Fault::Monitor | Fault::MonitorStore | Fault::Link | Fault::Other, .. } => {
                reachable = false
            }
            Kind::Asked { order } => {
                open.insert(order, event.at);
            }
            Kind::Told { order, answer } => {
                let Some(asked) = open.remove(order.as_str()) else {
                    return Err(format!("\"{order}\" was answered and not asked"));
                };
                if event.at.since(asked) > BOUND {
                    return Err(format!("\"{order}\" took {:.3} s", event.at.since(asked).as_secs_f64()));
                }
                match answer {
                    Answered::Refused { why } if why.trim().is_empty() => {
                        return Err(format!("\"{order}\" was refused without a reason"));
                    }
                    Answered::Lost { why } if reachable => return Err(format!("\"{order}\" got no answer: {why}")),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    match open.first_key_value() {
        Some((order, _)) => Err(format!("\"{order}\" was never answered")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn silence_delay_and_a_refusal_without_words_are_found() {
        let asked = || (0, Kind::Asked { order: "failover".into() });
        let told = |at, answer| (at, Kind::Told { order: "failover".into(), answer });
        let refused = |why: &str| Answered::Refused { why: why.into() };
        let lost = || Answered::Lost { why: "silent".into() };
        assert_eq!(check(&trace(vec![asked(), told(10, Answered::Accepted)])), Ok(()));
        assert_eq!(check(&trace(vec![asked(), told(10, refused("b can't be promoted"))])), Ok(()));
        assert!(check(&trace(vec![asked(), told(10, refused(" "))])).is_err());
        assert!(check(&trace(vec![asked(), told(16_000, Answered::Accepted)])).is_err());
        assert!(check(&trace(vec![asked()])).is_err());
        assert!(check(&trace(vec![asked(), told(10, lost())])).is_err());
        assert_eq!(check(&trace(vec![(0, fault(Fault::Monitor, &[])), asked(), told(10, lost())])), Ok(()));
    }
}
