//! Where in a run a verdict points: the instants its words name, the events at them, and the writes that are lost or were given up.

use super::words::who;
use crate::check::{Kind, Trace, Verdict};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    pub name: String,
    /// `broken`, `unjudged` or `holds`.
    pub status: &'static str,
    pub word: String,
    /// Events at the instants that the words name, counted among the events of the trace.
    pub events: Vec<usize>,
}

pub fn judged(trace: &Trace, verdicts: &[Verdict], unmet: &[String]) -> Vec<Judged> {
    let of_checker = verdicts.iter().map(|verdict| {
        let status = match (&verdict.broken, &verdict.not_judged) {
            (Some(_), _) => "broken",
            (None, Some(_)) => "unjudged",
            (None, None) => "holds",
        };
        let events = verdict.broken.as_ref().map(|how| events(trace, how)).unwrap_or_default();
        Judged { name: verdict.name.into(), status, word: verdict.word(), events }
    });
    let of_story = unmet.iter().map(|what| Judged {
        name: "expected otherwise".into(),
        status: "broken",
        word: what.clone(),
        events: events(trace, what),
    });
    of_story.chain(of_checker).collect()
}

/// For each instant in a text the event there that the text is about, as far as can be told. A text without one is
/// about how the nodes that it names have ended.
fn events(trace: &Trace, text: &str) -> Vec<usize> {
    let named = |i: &usize| who(&trace.events[*i].kind).is_some_and(|name| words(text).any(|word| word == name));
    let numbers = words(text).zip(words(text).skip(1)).filter(|(word, _)| *word == "write");
    let writes: BTreeSet<u64> = numbers.filter_map(|(_, number)| number.parse().ok()).collect();
    let write = |i: &usize| match &trace.events[*i].kind {
        Kind::Acked { id, .. } | Kind::NotAcked { id, .. } => writes.contains(id),
        _ => false,
    };
    let about = |at: &str| {
        let there: Vec<usize> = (0..trace.events.len()).filter(|i| seconds(trace, *i) == at).collect();
        there.iter().find(|i| write(i)).or_else(|| there.iter().find(|i| named(i))).or(there.first()).copied()
    };
    let found: BTreeSet<usize> = instants(text).filter_map(about).collect();
    match found.is_empty() {
        true => ends(trace).filter(named).collect(),
        false => found.into_iter().collect(),
    }
}

fn ends(trace: &Trace) -> impl Iterator<Item = usize> {
    (0..trace.events.len()).filter(|i| matches!(trace.events[*i].kind, Kind::Ended { .. }))
}

fn seconds(trace: &Trace, i: usize) -> String {
    format!("{:.3}", trace.events[i].at.seconds())
}

/// Checkers write `at 12.345 s`, expectations `from 12.345 s on`, complaints of the world `12.345s` in front.
fn instants(text: &str) -> impl Iterator<Item = &str> {
    let found = text.match_indices(" s").filter_map(|(end, _)| {
        let before = &text[..end];
        let start = before.rfind(' ')?;
        let number = &before[start + 1..];
        let marked = before[..start].ends_with("at") || before[..start].ends_with("from");
        (marked && is_instant(number)).then_some(number)
    });
    let first = text.split_once("s ").map(|(number, _)| number).filter(|number| is_instant(number));
    first.into_iter().chain(found)
}

fn is_instant(number: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    number.split_once('.').is_some_and(|(whole, ms)| digits(whole) && digits(ms) && ms.len() == 3)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
}

/// Acknowledgements without a warning of writes that a node of the same formation which is open at the end hasn't: lost,
/// or given up.
pub fn lost(trace: &Trace) -> Vec<usize> {
    let found = trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Found { node, ids } => Some((trace.is_beside(node), ids)),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    let is_lost = |kind: &Kind| match kind {
        Kind::Acked { id, node, warning: false, .. } => {
            let beside = trace.is_beside(node);
            found.iter().any(|(is_beside, ids)| *is_beside == beside && !ids.contains(id))
        }
        _ => false,
    };
    (0..trace.events.len()).filter(|i| is_lost(&trace.events[*i].kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::judge;
    use crate::check::testing::*;
    use crate::model::NodeState::*;

    #[test]
    fn instants_are_found_where_checkers_and_expectations_write_them() {
        let of = |text| instants(text).collect::<Vec<_>>();
        assert_eq!(of("b opened at 9.000 s while a could acknowledge writes"), ["9.000"]);
        assert_eq!(of("writes were out for 11.343 s from 10.034 s on (\"kill a\")"), ["10.034"]);
        assert_eq!(of("12.500s the keeper of a gave up: no 1.000 s"), ["12.500"]);
        assert_eq!(of("the group did not settle; a: primary"), Vec::<&str>::new());
    }

    #[test]
    fn a_verdict_points_at_the_event_that_broke_it() {
        let run = trace(vec![
            (0, node("a", Single, Single, 1)),
            (1, acked(1, "a", 0)),
            (5, node("b", StopReplication, WaitPrimary, 2)),
            (7, acked(3, "b", 6)),
            (9, stored("b", 2, Primary, None)),
            (9, acked(4, "a", 8)),
            (12, found(&[1, 3])),
            (12, ended("a", Single, Primary)),
            (12, ended("b", Primary, Primary)),
        ]);
        let unmet = ["writes were out for 1 s from 0.007 s on", "b was to end as single and is primary"];
        let judged = judged(&run, &judge(&run), &unmet.map(String::from));
        let of = |name: &str| judged.iter().find(|j| j.name == name).unwrap().clone();
        let two = of("at most one node acknowledges writes");
        assert_eq!((two.status, two.events), ("broken", vec![5]), "{}", two.word);
        assert_eq!(of("expected otherwise").events, [3]);
        assert_eq!(of("no acknowledged write is lost").events, [5]);
        assert_eq!(judged[1].events, [8]);
        assert_eq!(of("a sealed vote stands").status, "unjudged");
        assert_eq!(lost(&run), [5]);
    }
}
