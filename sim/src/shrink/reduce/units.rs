//! A drawn story is made of incidents that have nothing to do with each other: what begins one, and what ends it. They
//! are left out as a whole, many at once first; and the story ends sooner.

use super::super::mends::{breaks, mends};
use super::steps::{selectors, without};
use super::with;
use pgbaton_core::scenario::{Scenario, Selector, Step, Verb};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Stories without some of their incidents, then stories of some alone.
pub fn candidates(scenario: &Scenario, parts: usize) -> Vec<Scenario> {
    if !scenario.drawn {
        return Vec::new();
    }
    let units = units(&scenario.steps);
    let chunk = units.len().div_ceil(parts).max(1);
    let steps = |units: &[BTreeSet<usize>]| units.iter().flatten().copied().collect::<BTreeSet<usize>>();
    let all: BTreeSet<usize> = (0..scenario.steps.len()).collect();
    let alone = units.chunks(chunk).filter(|_| parts > 2).map(|kept| &all - &steps(kept));
    // What is left alone still ends with everything mended.
    let alone = alone.map(|gone| gone.into_iter().filter(|i| !is_last_word(&scenario.steps[*i])).collect());
    let without_one = units.chunks(chunk).map(steps);
    alone.chain(without_one).map(|gone: BTreeSet<usize>| without(scenario, &gone)).filter(|s| s != scenario).collect()
}

/// It mends whoever needs it, by name.
fn is_last_word(step: &Step) -> bool {
    let by_name = selectors(step).all(|s| matches!(s, Selector::Name(_)));
    by_name && step.verb.as_ref().is_some_and(|verb| mends(verb).is_some())
}

/// Steps that belong together, in the order of their first ones.
fn units(steps: &[Step]) -> Vec<BTreeSet<usize>> {
    let mut unit: Vec<usize> = (0..steps.len()).collect();
    for (i, step) in steps.iter().enumerate() {
        let later = (i + 1..steps.len()).filter(|j| belongs(step, &steps[*j]));
        // One mend is enough for whatever is not known by a name of its own.
        let named = step.bind.is_some();
        for j in later.take(if named { usize::MAX } else { 1 }) {
            let (from, to) = (unit[j].max(unit[i]), unit[j].min(unit[i]));
            unit.iter_mut().filter(|u| **u == from).for_each(|u| *u = to);
        }
        if is_of_links(step.verb.as_ref())
            && let Some(heal) = (i + 1..steps.len()).find(|j| matches!(steps[*j].verb, Some(Verb::Heal(_))))
        {
            let (from, to) = (unit[heal].max(unit[i]), unit[heal].min(unit[i]));
            unit.iter_mut().filter(|u| **u == from).for_each(|u| *u = to);
        }
    }
    let mut units: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (i, unit) in unit.into_iter().enumerate() {
        units.entry(unit).or_default().insert(i);
    }
    units.into_values().collect()
}

fn belongs(first: &Step, later: &Step) -> bool {
    if let Some(name) = &first.bind {
        return selectors(later).any(|s| *s == Selector::Bound(name.clone()));
    }
    let (Some(fault), Some(mend)) = (&first.verb, &later.verb) else { return false };
    if matches!((fault, mend), (Verb::SaveMonitor(_), Verb::RestoreMonitor(_))) {
        return true;
    }
    mends(mend).is_some_and(|mended| breaks(fault).contains(&mended))
}

fn is_of_links(verb: Option<&Verb>) -> bool {
    use Verb::*;
    matches!(verb, Some(Cut(_) | CutOneWay(_) | HalfOpen(_) | Isolate(_) | Slow(_) | Lose(_) | Reorder(_) | Repeat(_)))
}

/// How much of the time between the mends at the end stays.
const PAUSE: Duration = Duration::from_secs(10);
const EIGHTHS: usize = 8;

/// A story that ends sooner: from some moment on nothing more goes wrong, and what is broken is mended.
pub fn cuts(scenario: &Scenario) -> Vec<Scenario> {
    let times: Vec<Duration> = scenario.steps.iter().filter_map(|step| step.at).collect();
    let Some(last) = times.iter().max().filter(|_| scenario.drawn && times.len() == scenario.steps.len()) else {
        return Vec::new();
    };
    let moments = (1..EIGHTHS).map(|nth| *last * nth as u32 / EIGHTHS as u32);
    let all = moments.map(|moment| cut(scenario, times.partition_point(|at| *at < moment)));
    all.filter(|s| s.steps != scenario.steps).collect()
}

fn cut(scenario: &Scenario, end: usize) -> Scenario {
    let (before, after) = scenario.steps.split_at(end);
    let bound: BTreeSet<&String> = before.iter().filter_map(|step| step.bind.as_ref()).collect();
    let stays = |step: &Step| {
        let speaks_of_one = |s: &Selector| matches!(s, Selector::Bound(name) if bound.contains(name));
        let is_mend = step.verb.as_ref().is_some_and(|v| mends(v).is_some() || matches!(v, Verb::Heal(_)));
        selectors(step).any(speaks_of_one) || is_mend
    };
    let gone = after.iter().enumerate().filter(|(_, step)| !stays(step)).map(|(i, _)| end + i).collect();
    let from = before.iter().filter_map(|step| step.at).max().unwrap_or_default();
    with(&without(scenario, &gone), |s| {
        for step in &mut s.steps {
            step.at = step.at.map(|at| at.min(from + PAUSE));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::story;
    use super::*;

    const STEPS: &str = r#"
[[step]]
at = "5s"
do = { pause = "@primary" }
as = "n1"
[[step]]
at = "6s"
do = { cut = ["a", "b"] }
[[step]]
at = "7s"
do = { kill_group = ["a", "b"] }
[[step]]
at = "8s"
do = { resume = "$n1" }
[[step]]
at = "9s"
do = { switchover = {} }
[[step]]
at = "40s"
do = { heal = {} }
[[step]]
at = "41s"
do = { start_service = "a" }
[[step]]
at = "42s"
do = { start_service = "b" }
[[step]]
at = "80s"
do = { resume = "a" }
"#;

    fn drawn() -> Scenario {
        Scenario { drawn: true, ..story(STEPS) }
    }

    #[test]
    fn a_fault_and_its_mend_are_one_and_others_are_not() {
        let units: Vec<Vec<usize>> = units(&drawn().steps).into_iter().map(|u| u.into_iter().collect()).collect();
        assert_eq!(units, [vec![0, 3], vec![1, 5], vec![2, 6], vec![4], vec![7], vec![8]]);
        assert_eq!(candidates(&story(STEPS), 4), [], "people's stories hang together");
        let left: Vec<usize> = candidates(&drawn(), usize::MAX).iter().map(|s| s.steps.len()).collect();
        assert!(left.contains(&7) && left.contains(&8), "{left:?}");
    }

    #[test]
    fn a_story_that_ends_sooner_mends_what_it_has_broken() {
        let short = &cuts(&drawn())[0];
        let told: Vec<(u64, &str)> =
            short.steps.iter().map(|s| (s.at.unwrap().as_secs(), s.verb.as_ref().map_or("", Verb::describe))).collect();
        let expected = [
            (5, "pause"),
            (6, "cut the link between"),
            (7, "kill everything on"),
            (8, "resume"),
            (9, "switch over"),
            (19, "mend all links"),
            (19, "start the service of"),
            (19, "start the service of"),
            (19, "resume"),
        ];
        assert_eq!(told, expected);
        assert_eq!(cuts(&story(STEPS)), []);
    }
}
