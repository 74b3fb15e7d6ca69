//! Carries out one step through the ports.

use crate::keeper::step::{Outcome, Step};
use crate::model::{Contract, Facts, NodeId};
use crate::ports::{Clock, Names, PgError, Postgres};
use std::time::Duration;

/// How often senders are looked at while a step waits for them; Postgres announces nothing here.
const SENDER_LOOKS: Duration = Duration::from_millis(10);

pub async fn perform<C: Clock, P: Postgres>(step: Step, me: NodeId, clock: &C, pg: &P) -> Result<Outcome, PgError> {
    match step {
        Step::Remember(_) | Step::Mark(_) | Step::Clear | Step::MarkPromotion(..) => {
            unreachable!("steps on the record are carried out by the loop that owns it")
        }
        Step::Create => pg.create().await?,
        Step::Start(role) => pg.start(role).await?,
        Step::Stop(mode) => pg.stop(mode).await?,
        Step::Follow(upstream) => pg.follow(me, upstream.as_ref()).await?,
        Step::ReplayedPast(lsn) => {
            // If the last record never comes, the seal will show it and the monitor decides.
            if let Err(error) = pg.replayed_past(lsn).await {
                tracing::warn!("the old primary's last record at {lsn} has not arrived: {error}");
            }
        }
        Step::Seal(_) => return pg.seal().await.map(Outcome::Sealed),
        Step::Enforce(contract) => pg.set_names(&Names(contract.standby_names())).await?,
        Step::Prove(_) => pg.names_in_force().await?,
        Step::AwaitMembers(contract) => await_members(&contract, clock, pg).await?,
        Step::Promote => pg.promote().await?,
        Step::Checkpoint => pg.checkpoint().await?,
        Step::Admit(peers) => pg.admit(&peers).await?,
        Step::Inspect(fork) => return pg.wal_past(fork).await.map(Outcome::Inspected),
        Step::KeepAside(fork, end) => return pg.keep_aside(fork, end).await.map(Outcome::Kept),
        Step::Rewind(source) => pg.rewind(&source).await?,
        Step::Clone(source) => pg.clone_from(me, &source).await?,
    }
    Ok(Outcome::Done)
}

/// Ends when `k` members have flushed all that is written at the first look. Then every set able to elect
/// under this contract holds it, as it holds any commit the contract let through.
async fn await_members<C: Clock, P: Postgres>(contract: &Contract, clock: &C, pg: &P) -> Result<(), PgError> {
    let running = |facts: Facts| {
        facts.running().cloned().ok_or_else(|| PgError::Retry("Postgres doesn't answer any more".into()))
    };
    let target = running(pg.look().await)?.position.lsn;
    loop {
        let senders = running(pg.look().await)?.senders;
        let holding =
            senders.iter().filter(|s| s.streaming && s.flushed >= target && contract.members.contains(&s.node));
        if holding.count() >= contract.k as usize {
            return Ok(());
        }
        clock.sleep_until(clock.now() + SENDER_LOOKS).await;
    }
}
