//! Invariants as pure folds over a trace: the same ones judge simulated and live runs. One file each.

mod bounded;
mod complete_candidate;
mod configuration;
mod consent_is_asked;
mod contract_at_the_end;
mod contracts;
mod convergence;
mod degraded_first;
mod earned_destruction;
mod enforced_is_recorded;
mod epochs_rise;
mod fence_first;
mod given_up;
mod groups;
mod identity;
mod legal_edges;
pub mod long_fork;
pub mod marks;
mod no_gratuitous_move;
mod no_limbo;
mod no_lost_read;
mod no_lost_write;
mod no_ping_pong;
mod no_resurrection;
mod one_history;
mod one_primary;
pub mod orders;
mod orders_answered;
pub mod outage;
mod outage_budget;
mod policy_bound;
pub mod price;
mod primary_returns;
mod quorums_meet;
mod reach;
mod rogues;
pub mod roles;
mod screen;
mod sealed_votes;
mod side_by_side;
pub mod stall;
mod succession;
#[cfg(test)]
pub(crate) mod testing;
mod told_why;
pub mod trace;
mod unfenced;
mod wal_kept_aside;
mod wal_of_members;
mod wal_told;

use serde::Serialize;

pub use convergence::are_settled;
pub use groups::Beside;
pub use outage::{Gap, gaps_by_step, longest_gap};
pub use screen::Screen;
pub use trace::{Answered, Event, Fault, Kind, Sense, Terms, Trace};

/// What an order says that gives up commits on purpose.
pub const CONSENT: &str = "allow data loss";

/// What a checker says of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub name: &'static str,
    /// How the invariant was broken, if it was.
    pub broken: Option<String>,
    /// Why nothing can be said of it, if so: then it neither holds nor is broken.
    pub not_judged: Option<String>,
}

impl Verdict {
    /// With that on the other group of the run: each says which it is about.
    fn beside(self, other: Verdict, place: &str) -> Verdict {
        let first = self.broken.map(|how| format!("in the first group: {how}"));
        let second = other.broken.map(|how| format!("{place}: {how}"));
        let broken = first.into_iter().chain(second).reduce(|first, second| format!("{first}; {second}"));
        Verdict { name: self.name, broken, not_judged: self.not_judged.or(other.not_judged) }
    }

    /// In words, for a report.
    pub fn word(&self) -> String {
        match (&self.broken, &self.not_judged) {
            (Some(how), _) => how.clone(),
            (None, Some(why)) => format!("not judged: {why}"),
            (None, None) => "holds".into(),
        }
    }
}

struct Checker {
    name: &'static str,
    /// What the world must have seen.
    needs: &'static [Sense],
    check: Check,
    of_drawn: OfDrawn,
}

/// Faults of a drawn story last and meet, and its timings are drawn: how long writes are out mostly says nothing there.
#[derive(Clone, Copy)]
enum OfDrawn {
    Judged,
    /// As far as each fault has a price.
    ByPrice,
    NotJudged,
}

type Check = fn(&Trace) -> Result<(), String>;

const fn checker(name: &'static str, needs: &'static [Sense], check: Check) -> Checker {
    Checker { name, needs, check, of_drawn: OfDrawn::Judged }
}

const fn timed(of_drawn: OfDrawn, name: &'static str, needs: &'static [Sense], check: Check) -> Checker {
    Checker { of_drawn, ..checker(name, needs, check) }
}

use Sense::*;

const CHECKERS: &[Checker] = &[
    checker("no acknowledged write is lost", &[], no_lost_write::check),
    checker("nobody works alone before it is recorded", &[Servers, Contracts], degraded_first::check),
    checker("what a primary enforces is on record", &[Servers, Contracts], enforced_is_recorded::check),
    checker("no write that was read is lost", &[Reads], no_lost_read::check),
    checker("at most one node acknowledges writes", &[], one_primary::check),
    checker("two open servers are soon one", &[Servers, Faults], side_by_side::check),
    checker("epochs only rise", &[], epochs_rise::monitor),
    checker("keepers store an epoch before they act", &[Keepers, Wal], epochs_rise::keepers),
    checker("one history per timeline", &[Wal, Keepers], one_history::check),
    checker("no fork is resurrected", &[Wal, Servers, Keepers], no_resurrection::check),
    checker("quorums meet", &[Contracts, Keepers], quorums_meet::check),
    checker("a sealed vote stands", &[Wal, Keepers], sealed_votes::check),
    checker("the promoted node is complete", &[Wal, Keepers], complete_candidate::check),
    checker("consent is asked for", &[Orders, Faults], consent_is_asked::check),
    checker("policy keeps to its bound", &[Wal, Screen], policy_bound::check),
    checker("WAL comes from members only", &[Wal], wal_of_members::check),
    checker("configuration agrees", &[Configuration, Ends], configuration::check),
    checker(
        "a primary at rest waits for its standbys",
        &[Contracts, Configuration, Ends, Orders],
        contract_at_the_end::check,
    ),
    checker("one database per group", &[Keepers, Configuration], identity::check),
    checker("destruction is earned", &[Wal], earned_destruction::check),
    checker("what a rewind takes away is kept", &[Wal], wal_kept_aside::check),
    checker("what was kept of WAL is told", &[Wal, Ends], wal_told::check),
    checker("every move is legal", &[], legal_edges::check),
    checker("the old primary is fenced first", &[Servers, Keepers], fence_first::check),
    checker("what is kept and repeated is bounded", &[Configuration, Faults], bounded::check),
    checker("a primary returns", &[Ends], primary_returns::check),
    checker("the group settles", &[Ends], convergence::check),
    checker("nobody is left in limbo", &[Ends], no_limbo::check),
    checker("the role moves for a reason", &[Faults], no_gratuitous_move::check),
    timed(OfDrawn::ByPrice, "an outage keeps to its budget", &[Faults], outage_budget::check),
    checker("orders are answered", &[Orders, Faults], orders_answered::check),
    checker("a stall is lawful", &[Ends, Faults], stall::check),
    timed(OfDrawn::NotJudged, "a long outage has its reason on show", &[Faults, Screen], told_why::check),
    checker("the role does not go to and fro", &[Faults], no_ping_pong::check),
];

