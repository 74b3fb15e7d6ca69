//! From what a node is, what it shall be and what is there: the next steps. Pure; called again whenever
//! one of the three has changed, so every plan may be cut short at any step.

mod follow;
mod open;
#[cfg(test)]
mod reach;
mod rejoin;
mod seal;

use crate::keeper::step::Step;
use crate::model::*;
use crate::mutant;
use crate::ports::StopMode;

/// What a keeper knows and forgets when its process ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The contract that every process of the server that runs now works under.
    pub proven: Option<ContractId>,
    /// The same, and enough members hold everything written before: what the monitor is told.
    pub applied: Option<ContractId>,
    /// A fork and the end of local WAL past it.
    pub inspected: Option<(Position, Option<Lsn>)>,
    /// Whom the configuration on disk follows; `None` when it isn't known.
    pub following: Option<Option<Upstream>>,
    pub admitted: Option<Vec<Peer>>,
    /// How far the slots for the other nodes have been moved up.
    pub advanced: Option<Lsn>,
    /// An assignment was taken: what is stored is no old word any more.
    pub told: bool,
    /// The monitor has answered a report that showed this state.
    pub confirmed: Option<NodeState>,
    /// The keeper closes alone, whatever its assignment says, until it hears from the monitor or has closed.
    pub closing_alone: bool,
    /// The monitor has answered to the news that the server isn't open, and it hasn't been since.
    pub told_closed: bool,
    /// A server was stopped, with all that a dead postmaster has left, and none was seen since.
    pub ended: bool,
    /// The monitor has not answered for longer than a call may take.
    pub unheard: bool,
    /// The rebuild that is on record is done, and that could not be stored yet.
    pub rebuilt: bool,
}

/// Steps, and the state that is reached once they are done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub then: Option<NodeState>,
}

struct Scene<'a> {
    record: &'a KeeperRecord,
    assignment: &'a Assignment,
    facts: &'a Facts,
    memory: &'a Memory,
}

pub fn plan(record: &KeeperRecord, facts: &Facts, memory: &Memory) -> Plan {
    let Some(assignment) = &record.assignment else {
        return Plan::default();
    };
    if memory.rebuilt && record.rebuild.is_some() {
        return steps(vec![Step::Clear]);
    }
    let scene = Scene { record, assignment, facts, memory };
    let goal = if memory.closing_alone { NodeState::DemoteTimeout } else { assignment.goal };
    match record.state.next_hop(goal) {
        Some(hop) => scene.towards(hop),
        None => scene.keep(),
    }
}

/// Of a server whose postmaster died a process may be left that acknowledges what it is about to commit: amid a flush it
/// hears of no death.
pub fn end_orphans(record: &KeeperRecord, facts: &Facts, memory: &Memory) -> Vec<Step> {
    // It is open before that is stored.
    let was_open = record.state.belongs_to_primary() || record.state.is_being_promoted();
    let has_died = was_open && facts.server == Server::Down && !memory.ended;
    (has_died && !mutant!(OrphansLiveOn)).then_some(Step::Stop(StopMode::Immediate)).into_iter().collect()
}

fn steps(steps: Vec<Step>) -> Plan {
    Plan { steps, then: None }
}

