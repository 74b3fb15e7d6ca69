//! Where the time of an outage went. Its parts follow each other and are cut where the outage begins and ends, so
//! that they add up to it.

use pgbaton_core::model::Moment;
use serde::Serialize;
use std::time::Duration;

/// Until the harm was done: the client's own rhythm.
pub const IDLE: &str = "idle";
/// From the harm to the first thing the monitor noticed of it.
pub const NOTICE: &str = "notice";
/// What is left when all is open: a client must find that out.
pub const CLIENT: &str = "client";
/// The monitor has said nothing that would explain it.
pub const UNACCOUNTED: &str = "unaccounted";
/// As the monitor accounts for a transfer.
const STAGES: [&str; 5] = ["detect", "drain", "seal", "promote", "open"];

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub seconds: f64,
}

/// A name, and when that part was over.
pub type Mark = (&'static str, Moment);

/// What comes after the last mark is called `rest`.
pub fn split(from: Moment, to: Moment, marks: &[Mark], rest: &'static str) -> Vec<Part> {
    let mut reached = from;
    let mut parts = Vec::new();
    for (name, end) in marks.iter().copied().chain([(rest, to)]) {
        let end = end.clamp(reached, to.max(reached));
        parts.push(Part { name, seconds: end.since(reached).as_secs_f64() });
        reached = end;
    }
    parts
}

/// From what the monitor said when the new primary was open: `... after 0.1 s: detect 0.01, drain 0.02, ...`.
pub fn stages(opened: Moment, description: &str) -> Option<Vec<Mark>> {
    let (_, account) = description.rsplit_once(" s: ")?;
    let said: Vec<(&str, &str)> = account.split(", ").filter_map(|part| part.split_once(' ')).collect();
    let length = |name: &str| {
        let (_, seconds) = said.iter().find(|(n, _)| *n == name)?;
        Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
    };
    let lengths = STAGES.map(length).into_iter().collect::<Option<Vec<Duration>>>()?;
    let total: Duration = lengths.iter().sum();
    let mut at = opened.0.saturating_sub(u64::try_from(total.as_micros()).ok()?);
    let mut marks = vec![(NOTICE, Moment(at))];
    for (name, length) in STAGES.into_iter().zip(lengths) {
        at += u64::try_from(length.as_micros()).ok()?;
        marks.push((name, Moment(at)));
    }
    Some(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Moment {
        Moment(ms * 1000)
    }

    fn sum(parts: &[Part]) -> f64 {
        parts.iter().map(|p| p.seconds).sum()
    }

    #[test]
    fn parts_add_up_to_the_outage_whatever_the_marks_are() {
        let marks = [(IDLE, ms(4)), ("a", ms(2)), ("b", ms(50)), ("c", ms(400))];
        let parts = split(ms(10), ms(90), &marks, CLIENT);
        assert!((sum(&parts) - 0.08).abs() < 1e-9, "{parts:?}");
        let of = |name| parts.iter().find(|p| p.name == name).unwrap().seconds;
        assert_eq!((of(IDLE), of("a"), of("b"), of("c"), of(CLIENT)), (0.0, 0.0, 0.04, 0.04, 0.0));
    }

    #[test]
    fn what_the_monitor_says_becomes_marks_that_end_when_it_was_open() {
        let said =
            "smdw is open for writes after 0.100 s: detect 0.010, drain 0.000, seal 0.030, promote 0.040, open 0.020";
        let marks = stages(ms(500), said).unwrap();
        assert_eq!(marks.first(), Some(&(NOTICE, ms(400))));
        assert_eq!(marks.last(), Some(&("open", ms(500))));
        let parts = split(ms(390), ms(507), &marks, CLIENT);
        assert!((sum(&parts) - 0.117).abs() < 1e-9);
        assert_eq!(parts.last(), Some(&Part { name: CLIENT, seconds: 0.007 }));
    }

    #[test]
    fn an_account_that_cannot_be_read_is_none() {
        assert_eq!(stages(ms(1), "smdw is open for writes"), None);
        assert_eq!(stages(ms(1), "x after 0.1 s: detect 0.1, drain 0.0"), None);
        let parts = split(ms(0), ms(70), &[(IDLE, ms(10))], UNACCOUNTED);
        assert_eq!(parts.last(), Some(&Part { name: UNACCOUNTED, seconds: 0.06 }));
    }
}
