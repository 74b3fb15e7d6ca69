//! The table of states says which goals can be reached. This says that the keeper gets there: for every state and every
//! goal it may be told, whatever it finds of its server, plan after plan comes to the goal, or waits for the monitor for
//! a reason that the monitor knows a way out of.

use super::testing::*;
use super::*;
use crate::ports::{StartAs, StopMode};
use NodeState::*;

/// What may be found of a server, and what a keeper makes of it when each of its steps succeeds.
#[derive(Clone)]
struct Small {
    record: KeeperRecord,
    facts: Facts,
    memory: Memory,
}

fn found() -> Vec<(&'static str, Facts)> {
    let root = || History::root(Timeline(1));
    let down = |directory| Facts { directory, server: Server::Down };
    let hangs = |state, server| Facts { directory: control(state, root()), server };
    let stuck = || Server::Stuck { reason: "it says nothing".into() };
    let begun = |state| {
        let checkpoint = Position::new(1, 900);
        Directory::Present(Control { system_id: 7, state, checkpoint, history: upstream().history })
    };
    let Server::Up(mut running) = standby().server else { unreachable!("it runs") };
    running.position.tli = upstream().history.tli;
    let behind = Server::Up(running);
    vec![
        ("runs open", open(None)),
        ("runs as a standby", standby()),
        ("fell while it was open", down(control(ControlState::InProduction, root()))),
        ("fell before the first checkpoint of its timeline", down(begun(ControlState::InProduction))),
        ("fell when it was started read-only before it", down(begun(ControlState::InRecovery))),
        ("was started read-only before it", Facts { directory: begun(ControlState::InRecovery), server: behind }),
        ("stopped when it was open", down(control(ControlState::ShutDown, root()))),
        ("fell as a standby", down(control(ControlState::InRecovery, root()))),
        ("has no directory", down(Directory::Absent)),
        ("starts", hangs(ControlState::InProduction, Server::Starting)),
        ("starts as a standby", hangs(ControlState::InRecovery, Server::Starting)),
        ("is stuck", hangs(ControlState::InProduction, stuck())),
        ("is stuck as a standby", hangs(ControlState::InRecovery, stuck())),
    ]
}

impl Small {
    fn history(&self) -> History {
        self.facts.control().map_or(History::root(Timeline(1)), |control| control.history.clone())
    }

    fn runs(&mut self, in_recovery: bool, history: History) {
        let usual = if in_recovery { standby() } else { open(None) };
        let Server::Up(mut running) = usual.server else { unreachable!("both run") };
        running.position.tli = history.tli;
        running.checkpoint_tli = history.tli;
        running.receiver = None;
        let state = if in_recovery { ControlState::InRecovery } else { ControlState::InProduction };
        self.facts = Facts { directory: control(state, history), server: Server::Up(running) };
    }

    fn lies(&mut self, state: ControlState, history: History) {
        self.facts = Facts { directory: control(state, history), server: Server::Down };
    }

    fn recover(&mut self) {
        let history = self.history();
        let checkpoint = Position { tli: history.tli, lsn: Lsn(950) };
        self.lies(ControlState::ShutDown, history);
        let Directory::Present(control) = &mut self.facts.directory else { unreachable!("it was just put there") };
        control.checkpoint = checkpoint;
    }

    /// The server fell while the node could acknowledge, and nobody has ended what may be left of it.
    fn has_orphans(&self) -> bool {
        let could = self.record.state.belongs_to_primary() || self.record.state.is_being_promoted();
        could && self.facts.server == Server::Down && !self.memory.ended
    }

    /// What is there to be stopped is gone afterwards, and what its postmaster left behind with it.
    fn stop(&mut self, mode: StopMode) {
        if let (Directory::Present(control), true) = (&mut self.facts.directory, self.facts.server != Server::Down)
            && control.state == ControlState::InProduction
            && mode == StopMode::Fast
        {
            (control.state, control.checkpoint.tli) = (ControlState::ShutDown, control.history.tli);
        }
        if self.facts.control().is_some() {
            self.facts.server = Server::Down;
        }
        self.memory.ended = true;
    }

    fn act(&mut self, step: Step) {
        let is_stop = matches!(step, Step::Stop(_));
        assert!(
            is_stop || !self.record.state.is_writable() || !self.has_orphans(),
            "{step:?} comes before the orphans' end"
        );
        let history = self.history();
        self.unlearn(&step);
        match step {
            Step::Remember(contract) => self.record.contract = Some(contract),
            Step::Mark(rebuild) => self.record.rebuild = Some(rebuild),
            Step::Clear => self.record.rebuild = None,
            Step::Create => self.lies(ControlState::ShutDown, history),
            Step::Recover => self.recover(),
            Step::Start(StartAs::Primary) => self.runs(false, history),
            Step::Start(StartAs::Standby) => self.runs(true, history),
            Step::Stop(mode) => self.stop(mode),
            Step::Promote(tli) => self.runs(false, history.branch(tli, Lsn(1000))),
            Step::Rewind(upstream) | Step::Clone(upstream) => self.lies(ControlState::InRecovery, upstream.history),
            Step::Follow(upstream) => self.memory.following = Some(upstream),
            Step::Admit(peers) => self.memory.admitted = Some(peers),
            Step::Inspect(fork) => self.memory.inspected = Some((fork, Some(Lsn(950)))),
            Step::Seal(epoch) => self.record.seal = Some(Seal { epoch, position: Position::new(1, 1000) }),
            Step::Unseal => self.record.seal = None,
            // They wait, or change what no plan goes by.
            Step::ReplayedPast(_)
            | Step::Fetch(_)
            | Step::AdvanceSlots(_)
            | Step::Enforce(_)
            | Step::Disown
            | Step::Prove(_)
            | Step::AwaitMembers(_)
            | Step::Checkpoint
            | Step::KeepAside(..) => {}
        }
    }

