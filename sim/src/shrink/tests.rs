//! Planted failures: a judge that is no simulation says of each story whether it fails.

use super::reduce::testing::story;
use super::*;
use pgbaton_core::scenario::{Selector, Step, Verb, expect, write};
use std::sync::Mutex;
use std::time::Duration;

const NAME: &str = "planted";

/// A long story in which only two steps matter, and those that mend what they do: a pause of b, and a death of c at
/// least 3 s later.
fn big_story() -> Scenario {
    let mut steps = String::from(
        "[cluster.settings]\nnumber_sync_standbys = 2\n[monitor]\ndrain_timeout = \"90s\"\n\
         [[workload]]\nkind = \"unique_inserts\"\nclients = 8\nrate = \"400/s\"\n\
         [[workload]]\nkind = \"unique_inserts\"\nclients = 3\nrate = \"70/s\"\nsticky = true\n",
    );
    for i in 0..10 {
        let noise = [
            format!("at = \"{}ms\"\ndo = {{ cut = [\"d\", \"e\"] }}", 5123 * (2 * i + 1)),
            "wait = \"300ms\"\ndo = { kill_keeper = \"@standby\" }\nas = \"gone\"".to_string(),
            if i == 3 { "do = { pause = \"b\" }" } else { "do = { resume = \"b\" }" }.to_string(),
            if i == 6 { "do = { kill_group = [\"c\", \"d\"] }" } else { "do = { start_service = \"$gone\" }" }
                .to_string(),
        ];
        noise.iter().for_each(|step| steps += &format!("[[step]]\n{step}\n"));
    }
    // All that was killed or frozen comes back, or the rest may not go alone.
    for node in ["b", "c", "d"] {
        steps +=
            &format!("[[step]]\ndo = {{ resume = \"{node}\" }}\n[[step]]\ndo = {{ start_service = \"{node}\" }}\n");
    }
    let mut story = story(&steps);
    story.finally.promotions = Some(2);
    story
}

fn is_pause(step: &Step) -> bool {
    step.verb == Some(Verb::Pause(Selector::Name("b".into())))
}

fn kills(step: &Step) -> bool {
    matches!(&step.verb, Some(Verb::KillGroup(nodes)) if nodes.contains(&Selector::Name("c".into())))
}

/// When each step begins, if nothing takes any time.
fn moments(scenario: &Scenario) -> Vec<Duration> {
    let mut now = Duration::ZERO;
    let moment = |step: &Step| {
        now = step.at.map_or(now, |at| now.max(at)) + step.wait.unwrap_or_default();
        now
    };
    scenario.steps.iter().map(moment).collect()
}

fn fails(scenario: &Scenario) -> bool {
    let steps = &scenario.steps;
    let (pause, kill) = (steps.iter().position(is_pause), steps.iter().position(kills));
    let moments = moments(scenario);
    let apart = pause.zip(kill).is_some_and(|(p, k)| moments[k] >= moments[p] + Duration::from_secs(3));
    apart && scenario.workload.iter().map(|w| w.rate).sum::<f64>() >= 10.0
}

fn planted(name: &str) -> Failure {
    Failure { name: name.to_string(), how: "it was planted".into(), invariant: true }
}

fn judge(scenario: &Scenario, _seed: u64) -> Vec<Failure> {
    if fails(scenario) { vec![planted(NAME)] } else { Vec::new() }
}

fn shrunk(scenario: &Scenario, options: &Options, judge: &Judge<'_>) -> Result<Shrunk, Holds> {
    shrink(scenario, 7, options, judge, &|| false, &|_| {})
}

#[test]
fn what_matters_is_left_and_nothing_else() {
    let big = big_story();
    assert_eq!(big.steps.len(), 46);
    let small = shrunk(&big, &Options::default(), &judge).unwrap();
    let text = write(&small.scenario, "");
    assert_eq!(small.scenario.steps.len(), 4, "{text}");
    assert!(text.contains("do = { resume = \"b\" }") && text.contains("do = { start_service = \"c\" }"), "{text}");
    assert_eq!(small.scenario.cluster.nodes, ["b", "c"], "{text}");
    assert!(text.contains("do = { pause = \"b\" }") && text.contains("do = { kill_group = [\"c\"] }"), "{text}");
    let gap = moments(&small.scenario)[small.scenario.steps.iter().position(kills).unwrap()];
    assert!((3..6).contains(&gap.as_secs()), "halved while it does: {text}");
    assert_eq!((small.to.clients, small.to.settings, small.scenario.finally.promotions), (1, 0, None), "{text}");
    assert!((10.0..20.0).contains(&small.to.rate), "{text}");
    assert!(!small.cut_short && small.runs < 1000, "{} runs", small.runs);
    assert!(fails(&small.scenario));
}

