//! Shorter times, and rounder ones. Only the times at which things happen and how long they last: what a story allows
//! the group stays, with less of it anything fails.

use super::with;
use pgbaton_core::scenario::{Scenario, Verb};
use std::time::Duration;

/// All times at once: a run that is over sooner makes all that follow quicker.
pub fn pace(scenario: &Scenario) -> Vec<Scenario> {
    let ways: [fn(Duration) -> Duration; 4] = [
        |gap| gap.min(Duration::from_secs(2)),
        |gap| gap.min(Duration::from_secs(10)),
        |gap| gap.min(Duration::from_secs(30)),
        |gap| round(gap / 2),
    ];
    let all = ways.map(|way| with(scenario, |s| (0..s.steps.len()).for_each(|i| shorten(s, i, way))));
    all.into_iter().filter(|s| s != scenario).collect()
}

pub fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut out = Vec::new();
    for i in 0..scenario.steps.len() {
        let ways: [fn(Duration) -> Duration; 3] = [|_| Duration::ZERO, |gap| round(gap / 2), round];
        out.extend(ways.map(|way| with(scenario, |s| shorten(s, i, way))));
        let lasts: [fn(Duration) -> Duration; 2] = [|by| round(by / 2), round];
        out.extend(lasts.map(|way| with(scenario, |s| shorten_verb(s.steps[i].verb.as_mut(), way))));
    }
    out.retain(|s| s != scenario);
    out
}

/// Down to what a person would write.
fn round(d: Duration) -> Duration {
    let unit_ms = match d.as_millis() {
        2000.. => 1000,
        200.. => 100,
        _ => 1,
    };
    let ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(ms - ms % unit_ms)
}

/// Makes the time between a step and the one before it shorter; what follows moves along.
fn shorten(s: &mut Scenario, i: usize, way: fn(Duration) -> Duration) {
    if let Some(wait) = s.steps[i].wait {
        s.steps[i].wait = Some(way(wait)).filter(|wait| !wait.is_zero());
    }
    let Some(at) = s.steps[i].at else { return };
    let before = s.steps[..i].iter().filter_map(|step| step.at).max().unwrap_or_default();
    let gap = at.saturating_sub(before);
    let earlier = gap - way(gap);
    for step in &mut s.steps[i..] {
        step.at = step.at.map(|at| at.saturating_sub(earlier));
    }
}

fn shorten_verb(verb: Option<&mut Verb>, way: fn(Duration) -> Duration) {
    match verb {
        Some(Verb::Slow(slow)) => slow.by = way(slow.by),
        Some(Verb::SlowCheckpoint(delay) | Verb::ApplyDelay(delay)) => delay.by = way(delay.by),
        Some(Verb::ClockStep(step)) => {
            let length = way(Duration::from_millis(step.by_ms.unsigned_abs())).as_millis();
            step.by_ms = step.by_ms.signum() * i64::try_from(length).unwrap_or(i64::MAX);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::story;
    use super::*;

    #[test]
    fn a_shorter_gap_moves_what_follows() {
        let story = story(
            r#"
[[step]]
at = "5123ms"
do = { heal = {} }
[[step]]
wait = "2500ms"
do = { heal = {} }
[[step]]
at = "20s"
do = { clock_step = { node = "a", by = "-5001ms" } }
"#,
        );
        let times = |s: &Scenario| s.steps.iter().map(|s| (s.at.or(s.wait)).unwrap_or_default().as_millis()).collect();
        let all: Vec<Vec<u128>> = candidates(&story).iter().map(times).collect();
        for expected in [[0, 2500, 14_877], [5000, 2500, 19_877], [5123, 1200, 20_000], [5123, 2000, 20_000]] {
            assert!(all.contains(&expected.to_vec()), "{expected:?} {all:?}");
        }
        let paces: Vec<Vec<u128>> = pace(&story).iter().map(times).collect();
        assert_eq!(paces, [[2000, 2000, 4000], [5123, 2500, 15_123], [2000, 1200, 9000]]);
        let steps = candidates(&story);
        assert!(steps.iter().any(|s| matches!(&s.steps[2].verb, Some(Verb::ClockStep(c)) if c.by_ms == -5000)));
    }
}