impl Scene<'_> {
    fn towards(&self, hop: NodeState) -> Plan {
        match hop {
            NodeState::Single | NodeState::WaitPrimary | NodeState::Primary => self.open(hop),
            NodeState::Draining | NodeState::PrepareMaintenance => Plan { steps: self.drain(), then: Some(hop) },
            NodeState::DemoteTimeout | NodeState::Demoted | NodeState::Dropped => {
                Plan { steps: self.stopped(), then: Some(hop) }
            }
            NodeState::Catchingup => self.rejoin(Some(hop)),
            NodeState::StopReplication if self.is_sealed() => Plan { steps: vec![], then: Some(hop) },
            NodeState::StopReplication | NodeState::ReportLsn => self.seal(Some(hop)),
            NodeState::FastForward => self.fetch(hop),
            NodeState::Maintenance if self.record.state == NodeState::PrepareMaintenance => {
                let disown = self.facts.control().map(|_| Step::Disown);
                Plan { steps: disown.into_iter().collect(), then: Some(hop) }
            }
            NodeState::Secondary if self.record.rebuild.is_some() || !self.runs_as_standby() => self.rejoin(None),
            // Nothing to do but to say so: the monitor has made sure of the rest.
            NodeState::WaitStandby
            | NodeState::Secondary
            | NodeState::PreparePromotion
            | NodeState::Init
            | NodeState::WaitMaintenance
            | NodeState::Maintenance => Plan { steps: vec![], then: Some(hop) },
        }
    }

    /// The node is what it shall be; its Postgres may not be.
    fn keep(&self) -> Plan {
        match self.record.state {
            NodeState::Init | NodeState::WaitStandby | NodeState::Maintenance => Plan::default(),
            NodeState::Single | NodeState::WaitPrimary | NodeState::Primary => self.keep_open(),
            NodeState::Draining
            | NodeState::DemoteTimeout
            | NodeState::Demoted
            | NodeState::PrepareMaintenance
            | NodeState::Dropped => steps(self.stopped()),
            // The winner of an election has nobody to follow any more.
            NodeState::PreparePromotion if self.is_sealed() => steps(self.admit()),
            NodeState::Catchingup | NodeState::Secondary | NodeState::PreparePromotion | NodeState::WaitMaintenance => {
                self.keep_following()
            }
            NodeState::StopReplication | NodeState::ReportLsn | NodeState::FastForward if self.is_sealed() => {
                steps(self.admit())
            }
            NodeState::StopReplication | NodeState::ReportLsn | NodeState::FastForward => self.seal(None),
        }
    }

    fn runs_as_standby(&self) -> bool {
        self.facts.running().is_some_and(|r| r.in_recovery)
    }

    fn stopped(&self) -> Vec<Step> {
        match self.facts.server {
            Server::Down => end_orphans(self.record, self.facts, self.memory),
            Server::Up(_) | Server::Starting | Server::Stuck { .. } => vec![Step::Stop(StopMode::Fast)],
        }
    }

    /// A checkpoint while clients still write makes the one in the stop a short one.
    fn drain(&self) -> Vec<Step> {
        let checkpoint = self.facts.is_open().then_some(Step::Checkpoint);
        checkpoint.into_iter().chain(self.stopped()).collect()
    }

    fn admit(&self) -> Vec<Step> {
        let peers = &self.assignment.peers;
        if self.memory.admitted.as_ref() == Some(peers) { vec![] } else { vec![Step::Admit(peers.clone())] }
    }

    fn follow(&self, upstream: &Option<Upstream>) -> Vec<Step> {
        if self.memory.following.as_ref() == Some(upstream) { vec![] } else { vec![Step::Follow(upstream.clone())] }
    }

    /// The server last ran as a primary, by what the control file says. A promotion writes that last, once the new
    /// timeline is on disk and in that file: what is there of it before in other files is no proof.
    fn was_open(&self) -> bool {
        let open = |c: &Control| matches!(c.state, ControlState::InProduction | ControlState::ShutDown);
        self.facts.control().is_some_and(open)
    }

    /// Somebody has promoted or started the server by hand: a standby that was never told to open has been open.
    fn has_strayed(&self) -> bool {
        use NodeState::{
            Catchingup, FastForward, Maintenance, PreparePromotion, ReportLsn, Secondary, WaitMaintenance,
        };
        let follows = match self.record.state {
            Catchingup | Secondary | WaitMaintenance | PreparePromotion | ReportLsn | FastForward => true,
            Maintenance => {
                let says = self.facts.control().map(|c| (c.state, c.checkpoint));
                self.record.standby_in_maintenance || self.record.left_closed.is_some_and(|left| says != Some(left))
            }
            _ => false,
        };
        let is_accepted = |c: &Control| self.assignment.accepted.as_ref() == Some(&c.history);
        follows && self.was_open() && !self.facts.control().is_some_and(is_accepted)
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;
    use std::collections::BTreeSet;

    pub fn none(id: u64) -> Contract {
        Contract::none(ContractId(id))
    }

    pub fn any(id: u64) -> Contract {
        Contract::any(ContractId(id), 1, BTreeSet::from([NodeId(2)]))
    }

    pub fn record(state: NodeState, contract: Option<Contract>) -> KeeperRecord {
        let group = GroupKey { formation: "default".into(), group: 0 };
        KeeperRecord { state, contract, epoch: Epoch(3), ..KeeperRecord::new(group, NodeId(1), "a".into()) }
    }

    pub fn control(state: ControlState, history: History) -> Directory {
        let checkpoint = Position { tli: history.tli, lsn: Lsn(900) };
        Directory::Present(Control { system_id: 7, state, checkpoint, history })
    }

    fn up(in_recovery: bool, senders: Vec<Sender>) -> Server {
        let position = Position::new(1, 1000);
        Server::Up(Running {
            in_recovery,
            position,
            replayed: Lsn(1000),
            checkpoint_tli: Timeline(1),
            receiver: None,
            stranded: None,
            senders,
            stopping: false,
        })
    }

    pub fn down() -> Facts {
        Facts { directory: control(ControlState::InProduction, History::root(Timeline(1))), server: Server::Down }
    }

    pub fn standby() -> Facts {
        let directory = control(ControlState::InRecovery, History::root(Timeline(1)));
        Facts { directory, server: up(true, vec![]) }
    }

    pub fn open(sender: Option<NodeId>) -> Facts {
        let senders = sender.map(|node| Sender { node, streaming: true, flushed: Lsn(1000) });
        Facts { server: up(false, senders.into_iter().collect()), ..down() }
    }

    pub fn upstream() -> Upstream {
        let history = History::root(Timeline(1)).branch(Timeline(2), Lsn(800));
        Upstream { node: NodeId(2), host: "b".into(), port: 5432, history, opening: false }
    }

    pub fn told(mut record: KeeperRecord, goal: NodeState, contract: Option<Contract>) -> KeeperRecord {
        let upstream = Some(upstream());
        record.assignment = Some(Assignment { serial: 5, contract, upstream, ..Assignment::new(Epoch(3), goal) });
        record
    }

    pub fn names(plan: &Plan) -> Vec<&'static str> {
        plan.steps.iter().map(Step::name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn a_server_that_waits_for_its_last_session_is_not_waited_for() {
        let stopping = |mut facts: Facts| {
            let Server::Up(running) = &mut facts.server else { unreachable!() };
            running.stopping = true;
            facts
        };
        let memory = Memory { applied: Some(ContractId(4)), ..Memory::default() };
        let primary = told(record(NodeState::Primary, Some(any(4))), NodeState::Primary, Some(any(4)));
        assert_eq!(names(&plan(&primary, &stopping(open(Some(NodeId(2)))), &memory)), ["stop"]);
        let standby = told(record(NodeState::Secondary, None), NodeState::Secondary, None);
        assert_eq!(names(&plan(&standby, &stopping(super::testing::standby()), &memory)), ["stop"]);
    }

    #[test]
    fn closing_alone_overrides_the_assignment() {
        let record = told(record(NodeState::Primary, Some(any(4))), NodeState::Primary, Some(any(4)));
        let memory = Memory { closing_alone: true, ..Memory::default() };
        let plan = plan(&record, &open(None), &memory);
        assert_eq!((names(&plan), plan.then), (vec!["stop"], Some(NodeState::DemoteTimeout)));
    }

    #[test]
    fn what_was_opened_by_hand_gives_no_vote_and_comes_back_by_a_clone() {
        let steps = |state, goal| {
            let record = told(record(state, None), goal, None);
            plan(&record, &down(), &Memory::default()).steps
        };
        for (state, goal) in [
            (NodeState::Secondary, NodeState::ReportLsn),
            (NodeState::ReportLsn, NodeState::ReportLsn),
            (NodeState::PreparePromotion, NodeState::StopReplication),
        ] {
            assert_eq!(steps(state, goal), [], "{state}");
        }
        assert_eq!(steps(NodeState::Demoted, NodeState::ReportLsn).len(), 3, "it was told to be open");
        let mut chosen = told(record(NodeState::Secondary, None), NodeState::ReportLsn, None);
        let history = down().control().map(|c| c.history.clone());
        chosen.assignment.as_mut().unwrap().accepted = history;
        let votes = plan(&chosen, &down(), &Memory::default());
        assert_eq!(names(&votes), ["unfollow", "start", "seal"], "an operator has accepted its timeline");
        let back = steps(NodeState::Secondary, NodeState::Catchingup);
        assert_eq!(back[0], Step::KeepAside(Position::new(1, 0), Lsn(900)), "{back:?}");
        assert_eq!(back[2].name(), "clone");
        for (standby_in_maintenance, first) in [(true, "keep aside"), (false, "inspect")] {
            let record = KeeperRecord { standby_in_maintenance, ..record(NodeState::Maintenance, None) };
            let back = plan(&told(record, NodeState::Catchingup, None), &down(), &Memory::default());
            assert_eq!(names(&back)[0], first);
        }
    }

    #[test]
    fn an_old_primary_that_somebody_opened_in_its_maintenance_has_strayed() {
        let left_as = |left| {
            let record = KeeperRecord { left_closed: Some(left), ..record(NodeState::Maintenance, None) };
            names(&plan(&told(record, NodeState::Catchingup, None), &down(), &Memory::default()))[0]
        };
        let control = down().control().map(|c| (c.state, c.checkpoint)).unwrap();
        assert_eq!(left_as(control), "inspect", "as it was left");
        assert_eq!(left_as((ControlState::ShutDown, control.1)), "keep aside");
        assert_eq!(left_as((control.0, Position::new(1, 800))), "keep aside");
    }

    #[test]
    fn an_old_primary_in_maintenance_acknowledges_nothing_should_somebody_open_it() {
        let steps = |state, facts: &Facts| {
            let record = told(record(state, Some(none(4))), NodeState::Maintenance, None);
            names(&plan(&record, facts, &Memory::default()))
        };
        assert_eq!(steps(NodeState::PrepareMaintenance, &down()), ["disown"]);
        let empty = Facts { directory: Directory::Absent, server: Server::Down };
        assert_eq!(steps(NodeState::PrepareMaintenance, &empty), [""; 0], "there is nothing to open");
        assert_eq!(steps(NodeState::WaitMaintenance, &down()), [""; 0], "as a standby it never did");
    }
}
