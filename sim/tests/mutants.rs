//! The hunt for planted bugs, in a build that takes them: cargo test --package pgbaton-sim --features mutants.
#![cfg(feature = "mutants")]

use pgbaton_core::mutants::{Mutant, current};
use pgbaton_core::scenario::{Scenario, parse};
use pgbaton_sim::hunt::{Hunted, blame, hunt, hunt_all, play};
use std::collections::BTreeSet;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kill_and_return.toml");
const ASYNC_AGAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/durability/async-again-and-lost.toml");

fn story(seed: u64) -> (Scenario, u64) {
    read(FILE, seed)
}

fn read(file: &str, seed: u64) -> (Scenario, u64) {
    let text = std::fs::read_to_string(file).unwrap();
    (parse(file, &text).unwrap(), seed)
}

fn hunted(mutant: Mutant) -> Hunted {
    hunt(&story, mutant, 0..2, || ())
}

#[test]
fn a_bug_is_found_where_it_shows_and_escapes_where_it_doesnt() {
    let all = hunt_all(2, &[Mutant::ContractLeavesWhenTold, Mutant::SlotsOnlyAdded], hunted);
    let caught = all[0].caught.as_ref().expect("a standby joins in this story");
    // Whichever shows first.
    let broken = ["nobody works alone before it is recorded", "what a primary enforces is on record"];
    assert!(broken.contains(&caught.invariant.as_str()) && all[0].runs == 1, "{caught:?} in {} runs", all[0].runs);
    assert!(all[1].caught.is_none() && all[1].runs == 2, "nobody leaves in this story: {:?}", all[1]);
    let again = hunted(Mutant::ContractLeavesWhenTold);
    assert_eq!(again.caught.as_ref(), Some(caught), "the same seeds find the same");
}

#[test]
fn what_a_standby_acknowledged_is_not_a_policys_to_give_up() {
    let found = hunt(&|seed| read(ASYNC_AGAIN, seed), Mutant::PolicyGivesUpAll, 0..1, || ());
    assert_eq!(found.caught.expect("it gives up what b acknowledged").invariant, "quorums meet");
}

#[test]
fn a_bug_is_planted_for_one_run_and_no_other() {
    let with = play(&story, 1, Some(Mutant::ContractLeavesWhenTold));
    assert!(blame(&with).is_some());
    assert_eq!(current(), None);
    let without = play(&story, 1, None);
    assert_eq!(blame(&without), None);
}

#[test]
fn names_are_unique_and_can_be_typed() {
    let names: BTreeSet<&str> = Mutant::ALL.iter().map(|m| m.name()).collect();
    assert_eq!(names.len(), Mutant::ALL.len());
    assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')), "{names:?}");
}
