//! Writes that somebody gave up: an operator by consent, or the policy of an async formation, each time with one
//! promotion, which takes away what the old primary may have acknowledged and may go on to acknowledge; or an operator
//! who chose another history. A policy gives up no write that a standby had to acknowledge, as long as the contract that
//! says so is on record.

use super::contracts::{self, Demand};
use super::rogues::Rogues;
use super::roles::{Promotion, Role, is_reset, promotions};
use super::trace::{Event, Kind, Trace};
use super::unfenced::Unfenced;
use crate::model::{Moment, Timeline, Waiver};
use crate::monitor::commands::CHOSEN;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For so long an old primary whose lease has ended may go on, by what its clients see.
const LINGERS: Duration = Duration::from_secs(1);

pub struct GivenUp<'a> {
    moves: Vec<Loss<'a>>,
    /// When a history was chosen.
    chosen: Vec<Moment>,
    /// Acknowledged by who was not waited for.
    late: BTreeSet<u64>,
}

/// A promotion that somebody answers for.
struct Loss<'a> {
    moved: Promotion<'a>,
    /// What had been acknowledged before this stays.
    from: Moment,
}

impl<'a> GivenUp<'a> {
    pub fn of(trace: &'a Trace) -> GivenUp<'a> {
        let chooses = |kind: &Kind| matches!(kind, Kind::Node { description, .. } if description.contains(CHOSEN));
        let mut unfenced = Unfenced::of(trace);
        let mut late = BTreeSet::new();
        for event in &trace.events {
            unfenced.follow(event);
            match &event.kind {
                Kind::Acked { id, node, sent, .. } if unfenced.has(node, *sent) => _ = late.insert(*id),
                _ => {}
            }
        }
        let inherited = inherited(trace);
        let loss = |moved: Promotion<'a>| {
            let from = match moved.waiver? {
                Waiver::Operator => Moment::ZERO,
                Waiver::Policy => Alone::until(trace, moved.at).bound()?,
            };
            let kept = inherited.get(&moved.at).copied().unwrap_or(Moment::ZERO);
            Some(Loss { moved, from: from.max(kept) })
        };
        GivenUp {
            moves: promotions(trace).into_iter().filter_map(loss).collect(),
            chosen: trace.events.iter().filter(|e| chooses(&e.kind)).map(|e| e.at).collect(),
            late,
        }
    }

    /// Whether this write may be missing, as it was seen to be at `missed`, that this node had acknowledged, or shown, at
    /// that moment: it held the role then, or it had handed the write on to who did. Nobody gives up what is gone already.
    pub fn has(&self, id: u64, node: &str, at: Moment, missed: Moment) -> bool {
        let of = |Loss { moved, from }: &Loss| match moved.from == node {
            true => (*from..=moved.at + LINGERS).contains(&at),
            false => (*from..=moved.since).contains(&at),
        };
        self.late.contains(&id)
            || self.chosen.iter().any(|chosen| (at..=missed).contains(chosen))
            || self.moves.iter().any(|loss| loss.moved.at <= missed && of(loss))
    }
}

/// Until when each promotion, by its moment, gives nothing up: whoever leaves a timeline that a primary before it began has
/// all that this one began with. What is missing of that went when that one was promoted, and no later word covers it.
fn inherited(trace: &Trace) -> BTreeMap<Moment, Moment> {
    let (mut role, mut rogues) = (Role::default(), Rogues::default());
    let mut began: BTreeMap<Timeline, Moment> = BTreeMap::new();
    let mut inherited = BTreeMap::new();
    for event in &trace.events {
        role.follow(event.at, &event.kind);
        rogues.follow(&event.kind);
        let Kind::Branched { node, tli, parent, .. } = &event.kind else { continue };
        // What a hand promotes may hold anything.
        let told = role.since.filter(|_| role.holder == Some(node) && !rogues.has(node));
        let Some(told) = told else { continue };
        if let Some(began) = began.get(parent) {
            inherited.entry(told).or_insert(*began);
        }
        began.entry(*tli).or_insert(told);
    }
    inherited
}

/// How long commits may have waited for nobody, by what is on record.
struct Alone {
    /// Since when, if they may.
    since: Option<Moment>,
    /// What was on record as well when that began, and is still: whoever is promoted is proven complete under it, so
    /// everything from before is there.
    kept: Vec<Demand>,
    recorded: Vec<Demand>,
    /// The monitor has got another store, and what that one has on record may be long over.
    outdated: bool,
}