#[test]
fn the_result_does_not_depend_on_the_number_of_jobs() {
    let big = big_story();
    for most_runs in [40, 2000] {
        let with = |jobs| shrunk(&big, &Options { jobs, most_runs, ..Options::default() }, &judge).unwrap();
        let (one, four) = (with(1), with(4));
        assert_eq!((one.scenario, one.runs, one.cut_short), (four.scenario, four.runs, four.cut_short));
        assert!(one.runs <= most_runs);
        assert_eq!(one.cut_short, most_runs == 40);
    }
}

#[test]
fn a_story_that_breaks_something_else_is_not_taken() {
    // Without the cut another checker complains: the shrunk file would not hold once this failure is mended.
    let needs_a_cut = |scenario: &Scenario, seed: u64| {
        let mut failures = judge(scenario, seed);
        let cut = |step: &Step| matches!(step.verb, Some(Verb::Cut(_)));
        if !scenario.steps.iter().any(cut) {
            failures.insert(0, planted("another"));
        }
        failures
    };
    let small = shrunk(&big_story(), &Options::default(), &needs_a_cut).unwrap();
    assert_eq!((small.to.steps, small.to.nodes), (5, 4), "{}", write(&small.scenario, ""));
}

#[test]
fn the_failure_that_is_asked_for_is_kept() {
    let two = |scenario: &Scenario, seed: u64| [vec![planted("always")], judge(scenario, seed)].concat();
    let of = |failure: Option<&str>| {
        shrunk(&big_story(), &Options { failure: failure.map(Into::into), ..Options::default() }, &two)
            .map(|s| s.to.steps)
    };
    assert_eq!(of(None), Ok(0), "the first one needs no step");
    assert_eq!(of(Some(NAME)), Ok(4));
    assert_eq!(
        of(Some("none such")),
        Err(Holds { seeds: vec![7, 8, 9, 10], found: ["always".to_string(), NAME.to_string()].into() })
    );
}

#[test]
fn a_smaller_story_may_need_another_seed() {
    let by_chance = |scenario: &Scenario, seed: u64| match scenario.steps.len() {
        21.. => judge(scenario, seed),
        _ if seed == 9 => judge(scenario, seed),
        _ => Vec::new(),
    };
    let small = shrunk(&big_story(), &Options::default(), &by_chance).unwrap();
    assert_eq!((small.to.steps, small.scenario.seed, small.first_seed), (4, 9, 7));
    let stuck = shrunk(&big_story(), &Options { other_seeds: 1, ..Options::default() }, &by_chance).unwrap();
    assert!(stuck.to.steps > 20);
}

#[test]
fn a_story_that_holds_is_not_shrunk() {
    let seen = Mutex::new(Vec::new());
    let holds = |_: &Scenario, seed: u64| {
        seen.lock().unwrap().push(seed);
        Vec::new()
    };
    assert_eq!(shrunk(&big_story(), &Options::default(), &holds).unwrap_err().seeds, *seen.lock().unwrap());
    assert_eq!(*seen.lock().unwrap(), [7, 8, 9, 10]);
}

#[test]
fn the_terms_of_the_checkers_stay() {
    let mut big = big_story();
    big.finally.stalled = Some("waits".into());
    big.cluster.settings.durability = Some(pgbaton_core::model::Durability::Async);
    let kept = |scenario: &Scenario| {
        let terms = expect::terms(scenario);
        (terms.may_lose, terms.stalled, terms.core, terms.outage)
    };
    let small = shrunk(&big, &Options::default(), &judge).unwrap();
    assert_eq!(kept(&small.scenario), kept(&big));
    assert_eq!(small.scenario.steps.len(), 4);
}