/// Whether a group neither settled nor waits for a lawful reason.
pub fn is_unsettled(trace: &Trace) -> bool {
    trace.groups().iter().any(|group| convergence::check(group).is_err())
}

/// Every checker's verdict on a run: on each of its groups.
pub fn judge(trace: &Trace) -> Vec<Verdict> {
    let groups = trace.groups();
    let (first, beside) = (&groups[0], groups.get(1).zip(trace.beside.as_ref()));
    let judged = |checker: &Checker| {
        let verdict = checker.judge(first);
        match beside {
            Some((part, Beside { group, .. })) => verdict.beside(checker.judge(part), &Beside::place(group)),
            None => verdict,
        }
    };
    CHECKERS.iter().map(judged).collect()
}

impl Checker {
    fn judge(&self, trace: &Trace) -> Verdict {
        let name = self.name;
        let blind: Vec<String> =
            self.needs.iter().filter(|s| !trace.sees.contains(s)).map(|s| format!("{s:?}").to_lowercase()).collect();
        if !blind.is_empty() {
            let why = format!("this world doesn't see {}", blind.join(" and "));
            return Verdict { name, broken: None, not_judged: Some(why) };
        }
        let is_judged = match self.of_drawn {
            OfDrawn::Judged => true,
            OfDrawn::ByPrice => trace.terms.priced || !trace.terms.drawn,
            OfDrawn::NotJudged => !trace.terms.drawn,
        };
        if !is_judged {
            let why = "faults of a drawn story last and meet, under timings of their own".to_string();
            return Verdict { name, broken: None, not_judged: Some(why) };
        }
        match (self.check)(trace) {
            Ok(()) => Verdict { name, broken: None, not_judged: None },
            Err(how) => Verdict { name, broken: Some(how), not_judged: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::model::NodeState;

    #[test]
    fn a_blind_world_gets_no_verdict() {
        let of = |trace: &Trace, name: &str| judge(trace).into_iter().find(|v| v.name == name).unwrap();
        let mut run = trace(vec![(0, opened("a", 1)), (1, acked(1, "a", 0)), (9, found(&[]))]);
        assert_eq!(of(&run, "a sealed vote stands").word(), "not judged: this world doesn't see wal and keepers");
        assert!(of(&run, "no acknowledged write is lost").broken.is_some());
        run.sees = [Wal, Keepers].into();
        assert_eq!(of(&run, "a sealed vote stands").word(), "holds");
    }

    #[test]
    fn how_long_writes_are_out_in_a_drawn_story_is_not_judged() {
        let mut run = trace(vec![(1000, acked(1, "a", 999)), (99_000, acked(2, "a", 1001))]);
        run.sees = Sense::ALL.into();
        for (drawn, word) in [(true, "not judged: faults of a drawn story"), (false, "writes were out for 98.000 s")] {
            run.terms.drawn = drawn;
            let verdicts = judge(&run);
            for name in ["an outage keeps to its budget", "a long outage has its reason on show"] {
                let found = verdicts.iter().find(|v| v.name == name).unwrap().word();
                assert!(found.starts_with(word), "{name}: {found}");
            }
        }
    }

    #[test]
    fn a_trace_survives_its_json() {
        let run = trace(vec![(3, branched("b", 2, 1, 100)), (4, node("a", NodeState::Single, NodeState::Single, 1))]);
        let text = serde_json::to_string(&run).unwrap();
        let back: Trace = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = CHECKERS.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), CHECKERS.len());
    }
}
