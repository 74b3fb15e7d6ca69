//! What a keeper can do to its Postgres and to its own record: small, ordered, idempotent.

use crate::model::{Contract, Epoch, Lsn, Peer, Position, Rebuild, Timeline, Upstream};
use crate::ports::{StartAs, StopMode};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Remember the contract before the server is told of it.
    Remember(Contract),
    /// From here until `Clear` the directory must not be started.
    Mark(Rebuild),
    Clear,
    Create,
    /// Crash recovery while nobody can connect.
    Recover,
    Start(StartAs),
    Stop(StopMode),
    Follow(Option<Upstream>),
    ReplayedPast(Lsn),
    /// Wait until WAL up to here has come from the upstream.
    Fetch(Lsn),
    /// What was sealed is so no more.
    Unseal,
    Seal(Epoch),
    /// Let go of WAL that no other node needs.
    AdvanceSlots(Lsn),
    Enforce(Contract),
    /// From here on nothing is acknowledged, whoever opens the server.
    Disown,
    /// Proof that every process of the server runs under the contract.
    Prove(Contract),
    /// Wait until enough members hold everything written until now.
    AwaitMembers(Contract),
    /// The new timeline has at least this number.
    Promote(Timeline),
    Checkpoint,
    Admit(Vec<Peer>),
    Inspect(Position),
    KeepAside(Position, Lsn),
    Rewind(Upstream),
    Clone(Upstream),
}

/// What a step found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Sealed(Position),
    /// End of the WAL past the fork, if there is any.
    Inspected(Option<Lsn>),
    Kept(String),
}

impl Step {
    /// May be dropped half-way when the assignment changes: it waits, or what it has begun goes on and is seen, or it
    /// is done again. What is only written, into files, is over in moments, unless their disk stalls. A stop, a
    /// promotion and a recovery are seen through, and so is a rewind: what one that was killed has left is nobody's any more.
    pub fn is_abandonable(&self) -> bool {
        matches!(
            self,
            Step::Start(_)
                | Step::Checkpoint
                | Step::Follow(_)
                | Step::Enforce(_)
                | Step::Disown
                | Step::AdvanceSlots(_)
                | Step::Admit(_)
                | Step::AwaitMembers(_)
                | Step::ReplayedPast(_)
                | Step::Fetch(_)
                | Step::Clone(_)
                | Step::Prove(_)
                | Step::Seal(_)
        )
    }

    /// Short name for logs and for the account of where time went.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Remember(_) => "remember contract",
            Step::Mark(_) => "mark",
            Step::Clear => "clear",
            Step::Create => "initdb",
            Step::Recover => "recover",
            Step::Start(_) => "start",
            Step::Stop(_) => "stop",
            Step::Follow(None) => "unfollow",
            Step::Follow(Some(_)) => "follow",
            Step::ReplayedPast(_) => "drain",
            Step::Fetch(_) => "fetch",
            Step::Unseal => "unseal",
            Step::Seal(_) => "seal",
            Step::AdvanceSlots(_) => "advance slots",
            Step::Enforce(_) => "set names",
            Step::Disown => "disown",
            Step::Prove(_) => "prove names",
            Step::AwaitMembers(_) => "await members",
            Step::Promote(_) => "promote",
            Step::Checkpoint => "checkpoint",
            Step::Admit(_) => "admit",
            Step::Inspect(_) => "inspect",
            Step::KeepAside(..) => "keep aside",
            Step::Rewind(_) => "rewind",
            Step::Clone(_) => "clone",
        }
    }
}
