//! L6: every order is answered in time, by success or by a stated refusal. Only a monitor that was killed may owe an
//! answer, until it has given one again, one that is cut off, until its links are mended, and one that can't store
//! anything, whatever else it answers.

use super::trace::{Answered, Fault, Kind, Trace};
use crate::model::Moment;
use crate::scenario::words;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const MONITOR: &str = "monitor";
const BOUND: Duration = Duration::from_secs(15);

pub fn check(trace: &Trace) -> Result<(), String> {
    // When each was asked, and whether the monitor could be reached then. Two may ask the same at once.
    let mut open: BTreeMap<&str, VecDeque<(Moment, bool)>> = BTreeMap::new();
    // A process may die at a point in the code.
    let mut away = trace.terms.fault_points.then_some(Moment::ZERO);
    let mut cuts: Vec<&[String]> = Vec::new();
    let mut stores = true;
    for event in &trace.events {
        match &event.kind {
            Kind::Step { text } => stores = can_store(text).unwrap_or(stores),
            Kind::Fault { fault: Fault::Monitor | Fault::MonitorStore | Fault::Other, .. } => away = Some(event.at),
            Kind::Fault { fault: Fault::Link, nodes } if nodes.iter().any(|n| n == MONITOR) => cuts.push(nodes),
            Kind::Fault { fault: Fault::Mend, nodes } => {
                cuts.retain(|cut| !nodes.is_empty() && !nodes.iter().any(|node| cut.contains(node)));
            }
            Kind::Asked { order } => {
                let reachable = away.is_none() && cuts.is_empty() && stores;
                open.entry(order).or_default().push_back((event.at, reachable));
            }
            Kind::Told { order, answer } => {
                let Some((asked, was_reachable)) = open.get_mut(order.as_str()).and_then(VecDeque::pop_front) else {
                    return Err(format!("\"{order}\" was answered and not asked"));
                };
                if event.at.since(asked) > BOUND {
                    return Err(format!("\"{order}\" took {:.3} s", event.at.since(asked).as_secs_f64()));
                }
                match answer {
                    Answered::Refused { why } if why.trim().is_empty() => {
                        return Err(format!("\"{order}\" was refused without a reason"));
                    }
                    Answered::Lost { why } if was_reachable && away.is_none() && cuts.is_empty() && stores => {
                        return Err(format!("\"{order}\" got no answer: {why}"));
                    }
                    Answered::Lost { .. } => {}
                    Answered::Accepted | Answered::Refused { .. } => {
                        away = away.filter(|since| trace.terms.fault_points || asked <= *since);
                    }
                }
            }
            _ => {}
        }
    }
    match open.iter().find(|(_, asked)| !asked.is_empty()) {
        Some((order, _)) => Err(format!("\"{order}\" was never answered")),
        None => Ok(()),
    }
}

/// Whether the monitor can, from this step on; `None` for one that has nothing to do with it.
fn can_store(step: &str) -> Option<bool> {
    match step {
        words::FILL_MONITOR | words::STALL_MONITOR => Some(false),
        words::FREE_MONITOR => Some(true),
        _ => None,
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
        let away =
            |more: Vec<(u64, Kind)>| check(&trace([(0, fault(Fault::Monitor, &[]))].into_iter().chain(more).collect()));
        assert_eq!(away(vec![asked(), told(10, lost())]), Ok(()));
        let again = || [(20, asked().1), told(30, lost())];
        let then = |first| away([(1, asked().1), told(10, first)].into_iter().chain(again()).collect());
        assert_eq!(then(lost()), Ok(()));
        assert!(then(Answered::Accepted).is_err(), "it is back");
        let twice = |answers: Vec<(u64, Kind)>| check(&trace([asked(), asked()].into_iter().chain(answers).collect()));
        assert_eq!(twice(vec![told(10, Answered::Accepted), told(11, refused("b is on its way"))]), Ok(()));
        assert!(twice(vec![told(10, Answered::Accepted)]).unwrap_err().contains("never answered"));
    }

    #[test]
    fn a_monitor_that_can_store_nothing_owes_an_answer_again_once_it_can() {
        let silent = |before: &[&str]| {
            let order = || "failover".to_string();
            let lost = Kind::Told { order: order(), answer: Answered::Lost { why: "silent".into() } };
            let steps = before.iter().map(|text| Kind::Step { text: (*text).into() });
            check(&trace(steps.chain([Kind::Asked { order: order() }, lost]).map(|kind| (1, kind)).collect()))
        };
        assert_eq!(silent(&[words::STALL_MONITOR]), Ok(()));
        assert_eq!(silent(&[words::FILL_MONITOR]), Ok(()));
        assert!(silent(&[words::STALL_MONITOR, words::FREE_MONITOR]).is_err());
    }

    #[test]
    fn only_a_cut_that_takes_the_monitor_in_excuses_silence_until_it_is_mended() {
        let silent = |before: Vec<Kind>| {
            let order = || "failover".to_string();
            let lost = Kind::Told { order: order(), answer: Answered::Lost { why: "silent".into() } };
            let asked = [Kind::Asked { order: order() }, lost];
            check(&trace(before.into_iter().chain(asked).map(|kind| (1, kind)).collect()))
        };
        let cut = |between: &[&str]| fault(Fault::Link, between);
        assert!(silent(vec![cut(&["a", "b"])]).unwrap_err().contains("got no answer"));
        assert_eq!(silent(vec![cut(&["clients", "monitor"])]), Ok(()));
        assert_eq!(silent(vec![cut(&["monitor"])]), Ok(()));
        assert_eq!(silent(vec![cut(&["monitor"]), fault(Fault::Mend, &["a"])]), Ok(()), "another mend");
        for mend in [fault(Fault::Mend, &[]), fault(Fault::Mend, &["monitor"])] {
            assert!(silent(vec![cut(&["monitor"]), mend]).is_err());
        }
    }
}
