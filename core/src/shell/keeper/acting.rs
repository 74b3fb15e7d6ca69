//! Planning and carrying out steps, one at a time.

use super::{Keeper, KeeperExit, KeeperPorts};
use crate::keeper::{Outcome, Step, fence, perform::perform, plan, plan::end_orphans};
use crate::model::*;
use crate::mutant;
use crate::ports::{Clock, Link, PgError, Postgres, StopMode, Store};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::time::Duration;

/// Between the name of a step and why it failed; whoever counts its tries looks for this.
pub const STEP_FAILED: &str = " failed: ";

/// A server that nobody watches must not be left running because one try to stop it failed.
const STOP_TRIES: u32 = 5;

impl<C: Clock, L: Link, S: Store, P: Postgres> Keeper<'_, C, L, S, P> {
    /// The one decision taken alone. What runs at the moment may outlast a lease, so it is given up, unless it is the
    /// stop.
    pub(super) fn close_alone(&mut self, now: Moment) {
        if self.memory.closing_alone || !self.must_close(now) {
            return;
        }
        tracing::warn!(
            "the monitor was heard {:?} ago and no standby vouches for this primary: closing",
            now.since(self.heard)
        );
        (self.memory.closing_alone, self.overdue) = (true, None);
        self.drop_plan();
        let is_at_rest = self.record.state == NodeState::DemoteTimeout && self.step.is_none() && self.down;
        if !is_at_rest && !matches!(self.doing, Some((Step::Stop(_), _))) {
            self.give_up_step();
            self.spent.clear();
            self.plan.push_back(Step::Stop(StopMode::Fast));
            self.then = Some(NodeState::DemoteTimeout);
        }
    }

    /// Who acknowledges alone has to be closed by the time the monitor goes by, and a commit amid its flush is acknowledged
    /// by a server that is being stopped. So that stop is cut short.
    pub(super) async fn cut_stop_short(&mut self, now: Moment) {
        let hands_over = |goal| matches!(goal, NodeState::Draining | NodeState::PrepareMaintenance);
        let is_deposed = self.record.goal().is_some_and(|goal| !goal.is_writable() && !hands_over(goal));
        // The role may be left to it meanwhile: to a server that has to come up again first.
        let is_to_close = self.memory.closing_alone || is_deposed || self.kills_at.is_some();
        let stops = matches!(self.doing, Some((Step::Stop(StopMode::Fast), _))) && !mutant!(StopIsPatient);
        let limit = fence::stop_limit(&self.record).filter(|_| is_to_close && stops);
        self.kills_at = limit.map(|limit| self.kills_at.unwrap_or(now + limit));
        if self.kills_at.is_some_and(|at| at <= now) {
            tracing::warn!("Postgres takes its time to stop, and the lease of this primary is over: killing it");
            self.kills_at = None;
            self.give_up_step();
            self.begin(Step::Stop(StopMode::Immediate), now).await;
        }
    }

    /// When a server that acknowledges by its lease has to be gone.
    fn dies_at(&self) -> Option<Moment> {
        fence::dies_at(&self.record, fence::lease_ends(&self.record, self.heard))
    }

    /// Nothing is opened again before the monitor knows that it was closed.
    pub(super) fn awaits_word(&self) -> bool {
        let informed = self.memory.told_closed || self.memory.closing_alone;
        !informed && fence::is_taken_for_dead(&self.record, &self.facts) && !mutant!(StartsUntold)
    }

    /// Starts the next step, or makes a new plan when there is none.
    pub(super) async fn act(&mut self, now: Moment) {
        while self.step.is_none() && self.exit.is_none() {
            if let Some(step) = self.plan.pop_front() {
                self.begin(step, now).await;
                continue;
            }
            if let Some(state) = self.then.take() {
                self.enter(state).await;
                continue;
            }
            let waiting = self.retry_at.is_some_and(|at| at > now);
            if waiting || self.blind() {
                return;
            }
            if self.record.state.is_writable() {
                // Before anything is done about it. A report that it is down may go out meanwhile, which is no proof of closing.
                self.plan = end_orphans(&self.record, &self.facts, &self.memory).into();
                if !self.plan.is_empty() {
                    continue;
                }
            }
            if fence::closed_by_crash(&self.record, &self.facts, self.memory.told) {
                tracing::warn!("Postgres went down: it stays closed until the monitor has decided");
                // Before that is stored nothing is planned from a record that wants it open.
                self.enter(NodeState::DemoteTimeout).await;
                continue;
            }
            if self.stopping() || self.awaits_word() {
                return;
            }
            if self.record.state == NodeState::DemoteTimeout && self.down && self.closes_at().is_none() {
                // It has closed. One whose lease is over hears from the monitor first.
                self.memory.closing_alone = false;
            }
            self.retry_at = None;
            self.memory.unheard = now.since(self.heard) > self.settings.call_timeout;
            let plan = plan(&self.record, &self.facts, &self.memory);
            if plan.steps.is_empty() && plan.then.is_none() {
                self.outbox.trouble = None;
                return;
            }
            self.spent.clear();
            self.plan = plan.steps.into();
            self.then = plan.then;
        }
    }

    pub(super) async fn begin(&mut self, step: Step, now: Moment) {
        let changed = match &step {
            Step::Remember(contract) => Some(KeeperRecord { contract: Some(contract.clone()), ..self.record.clone() }),
            Step::Mark(_) if mutant!(MarkerForgotten) => return,
            Step::Mark(rebuild) => Some(KeeperRecord { rebuild: Some(*rebuild), ..self.record.clone() }),
            Step::Unseal => Some(KeeperRecord { seal: None, ..self.record.clone() }),
            Step::Clear => Some(KeeperRecord { rebuild: None, ..self.record.clone() }),
            _ => None,
        };
        if let Some(record) = changed {
            self.store(record).await;
            return;
        }
        tracing::debug!("{}", step.name());
        self.unlearn(&step);
        self.down = false;
        self.doing = Some((step.clone(), now));
        let ports = self.ports;
        self.step = Some(Box::pin(perform(step, self.record.node, &ports.clock, &ports.postgres)));
    }

    /// A step that fails or is given up may have done its work all the same: until it is done nothing is known of what
    /// it changes.
    fn unlearn(&mut self, step: &Step) {
        match step {
            _ if mutant!(UnsureStepIsUndone) => {}
            Step::Follow(_) => self.memory.following = None,
            Step::Admit(_) => self.memory.admitted = None,
            Step::AdvanceSlots(_) => self.memory.advanced = None,
            Step::Enforce(_) | Step::Disown => self.forget_contract(),
            Step::Start(_) => {
                (self.memory.inspected, self.memory.ended) = (None, false);
                self.forget_contract();
            }
            // It writes a checkpoint.
            Step::Recover => self.memory.inspected = None,
            // And neither leaves a slot.
            Step::Rewind(_) | Step::Clone(_) => (self.memory.rebuilt, self.memory.admitted) = (false, None),
            _ => {}
        }
    }

    pub(super) async fn stepped(&mut self, result: Result<Outcome, PgError>) {
        let now = self.ports.clock.now();
        let Some((step, began)) = self.doing.take() else { return };
        if self.plan.is_empty() {
            self.outdate_facts();
        }
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => return self.failed(&step, error).await,
        };
        self.spent.push(Spent { step: step.name().into(), micros: now.since(began).as_micros() as u64 });
        match (step, outcome) {
            (Step::Seal(epoch), Outcome::Sealed(position)) => {
                let seal = Some(Seal { epoch, position });
                self.store(KeeperRecord { seal, ..self.record.clone() }).await;
                self.outbox.news = true;
            }
            (Step::Inspect(fork), Outcome::Inspected(end)) => self.memory.inspected = Some((fork, end)),
            (Step::KeepAside(fork, end), Outcome::Kept(place)) => {
                let kept = Kept { fork, end, place };
                tracing::warn!("{kept}");
                // Before anything is taken away: whoever comes after this keeper tells it as well.
                self.store(KeeperRecord { kept: Some(kept), ..self.record.clone() }).await;
                self.outbox.news = true;
            }
            (Step::Prove(contract), _) => {
                self.memory.proven = Some(contract.id);
                if contract.is_none() {
                    self.memory.applied = Some(contract.id);
                    self.outbox.news = true;
                }
            }
            (Step::AwaitMembers(contract), _) => {
                self.seen = now;
                if self.memory.proven == Some(contract.id) {
                    self.memory.applied = Some(contract.id);
                    self.outbox.news = true;
                }
            }
            (Step::Follow(upstream), _) => self.memory.following = Some(upstream),
            (Step::Admit(peers), _) => {
                self.memory.admitted = Some(peers);
                self.admitted_at = now;
                // A slot that is new keeps what others have let go.
                self.memory.advanced = None;
            }
            (Step::Promote(_), _) => self.memory.following = None,
            (Step::AdvanceSlots(lsn), _) => self.memory.advanced = Some(lsn),
            (Step::Rewind(_) | Step::Clone(_), _) => {
                self.memory.following = None;
                self.memory.admitted = None;
                self.memory.advanced = None;
                self.memory.inspected = None;
                self.memory.rebuilt = true;
            }
            (Step::Start(_), _) => self.forget_contract(),
            (Step::Stop(_), _) => {
                self.forget_contract();
                (self.down, self.memory.ended) = (true, true);
            }
            _ => {}
        }
    }

    /// Another server, another proof.
    pub(super) fn forget_contract(&mut self) {
        self.memory.proven = None;
        self.memory.applied = None;
    }

    async fn failed(&mut self, step: &Step, error: PgError) {
        self.outdate_facts();
        if matches!((step, &error), (Step::Rewind(_), PgError::Retry(_) | PgError::Operator(_))) {
            // By the port's word the directory is whole.
            self.memory.rebuilt = true;
            self.store(KeeperRecord { rebuild: None, ..self.record.clone() }).await;
        }
        self.memory.inspected = None;
        self.trouble(format!("{}{STEP_FAILED}{error}", step.name()));
    }

    /// The goal is another one: what was planned for the old one is void.
    pub(super) fn drop_plan(&mut self) {
        self.plan.clear();
        self.then = None;
        self.retry_at = None;
        if self.doing.as_ref().is_some_and(|(step, _)| step.is_abandonable()) {
            self.give_up_step();
        }
    }

    pub(super) fn give_up_step(&mut self) {
        self.step = None;
        self.doing = None;
        self.outdate_facts();
    }

    /// Enough members may never come again: whoever is new is let in before they are waited for.
    pub(super) fn awaits_members(&self) -> bool {
        let doing = self.doing.iter().map(|(step, _)| step);
        doing.chain(&self.plan).any(|step| matches!(step, Step::AwaitMembers(_)))
    }

    /// The end: Postgres is stopped whatever it does at the moment.
    pub(super) async fn stop_now(&mut self, exit: KeeperExit) {
        self.plan.clear();
        self.step = None;
        self.exit = Some(match stop_surely(self.ports, self.settings.step_retry_pause, self.dies_at()).await {
            Ok(()) => exit,
            Err(error) => KeeperExit::Fatal(format!("Postgres can't be stopped: {error}")),
        });
    }
}

