//! A world that says it sees something must see it: otherwise a checker would hold because it is blind.

use pgbaton_core::check::{Kind, Sense, judge};
use pgbaton_core::scenario::parse;
use pgbaton_sim::story;
use std::collections::BTreeSet;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kill_and_return.toml");
const HEAD: &str = "worlds = [\"sim\"]\nwhy = \"a link is cut\"\n";
/// Writes that only the old primary has, so that it must be rewound.
const UNSHIPPED: &str = r#"[[step]]
at = "9.9s"
do = { cut = ["@primary", "@standby"] }
[[step]]"#;
const SWITCHOVER: &str = r#"
[[step]]
wait = "1s"
do = { heal = {} }
[[step]]
until = { settled = true }
do = { switchover = {} }
"#;

fn sense(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Opened { .. } => Some("opened"),
        Kind::Closed { .. } => Some("closed"),
        Kind::Names { .. } => Some("names"),
        Kind::Branched { .. } => Some("branched"),
        Kind::Received { .. } => Some("received"),
        Kind::Rebuilt { gone, .. } if !gone.is_empty() => Some("rebuilt"),
        Kind::Stored { seal: Some(_), .. } => Some("stored"),
        Kind::Node { in_force, .. } if in_force.contains("any 1 of") => Some("contract"),
        Kind::Read { ids, .. } if !ids.is_empty() => Some("read"),
        Kind::Fault { .. } => Some("fault"),
        Kind::Asked { .. } => Some("asked"),
        Kind::Told { .. } => Some("told"),
        Kind::Healed => Some("healed"),
        Kind::Ended { runs: true, .. } => Some("ended"),
        Kind::Configured { follows: Some(_), .. } => Some("configured"),
        _ => None,
    }
}

#[test]
fn every_event_that_the_checkers_count_on_happens() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (story, end) = text.split_once("[finally]").unwrap();
    let story = story.replacen("[[step]]", UNSHIPPED, 1);
    let scenario = parse(FILE, &format!("{HEAD}{story}{SWITCHOVER}\n[finally]{end}")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 1..=3 {
        let trace = story::run(&scenario, seed).trace;
        assert_eq!(trace.sees, Sense::ALL.into(), "nothing is hidden in this world");
        let unjudged: Vec<_> = judge(&trace).into_iter().filter(|v| v.not_judged.is_some()).collect();
        assert!(unjudged.is_empty(), "{unjudged:?}");
        seen.extend(trace.events.iter().filter_map(|e| sense(&e.kind)));
    }
    assert_eq!(seen.len(), 15, "{seen:?}");
}
