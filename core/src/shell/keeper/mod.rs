//! The keeper's loop: look, report, plan, carry out one step, and again; whichever is due first.

mod acting;
mod calling;
mod leaving;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use super::commit::Ledger;
pub use acting::STEP_FAILED;

use super::race::{Task, poll_list, poll_slot};
use crate::keeper::{Memory, Outcome, Step, fence};
use crate::model::*;
use crate::mutant;
use crate::ports::{Change, Clock, Link, LinkError, PgError, Postgres, Store, StoreError};
use crate::stored;
use futures_util::future::{Either, select};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

#[derive(Debug)]
pub struct KeeperPorts<C, L, S, P> {
    pub clock: C,
    pub link: L,
    pub store: S,
    pub postgres: P,
}

/// Why a keeper is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// SIGTERM: hand the role over (or leave the contract) first, then stop Postgres.
    HandOver,
    /// SIGINT: stop Postgres at once.
    Fast,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperExit {
    /// As asked; Postgres is stopped.
    Stopped,
    /// The node was dropped; Postgres is stopped.
    Dropped,
    /// Nothing more can be done without a person.
    Fatal(String),
}

/// How often the slots are gone through again: one that was in use stays when its node leaves, and somebody may drop
/// one by hand.
const ADMIT_AGAIN: Duration = Duration::from_secs(10);
/// A look that takes longer is one at a machine that gives no answer: the fence waits for it no more.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Key of the keeper's record in its store.
pub const KEEPER: &str = "keeper";

/// Runs until asked to stop. `stop` ends when it is asked.
pub async fn run_keeper<C: Clock, L: Link, S: Store, P: Postgres>(
    ports: KeeperPorts<C, L, S, P>,
    settings: KeeperSettings,
    stop: impl Future<Output = StopRequest> + Send,
) -> KeeperExit {
    let mut stop: Task<StopRequest> = Box::pin(stop);
    let begun = ports.clock.now();
    let (ledger, record) = loop {
        match begin_session(&ports, settings.step_retry_pause, begun).await {
            Ok(session) => break session,
            // A full disk at the start is what it is later: it may be freed.
            Err(StoreError::Io(why)) => tracing::warn!("the keeper's record can't be stored: {why}"),
            Err(error) => return KeeperExit::Fatal(error.to_string()),
        }
        let again = ports.clock.now() + settings.step_retry_pause;
        if let Either::Left(_) = select(&mut stop, pin!(ports.clock.sleep_until(again))).await {
            return match acting::stop_by(&ports, None).await {
                Ok(()) => KeeperExit::Stopped,
                Err(error) => KeeperExit::Fatal(format!("Postgres can't be stopped: {error}")),
            };
        }
    };
    let mut keeper = Keeper::new(&ports, settings, ledger, record, stop, begun);
    loop {
        if let Some(exit) = keeper.turn().await {
            return exit;
        }
    }
}

/// Every start of a keeper has a number of its own, stored before the first word is said. So who can't store it, or not in
/// time, can't renew a lease either.
async fn begin_session<C: Clock, L: Link, S: Store, P: Postgres>(
    ports: &KeeperPorts<C, L, S, P>,
    pause: Duration,
    begun: Moment,
) -> Result<(Ledger, KeeperRecord), StoreError> {
    let (mut ledger, mut record) = load(&ports.store).await?;
    let ends = fence::lease_ends(&record, fence::heard_before(&record, begun));
    record.session += 1;
    let (stored, _) = save_before(ends, ports, pause, &mut ledger, &record).await;
    if stored.is_err() && fence::is_leased(&record) {
        tracing::warn!("nothing can be stored, so the lease of this primary can't be renewed: closing");
        if let Err(error) = acting::stop_by(ports, fence::dies_at(&record, ends)).await {
            tracing::error!("Postgres is not stopped yet: {error}");
        }
    }
    stored.map(|()| (ledger, record))
}

/// However long the disk takes, a server that must close by then doesn't wait for it: it is closed before that is stored.
async fn save_before<C: Clock, L: Link, S: Store, P: Postgres>(
    ends: Option<Moment>,
    ports: &KeeperPorts<C, L, S, P>,
    pause: Duration,
    ledger: &mut Ledger,
    record: &KeeperRecord,
) -> (Result<(), StoreError>, Closed) {
    let saving = pin!(save(&ports.store, ledger, record));
    let Some(ends) = ends else { return (saving.await, Closed(false)) };
    match select(saving, pin!(ports.clock.sleep_until(ends))).await {
        Either::Left((saved, _)) => (saved, Closed(false)),
        Either::Right(((), saving)) => {
            tracing::warn!("this primary has to close, and its record is being stored still: closing");
            let (stopped, saving) =
                match select(pin!(acting::stop_surely(ports, pause, fence::dies_at(record, Some(ends)))), saving).await
                {
                    Either::Left(stopped) => stopped,
                    // The stop is begun; the loop sees it through.
                    Either::Right((saved, _)) => return (saved, Closed(true)),
                };
            let closed = Closed(stopped.is_ok());
            if let Err(error) = stopped {
                tracing::error!("Postgres is not stopped yet: {error}");
            }
            (saving.await, closed)
        }
    }
}

