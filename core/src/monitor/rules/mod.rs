//! The rule table. A rule has a number and a name, which appear in events, timelines and logs; the
//! first that matches fires, and the table is run again until none does. Rules look at the whole
//! group, never at who happened to call, so time alone can fire them as well.
//!
//! 1xx joining and leaving, 2xx moving the role, 3xx standbys, 4xx contracts.

mod contracts;
mod joining;
mod standbys;
#[cfg(test)]
pub mod testing;
mod transfer;

pub use transfer::begin as begin_transfer;

use crate::monitor::edit::Edit;
use crate::monitor::view::View;

/// What a rule wants, and the sentence the event log shows.
pub type Verdict = (Vec<Edit>, String);

pub struct Rule {
    pub number: u16,
    pub name: &'static str,
    pub fire: fn(&View) -> Option<Verdict>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

const fn rule(number: u16, name: &'static str, fire: fn(&View) -> Option<Verdict>) -> Rule {
    Rule { number, name, fire }
}

/// Number of the rule that ends a transfer; its events tell where the time went.
pub const OPENED: u16 = 211;

pub const RULES: &[Rule] = &[
    rule(101, "forget_dropped", joining::forget_dropped),
    rule(103, "left_alone", joining::left_alone),
    rule(201, "call_off", transfer::call_off),
    rule(203, "old_primary_died", transfer::old_primary_died),
    rule(205, "drained", transfer::drained),
    rule(207, "seal", transfer::seal),
    rule(209, "open", transfer::open),
    rule(OPENED, "opened", transfer::opened),
    rule(213, "hand_over", transfer::hand_over),
    rule(215, "fail_over", transfer::fail_over),
    rule(217, "lineage", transfer::lineage),
    rule(401, "confirmed", contracts::confirmed),
    rule(403, "degrade", contracts::degrade),
    rule(405, "reopen_alone", contracts::reopen_alone),
    rule(407, "synchronous", contracts::synchronous),
    rule(105, "make_room", joining::make_room),
    rule(107, "clone", joining::clone),
    rule(301, "demote", standbys::demote),
    rule(303, "rejoin", standbys::rejoin),
    rule(305, "caught_up", standbys::caught_up),
    rule(307, "fell_behind", standbys::fell_behind),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_unique() {
        let numbers: BTreeSet<_> = RULES.iter().map(|r| r.number).collect();
        let names: BTreeSet<_> = RULES.iter().map(|r| r.name).collect();
        assert_eq!((numbers.len(), names.len()), (RULES.len(), RULES.len()));
    }
}
