//! Many drawn runs, one after the other on each of several threads, and what they came to all together.

use crate::report::Report;
use crate::shrink::{Failure, failures};
use crate::story;
use pgbaton_core::check::marks;
use pgbaton_core::check::price::{self, Price};
use pgbaton_core::check::roles;
use pgbaton_core::model::NodeState;
use pgbaton_core::scenario::Scenario;
use pgbaton_core::swarm::{self, Manner};
use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

/// What one seed came to. The trace itself is let go.
#[derive(Debug, Clone)]
pub struct Run {
    pub seed: u64,
    /// What was broken, a line each.
    pub broken: Vec<String>,
    /// The same by names, as `shrink` tells failures apart.
    pub failures: Vec<Failure>,
    pub tally: Tally,
}

/// What runs came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub runs: u64,
    pub simulated: Duration,
    pub promotions: u64,
    /// How many runs came to each of them.
    pub marks: BTreeMap<&'static str, u64>,
    pub rules: BTreeMap<u16, u64>,
    pub edges: BTreeMap<(NodeState, NodeState), u64>,
    pub prices: BTreeMap<String, Prices>,
}

/// The outages that one kind of fault has caused.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    pub out: Vec<Duration>,
    pub allowed: Duration,
    /// The first that cost more than allowed: the seed and what it was.
    pub broken: Option<(u64, Price)>,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.promotions += other.promotions;
        merge(&mut self.marks, other.marks);
        merge(&mut self.rules, other.rules);
        merge(&mut self.edges, other.edges);
        for (what, prices) in other.prices {
            let mine = self.prices.entry(what).or_default();
            mine.out.extend(prices.out);
            mine.allowed = mine.allowed.max(prices.allowed);
            // Whichever thread is faster, the lowest seed is named.
            mine.broken = [mine.broken.take(), prices.broken].into_iter().flatten().min_by_key(|(seed, _)| *seed);
        }
    }

    /// Marks that no run has come to, of those that a search must see or of the others.
    pub fn unseen(&self, must: bool) -> Vec<&'static str> {
        let never = marks::MARKS.iter().filter(|m| m.must == must && !self.marks.contains_key(m.name));
        never.map(|m| m.name).collect()
    }

    fn price(&mut self, seed: u64, price: Price) {
        let prices = self.prices.entry(price.what.clone()).or_default();
        prices.out.push(price.out);
        prices.allowed = prices.allowed.max(price.allowed);
        if price.out > price.allowed && prices.broken.is_none() {
            prices.broken = Some((seed, price));
        }
    }
}

fn merge<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}

/// The story of a seed, as it is drawn for this world alone.
pub fn plan(seed: u64) -> Scenario {
    swarm::plan(seed, &Manner::SIMULATED)
}

pub fn run(seed: u64, manner: &Manner) -> Run {
    let plan = swarm::plan(seed, manner);
    let report = Report::of(story::run(&plan, seed));
    let groups = report.outcome.trace.groups();
    let traces = || groups.iter().map(AsRef::as_ref);
    let mut tally = Tally {
        runs: 1,
        simulated: report.outcome.simulated,
        promotions: traces().map(|trace| roles::promotions(trace).len() as u64).sum(),
        // A run has come to it when one of its formations has.
        marks: traces().flat_map(marks::marks).map(|m| (m, 1)).collect(),
        rules: traces().flat_map(marks::rules).map(|r| (r, 1)).collect(),
        edges: traces().flat_map(marks::edges).map(|e| (e, 1)).collect(),
        prices: BTreeMap::new(),
    };
    if price::is_priced(&plan) {
        price::prices(&groups[0]).into_iter().for_each(|price| tally.price(seed, price));
    }
    Run { seed, broken: report.broken(), failures: failures(&report, &plan.nodes()), tally }
}

/// Runs seeds on so many threads until there are none left or `stop` says so, and gives each run to `each` as it ends.
pub fn runs(
    seeds: impl Iterator<Item = u64> + Send,
    manner: &Manner,
    jobs: usize,
    stop: &(dyn Fn() -> bool + Sync),
    mut each: impl FnMut(Run),
) {
    let seeds = Mutex::new(seeds);
    let (done, all) = mpsc::sync_channel::<Run>(jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (seeds, done) = (&seeds, done.clone());
            scope.spawn(move || {
                let next = || seeds.lock().expect("nobody panics with the lock").next();
                while !stop()
                    && let Some(seed) = next()
                {
                    if done.send(run(seed, manner)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        all.iter().for_each(&mut each);
    });
}

/// The line that brings a drawn run back.
pub fn replay(seed: u64, manner: &Manner) -> String {
    format!("reproduce: pgbaton-sim replay {seed}{}", as_live(manner))
}

/// What a command line says of the manner behind a seed.
pub fn as_live(manner: &Manner) -> &'static str {
    if manner.live { " --live" } else { "" }
}
