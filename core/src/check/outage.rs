//! How long writes were not acknowledged, as the clients saw it.

use super::trace::{Kind, Trace};
use crate::model::Moment;
use std::time::Duration;

/// Time between two acknowledged writes that follow each other, whoever sent them; the clients' begin and
/// end count as well, so that writes that never came back are seen. One whose wait was cancelled, which Postgres says with a
/// warning, is promised to nobody, and was served no better than one that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub from: Moment,
    pub to: Moment,
    /// The step of the scenario it goes with: the first within the gap, else the last before it.
    pub step: Option<(Moment, String)>,
}

impl Gap {
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// Every gap of at least `least`, in order of time.
pub fn gaps(trace: &Trace, least: Duration) -> Vec<Gap> {
    let counts =
        |kind: &Kind| matches!(kind, Kind::Acked { warning: false, .. } | Kind::ClientsBegan | Kind::ClientsStopped);
    let stopped = trace.events.iter().rposition(|e| matches!(e.kind, Kind::ClientsStopped));
    let until = stopped.map_or(trace.events.len(), |i| i + 1);
    let marks: Vec<Moment> = trace.events[..until].iter().filter(|e| counts(&e.kind)).map(|e| e.at).collect();
    let steps: Vec<(Moment, &str)> = steps(trace).collect();
    let pairs = marks.iter().zip(marks.iter().skip(1)).filter(|(from, to)| to.since(**from) >= least);
    pairs.map(|(from, to)| Gap { from: *from, to: *to, step: step_of(&steps, *from, *to) }).collect()
}

/// The steps of the scenario, each with the longest gap that goes with it.
pub fn gaps_by_step(trace: &Trace) -> Vec<(Moment, String, Option<Duration>)> {
    let all = gaps(trace, Duration::ZERO);
    let longest = |at: Moment, text: &str| {
        let of_step = all.iter().filter(|g| g.step.as_ref().is_some_and(|(a, t)| *a == at && t == text));
        of_step.map(Gap::length).max()
    };
    steps(trace).map(|(at, text)| (at, text.to_string(), longest(at, text))).collect()
}

/// The longest gap, and none when fewer than two writes were acknowledged.
pub fn longest_gap(trace: &Trace) -> Option<Gap> {
    gaps(trace, Duration::ZERO).into_iter().max_by_key(Gap::length)
}

fn steps(trace: &Trace) -> impl Iterator<Item = (Moment, &str)> {
    trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Step { text } => Some((e.at, text.as_str())),
        _ => None,
    })
}

fn step_of(steps: &[(Moment, &str)], from: Moment, to: Moment) -> Option<(Moment, String)> {
    let within = steps.iter().find(|(at, _)| *at >= from && *at < to);
    let step = within.or_else(|| steps.iter().take_while(|(at, _)| *at < from).last());
    step.map(|(at, text)| (*at, text.to_string()))
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
        assert_eq!(longest.length(), Duration::from_millis(105));
        assert_eq!(longest.step.unwrap().1, "kill a");
        assert_eq!(gaps(&t, Duration::from_millis(10)).len(), 2);
        assert_eq!(longest_gap(&trace(vec![])), None);
        let outs: Vec<_> = gaps_by_step(&t).into_iter().map(|(_, text, gap)| (text, gap.unwrap_or_default())).collect();
        assert_eq!(outs[1], ("kill a".to_string(), Duration::from_millis(105)));
        assert_eq!(outs[2], ("start a".to_string(), Duration::from_millis(5)));
    }

    #[test]
    fn what_is_acknowledged_with_a_warning_ends_no_outage() {
        let between = |warning| {
            let cancelled = Kind::Acked { client: 0, id: 2, node: "a".into(), sent: Moment(20_000), warning };
            let t = trace(vec![(10, acked(1, "a", 9)), (50, cancelled), (100, acked(3, "a", 99))]);
            longest_gap(&t).unwrap().length()
        };
        assert_eq!(between(true), Duration::from_millis(90));
        assert_eq!(between(false), Duration::from_millis(50));
    }

    #[test]
    fn writes_that_never_come_back_are_out_until_the_clients_stop() {
        let t = trace(vec![(0, Kind::ClientsBegan), (10, acked(1, "a", 9)), (900, Kind::ClientsStopped)]);
        assert_eq!(longest_gap(&t).unwrap().length(), Duration::from_millis(890));
    }
}
