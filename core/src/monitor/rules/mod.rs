//! The rule table. A rule has a number and a name, which appear in events, timelines and logs; the
//! first that matches fires, and the table is run again until none does. Rules look at the whole
//! group, never at who happened to call, so time alone can fire them as well.
//!
//! 1xx joining and leaving, 2xx moving the role, 3xx standbys, 4xx contracts.

mod contracts;
mod doubt;
mod election;
mod give_back;
mod joining;
mod lease;
mod lineage;
mod standbys;
#[cfg(test)]
pub mod testing;
mod transfer;

pub use doubt::{adopt_open, elect_in_doubt, is_given_time, open_again};
pub use election::call_votes;
pub use give_back::{can_keep_the_role, give_back};
pub use lease::{is_unminded, is_within_policy, lease_is_over};
pub use transfer::{LAST_RECORD, answered_for, begin as begin_transfer};

use crate::monitor::edit::Edit;
use crate::monitor::view::View;

/// What a rule wants, and the sentence the event log shows; an empty one is nothing an operator need read.
pub type Verdict = (Vec<Edit>, String);

pub struct Rule {
    pub number: u16,
    pub name: &'static str,
    /// When it fires, and what it does.
    pub says: &'static str,
    pub fire: Fire,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

type Fire = fn(&View) -> Option<Verdict>;

const fn rule(number: u16, name: &'static str, says: &'static str, fire: Fire) -> Rule {
    Rule { number, name, says, fire }
}

/// Number of the rule by which a handover is drained.
pub const DRAINED: u16 = 205;

/// Number of the rule by which another node is told to open.
pub const OPEN: u16 = 209;

/// Number of the rule that ends a transfer; its events tell where the time went.
pub const OPENED: u16 = 211;

/// Numbers of the rules by which a move of the role is called off: whatever it was asked for is not done.
pub const GIVEN_BACK: [u16; 2] = [201, 227];

/// Numbers of the rules by which a move of the role begins that nobody asked for.
pub const BEGUN: [u16; 2] = [213, 215];

/// Numbers of the rules that end a doubt.
pub const END_DOUBT: [u16; 2] = [109, 111];

pub const RULES: &[Rule] = &[
    rule(
        109,
        "adopt",
        "the group is in doubt, and of the open nodes one was given the role last, as enough of its members say: it leads",
        doubt::adopt,
    ),
    rule(
        111,
        "vouched",
        "the group is in doubt with nobody open, and enough members know of no later election: the last primary opens again",
        doubt::vouched,
    ),
    rule(
        101,
        "forget_dropped",
        "a dropped node has stopped, or nobody waits for it, and no contract counts on it: it is forgotten",
        joining::forget_dropped,
    ),
    rule(103, "left_alone", "the last node of a group acknowledges alone for good: it is single", joining::left_alone),
    rule(
        221,
        "elect",
        "the sealed votes prove a winner: it takes over, or first fetches the WAL it lacks",
        election::elect,
    ),
    rule(223, "fetched", "the winner holds what it lacked: it takes over", election::fetched),
    rule(
        201,
        "call_off",
        "the candidate can't take over and the old primary can: the role goes back",
        give_back::call_off,
    ),
    rule(
        225,
        "start_over",
        "the winner is lost or doesn't get on and others are there, or its source is lost: all votes are taken again",
        election::start_over,
    ),
    rule(
        227,
        "return_of_the_old",
        "no election can be won, and the old primary is back: it keeps the role",
        election::return_of_the_old,
    ),
    rule(
        231,
        "reopen_the_old",
        "the primary of an async group is back, closed, and no votes could prove as much: it has its time to open again",
        lease::reopen_the_old,
    ),
    rule(
        229,
        "waive",
        "a handover of an async group has become a failover, and the old lease has ended: policy answers for the rest",
        lease::waive,
    ),
    rule(
        203,
        "old_primary_died",
        "the old primary of a handover can't be waited for any more: go on as after a failure",
        transfer::old_primary_died,
    ),
    rule(
        DRAINED,
        "drained",
        "the old primary has stopped in order: the candidate is sealed once it holds the last record",
        transfer::drained,
    ),
    rule(207, "seal", "after a failure the candidate is ready: it stops receiving", transfer::seal),
    rule(
        OPEN,
        "open",
        "the candidate is sealed and holds every acknowledged commit, or somebody answers for the rest: it opens",
        transfer::open,
    ),
    rule(OPENED, "opened", "the new primary is open: the transfer is over", transfer::opened),
    rule(
        233,
        "closed_again",
        "the new primary was open, if not for long, and is back, closed until its members hold what it holds: the transfer is over",
        lineage::closed_again,
    ),
    rule(
        217,
        "lineage",
        "the primary is on another timeline than known: it is what all are compared with",
        lineage::lineage,
    ),
    rule(213, "hand_over", "the primary's service is being stopped: it hands over to a standby", transfer::hand_over),
    rule(
        219,
        "followed",
        "the new primary is lost before it has told its timeline, and standbys have followed it there: it is the lineage",
        lineage::followed,
    ),
    rule(
        215,
        "fail_over",
        "the primary is lost and enough standbys are there: one takes over, or they elect one",
        election::fail_over,
    ),
    rule(
        401,
        "confirmed",
        "every process of the primary runs under the newest contract: the older ones are moot",
        contracts::confirmed,
    ),
    rule(
        403,
        "degrade",
        "too few members are left and the formation prefers to go on: recorded first, then told",
        contracts::degrade,
    ),
    rule(405, "reopen_alone", "the closed primary has no members left: it opens again, alone", contracts::reopen_alone),
    rule(
        407,
        "synchronous",
        "standbys have caught up, or can't be counted on any more: the contract changes",
        contracts::synchronous,
    ),
    rule(409, "kept", "the members of a new primary have come over to it: it is primary", contracts::kept),
    rule(
        411,
        "asynchronous",
        "the group is async: primary with a standby, wait_primary without",
        contracts::asynchronous,
    ),
    rule(105, "make_room", "a new standby waits and the primary is single: it makes room", joining::make_room),
    rule(107, "clone", "a new standby waits and the primary can be cloned", joining::clone),
    rule(301, "demote", "a node gave the role up and another holds it: it is demoted", standbys::demote),
    rule(303, "rejoin", "a demoted node is heard and the primary can be followed", standbys::rejoin),
    rule(305, "caught_up", "both sides say that a standby streams and is close: it is secondary", standbys::caught_up),
    rule(
        307,
        "fell_behind",
        "a secondary that no contract counts on is away, or one comes too late for the WAL it needs: it has to catch up again",
        standbys::fell_behind,
    ),
    rule(309, "maintain", "no contract counts on a standby that goes to maintenance: it is let go", standbys::maintain),
    rule(
        311,
        "left_over",
        "a vote or a candidacy is left over from an earlier transfer: the node follows the primary",
        standbys::left_over,
    ),
    rule(
        313,
        "let_go_of_wal",
        "every node is past a WAL segment: the slots of standbys may let go of it",
        standbys::let_go_of_wal,
    ),
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