impl Alone {
    /// Nobody knows yet.
    const UNKNOWN: Alone = Alone { since: Some(Moment::ZERO), kept: vec![], recorded: vec![], outdated: false };

    /// As it was when it was decided, at that moment, who is promoted.
    fn until(trace: &Trace, decided: Moment) -> Alone {
        let mut alone = Alone::UNKNOWN;
        trace.events.iter().take_while(|e| e.at < decided).for_each(|event| alone.follow(event));
        alone
    }

    fn follow(&mut self, event: &Event) {
        if is_reset(&event.kind) {
            *self = Alone { outdated: true, ..Alone::UNKNOWN };
        }
        let Kind::Node { in_force, .. } = &event.kind else { return };
        let recorded = contracts::read(in_force).unwrap_or_default();
        let may_be_alone = recorded.iter().any(|c| c.k == 0);
        // A monitor that finds that others know more takes any commit to have been acknowledged alone.
        self.outdated &= !may_be_alone;
        if recorded.is_empty() || self.outdated {
            return;
        }
        if !may_be_alone {
            (self.since, self.kept) = (None, vec![]);
        } else if self.since.is_none() {
            self.since = Some(event.at);
            self.kept.clone_from(&self.recorded);
        }
        self.kept.retain(|c| recorded.contains(c));
        self.recorded = recorded;
    }