/// Whether the server was stopped, or is being stopped.
struct Closed(bool);

/// The stored record, with the version of the store.
pub async fn load<S: Store>(store: &S) -> Result<(Ledger, KeeperRecord), StoreError> {
    let snapshot = store.load().await?;
    let bytes = snapshot.records.get(KEEPER);
    let bytes = bytes.ok_or_else(|| StoreError::Damaged("it holds no node; create one first".into()))?;
    let record = stored::decode(bytes).map_err(|e| StoreError::Damaged(format!("record {KEEPER}: {e}")))?;
    Ok((Ledger::at(snapshot.version), record))
}

pub async fn save<S: Store>(store: &S, ledger: &mut Ledger, record: &KeeperRecord) -> Result<(), StoreError> {
    ledger.commit(store, vec![Change::Put(KEEPER.into(), stored::encode(record))]).await
}

enum Woke {
    Stop(StopRequest),
    Answer(CallKey, Result<Vec<u8>, LinkError>),
    Stepped(Result<Outcome, PgError>),
    Looked(Box<Facts>),
    Changed,
    Timer,
}

type Call<'a> = Task<'a, Result<Vec<u8>, LinkError>>;

/// A call under way: its number, when it was sent, and what it said.
#[derive(Debug, Clone, Copy)]
struct CallKey {
    seq: u64,
    sent: Moment,
    state: NodeState,
}

