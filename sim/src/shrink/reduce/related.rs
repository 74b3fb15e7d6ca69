//! A fault and its mend, or all that befalls one node: neither may go alone, both may go together.

use super::steps::{selectors, without};
use pgbaton_core::scenario::{Scenario, Selector, Step, Verb};

pub fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let steps = &scenario.steps;
    let mut out: Vec<Scenario> = Vec::new();
    for who in everybody(steps) {
        let about = |step: &Step| selectors(step).any(|s| *s == who);
        out.push(without(scenario, &(0..steps.len()).filter(|i| about(&steps[*i])).collect()));
    }
    for (i, first) in steps.iter().enumerate() {
        let later = (i + 1..steps.len()).filter(|j| related(first, &steps[*j]));
        out.extend(later.map(|j| without(scenario, &[i, j].into())));
    }
    out
}

fn everybody(steps: &[Step]) -> Vec<Selector> {
    let mut all: Vec<Selector> = Vec::new();
    for selector in steps.iter().flat_map(selectors) {
        if !all.contains(selector) {
            all.push(selector.clone());
        }
    }
    all
}

fn related(first: &Step, later: &Step) -> bool {
    let share = |one: &Step| selectors(one).any(|s| selectors(later).any(|t| s == t));
    let binds = first.bind.as_ref().is_some_and(|name| selectors(later).any(|s| *s == Selector::Bound(name.clone())));
    share(first) || binds || mends(first.verb.as_ref(), later.verb.as_ref())
}

/// Verbs that name nobody and yet belong together.
fn mends(first: Option<&Verb>, later: Option<&Verb>) -> bool {
    match (first, later) {
        (Some(fault), Some(Verb::Heal(_))) => matches!(
            fault,
            Verb::Cut(_)
                | Verb::CutOneWay(_)
                | Verb::HalfOpen(_)
                | Verb::Isolate(_)
                | Verb::Slow(_)
                | Verb::Lose(_)
                | Verb::Reorder(_)
                | Verb::Repeat(_)
                | Verb::Swizzle(_)
        ),
        (
            Some(Verb::KillMonitor(_)),
            Some(Verb::StartMonitor(_) | Verb::RestoreMonitor(_) | Verb::ReplaceMonitor(_)),
        ) => true,
        (Some(Verb::SaveMonitor(_)), Some(Verb::RestoreMonitor(_))) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::story;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_fault_goes_with_its_mend() {
        let story = story(
            r#"
[[step]]
do = { cut = ["a", "b"] }
[[step]]
do = { pause = "c" }
[[step]]
do = { heal = {} }
[[step]]
do = { resume = "c" }
"#,
        );
        let left: BTreeSet<String> = candidates(&story)
            .iter()
            .map(|s| s.steps.iter().map(|s| s.verb.as_ref().map_or("", Verb::describe)).collect::<Vec<_>>().join(", "))
            .collect();
        assert!(left.contains("pause, resume"), "{left:?}");
        assert!(left.contains("cut the link between, mend all links"), "{left:?}");
    }
}