/// However long a fast stop takes, unless something ends by then that it acknowledges under.
pub(super) async fn stop_by<C: Clock, L, S, P: Postgres>(
    ports: &KeeperPorts<C, L, S, P>,
    by: Option<Moment>,
) -> Result<(), PgError> {
    let Some(by) = by.filter(|_| !mutant!(StopIsPatient)) else { return ports.postgres.stop(StopMode::Fast).await };
    match select(pin!(ports.postgres.stop(StopMode::Fast)), pin!(ports.clock.sleep_until(by))).await {
        Either::Left((stopped, _)) => stopped,
        Either::Right(_) => ports.postgres.stop(StopMode::Immediate).await,
    }
}

pub(super) async fn stop_surely<C: Clock, L, S, P: Postgres>(
    ports: &KeeperPorts<C, L, S, P>,
    pause: Duration,
    by: Option<Moment>,
) -> Result<(), PgError> {
    let mut tries = STOP_TRIES;
    while let Err(error) = stop_by(ports, by).await {
        tries -= 1;
        if tries == 0 || !matches!(error, PgError::Retry(_)) {
            return Err(error);
        }
        tracing::warn!("Postgres is not stopped yet: {error}");
        ports.clock.sleep_until(ports.clock.now() + pause).await;
    }
    Ok(())
}
