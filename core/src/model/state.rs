//! The states of a node and the one table of legal moves between them.
//!
//! Monitor and keeper share this table, so a goal that a keeper can't reach can't be assigned: a
//! keeper walks [`NodeState::next_hop`] towards its goal, and a test below proves that a way exists
//! from every state to every goal.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

macro_rules! states {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// What a node is, or is told to become. Names are pg_auto_failover's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum NodeState { $(#[doc = $doc] $variant,)* }

        impl NodeState {
            pub const ALL: &'static [NodeState] = &[$(NodeState::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(NodeState::$variant => $name,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(NodeState::$variant => $doc,)* }
            }
        }
    };
}

states! {
    Init "init" "Registered; nothing exists locally yet.",
    Single "single" "Alone in its group; writable, nothing to replicate to.",
    WaitPrimary "wait_primary" "Writable without a standby that counts: commits are acknowledged by this node alone or, in a strict formation, wait.",
    Primary "primary" "Writable under a contract that names standbys.",
    Draining "draining" "Told to hand over: Postgres was stopped after its clients were let go.",
    DemoteTimeout "demote_timeout" "Closed: Postgres is stopped and waits for the monitor. Told to open again under a contract, it runs read-only, and others may follow or clone it, until enough members hold what it holds. Also what a primary assigns itself when it must close alone.",
    Demoted "demoted" "Closed for good in this epoch; another node holds the role.",
    WaitStandby "wait_standby" "New standby, waiting until the primary has made room for it.",
    Catchingup "catchingup" "Standby that runs but can't be promoted.",
    Secondary "secondary" "Standby that may be promoted, as soon as the primary has confirmed the contract that names it.",
    PreparePromotion "prepare_promotion" "Chosen to become primary; still receives WAL.",
    StopReplication "stop_replication" "Sealed: its receiver is proven gone, all WAL it holds is replayed, it is read-only.",
    ReportLsn "report_lsn" "Sealed for an election: receives nothing from anybody and reports all the WAL it holds.",
    FastForward "fast_forward" "Chosen in an election, fetches what a peer holds and it lacks.",
    PrepareMaintenance "prepare_maintenance" "Primary on its way to maintenance: Postgres was stopped after its clients were let go.",
    WaitMaintenance "wait_maintenance" "Standby on its way to maintenance: the primary stops counting on it first.",
    Maintenance "maintenance" "In the operator's hands: the keeper neither starts nor stops Postgres.",
    Dropped "dropped" "No longer part of the group.",
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a state; known are: {list}", list = NodeState::ALL.iter().map(|s| s.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownState(pub String);

impl FromStr for NodeState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<NodeState, UnknownState> {
        NodeState::ALL.iter().copied().find(|s| s.name() == text).ok_or_else(|| UnknownState(text.to_string()))
    }
}

use NodeState::*;

/// Every legal move, by the state it leads to, but those of [`CLOSED`]. From closed to standby there is one way only,
/// through `demoted`.
pub const EDGES: &[(NodeState, &[NodeState])] = &[
    (Single, &[Init, WaitPrimary, Primary, Draining, DemoteTimeout, Demoted, PrepareMaintenance]),
    (WaitPrimary, &[Single, Primary, StopReplication, Draining, DemoteTimeout, Demoted, PrepareMaintenance]),
    (Primary, &[WaitPrimary, Draining, DemoteTimeout, Demoted, PrepareMaintenance]),
    (Draining, &[Single, WaitPrimary, Primary, DemoteTimeout]),
    (Demoted, &[DemoteTimeout]),
    (WaitStandby, &[Init]),
    (
        Catchingup,
        &[
            WaitStandby,
            Demoted,
            Secondary,
            PreparePromotion,
            StopReplication,
            ReportLsn,
            FastForward,
            WaitMaintenance,
            Maintenance,
        ],
    ),
    (Secondary, &[Catchingup, WaitMaintenance]),
    (
        ReportLsn,
        &[Catchingup, Secondary, PreparePromotion, StopReplication, FastForward, WaitMaintenance, Maintenance, Demoted],
    ),
    (FastForward, &[ReportLsn]),
    (PreparePromotion, &[Secondary, ReportLsn, FastForward]),
    (StopReplication, &[PreparePromotion]),
    (PrepareMaintenance, &[Single, WaitPrimary, Primary, DemoteTimeout]),
    (WaitMaintenance, &[Catchingup, Secondary, ReportLsn]),
    (Maintenance, &[WaitMaintenance, PrepareMaintenance, Demoted]),
];

/// States that every other may become: closing is always safe. Nobody comes back from `dropped`.
pub const CLOSED: &[NodeState] = &[DemoteTimeout, Dropped];

