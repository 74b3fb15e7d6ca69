//! Reports to the monitor and its answers.
//!
//! There is always a call that waits at the monitor, so that an assignment arrives the moment it is made
//! and the end of this process is noticed the moment it happens. News goes out beside it at once; the
//! monitor then lets the older call go.

use super::{Call, CallKey, Keeper};
use crate::keeper::fence;
use crate::model::*;
use crate::mutant;
use crate::ports::{Clock, Link, LinkError, Postgres, Store};
use crate::wire::{self, Again, Answer, Register, Request};
use std::time::Duration;

/// Calls that are usually under way at most: one that waits and one that brings news.
pub(super) const USUAL_CALLS: usize = 2;

/// And on a link that is slow or cut: one that is given up for a new one before its answer could be here is never answered.
const MOST_CALLS: usize = 16;

/// A report waits for longer than any look at a disk that hangs takes: a newer one takes its place, and while nothing newer
/// can be said its connection is how the monitor knows that this process lives.
const PATIENCE: Duration = Duration::from_secs(60);

/// That the monitor can't be reached is told so often.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// Standbys closer than this, in bytes, are close: news when it changes.
const CLOSE: u64 = 1 << 20;

/// What is to be said.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Something worth saying at once.
    pub news: bool,
    /// The monitor doesn't know this node and has not dropped it: it registers again.
    pub registers: bool,
    /// States walked through since the last answered report.
    pub passed: Vec<NodeState>,
    /// Moves from state to state since the keeper started.
    pub moves: u64,
    /// What the last move took, step by step.
    pub spent: Vec<Spent>,
    pub trouble: Option<String>,
    pub last_sent: Moment,
    /// The monitor could not be reached: not before then again.
    pub not_before: Moment,
    /// That is in the log, and no answer has come since; and when it was told last.
    is_unreached: bool,
    told_unreached: Option<Moment>,
}

impl Outbox {
    pub fn new(now: Moment) -> Outbox {
        Outbox {
            news: true,
            registers: false,
            passed: Vec::new(),
            moves: 0,
            spent: Vec::new(),
            trouble: None,
            last_sent: now,
            not_before: now,
            is_unreached: false,
            told_unreached: None,
        }
    }
}

/// The part of the facts whose change is news; positions alone move all the time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Telling {
    server: &'static str,
    open: bool,
    tli: Option<Timeline>,
    checkpointed: bool,
    receiving: Option<bool>,
    senders: Vec<(NodeId, bool, bool)>,
    control: Option<ControlState>,
}

pub(super) fn telling(facts: &Facts) -> Telling {
    let running = facts.running();
    Telling {
        server: match facts.server {
            Server::Down => "down",
            Server::Starting => "starting",
            Server::Up(_) => "up",
            Server::Stuck { .. } => "stuck",
        },
        open: facts.is_open(),
        tli: running.map(|r| r.position.tli),
        checkpointed: running.is_some_and(|r| r.checkpoint_tli == r.position.tli),
        receiving: running.and_then(|r| r.receiver.as_ref()).map(|r| r.streaming),
        senders: running.map_or(vec![], |r| {
            let close = |s: &Sender| r.position.lsn.bytes_past(s.flushed) <= CLOSE;
            r.senders.iter().map(|s| (s.node, s.streaming, close(s))).collect()
        }),
        control: facts.control().map(|c| c.state),
    }
}

