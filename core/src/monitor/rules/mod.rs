//! The rule table. A rule has a number and a name, which appear in events, timelines and logs; the
//! first that matches fires, and the table is run again until none does. Rules look at the whole
//! group, never at who happened to call, so time alone can fire them as well.
//!
//! 1xx joining and leaving, 2xx moving the role, 3xx standbys, 4xx contracts.

mod contracts;
mod doubt;
mod election;
mod joining;
mod standbys;
#[cfg(test)]
pub mod testing;
mod transfer;

pub use election::call_votes;
pub use transfer::{begin as begin_transfer, can_keep_the_role, give_back};

use crate::monitor::edit::Edit;
use crate::monitor::view::View;

/// What a rule wants, and the sentence the event log shows; an empty one is nothing an operator need read.
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

/// Number of the rule that ends a doubt.
pub const ADOPT: u16 = 109;

pub const RULES: &[Rule] = &[
    rule(ADOPT, "adopt", doubt::adopt),
    rule(101, "forget_dropped", joining::forget_dropped),
    rule(103, "left_alone", joining::left_alone),
    rule(221, "elect", election::elect),
    rule(223, "fetched", election::fetched),
    rule(201, "call_off", transfer::call_off),
    rule(225, "start_over", election::start_over),
    rule(227, "return_of_the_old", election::return_of_the_old),
    rule(203, "old_primary_died", transfer::old_primary_died),
    rule(205, "drained", transfer::drained),
    rule(207, "seal", transfer::seal),
    rule(209, "open", transfer::open),
    rule(OPENED, "opened", transfer::opened),
    rule(213, "hand_over", transfer::hand_over),
    rule(215, "fail_over", election::fail_over),
    rule(217, "lineage", transfer::lineage),
    rule(401, "confirmed", contracts::confirmed),
    rule(403, "degrade", contracts::degrade),
    rule(405, "reopen_alone", contracts::reopen_alone),
    rule(407, "synchronous", contracts::synchronous),
    rule(409, "kept", contracts::kept),
    rule(411, "asynchronous", contracts::asynchronous),
    rule(105, "make_room", joining::make_room),
    rule(107, "clone", joining::clone),
    rule(301, "demote", standbys::demote),
    rule(303, "rejoin", standbys::rejoin),
    rule(305, "caught_up", standbys::caught_up),
    rule(307, "fell_behind", standbys::fell_behind),
    rule(309, "maintain", standbys::maintain),
    rule(311, "left_over", standbys::left_over),
    rule(313, "let_go_of_wal", standbys::let_go_of_wal),
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
