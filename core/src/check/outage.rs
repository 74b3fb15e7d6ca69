//! How long writes were not acknowledged, as the clients saw it.

use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::time::Duration;

/// Time between two acknowledged writes that follow each other, whoever sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub from: Moment,
    pub to: Moment,
    /// The step of the scenario it goes with: the first within the gap, else the last before it.
    pub step: Option<String>,
}

impl Gap {
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// Every gap of at least `least`, in order of time.
pub fn gaps(trace: &Trace, least: Duration) -> Vec<Gap> {
    let acks: Vec<Moment> =
        trace.events.iter().filter(|e| matches!(e.kind, Kind::Acked { .. })).map(|e| e.at).collect();
    let pairs = acks.iter().zip(acks.iter().skip(1)).filter(|(from, to)| to.since(**from) >= least);
    pairs.map(|(from, to)| Gap { from: *from, to: *to, step: step_of(trace, *from, *to) }).collect()
}

/// The longest gap, and none when fewer than two writes were acknowledged.
pub fn longest_gap(trace: &Trace) -> Option<Gap> {
    gaps(trace, Duration::ZERO).into_iter().max_by_key(Gap::length)
}

fn step_of(trace: &Trace, from: Moment, to: Moment) -> Option<String> {
    let steps = || {
        trace.events.iter().filter_map(|e| match &e.kind {
            Kind::Step { text } => Some((e.at, text)),
            _ => None,
        })
    };
    let within = steps().find(|(at, _)| *at >= from && *at < to);
    within.or_else(|| steps().take_while(|(at, _)| *at < from).last()).map(|(_, text)| text.clone())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_gap_goes_with_the_step_that_made_it() {
        let step = |text: &str| Kind::Step { text: text.into() };
        let t = trace(vec![
            (0, step("warm up")),
            (10, acked(1, "a", 9)),
            (20, acked(2, "a", 19)),
            (25, step("kill a")),
            (60, step("start a")),
            (125, acked(3, "b", 120)),
            (130, acked(4, "b", 129)),
        ]);
        let longest = longest_gap(&t).unwrap();
        assert_eq!((longest.length(), longest.step.as_deref()), (Duration::from_millis(105), Some("kill a")));
        assert_eq!(gaps(&t, Duration::from_millis(10)).len(), 2);
        assert_eq!(longest_gap(&trace(vec![])), None);
    }
}