impl<C: Clock, L: Link, S: Store, P: Postgres> Keeper<'_, C, L, S, P> {
    fn beat(&self) -> Moment {
        self.outbox.last_sent + self.settings.heartbeat
    }

    /// News may not wait for the heartbeat, unless all calls are taken.
    pub(super) fn next_report(&self) -> Moment {
        let urgent = self.outbox.news || self.calls.is_empty();
        let due = if urgent && self.calls.len() < USUAL_CALLS { Moment::ZERO } else { self.beat() };
        due.max(self.outbox.not_before)
    }

    /// Its lease is over and it has closed, and can't store that: what it could say is that it is a primary, with which the
    /// monitor would go on waiting for it. Silent, it is one whose lease ends by the clock.
    pub(super) fn is_mute(&self) -> bool {
        let says_primary = self.record.state.is_writable() && fence::is_leased(&self.record);
        says_primary && self.memory.closing_alone && self.unstored && self.down
    }

    pub(super) fn send_report(&mut self, now: Moment) {
        if now < self.next_report() || self.blind() || self.is_mute() {
            return;
        }
        let is_lost = |(key, _): &(CallKey, Call)| now.since(key.sent) >= self.settings.call_timeout;
        if self.calls.len() >= MOST_CALLS || self.calls.len() >= USUAL_CALLS && self.calls.first().is_some_and(is_lost)
        {
            drop(self.calls.remove(0));
        }
        self.seq += 1;
        let key = CallKey { seq: self.seq, sent: now, state: self.record.state };
        let link = self.ports.link.clone();
        let stranger = std::mem::take(&mut self.outbox.registers);
        let request = match self.record.registration.clone().filter(|_| stranger) {
            Some(registration) => Request::Register(self.register_again(registration)),
            None => Request::Report(Box::new(self.report())),
        };
        let message = wire::encode(&request);
        self.calls.push((key, Box::pin(async move { link.call(message, PATIENCE).await })));
        self.outbox.news = false;
        self.outbox.last_sent = now;
    }

    /// With what was set of it since it came first.
    fn register_again(&self, registration: Register) -> Register {
        let again = registration.again.map(|known| Again {
            state: if self.is_deposed() { NodeState::Demoted } else { self.record.state },
            epoch: self.record.epoch,
            formation: self.record.assignment.as_ref().map_or(known.formation.clone(), |a| a.formation.clone()),
            ..known
        });
        let system_id = self.facts.control().map(|c| c.system_id).or(registration.system_id);
        let asks = Register { again, system_id, ..registration };
        match self.record.assignment.as_ref().and_then(|a| a.own.clone()) {
            None => asks,
            Some(NodeSettings { name, host, port, candidate_priority, replication_quorum }) => {
                Register { name, host, port, candidate_priority, replication_quorum, ..asks }
            }
        }
    }

    /// Another holds the role by what this node was told, although it has yet to give it up.
    pub(super) fn is_deposed(&self) -> bool {
        self.record.state.belongs_to_primary() && self.record.goal().is_some_and(|goal| !goal.belongs_to_primary())
    }

    /// What it leads under or was told to, or would if it had not closed; and what it led under, as long as nobody has told
    /// it that another leads.
    pub(super) fn leads_under(&self) -> Option<&Contract> {
        let told = self.record.assignment.as_ref().filter(|a| a.goal.is_writable());
        let has_led = self.record.state.belongs_to_primary() && !self.is_deposed();
        told.and_then(|a| a.contract.as_ref()).or(self.record.contract.as_ref().filter(|_| has_led))
    }

    pub(super) fn report(&self) -> Report {
        let assignment = self.record.assignment.as_ref();
        Report {
            node: self.record.node,
            session: self.record.session,
            seq: self.seq,
            epoch: self.record.epoch,
            state: self.record.state,
            moves: self.outbox.moves,
            passed: self.outbox.passed.clone(),
            serial: assignment.map_or(0, |a| a.serial),
            facts: self.facts.clone(),
            applied: self.memory.applied,
            contract: self.leads_under().cloned(),
            led_in: self.record.led_in,
            leased: assignment.is_some_and(|a| a.lease_ms.is_some()),
            rebuild: self.record.rebuild,
            seal: self.record.seal,
            leaving: self.leaving.is_some(),
            asks: self.memory.confirmed != Some(self.record.state) || self.awaits_word(),
            kept: self.record.kept.clone(),
            spent: self.outbox.spent.clone(),
            trouble: self.outbox.trouble.clone(),
        }
    }

    pub(super) async fn answered(&mut self, call: CallKey, result: Result<Vec<u8>, LinkError>) {
        let now = self.ports.clock.now();
        let answer = match result {
            Ok(bytes) => wire::decode::<Answer>(&bytes),
            Err(error) => return self.unreached(now, &error),
        };
        if std::mem::take(&mut self.outbox.is_unreached) {
            tracing::info!("the monitor answers again");
        }
        if self.calls.len() >= USUAL_CALLS {
            // Those before it are lost on the way, or let go: news need not wait for them.
            self.calls.retain(|(key, _)| key.seq > call.seq);
        }
        if call.seq < self.answered && !mutant!(StaleAnswerTaken) {
            return;
        }
        match answer {
            Ok(Answer::Assignment(assignment)) => {
                self.answered = call.seq;
                let state = self.record.state;
                // What could not be stored, or comes from an older epoch, confirms nothing.
                if !self.take(*assignment).await {
                    self.pause_calls(now);
                    return;
                }
                self.memory.told = true;
                self.memory.told_closed |= call.seq > self.open_until && !self.facts.is_open();
                self.heard = self.heard.max(call.sent);
                self.memory.closing_alone = false;
                if call.state == state {
                    self.outbox.passed.clear();
                    self.memory.confirmed = Some(state);
                }
            }
            Ok(Answer::Unknown { node, monitor, next_node })
                if monitor == self.record.monitor && next_node.is_none_or(|next| node.0 < next) =>
            {
                self.pause_calls(now);
                self.dropped(call).await;
            }
            Ok(Answer::Unknown { node, .. }) => {
                self.pause_calls(now);
                self.outbox.registers = true;
                self.note_trouble(format!(
                    "this monitor knows no node {node}, and is another than the one it was created with, or an older copy of it: \
                     registering again"
                ));
            }
            Ok(Answer::Registered { node, monitor, .. }) if node == self.record.node => {
                self.store(KeeperRecord { monitor, ..self.record.clone() }).await;
                self.outbox.news = true;
            }
            Ok(other) => {
                self.pause_calls(now);
                self.note_trouble(format!("the monitor can't take the report: {other:?}"));
            }
            Err(error) => {
                self.pause_calls(now);
                self.note_trouble(format!("the monitor's answer can't be read: {error}"));
            }
        }
    }

    /// The monitor has forgotten this node: it was dropped while nobody here listened.
    pub(super) async fn dropped(&mut self, call: CallKey) {
        if call.state == NodeState::Dropped {
            self.memory.confirmed = Some(NodeState::Dropped);
        }
        if self.record.goal() != Some(NodeState::Dropped) {
            let bare = || Assignment::new(self.record.epoch, NodeState::Dropped);
            let known = self.record.assignment.clone().unwrap_or_else(bare);
            let goal = Assignment { goal: NodeState::Dropped, contract: None, upstream: None, ..known };
            self.take(goal).await;
        }
    }

    /// Told at once, and again now and then: the call that waits at the monitor breaks as often as that restarts.
    fn unreached(&mut self, now: Moment, error: &LinkError) {
        let is_told = self.outbox.told_unreached.is_some_and(|at| now.since(at) < TELL_PAUSE);
        match is_told {
            true => tracing::debug!("the monitor can't be reached: {error}"),
            false => {
                tracing::warn!("the monitor can't be reached: {error}");
                (self.outbox.is_unreached, self.outbox.told_unreached) = (true, Some(now));
            }
        }
        self.outbox.not_before = now + self.settings.retry_pause;
        self.outbox.news = true;
    }

    fn pause_calls(&mut self, now: Moment) {
        self.outbox.not_before = now + self.settings.heartbeat;
    }

    /// A newer assignment is stored before anything is done about it; an older epoch is refused.
    pub(super) async fn take(&mut self, mut assignment: Assignment) -> bool {
        if assignment.epoch < self.record.epoch && !mutant!(EpochsNotCompared) {
            let (told, known) = (assignment.epoch, self.record.epoch);
            self.note_trouble(format!("the monitor speaks for epoch {told}, this node has seen {known}: refused"));
            return false;
        }
        let may_be_open = self.record.state.is_writable() || self.record.goal().is_some_and(NodeState::is_writable);
        if may_be_open && !assignment.goal.is_writable() {
            // Until it has closed, the lease that it had goes on.
            assignment.lease_ms = self.record.assignment.as_ref().and_then(|known| known.lease_ms);
        }
        if assignment.goal.is_writable() && assignment.led_in == self.record.led_in && assignment.timeline.is_none() {
            // The number was given with the role, and a monitor in doubt doesn't know it.
            assignment.timeline = self.record.assignment.as_ref().and_then(|known| known.timeline);
        }
        if self.record.assignment.as_ref() == Some(&assignment) {
            return true;
        }
        let goal_before = self.record.goal();
        let goal = assignment.goal;
        let epoch = assignment.epoch;
        let led_in = if goal.is_writable() { assignment.led_in } else { self.record.led_in };
        let voids = |known: &Assignment| {
            known.asks_for_other(&assignment) || known.peers != assignment.peers && self.awaits_members()
        };
        let voids_plan = self.record.assignment.as_ref().is_none_or(voids);
        if !self.store(KeeperRecord { assignment: Some(assignment), epoch, led_in, ..self.record.clone() }).await {
            return false;
        }
        self.outbox.news = true;
        if goal_before != Some(goal) {
            tracing::info!("told to be {goal} in epoch {epoch}");
        }
        if voids_plan {
            self.drop_plan();
        }
        true
    }
}
