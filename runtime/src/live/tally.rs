//! What many live stories came to, all together.

use super::chaos::Played;
use comfy_table::Table;
use pgbaton_core::check::price::{self, Price};
use pgbaton_core::check::{Fault, Kind, Trace, roles};
use pgbaton_core::scenario::ends::Agreement;
use pgbaton_core::scenario::words::PASSED_OVER;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Its judge knows whether a loss was allowed.
const NO_LOSS: &str = "no acknowledged write is lost";

#[derive(Debug, Default)]
pub struct Tally {
    pub violations: usize,
    plans: usize,
    faults: usize,
    orders: usize,
    moves: usize,
    acknowledged: usize,
    lost: usize,
    /// Lost by a policy that prefers it, or by an operator's consent.
    given_up: usize,
    /// The longest outage, and the seed and step it goes with.
    longest: Option<(f64, u64, String)>,
    prices: BTreeMap<String, Vec<Price>>,
    same: usize,
    lawful: usize,
}

impl Tally {
    pub fn add(&mut self, played: &Played, violations: usize) {
        self.plans += 1;
        self.violations += violations;
        match &played.agreement {
            Some(Agreement::Same) => self.same += 1,
            Some(Agreement::Lawful(_)) => self.lawful += 1,
            Some(Agreement::Differ(_)) | None => {}
        }
        let Ok(outcome) = &played.outcome else { return };
        self.strikes(&outcome.trace);
        self.moves += roles::promotions(&outcome.trace).len();
        self.acknowledged += outcome.counts.acknowledged;
        let allowed = outcome.verdicts.iter().all(|v| v.name != NO_LOSS || v.broken.is_none());
        let lost = outcome.counts.lost.unwrap_or_default();
        *(if allowed { &mut self.given_up } else { &mut self.lost }) += lost;
        for outage in &outcome.outages {
            if self.longest.as_ref().is_none_or(|(longest, ..)| outage.seconds > *longest) {
                self.longest = Some((outage.seconds, played.plan.seed, outage.step.clone()));
            }
        }
        if price::is_priced(&played.plan) {
            for price in price::prices(&outcome.trace) {
                self.prices.entry(price.what.clone()).or_default().push(price);
            }
        }
    }

    /// What was done, without what only ended it, or couldn't be done at its moment.
    fn strikes(&mut self, trace: &Trace) {
        let mut done =
            trace.events.iter().filter(|e| matches!(e.kind, Kind::Fault { .. } | Kind::Step { .. })).peekable();
        while let Some(event) = done.next() {
            let Kind::Fault { fault, .. } = &event.kind else { continue };
            let passed = |kind: &Kind| matches!(kind, Kind::Step { text } if text.starts_with(PASSED_OVER));
            match fault {
                _ if done.peek().is_some_and(|next| passed(&next.kind)) => {}
                Fault::Mend => {}
                Fault::Order => self.orders += 1,
                _ => self.faults += 1,
            }
        }
    }

    pub fn in_short(&self) -> String {
        format!(
            "{} plans, {} faults, {} moves of the role, {} acknowledged writes, {} lost, {} violations",
            self.plans, self.faults, self.moves, self.acknowledged, self.lost, self.violations
        )
    }

    pub fn text(&self, took: Duration) -> String {
        let mut out = String::new();
        if !self.prices.is_empty() {
            let _infallible = writeln!(
                out,
                "Writes were out, where one thing alone went wrong in a group in order:\n{}\n",
                self.table()
            );
        }
        if let Some((seconds, seed, step)) = &self.longest {
            let _infallible = writeln!(out, "longest outage of all: {seconds:.2} s, seed {seed}, {step}");
        }
        if self.same + self.lawful > 0 {
            let _infallible = writeln!(
                out,
                "in simulation the same roles: {} times; others, where the plan leaves it open: {} times",
                self.same, self.lawful
            );
        }
        if self.given_up > 0 {
            let _infallible =
                writeln!(out, "{} more writes were given up by an asynchronous policy or by consent", self.given_up);
        }
        let _infallible = write!(out, "{}, {} orders, in {:.0} s", self.in_short(), self.orders, took.as_secs_f64());
        out
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.set_header(["what went wrong", "times", "median", "longest", "budget", ""]);
        for (what, prices) in &self.prices {
            let mut out: Vec<Duration> = prices.iter().map(|price| price.out).collect();
            out.sort_unstable();
            let longest = out[out.len() - 1];
            let allowed = prices.iter().map(|price| price.allowed).max().unwrap_or_default();
            let over = if longest > allowed { "over" } else { "" };
            let times = [out[(out.len() - 1) / 2], longest, allowed].map(|d| format!("{:.2} s", d.as_secs_f64()));
            table.add_row([what.clone(), out.len().to_string()].into_iter().chain(times).chain([over.to_string()]));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Outcome;
    use super::*;
    use pgbaton_core::model::{Epoch, Moment, NodeId, NodeState, Waiver};
    use pgbaton_core::monitor::rules;
    use pgbaton_core::swarm::{Manner, plan};

    fn played(events: Vec<Kind>) -> Played {
        let mut trace = Trace::default();
        for (kind, at) in events.into_iter().zip(1..) {
            trace.push(Moment(at * 1_000_000), kind);
        }
        let outcome = Ok(Outcome::of(trace, vec![]));
        let agreement = Some(Agreement::Same);
        Played { plan: plan(1, &Manner::live(true)), took: Duration::ZERO, outcome, agreement }
    }

    #[test]
    fn only_what_was_done_counts_and_a_loss_that_a_policy_prefers_counts_apart() {
        let step = |text: &str| Kind::Step { text: text.into() };
        let fault = |fault| Kind::Fault { fault, nodes: vec!["a".into()] };
        let acked = Kind::Acked { client: 0, id: 1, node: "a".into(), sent: Moment::ZERO, warning: false };
        let found = Kind::Found { node: "b".into(), ids: [].into() };
        let story = || {
            vec![
                acked.clone(),
                step("kill everything on a"),
                fault(Fault::Machine),
                step("start the service of a"),
                fault(Fault::Mend),
                step("kill the postmaster of a"),
                fault(Fault::Postgres),
                step("passed over: Postgres of a isn't running"),
                step("switch over"),
                fault(Fault::Order),
                found.clone(),
            ]
        };
        let mut tally = Tally::default();
        tally.add(&played(story()), 1);
        assert_eq!((tally.faults, tally.orders, tally.lost, tally.given_up), (1, 1, 1, 0));
        let row = |node: &str, rule, text: &str| Kind::Node {
            node: node.into(),
            id: NodeId(1),
            reported: NodeState::Primary,
            goal: NodeState::Primary,
            epoch: Epoch(1),
            in_force: "none".into(),
            rule,
            description: text.into(),
        };
        let by_policy = row("b", Some(rules::OPEN), rules::answered_for(Waiver::Policy));
        let moves = story().into_iter().chain([by_policy]);
        tally.add(&played([row("a", None, "")].into_iter().chain(moves).collect()), 0);
        assert_eq!((tally.plans, tally.lost, tally.given_up, tally.violations), (2, 1, 1, 1));
        let text = tally.text(Duration::from_secs(9));
        assert!(text.contains("2 plans, 2 faults, 1 moves of the role, 2 acknowledged writes, 1 lost, 1 violations"));
        assert!(text.contains("1 more writes were given up") && text.contains("the same roles: 2 times"), "{text}");
    }
}
