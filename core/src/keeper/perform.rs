//! Carries out one step through the ports.

use crate::keeper::step::{Outcome, Step};
use crate::model::{Contract, Facts, NodeId, Position};
use crate::mutant;
use crate::ports::{Clock, Names, PgError, Postgres};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::time::Duration;

/// The old primary ships its last record before it is down; this is for what is left to replay. If it was
/// not shipped at all, it never comes.
const LAST_RECORD: Duration = Duration::from_secs(5);

/// After this long Postgres is told anew, whom to follow or whom to wait for: what was told while its configuration was
/// broken is lost, also when the file was mended since.
const TOLD: Duration = Duration::from_secs(10);

/// How often senders are looked at while a step waits for them; Postgres announces nothing here.
const SENDER_LOOKS: Duration = Duration::from_millis(10);

pub async fn perform<C: Clock, P: Postgres>(step: Step, me: NodeId, clock: &C, pg: &P) -> Result<Outcome, PgError> {
    match step {
        Step::Remember(_) | Step::Mark(_) | Step::Clear | Step::Unseal => {
            unreachable!("steps on the record are carried out by the loop that owns it")
        }
        Step::Create => pg.create().await?,
        Step::Recover => pg.recover().await?,
        Step::Start(role) => pg.start(role).await?,
        Step::Stop(mode) => pg.stop(mode).await?,
        Step::Follow(upstream) => {
            // Should anybody but this keeper promote it, it acknowledges nothing.
            pg.set_names(&Names::of_nobody()).await?;
            pg.follow(me, upstream.as_ref()).await?;
        }
        Step::ReplayedPast(lsn) => {
            // If the last record never comes, the seal will show it and the monitor decides.
            if let Err(error) = within(LAST_RECORD, clock, pg.replayed_past(lsn)).await {
                tracing::warn!("the old primary's last record at {lsn} has not arrived: {error}");
            }
        }
        Step::Fetch(lsn) => pg.holds(lsn).await?,
        Step::AdvanceSlots(lsn) => pg.advance_slots(lsn).await?,
        Step::Seal(_) if mutant!(VoteByReplay) => {
            let replayed = pg.look().await.running().map(|r| r.replayed);
            let end = pg.seal().await?;
            return Ok(Outcome::Sealed(Position { lsn: replayed.unwrap_or(end.lsn).min(end.lsn), ..end }));
        }
        Step::Seal(_) => return within(TOLD, clock, pg.seal()).await.map(Outcome::Sealed),
        Step::Enforce(contract) => pg.set_names(&Names(contract.standby_names())).await?,
        Step::Disown => {
            // A disk that takes no writes may be why somebody wants to mend this node.
            if let Err(error) = pg.set_names(&Names::of_nobody()).await {
                tracing::warn!("opened by hand in maintenance it would acknowledge by itself: {error}");
            }
        }
        Step::Prove(_) if mutant!(ReloadConfirmsContract) => {}
        Step::Prove(_) => {
            within(TOLD, clock, pg.names_shown()).await?;
            // Begun anew it would wait for one checkpoint more each time.
            pg.names_in_force().await?;
        }
        Step::AwaitMembers(_) if mutant!(MembersNotAwaited) => {}
        Step::AwaitMembers(contract) => await_members(&contract, clock, pg).await?,
        Step::Promote(timeline) => pg.promote(timeline).await?,
        Step::Checkpoint => pg.checkpoint().await?,
        Step::Admit(peers) => pg.admit(&peers).await?,
        Step::Inspect(fork) => return pg.wal_past(fork).await.map(Outcome::Inspected),
        Step::KeepAside(fork, end) => return pg.keep_aside(fork, end).await.map(Outcome::Kept),
        Step::Rewind(source) => pg.rewind(&source).await?,
        Step::Clone(source) => pg.clone_from(me, &source).await?,
    }
    Ok(Outcome::Done)
}

async fn within<C: Clock, T>(
    limit: Duration,
    clock: &C,
    work: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    match select(pin!(work), pin!(clock.sleep_until(clock.now() + limit))).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(PgError::Retry(format!("not within {limit:?}"))),
    }
}

/// Ends when `k` members have flushed all that is written at the first look. Then every set able to elect
/// under this contract holds it, as it holds any commit the contract let through.
async fn await_members<C: Clock, P: Postgres>(contract: &Contract, clock: &C, pg: &P) -> Result<(), PgError> {
    let running = |facts: Facts| match facts.running() {
        Some(running) if running.stopping => Err(PgError::Retry("Postgres is stopping: no standby can connect".into())),
        Some(running) => Ok(running.clone()),
        None => Err(PgError::Retry("Postgres doesn't answer any more".into())),
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
