//! Points in the code of the simulated world where something may go wrong. Which are live is drawn for each run, and
//! how often they strike as well: with one rate for all of them, rare combinations would never come together.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much longer than usual a step may take where steps are slow: who judges a run counts on it.
pub const SLOW_STEP: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultPoint {
    /// A store takes up to two seconds for a commit.
    SlowCommit,
    /// A store refuses a commit: nothing was written.
    FailedCommit,
    /// A look at Postgres takes up to a second, and as long again to be back with what it has seen.
    SlowLook,
    /// A look can't read the data directory, of a server that may run all the same.
    FailedLook,
    /// A keeper's step with its Postgres takes up to three seconds longer.
    SlowStep,
    /// A keeper's step with its Postgres fails before it has done anything. A stop, which is a signal, is sent all the
    /// same.
    FailedStep,
    /// It fails after it has done its work.
    UnsureStep,
    /// A call's connection breaks before it is sent.
    LostCall,
    /// A call's connection breaks before its answer is read.
    LostAnswer,
    /// The process dies as soon as its store has taken a commit, and is started again after seconds.
    DeathAfterCommit,
}

impl FaultPoint {
    pub const ALL: [FaultPoint; 10] = [
        FaultPoint::SlowCommit,
        FaultPoint::FailedCommit,
        FaultPoint::SlowLook,
        FaultPoint::FailedLook,
        FaultPoint::SlowStep,
        FaultPoint::FailedStep,
        FaultPoint::UnsureStep,
        FaultPoint::LostCall,
        FaultPoint::LostAnswer,
        FaultPoint::DeathAfterCommit,
    ];

    pub fn name(self) -> &'static str {
        match self {
            FaultPoint::SlowCommit => "slow_commit",
            FaultPoint::FailedCommit => "failed_commit",
            FaultPoint::SlowLook => "slow_look",
            FaultPoint::FailedLook => "failed_look",
            FaultPoint::SlowStep => "slow_step",
            FaultPoint::FailedStep => "failed_step",
            FaultPoint::UnsureStep => "unsure_step",
            FaultPoint::LostCall => "lost_call",
            FaultPoint::LostAnswer => "lost_answer",
            FaultPoint::DeathAfterCommit => "death_after_commit",
        }
    }
}