    /// From when on a policy may give up what was acknowledged; `None` when no commit was without a standby.
    fn bound(&self) -> Option<Moment> {
        self.since.map(|since| if self.kept.is_empty() { Moment::ZERO } else { since })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::trace::Fault;
    use super::*;
    use crate::model::NodeState::*;

    const END: Moment = Moment(10_000_000);

    #[test]
    fn only_what_the_old_primary_had_until_then_is_given_up() {
        let run = |waiver| {
            trace(vec![
                (0, node("a", Primary, Primary, 1)),
                (1000, given_up("b", 2, None)),
                (2000, given_up("c", 3, waiver)),
            ])
        };
        let gave = |waiver, node, at: u64| GivenUp::of(&run(waiver)).has(7, node, Moment(at * 1000), END);
        let by_consent = |node, at| gave(Some(Waiver::Operator), node, at);
        assert!(by_consent("b", 1900));
        assert!(by_consent("b", 3000), "its clients are told late");
        assert!(!by_consent("b", 3001));
        assert!(by_consent("a", 900), "b had it from a");
        assert!(!by_consent("a", 1100), "b was told to open by then");
        assert!(!by_consent("c", 2100));
        assert!(!gave(None, "b", 1900));
    }

    #[test]
    fn a_consent_covers_nothing_that_the_promotion_before_it_took_away() {
        let gave = |parent: u32, waiver, node, at: u64| {
            let run = trace(vec![
                (0, under("a", Primary, Primary, 1, "none")),
                (1000, given_up("b", 2, None)),
                (1001, branched("b", 2, 1, 100)),
                (2000, given_up("c", 3, Some(waiver))),
                (2001, branched("c", 3, parent, 200)),
            ]);
            GivenUp::of(&run).has(7, node, Moment(at * 1000), END)
        };
        for waiver in [Waiver::Operator, Waiver::Policy] {
            assert!(!gave(2, waiver, "a", 900), "c has all that b had of it");
            assert!(gave(2, waiver, "b", 1500), "it wrote that on its own timeline");
            assert!(gave(1, waiver, "a", 900), "c leaves that of a, perhaps before b did");
        }
    }

    #[test]
    fn a_history_that_is_chosen_gives_up_what_was_there_before_and_an_order_that_changes_nothing_gives_up_nothing() {
        let chosen = |said: &str, missed| {
            let row = saying(format!("timeline 2 {said}: b was promoted"), node("a", Primary, Primary, 1));
            let order = "AcceptTimeline { tli: 2 }".into();
            let told = Kind::Told { order, answer: super::super::Answered::Accepted };
            let run = trace(vec![(0, node("a", Primary, Primary, 1)), (5000, row), (5000, told)]);
            GivenUp::of(&run).has(7, "a", Moment(4_000_000), Moment(missed))
        };
        assert!(chosen(CHOSEN, 5_000_000));
        assert!(!chosen(CHOSEN, 4_900_000), "it was gone before that");
        assert!(!chosen("is another's", 5_000_000));
    }

    #[test]
    fn what_is_acknowledged_by_who_was_not_waited_for_is_given_up() {
        let acked_late = |more: Vec<(u64, Kind)>| {
            let row = given_up("b", 2, Some(Waiver::Operator));
            let begin = [(0, node("a", Primary, Primary, 1)), (1000, row)];
            let run = trace(begin.into_iter().chain(more).chain([(9000, acked(7, "a", 8900))]).collect());
            GivenUp::of(&run).has(7, "a", Moment(9_000_000), END)
        };
        assert!(acked_late(vec![]));
        assert!(!acked_late(vec![(2000, stored("a", 2, Demoted, None))]), "it had heard of it");
    }

    /// Whether a policy that promotes b at 9 s gives up what a had acknowledged at this moment, with this on record from
    /// 1 s on, each a second after the other.
    fn policy_gives_up(recorded: &[&str], acked: u64) -> bool {
        let row = |(second, in_force): (u64, &&str)| (second * 1000, under("a", Primary, Primary, 1, in_force));
        let rows = (1..).zip(recorded).map(row);
        let run = trace(rows.chain([(9000, given_up("b", 2, Some(Waiver::Policy)))]).collect());
        GivenUp::of(&run).has(7, "a", Moment(acked * 1000), END)
    }

    #[test]
    fn a_policy_gives_up_what_was_acknowledged_alone() {
        assert!(policy_gives_up(&["none"], 500) && policy_gives_up(&["none"], 8000));
        for recorded in [&["any 1 of (2, 3)"][..], &["none", "any 1 of (2, 3)"]] {
            assert!(!policy_gives_up(recorded, 500) && !policy_gives_up(recorded, 8000), "no commit went without");
        }
        let joins = &["none", "none; any 1 of (2, 3)"];
        assert!(policy_gives_up(joins, 1500) && policy_gives_up(joins, 8000), "who is new proves nothing about before");
    }

    #[test]
    fn what_a_standby_had_to_acknowledge_is_kept_as_long_as_the_contract_is_on_record() {
        let told = &["any 1 of (2, 3)", "any 1 of (2, 3); none"];
        assert!(!policy_gives_up(told, 1999) && policy_gives_up(told, 2000));
        let confirmed = &["any 1 of (2, 3)", "any 1 of (2, 3); none", "none"];
        assert!(policy_gives_up(confirmed, 1999));
        let back = &["any 1 of (2, 3)", "any 1 of (2, 3); none", "none", "none; any 1 of (2, 3)"];
        assert!(policy_gives_up(back, 1999), "it is another, with the same terms");
        let narrowed = &["any 1 of (2, 3)", "any 1 of (2, 3); any 1 of (2)", "any 1 of (2)", "any 1 of (2); none"];
        assert!(!policy_gives_up(narrowed, 1500), "b has caught up since");
        let twice = &["none", "none; any 1 of (2)", "any 1 of (2)", "any 1 of (2); none"];
        assert!(!policy_gives_up(twice, 1500) && policy_gives_up(twice, 4000));
    }

    #[test]
    fn what_another_store_has_on_record_keeps_nothing() {
        let gives_up = |acked: u64, after: &[&str]| {
            let before = [(0, under("a", Primary, Primary, 1, "none")), (1000, fault(Fault::MonitorStore, &[]))];
            let rows = (2..).zip(after).map(|(at, of)| (at * 1000, under("a", Primary, Primary, 4, of)));
            let moved = (9000, given_up("b", 5, Some(Waiver::Policy)));
            let run = trace(before.into_iter().chain(rows).chain([moved]).collect());
            GivenUp::of(&run).has(7, "a", Moment(acked * 1000), END)
        };
        let doubted = ["any 1 of (2)", "any 1 of (2); none", "none; any 1 of (2)"];
        assert!(gives_up(500, &doubted), "it was acknowledged alone, and the old store knew nothing of that");
        let settled = [&doubted[..], &["any 1 of (2)", "any 1 of (2); none"]].concat();
        assert!(!gives_up(500, &settled), "b has caught up since");
    }
}
