//! Fewer steps: neighbours go together, many first.

use super::with;
use pgbaton_core::scenario::{Scenario, Selector, Step, Verb};
use std::collections::BTreeSet;
use std::time::Duration;

pub fn candidates(scenario: &Scenario, parts: usize) -> Vec<Scenario> {
    let count = scenario.steps.len();
    let chunk = (count / parts).max(1);
    let starts = (0..count).step_by(chunk);
    starts.map(|from| without(scenario, &(from..(from + chunk).min(count)).collect())).collect()
}

/// Without these steps, and without those that speak of a node that only they had bound. The rest happens when it did.
pub fn without(scenario: &Scenario, gone: &BTreeSet<usize>) -> Scenario {
    let mut bound = BTreeSet::new();
    let mut late = Late::default();
    let mut kept = Vec::new();
    for (i, step) in scenario.steps.iter().enumerate() {
        if gone.contains(&i) || !selectors(step).all(|s| is_known(s, &bound)) {
            late.by(step);
            continue;
        }
        bound.extend(step.bind.clone());
        kept.push(late.of(step));
        late = Late::default();
    }
    with(scenario, |s| s.steps = kept)
}

/// The time that steps have taken which are gone.
#[derive(Default)]
struct Late {
    at: Option<Duration>,
    wait: Duration,
}

impl Late {
    fn by(&mut self, step: &Step) {
        if step.at.is_some() {
            *self = Late { at: step.at, wait: Duration::ZERO };
        }
        self.wait += step.wait.unwrap_or_default();
    }

    /// The next step, which has to wait for itself now.
    fn of(&self, step: &Step) -> Step {
        let mut step = step.clone();
        if step.at.is_none() && step.until.is_none() {
            let wait = self.wait + step.wait.unwrap_or_default();
            step.at = self.at.map(|at| at + wait);
            step.wait = Some(wait).filter(|wait| self.at.is_none() && !wait.is_zero());
        }
        step
    }
}

/// Everybody a step names.
pub fn selectors(step: &Step) -> impl Iterator<Item = &Selector> {
    let of_verb = step.verb.as_ref().map(Verb::selectors).unwrap_or_default();
    of_verb.into_iter().chain(step.until.as_ref().and_then(|condition| condition.selector()))
}

fn is_known(selector: &Selector, bound: &BTreeSet<String>) -> bool {
    !matches!(selector, Selector::Bound(name) if !bound.contains(name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::story;
    use super::*;

    const STEPS: &str = r#"
[[step]]
at = "5s"
do = { pause = "@primary" }
as = "old"
[[step]]
wait = "2s"
do = { heal = {} }
[[step]]
wait = "1s"
do = { resume = "$old" }
[[step]]
do = { kill_node = "b" }
"#;

    #[test]
    fn a_step_goes_with_those_that_need_it_and_the_rest_keeps_its_time() {
        let story = story(STEPS);
        let without = |gone: &[usize]| without(&story, &gone.iter().copied().collect()).steps;
        let steps = without(&[1]);
        assert_eq!((steps.len(), steps[1].wait), (3, Some(Duration::from_secs(3))));
        let steps = without(&[0]);
        assert_eq!(steps.len(), 2, "resume needs the step that bound its node");
        assert_eq!((steps[0].at, steps[0].wait), (Some(Duration::from_secs(7)), None));
        assert_eq!((steps[1].at, steps[1].wait), (None, Some(Duration::from_secs(1))), "as long after as before");
    }

    #[test]
    fn chunks_cover_the_story() {
        let story = story(STEPS);
        let left = |parts| candidates(&story, parts).iter().map(|s| s.steps.len()).collect::<Vec<_>>();
        assert_eq!(left(1), [0]);
        assert_eq!(left(2), [1, 2]);
        assert_eq!(left(usize::MAX), [2, 3, 3, 3]);
    }
}
