//! S2, measured: two servers may be open for writes at the same time as long as one of them can't acknowledge any, and not
//! for long: the one that lost its place hears so, or closes by itself. Not counted are servers whose keepers can do
//! nothing about it, while that is so.

use super::rogues::Rogues;
use super::trace::{Event, Fault, Kind, Trace};
use super::unfenced::{Frozen, Unfenced};
use crate::model::Moment;
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Beside the time after which a keeper closes by itself: for connections that are dead and don't know it, for clocks
/// that are slow, for a keeper to start, and for a stop to begin.
const MARGIN: Duration = Duration::from_secs(15);

/// What a keeper stores so much later is the word of a new one: nobody tells when one that died at a fault point is started
/// again.
const AGAIN: Duration = Duration::from_secs(1);

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut world = World {
        open: BTreeSet::new(),
        without_keeper: BTreeMap::new(),
        rogues: Rogues::default(),
        frozen: Frozen::of(trace),
        unfenced: Unfenced::of(trace),
    };
    let budget = trace.terms.closes_alone + MARGIN;
    let mut since: Option<Moment> = None;
    for event in &trace.events {
        if let Some(began) = since.filter(|began| event.at.since(*began) > budget) {
            let names: Vec<_> = world.at_large(event.at).collect();
            let began = began.seconds();
            return Err(format!(
                "{} are open side by side for more than {budget:?} from {began:.3} s on",
                names.join(" and ")
            ));
        }
        world.follow(event);
        since = (world.at_large(event.at).count() > 1).then(|| since.unwrap_or(event.at));
    }
    Ok(())
}

struct World<'a> {
    open: BTreeSet<&'a str>,
    /// And since when.
    without_keeper: BTreeMap<&'a str, Moment>,
    rogues: Rogues<'a>,
    frozen: Frozen<'a>,
    unfenced: Unfenced<'a>,
}

impl<'a> World<'a> {
    fn follow(&mut self, event: &'a Event) {
        self.rogues.follow(&event.kind);
        self.frozen.follow(event.at, &event.kind);
        self.unfenced.follow(event);
        match &event.kind {
            Kind::Opened { node, .. } => _ = self.open.insert(node),
            Kind::Closed { node } => _ = self.open.remove(node.as_str()),
            Kind::Fault { fault: Fault::Keeper | Fault::Machine | Fault::Disk | Fault::Service, nodes } => {
                self.without_keeper.extend(nodes.iter().map(|node| (node.as_str(), event.at)));
            }
            Kind::Stored { node, .. } => {
                let gone = self.without_keeper.get(node.as_str());
                if gone.is_some_and(|gone| event.at.since(*gone) >= AGAIN) {
                    self.without_keeper.remove(node.as_str());
                }
            }
            Kind::Fault { fault: Fault::Mend, nodes } => {
                nodes.iter().for_each(|node| _ = self.without_keeper.remove(node.as_str()));
            }
            // A keeper that waits for its store hears nothing.
            Kind::Step { text } => {
                if let Some(node) = text.strip_prefix(words::STALL_DISK) {
                    self.without_keeper.insert(node.trim_start(), event.at);
                } else if let Some(node) = text.strip_prefix(words::FREE_DISK) {
                    self.without_keeper.remove(node.trim_start());
                }
            }
            _ => {}
        }
    }

    /// Open, and a keeper could close them.
    fn at_large(&self, at: Moment) -> impl Iterator<Item = &'a str> {
        let keeps = move |node: &&str| {
            let helpless = self.without_keeper.contains_key(node) || self.frozen.is_still(node);
            !helpless && !self.rogues.has(node) && !self.unfenced.has(node, at)
        };
        self.open.iter().copied().filter(keeps)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    fn of(more: Vec<(u64, Kind)>) -> Result<(), String> {
        let begin = vec![(0, opened("a", 1)), (10, opened("b", 2))];
        let mut trace = trace(begin.into_iter().chain(more).collect());
        trace.terms.closes_alone = Duration::from_secs(20);
        trace.sort();
        check(&trace)
    }

    #[test]
    fn two_that_stay_open_are_found_when_the_time_is_over() {
        let later = |at| (at, node("b", Primary, Primary, 2));
        assert_eq!(of(vec![later(35_000)]), Ok(()));
        assert_eq!(
            of(vec![later(40_000)]).unwrap_err(),
            "a and b are open side by side for more than 35s from 0.010 s on"
        );
        assert_eq!(of(vec![(30_000, closed("a")), later(60_000)]), Ok(()));
        let again = vec![(30_000, closed("a")), (31_000, opened("a", 3)), later(60_000)];
        assert_eq!(of(again), Ok(()), "each time counts for itself");
    }

    #[test]
    fn one_that_no_keeper_can_close_is_not_counted_until_it_can() {
        let killed = |mended: u64| {
            let back = (mended, fault(Fault::Mend, &["a"]));
            of(vec![(5, fault(Fault::Keeper, &["a"])), back, (60_000, node("b", Primary, Primary, 2))])
        };
        assert_eq!(killed(50_000), Ok(()));
        assert!(killed(20_000).is_err());
        let begins = |at: u64| {
            let stores = (at, stored("a", 1, Primary, None));
            of(vec![(5, fault(Fault::Keeper, &["a"])), stores, (60_000, node("b", Primary, Primary, 2))])
        };
        assert_eq!(begins(500), Ok(()), "that was on its way");
        assert_eq!(begins(50_000), Ok(()));
        assert!(begins(20_000).is_err());
        let later = (60_000, node("b", Primary, Primary, 2));
        let step = |at: u64, text: &str| (at, Kind::Step { text: text.into() });
        assert_eq!(of(vec![step(5, "stall a disk of a"), step(50_000, "free a disk of a"), later.clone()]), Ok(()));
        assert!(of(vec![step(5, "stall a disk of a"), step(20_000, "free a disk of a"), later.clone()]).is_err());
        assert_eq!(of(vec![(5, Kind::Step { text: "suspend a".into() }), later.clone()]), Ok(()));
        assert_eq!(of(vec![(1, fault(Fault::Rogue, &["b"])), later.clone()]), Ok(()));
        let consented = vec![(1, node("a", Primary, Primary, 1)), (5, given_up("b", 2, Some(Waiver::Operator))), later];
        assert_eq!(of(consented), Ok(()), "nobody could reach it");
    }
}