struct Keeper<'a, C, L, S, P> {
    ports: &'a KeeperPorts<C, L, S, P>,
    settings: KeeperSettings,
    stop: Option<Task<'a, StopRequest>>,
    ledger: Ledger,
    record: KeeperRecord,
    memory: Memory,

    facts: Facts,
    looking: Option<Task<'a, Facts>>,
    next_look: Moment,
    /// Number of the last thing done that outdated the facts; of the one before the look under way; and of
    /// the one before the look the facts come from.
    done: u64,
    look_since: u64,
    facts_since: u64,
    /// When the look under way began, and the one that the facts come from.
    look_begun: Moment,
    looked_from: Moment,
    /// When a stop that is under way is cut short.
    kills_at: Option<Moment>,
    /// Since when it has been awake, and has to close alone unless a look shows that it needn't.
    overdue: Option<Moment>,
    changed: Option<Task<'a, ()>>,
    admitted_at: Moment,
    /// Its server is down, and no step was begun since that was seen.
    down: bool,
    /// The last call that may have said that its server is open.
    open_until: u64,
    /// What was to be stored last could not be.
    unstored: bool,

    plan: VecDeque<Step>,
    then: Option<NodeState>,
    doing: Option<(Step, Moment)>,
    step: Option<Task<'a, Result<Outcome, PgError>>>,
    /// Time the steps of the plan under way took so far.
    spent: Vec<Spent>,
    retry_at: Option<Moment>,

    calls: Vec<(CallKey, Call<'a>)>,
    seq: u64,
    answered: u64,
    outbox: calling::Outbox,
    /// When the last call was sent that the monitor answered.
    heard: Moment,
    /// When enough members were last seen to stream.
    seen: Moment,

    leaving: Option<Moment>,
    timer: Option<(Moment, Task<'a, ()>)>,
    exit: Option<KeeperExit>,
}

impl<'a, C: Clock, L: Link, S: Store, P: Postgres> Keeper<'a, C, L, S, P> {
    fn new(
        ports: &'a KeeperPorts<C, L, S, P>,
        settings: KeeperSettings,
        ledger: Ledger,
        record: KeeperRecord,
        stop: Task<'a, StopRequest>,
        begun: Moment,
    ) -> Self {
        let now = ports.clock.now();
        let heard = fence::heard_before(&record, begun);
        Keeper {
            ports,
            settings,
            stop: Some(stop),
            ledger,
            record,
            memory: Memory::default(),
            facts: Facts::unknown(),
            looking: None,
            next_look: now,
            done: 1,
            look_since: 0,
            facts_since: 0,
            look_begun: now,
            looked_from: now,
            kills_at: None,
            overdue: None,
            changed: None,
            admitted_at: now,
            down: false,
            open_until: 0,
            unstored: false,
            plan: VecDeque::new(),
            then: None,
            doing: None,
            step: None,
            spent: Vec::new(),
            retry_at: None,
            calls: Vec::new(),
            seq: 0,
            answered: 0,
            outbox: calling::Outbox::new(now),
            heard,
            seen: now,
            leaving: None,
            timer: None,
            exit: None,
        }
    }

    async fn turn(&mut self) -> Option<KeeperExit> {
        let now = self.ports.clock.now();
        self.close_alone(now);
        self.act(now).await;
        self.cut_stop_short(now).await;
        self.leave(now).await;
        if self.exit.is_some() {
            return self.exit.take();
        }
        self.start_look(now);
        self.send_report(now);
        match self.wait().await {
            Woke::Stop(request) => self.asked_to_stop(request).await,
            Woke::Answer(call, result) => self.answered(call, result).await,
            Woke::Stepped(result) => self.stepped(result).await,
            Woke::Looked(facts) => self.looked(*facts).await,
            Woke::Changed => self.outdate_facts(),
            Woke::Timer => {}
        }
        None
    }

    async fn wait(&mut self) -> Woke {
        self.set_timer();
        let ports = self.ports;
        self.changed.get_or_insert_with(|| Box::pin(ports.postgres.changed()));
        let Keeper { stop, calls, step, looking, changed, timer, .. } = self;
        poll_fn(|cx| {
            if let Poll::Ready(request) = poll_slot(stop, cx) {
                return Poll::Ready(Woke::Stop(request));
            }
            if let Poll::Ready((key, result)) = poll_list(calls, cx) {
                return Poll::Ready(Woke::Answer(key, result));
            }
            if let Poll::Ready(result) = poll_slot(step, cx) {
                return Poll::Ready(Woke::Stepped(result));
            }
            if let Poll::Ready(facts) = poll_slot(looking, cx) {
                return Poll::Ready(Woke::Looked(Box::new(facts)));
            }
            if poll_slot(changed, cx).is_ready() {
                return Poll::Ready(Woke::Changed);
            }
            match timer.as_mut().map(|(_, task)| task.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    *timer = None;
                    Poll::Ready(Woke::Timer)
                }
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn closes_at(&self) -> Option<Moment> {
        let patience = self.settings.network_partition_timeout;
        fence::closes_at(&self.record, &self.facts, self.heard, self.seen, patience)
    }

    /// Whether it must close alone now. One that has slept since it looked last, as a process that is stopped does, looks
    /// again before it judges that no member is there. A lease asks for no such look: it is over.
    fn must_close(&mut self, now: Moment) -> bool {
        let Some(at) = self.closes_at().filter(|at| now >= *at) else {
            self.overdue = None;
            return false;
        };
        let overdue = *self.overdue.get_or_insert(now);
        let is_leased = fence::lease_ends(&self.record, self.heard) == Some(at);
        is_leased || self.looked_from >= at || now >= overdue + LOOK_LIMIT
    }

    /// One timer, kept as long as its moment doesn't move.
    fn set_timer(&mut self) {
        let fence = self.overdue.map(|since| since + LOOK_LIMIT).or(self.closes_at());
        let fence = fence.filter(|_| !self.memory.closing_alone);
        let look = self.looking.is_none().then_some(self.next_look);
        // What a running step or look holds up is taken up when that ends, not by the clock.
        let held_up = self.step.is_some() || self.blind() || self.stopping() || self.awaits_word();
        let retry = self.retry_at.filter(|_| !held_up);
        let report = (!self.blind() && !self.is_mute()).then(|| self.next_report());
        let at = [look, fence, retry, self.leaving, report, self.kills_at].into_iter().flatten().min();
        let Some(at) = at else {
            self.timer = None;
            return;
        };
        if self.timer.as_ref().is_none_or(|(set, _)| *set != at) {
            let clock = &self.ports.clock;
            self.timer = Some((at, Box::pin(clock.sleep_until(at))));
        }
    }

    fn start_look(&mut self, now: Moment) {
        if self.looking.is_none() && (now >= self.next_look || self.blind() || self.overdue.is_some()) {
            self.looking = Some(Box::pin(self.ports.postgres.look()));
            self.next_look = now + self.settings.look_period;
            (self.look_since, self.look_begun) = (self.done, now);
        }
    }

    /// Something was done or happened: the facts, and a look under way, are older.
    fn outdate_facts(&mut self) {
        self.done += 1;
    }

    /// Nothing is planned or told on facts older than what was done last.
    fn blind(&self) -> bool {
        self.facts_since != self.done
    }

    /// A node's number is bound to one cluster: another directory in its place can't speak for it.
    async fn bound(&mut self, facts: Facts) -> Facts {
        let Some(found) = facts.control().map(|c| c.system_id) else { return facts };
        match self.record.system_id {
            None if !matches!(self.record.state, NodeState::Init | NodeState::WaitStandby) => {
                self.store(KeeperRecord { system_id: Some(found), ..self.record.clone() }).await;
                facts
            }
            Some(own) if own != found && mutant!(InitdbOverLostDirectory) => {
                self.store(KeeperRecord { system_id: Some(found), ..self.record.clone() }).await;
                facts
            }
            Some(own) if own != found => {
                let reason = format!("the data directory has system identifier {found}, this node's is {own}");
                self.note_trouble(reason.clone());
                Facts { directory: Directory::Unusable { reason }, ..facts }
            }
            _ => facts,
        }
    }

    async fn looked(&mut self, facts: Facts) {
        let now = self.ports.clock.now();
        self.looked_from = self.look_begun;
        let facts = self.bound(facts).await;
        if now.since(self.admitted_at) >= ADMIT_AGAIN {
            self.memory.admitted = None;
        }
        if let Some(contract) = &self.record.contract
            && fence::sees_members(contract, &facts)
        {
            self.seen = self.seen.max(self.look_begun);
        }
        if !matches!(facts.server, Server::Up(_)) {
            self.forget_contract();
        }
        self.memory.ended &= facts.server == Server::Down;
        if facts.is_open() || self.facts.is_open() {
            self.memory.told_closed = false;
            self.open_until = self.seq;
        }
        self.outbox.news |= calling::telling(&facts) != calling::telling(&self.facts);
        self.facts_since = self.look_since;
        self.facts = facts;
        if !self.blind() {
            self.down = self.facts.server == Server::Down && self.step.is_none();
        }
    }

    /// Changes the record: stored first, then current. `false` when it could not be stored.
    async fn store(&mut self, record: KeeperRecord) -> bool {
        if record == self.record {
            return true;
        }
        let at_rest = record.goal() == Some(record.state) && !record.state.is_being_promoted();
        if mutant!(ActsBeforeStoring) && !at_rest {
            self.record = record;
            return true;
        }
        match self.save(&record).await {
            Ok(()) => {
                self.record = record;
                true
            }
            Err(StoreError::Io(why)) => {
                self.trouble(format!("the keeper's record can't be stored: {why}"));
                false
            }
            Err(error) => {
                self.exit = Some(KeeperExit::Fatal(error.to_string()));
                false
            }
        }
    }

    /// What runs at the moment is given up should it have to close before that is stored: as its lease ends, or as another
    /// leads, and it has known that for as long as it would have borne silence.
    async fn save(&mut self, record: &KeeperRecord) -> Result<(), StoreError> {
        let ends = match record.goal().is_some_and(NodeState::is_writable) {
            true => fence::lease_ends(&self.record, self.heard),
            false => self.closes_at(),
        };
        let ends = ends.filter(|_| !self.down && !mutant!(LeaseEndsAfterStore));
        let pause = self.settings.step_retry_pause;
        let (saved, closed) = save_before(ends, self.ports, pause, &mut self.ledger, record).await;
        if closed.0 {
            self.plan.clear();
            self.then = None;
            self.give_up_step();
        }
        self.unstored = matches!(saved, Err(StoreError::Io(_)));
        saved
    }

    /// The node is in another state from now on.
    async fn enter(&mut self, state: NodeState) -> bool {
        let from = self.record.state;
        if from == state {
            return true;
        }
        assert!(from.may_become(state), "{from} -> {state} is no legal move");
        let in_maintenance = state == NodeState::Maintenance;
        let standby_in_maintenance = in_maintenance && from == NodeState::WaitMaintenance;
        let control = self.facts.control().filter(|_| in_maintenance && !standby_in_maintenance);
        let left_closed = control.map(|c| (c.state, c.checkpoint));
        if !self.store(KeeperRecord { state, standby_in_maintenance, left_closed, ..self.record.clone() }).await {
            return false;
        }
        tracing::info!("{from} -> {state}");
        self.memory.confirmed = None;
        self.outbox.passed.push(from);
        self.outbox.moves += 1;
        self.outbox.spent = std::mem::take(&mut self.spent);
        self.outbox.news = true;
        self.outdate_facts();
        true
    }

    /// Something for the operator to see; what is being done goes on.
    fn note_trouble(&mut self, what: String) {
        tracing::warn!("{what}");
        self.outbox.news |= self.outbox.trouble.as_ref() != Some(&what);
        self.outbox.trouble = Some(what);
    }

    /// What was planned can't go on now.
    fn trouble(&mut self, what: String) {
        self.note_trouble(what);
        self.retry_at = Some(self.ports.clock.now() + self.settings.step_retry_pause);
        self.plan.clear();
        self.then = None;
    }
}