    /// As the keeper does.
    fn unlearn(&mut self, step: &Step) {
        match step {
            Step::Start(_) => (self.memory.inspected, self.memory.ended) = (None, false),
            Step::Rewind(_) | Step::Clone(_) => (self.memory.inspected, self.memory.following) = (None, None),
            Step::Promote(_) => self.memory.following = None,
            _ => {}
        }
    }

    /// Nobody says that he is closed while something of his server may acknowledge.
    fn enter(&mut self, state: NodeState) {
        let closed = matches!(state, Draining | DemoteTimeout | Demoted | PrepareMaintenance | Dropped);
        assert!(!closed || !self.has_orphans(), "{} to {state}: its orphans live on", self.record.state);
        (self.record.state, self.memory.confirmed) = (state, Some(state));
    }

    /// Whether it comes to its goal; false when it waits to be told another.
    fn gets_there(mut self, goal: NodeState) -> bool {
        for _ in 0..2 * NodeState::ALL.len() {
            if self.record.state == goal {
                return true;
            }
            self.memory.ended &= self.facts.server == Server::Down;
            if self.record.state.is_writable() {
                end_orphans(&self.record, &self.facts, &self.memory).into_iter().for_each(|step| self.act(step));
            }
            let Plan { steps, then } = plan(&self.record, &self.facts, &self.memory);
            if steps.is_empty() && then.is_none() {
                return false;
            }
            steps.into_iter().for_each(|step| self.act(step));
            then.into_iter().for_each(|state| self.enter(state));
        }
        panic!("it goes in circles at {} on its way to {goal}", self.record.state);
    }
}

fn at(state: NodeState, goal: NodeState, contract: Contract, facts: &Facts, rebuild: Option<Rebuild>) -> Small {
    let mut record = told(record(state, Some(none(4))), goal, Some(contract));
    record.assignment.as_mut().expect("it was just told").fetch = Some(Lsn(1000));
    record.rebuild = rebuild;
    // The monitor has answered to what it was told last.
    let memory = Memory { confirmed: Some(state), told: true, ..Memory::default() };
    Small { record, facts: facts.clone(), memory }
}

/// Why a keeper waits for the monitor to change its mind.
fn may_wait(state: NodeState, goal: NodeState, facts: &Facts, rebuild: Option<Rebuild>) -> bool {
    let goes_by_a_vote = goal.is_writable() || goal.is_being_promoted() || goal == ReportLsn;
    // Only a clone helps, and whoever has nothing has no vote, nor anything to open with.
    let has_nothing = facts.directory == Directory::Absent || rebuild.is_some();
    // What it wrote when nobody had told it to is no vote.
    let was_open = facts.control().is_some_and(|c| c.state != ControlState::InRecovery);
    let follows =
        matches!(state, Catchingup | Secondary | WaitMaintenance | PreparePromotion | ReportLsn | FastForward);
    // One that starts is seen again once that is over. One that is stuck may stay so for ever, and then the role goes to
    // another: whoever isn't asked for it stops the server, and goes on.
    let starts = facts.server == Server::Starting;
    let is_stuck = matches!(facts.server, Server::Stuck { .. });
    let closes = matches!(goal, Draining | DemoteTimeout | Demoted | PrepareMaintenance | Dropped);
    goes_by_a_vote && (has_nothing || is_stuck || (follows && was_open)) || starts && !closes
}

#[test]
fn every_goal_that_the_table_allows_is_reached_whatever_is_found_or_lawfully_waited_for() {
    let (mut reached, mut waits) = (0, 0);
    for &state in NodeState::ALL {
        for &goal in NodeState::ALL {
            if state == goal || state == Dropped || matches!(goal, Init | WaitStandby) {
                continue;
            }
            for (what, facts) in found() {
                for rebuild in [None, Some(Rebuild::Rewind), Some(Rebuild::Clone)] {
                    for contract in [none(5), any(5)] {
                        if at(state, goal, contract, &facts, rebuild).gets_there(goal) {
                            reached += 1;
                            continue;
                        }
                        let lawful = may_wait(state, goal, &facts, rebuild);
                        assert!(lawful, "{state} to {goal}, its server {what}, {rebuild:?}: it waits for ever");
                        waits += 1;
                    }
                }
            }
        }
    }
    assert!(reached > 5000 && waits > 100, "{reached} reached, {waits} waits");
}

/// Who waits is told to catch up, or to close, and can.
#[test]
fn whoever_waits_can_be_told_something_else() {
    for &state in NodeState::ALL.iter().filter(|state| !matches!(state, Dropped | Catchingup)) {
        for (what, facts) in found() {
            let starts = facts.server == Server::Starting;
            for rebuild in [None, Some(Rebuild::Rewind), Some(Rebuild::Clone)] {
                let goals = [(Catchingup, !starts), (DemoteTimeout, state != DemoteTimeout)];
                for (goal, _) in goals.into_iter().filter(|(_, can)| *can) {
                    let there = at(state, goal, none(5), &facts, rebuild).gets_there(goal);
                    assert!(there, "{state} to {goal}, its server {what}, {rebuild:?}");
                }
            }
        }
    }
}