impl NodeState {
    /// Clients may write here, as far as the state goes.
    pub fn is_writable(self) -> bool {
        matches!(self, Single | WaitPrimary | Primary)
    }

    /// The node holds the primary role or is giving it up.
    pub fn belongs_to_primary(self) -> bool {
        self.is_writable() || matches!(self, Draining | DemoteTimeout | PrepareMaintenance)
    }

    /// Held the role and has closed: should it be given the role again, it says so until it is open.
    pub fn has_closed(self) -> bool {
        matches!(self, Draining | DemoteTimeout | Demoted | PrepareMaintenance)
    }

    /// Chosen, not yet writable.
    pub fn is_being_promoted(self) -> bool {
        matches!(self, FastForward | PreparePromotion | StopReplication)
    }

    /// Postgres runs in this state, when all is well.
    pub fn runs_postgres(self) -> bool {
        self.is_writable() || self.connection() == "read-only"
    }

    pub fn may_become(self, to: NodeState) -> bool {
        let closes = CLOSED.contains(&to) && self != to && self != Dropped;
        closes || EDGES.iter().any(|(goal, from)| *goal == to && from.contains(&self))
    }

    /// The first step of a shortest legal way from here to `goal`; `None` when already there. The way to a
    /// goal that doesn't write never leads through a state that does.
    ///
    /// # Panics
    /// When there is no way: the table would be broken, which a test excludes.
    pub fn next_hop(self, goal: NodeState) -> Option<NodeState> {
        if self == goal {
            return None;
        }
        let mut came_from: BTreeMap<NodeState, NodeState> = BTreeMap::new();
        let mut queue = VecDeque::from([self]);
        while let Some(at) = queue.pop_front() {
            if at != self && at.is_writable() && !goal.is_writable() {
                continue;
            }
            for to in NodeState::ALL {
                if at.may_become(*to) && *to != self && !came_from.contains_key(to) {
                    came_from.insert(*to, at);
                    queue.push_back(*to);
                }
            }
        }
        let mut hop = goal;
        while came_from.get(&hop).copied().unwrap_or_else(|| panic!("no legal way from {self} to {goal}")) != self {
            hop = came_from[&hop];
        }
        Some(hop)
    }

    /// The word of the `Connection` column of `show state`, which follows from the reported state.
    pub fn connection(self) -> &'static str {
        match self {
            Single | WaitPrimary | Primary => "read-write",
            Catchingup | Secondary | PreparePromotion | StopReplication | ReportLsn | FastForward | WaitMaintenance => {
                "read-only"
            }
            Init | Draining | DemoteTimeout | Demoted | WaitStandby | PrepareMaintenance | Maintenance | Dropped => {
                "none"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// States a node can leave: nobody returns from `dropped`, nobody is sent back to `init`.
    #[test]
    fn every_goal_can_be_reached_from_every_state() {
        for &from in NodeState::ALL {
            for &goal in NodeState::ALL {
                // A node waits for the primary only when it is new; later it catches up at once.
                if from == goal || from == Dropped || matches!(goal, Init | WaitStandby) {
                    continue;
                }
                let (mut at, mut hops) = (from, 0);
                while let Some(next) = at.next_hop(goal) {
                    assert!(at.may_become(next), "{at} -> {next} on the way from {from} to {goal}");
                    assert!(
                        next == goal || !next.is_writable() || goal.is_writable(),
                        "{from} opens on its way to {goal}"
                    );
                    (at, hops) = (next, hops + 1);
                    assert!(hops < NodeState::ALL.len(), "{from} -> {goal} goes in circles");
                }
            }
        }
    }

    #[test]
    fn a_standby_never_becomes_writable_without_having_been_sealed() {
        for &standby in &[
            WaitStandby,
            Catchingup,
            Secondary,
            PreparePromotion,
            ReportLsn,
            FastForward,
            WaitMaintenance,
            Maintenance,
        ] {
            for &writable in &[Single, WaitPrimary, Primary] {
                assert!(!standby.may_become(writable), "{standby} -> {writable}");
            }
        }
    }

    #[test]
    fn names_round_trip_and_a_wrong_one_is_answered_with_the_list() {
        for &s in NodeState::ALL {
            assert_eq!(s.name().parse::<NodeState>(), Ok(s));
            assert_eq!(serde_json::to_string(&s).unwrap(), format!("\"{s}\""));
        }
        let error = "primry".parse::<NodeState>().unwrap_err().to_string();
        assert!(error.contains("primry") && error.contains("wait_primary"), "{error}");
    }
}
