//! From what a node is, what it shall be and what is there: the next steps. Pure; called again whenever
//! one of the three has changed, so every plan may be cut short at any step.

use crate::keeper::fence;
use crate::keeper::lineage::{self, Rejoin};
use crate::keeper::step::Step;
use crate::model::wal::SEGMENT;
use crate::model::*;
use crate::mutant;
use crate::ports::{StartAs, StopMode};

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
    /// The monitor has not answered for longer than a call may take.
    pub unheard: bool,
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
    let scene = Scene { record, assignment, facts, memory };
    let goal = if memory.closing_alone { NodeState::DemoteTimeout } else { assignment.goal };
    match record.state.next_hop(goal) {
        Some(hop) => scene.towards(hop),
        None => scene.keep(),
    }
}

/// A new primary under a contract is open before its members have come over to it: without it they could not, and
/// commits wait.
fn opens_at_once(contract: &Contract, hop: NodeState) -> bool {
    contract.is_none() || hop == NodeState::WaitPrimary || mutant!(OpensAfterCrash)
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
            Server::Down => vec![],
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

    /// The server runs in recovery and has promised, in this epoch, to receive nothing more.
    fn is_sealed(&self) -> bool {
        self.runs_as_standby() && self.record.seal.is_some_and(|s| s.epoch == self.assignment.epoch)
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
            Maintenance => self.record.standby_in_maintenance,
            _ => false,
        };
        follows && self.was_open()
    }

    fn seal(&self, then: Option<NodeState>) -> Plan {
        if self.record.rebuild.is_some() || self.facts.control().is_none() {
            return Plan::default();
        }
        let mut plan = vec![];
        match &self.facts.server {
            Server::Up(r) if !r.in_recovery => return steps(self.stopped()),
            Server::Up(_) => {
                plan.extend(self.assignment.drained.map(Step::ReplayedPast));
                plan.push(Step::Follow(None));
            }
            // What it wrote by itself is no vote.
            Server::Down if self.has_strayed() => return Plan::default(),
            Server::Down => plan.extend([Step::Follow(None), Step::Start(StartAs::Standby)]),
            Server::Starting | Server::Stuck { .. } => return Plan::default(),
        }
        plan.push(Step::Seal(self.assignment.epoch));
        Plan { steps: plan, then }
    }

    /// What a sealed peer holds and this node lacks; then sealed again, further on.
    fn fetch(&self, hop: NodeState) -> Plan {
        let (Some(source), Some(lsn)) = (&self.assignment.upstream, self.assignment.fetch) else {
            return Plan::default();
        };
        if !self.runs_as_standby() {
            return self.seal(None);
        }
        let plan = vec![
            Step::Unseal,
            Step::Follow(Some(source.clone())),
            Step::Fetch(lsn),
            Step::Follow(None),
            Step::Seal(self.assignment.epoch),
        ];
        Plan { steps: plan, then: Some(hop) }
    }

    /// Opens for writes under the assigned contract, by the shortest way that is safe from where the server is.
    fn open(&self, hop: NodeState) -> Plan {
        let Some(contract) = self.assignment.contract.clone() else {
            return Plan::default();
        };
        if self.record.rebuild.is_some() {
            return Plan::default();
        }
        let was_closed = matches!(
            self.record.state,
            NodeState::Draining | NodeState::DemoteTimeout | NodeState::Demoted | NodeState::PrepareMaintenance
        );
        let unconfirmed = self.memory.confirmed != Some(self.record.state);
        // How much of its lease went by in an earlier life is lost, and whoever comes after the lease doesn't ask.
        let leased = self.record.state == NodeState::StopReplication && self.assignment.lease_ms.is_some();
        if was_closed && unconfirmed && !self.members_may_vouch(&contract, hop) || leased && !self.memory.told {
            // What is stored may be outdated: nobody opens on the strength of it.
            return Plan::default();
        }
        let mut plan = vec![];
        if self.record.contract.as_ref() != Some(&contract) {
            plan.push(Step::Remember(contract.clone()));
        }
        let way = match (&self.facts.server, self.record.state) {
            (Server::Up(r), _) if r.stopping => return steps(self.stopped()),
            (Server::Up(r), _) if !r.in_recovery => vec![Step::Enforce(contract.clone())],
            (Server::Up(r), NodeState::StopReplication) => self.promote(&contract, r.position.tli),
            (Server::Up(_), _) => self.reopen(&contract, hop),
            (Server::Down, state)
                if matches!(self.facts.directory, Directory::Absent)
                    && (state == NodeState::Init || mutant!(InitdbOverLostDirectory)) =>
            {
                vec![Step::Create, Step::Enforce(contract.clone()), Step::Start(StartAs::Primary)]
            }
            // Interrupted before the promotion was done.
            (Server::Down, NodeState::StopReplication) if !self.was_open() => {
                return steps(vec![Step::Follow(None), Step::Start(StartAs::Standby)]);
            }
            (Server::Down, _) if self.facts.control().is_none() => return Plan::default(),
            (Server::Down, NodeState::StopReplication | NodeState::Init) => {
                vec![Step::Enforce(contract.clone()), Step::Start(StartAs::Primary)]
            }
            (Server::Down, _) if opens_at_once(&contract, hop) => {
                vec![Step::Enforce(contract.clone()), Step::Start(StartAs::Primary)]
            }
            (Server::Down, _) => {
                let mut closed = vec![Step::Follow(None), Step::Start(StartAs::Standby)];
                closed.extend(self.reopen(&contract, hop));
                closed
            }
            (Server::Starting | Server::Stuck { .. }, _) => return Plan::default(),
        };
        plan.extend(way);
        plan.extend([Step::Prove(contract.clone()), Step::Admit(self.assignment.peers.clone())]);
        if !opens_at_once(&contract, hop) {
            plan.push(Step::AwaitMembers(contract));
        }
        Plan { steps: plan, then: Some(hop) }
    }

    fn promote(&self, contract: &Contract, from: Timeline) -> Vec<Step> {
        let number = self.assignment.timeline.unwrap_or(Timeline(from.0 + 1));
        let mut plan = vec![Step::Enforce(contract.clone())];
        if !contract.is_none() {
            // Open under older, empty names it would acknowledge alone until it has read the new ones.
            plan.push(Step::Prove(contract.clone()));
        }
        plan.push(Step::Promote(number));
        plan
    }

    /// Without the monitor the members of the contract can tell that nobody was elected meanwhile: enough of them to
    /// acknowledge follow this node, so too few can have given their vote to another. The server comes up closed and
    /// opens once they hold what it holds.
    fn members_may_vouch(&self, contract: &Contract, hop: NodeState) -> bool {
        self.memory.unheard && !opens_at_once(contract, hop) && self.record.contract.as_ref() == Some(contract)
    }

    /// The server runs closed, in recovery. Under a contract its members first get what a crash left
    /// behind: commits that waited for them became durable here and will be visible.
    fn reopen(&self, contract: &Contract, hop: NodeState) -> Vec<Step> {
        let mut plan = vec![];
        if !opens_at_once(contract, hop) {
            plan.push(Step::Admit(self.assignment.peers.clone()));
            plan.push(Step::AwaitMembers(contract.clone()));
        }
        plan.extend([Step::Stop(StopMode::Fast), Step::Enforce(contract.clone()), Step::Start(StartAs::Primary)]);
        plan
    }

    fn keep_open(&self) -> Plan {
        let Some(contract) = self.assignment.contract.clone() else {
            return Plan::default();
        };
        let Some(running) = self.facts.running().filter(|r| !r.in_recovery) else {
            return Plan { then: None, ..self.open(self.record.state) };
        };
        if running.stopping {
            // Its sessions, the keeper's among them, might go on for ever, and no standby could connect again.
            return steps(self.stopped());
        }
        let mut plan = vec![];
        let alone = mutant!(DegradeUnrecorded) && !fence::sees_members(&contract, self.facts);
        let contract = if alone { Contract::none(contract.id) } else { contract };
        let news = self.record.contract.as_ref() != Some(&contract);
        if news {
            plan.push(Step::Remember(contract.clone()));
        }
        let applied = self.memory.applied == Some(contract.id) && !(mutant!(DegradeUnrecorded) && news);
        if !applied {
            plan.extend([Step::Enforce(contract.clone()), Step::Prove(contract.clone())]);
        }
        plan.extend(self.admit());
        if running.checkpoint_tli != running.position.tli {
            plan.push(Step::Checkpoint);
        }
        if !applied && !contract.is_none() {
            plan.push(Step::AwaitMembers(contract));
        }
        steps(plan)
    }

    fn keep_following(&self) -> Plan {
        if self.record.rebuild.is_some() {
            return self.rejoin(None);
        }
        let Some(upstream) = &self.assignment.upstream else {
            return Plan::default();
        };
        match &self.facts.server {
            Server::Up(r) if r.stopping => steps(self.stopped()),
            Server::Up(r) if r.in_recovery && self.diverges(r, upstream) => steps(self.stopped()),
            Server::Up(r) if r.in_recovery && self.is_stranded(r) => self.rejoin(None),
            Server::Up(r) if r.in_recovery => {
                let mut plan = self.follow(&Some(upstream.clone()));
                plan.extend(self.admit());
                let floor = self.assignment.wal_floor.filter(|floor| self.memory.advanced < Some(*floor));
                plan.extend(floor.map(Step::AdvanceSlots));
                steps(plan)
            }
            _ => self.rejoin(None),
        }
    }

    /// The running standby holds WAL that its upstream never had: it would ask for the same in vain for ever. A newer
    /// timeline than the upstream's is no proof while it streams: it may know of a promotion before the monitor does.
    fn diverges(&self, running: &Running, upstream: &Upstream) -> bool {
        let Position { tli, lsn } = running.position;
        if mutant!(RewindBeforeCheckpoint) {
            return false;
        }
        let theirs = &upstream.history;
        let foreign = |own: &Control| theirs.end_of(own.history.tli).is_some() && !theirs.is_kin(&own.history);
        match theirs.end_of(tli) {
            Some(end) => lsn > end || self.facts.control().is_some_and(foreign),
            None if upstream.opening => tli < theirs.tli,
            None => tli < theirs.tli || !running.receiver.as_ref().is_some_and(|r| r.streaming),
        }
    }

    /// Only a clone helps: what it needs next is gone from its upstream; or its upstream, on the same timeline, doesn't
    /// hold what it holds, as after a disk that lost what it had promised to keep. Then its last WAL is set aside.
    fn is_stranded(&self, running: &Running) -> bool {
        let same_timeline = self.assignment.upstream.as_ref().is_some_and(|u| u.history.tli == running.position.tli);
        self.record.state == NodeState::Catchingup
            && match running.stranded {
                Some(Stranded::WalRemoved) => true,
                Some(Stranded::Forked) => same_timeline && !mutant!(TimelineNumbersCompared),
                None => false,
            }
    }

    /// The last WAL of a node whose upstream doesn't know it.
    fn unknown_wal(&self, running: &Running) -> Option<(Position, Lsn)> {
        let end = running.position.lsn;
        let from = Lsn(end.0.saturating_sub(SEGMENT) / SEGMENT * SEGMENT);
        let forked = running.stranded == Some(Stranded::Forked);
        forked.then_some((Position { tli: running.position.tli, lsn: from }, end))
    }

    /// Becomes a standby of the upstream by nothing, rewind or clone.
    fn rejoin(&self, then: Option<NodeState>) -> Plan {
        let Some(upstream) = self.assignment.upstream.clone() else {
            return Plan::default();
        };
        let follow = [
            Step::Follow(Some(upstream.clone())),
            Step::Start(StartAs::Standby),
            Step::Admit(self.assignment.peers.clone()),
        ];
        let clone = |aside: Option<(Position, Lsn)>| {
            let mut plan = self.stopped();
            let aside = aside.filter(|_| !mutant!(WalNotKeptAside));
            plan.extend(aside.map(|(fork, end)| Step::KeepAside(fork, end)));
            plan.extend([Step::Mark(Rebuild::Clone), Step::Clone(upstream.clone()), Step::Clear]);
            plan.extend(follow.clone());
            Plan { steps: plan, then }
        };
        let unmarked = |rebuild: &Rebuild| !(mutant!(StartsHalfClone) && *rebuild == Rebuild::Clone);
        if self.record.rebuild.as_ref().is_some_and(unmarked) {
            return clone(None);
        }
        let control = match (&self.facts.directory, &self.facts.server) {
            (_, Server::Up(r)) if r.in_recovery && self.is_stranded(r) => return clone(self.unknown_wal(r)),
            (_, Server::Up(r)) if r.in_recovery && !self.diverges(r, &upstream) => {
                return Plan { steps: self.follow(&Some(upstream)), then };
            }
            (_, Server::Starting) => return Plan::default(),
            (_, Server::Up(_) | Server::Stuck { .. }) => return steps(self.stopped()),
            (Directory::Absent, Server::Down) => return clone(None),
            (Directory::Unusable { .. }, Server::Down) => return Plan::default(),
            (Directory::Present(control), Server::Down) => control,
        };
        let ahead = upstream.opening && control.history.tli > upstream.history.tli;
        let plan = match lineage::rejoin(control, self.has_strayed(), &upstream.history, self.memory.inspected) {
            Rejoin::Rewind { .. } if ahead && !self.has_strayed() => follow.to_vec(),
            Rejoin::Follow => follow.to_vec(),
            Rejoin::Inspect { fork } => return steps(vec![Step::Inspect(fork)]),
            Rejoin::Clone { aside } => return clone(aside),
            Rejoin::Rewind { fork, end } => {
                let mut plan = vec![
                    Step::KeepAside(fork, end),
                    Step::Mark(Rebuild::Rewind),
                    Step::Rewind(upstream.clone()),
                    Step::Clear,
                ];
                plan.extend(follow);
                plan.retain(|step| !(mutant!(WalNotKeptAside) && matches!(step, Step::KeepAside(..))));
                plan
            }
        };
        Plan { steps: plan, then }
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
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn upstream() -> Upstream {
        let history = History::root(Timeline(1)).branch(Timeline(2), Lsn(800));
        Upstream { node: NodeId(2), host: "b".into(), port: 5432, history, opening: false }
    }

    fn told(mut record: KeeperRecord, goal: NodeState, contract: Option<Contract>) -> KeeperRecord {
        let upstream = Some(upstream());
        record.assignment = Some(Assignment { serial: 5, contract, upstream, ..Assignment::new(Epoch(3), goal) });
        record
    }

    fn names(plan: &Plan) -> Vec<&'static str> {
        plan.steps.iter().map(Step::name).collect()
    }

    #[test]
    fn nobody_opens_on_the_strength_of_a_stored_assignment() {
        let record = told(record(NodeState::DemoteTimeout, Some(any(4))), NodeState::WaitPrimary, Some(none(5)));
        let mut memory = Memory::default();
        assert_eq!(plan(&record, &down(), &memory), Plan::default());
        memory.confirmed = Some(NodeState::DemoteTimeout);
        let opened = plan(&record, &down(), &memory);
        assert_eq!(names(&opened), ["remember contract", "set names", "start", "prove names", "admit"]);
        assert_eq!(opened.then, Some(NodeState::WaitPrimary));
    }

    #[test]
    fn without_the_monitor_a_primary_opens_only_under_its_contract_and_behind_its_members() {
        let memory = Memory { unheard: true, ..Memory::default() };
        let told_again = told(record(NodeState::DemoteTimeout, Some(any(4))), NodeState::Primary, Some(any(4)));
        let opened = names(&plan(&told_again, &down(), &memory));
        let wait = opened.iter().position(|s| *s == "await members").unwrap();
        assert_eq!(opened[wait..wait + 4], ["await members", "stop", "set names", "start"]);
        for (last, told_now) in [(any(3), any(4)), (none(4), none(4))] {
            let other = told(record(NodeState::DemoteTimeout, Some(last)), NodeState::Primary, Some(told_now));
            assert_eq!(plan(&other, &down(), &memory), Plan::default());
        }
    }

    #[test]
    fn under_a_contract_a_crashed_primary_comes_up_closed_until_its_members_hold_everything() {
        let record = told(record(NodeState::DemoteTimeout, Some(any(4))), NodeState::Primary, Some(any(4)));
        let memory = Memory { confirmed: Some(NodeState::DemoteTimeout), ..Memory::default() };
        let opened = plan(&record, &down(), &memory);
        let start = opened.steps.iter().position(|s| *s == Step::Start(StartAs::Primary)).unwrap();
        let wait = opened.steps.iter().position(|s| matches!(s, Step::AwaitMembers(_))).unwrap();
        assert!(wait < start && opened.steps.contains(&Step::Start(StartAs::Standby)), "{opened:?}");
    }

    #[test]
    fn a_contract_is_remembered_before_the_server_hears_of_it() {
        let record = told(record(NodeState::WaitPrimary, Some(none(3))), NodeState::Primary, Some(any(4)));
        let opened = plan(&record, &open(Some(NodeId(2))), &Memory::default());
        assert_eq!(names(&opened), ["remember contract", "set names", "prove names", "admit", "await members"]);
    }

    #[test]
    fn a_contract_that_changes_under_a_primary_is_told_only_when_its_members_hold_everything() {
        let record = told(record(NodeState::Primary, Some(none(3))), NodeState::Primary, Some(any(4)));
        let plan = plan(&record, &open(Some(NodeId(2))), &Memory::default());
        assert_eq!(names(&plan), ["remember contract", "set names", "prove names", "admit", "await members"]);
    }

    #[test]
    fn a_promotion_is_repeated_until_the_control_file_says_that_it_is_done() {
        let sealed = record(NodeState::StopReplication, None);
        let record = told(sealed, NodeState::WaitPrimary, Some(none(5)));
        let first = plan(&record, &standby(), &Memory::default());
        assert_eq!(names(&first)[..3], ["remember contract", "set names", "promote"]);
        let strict = told(KeeperRecord { assignment: None, ..record.clone() }, NodeState::WaitPrimary, Some(any(5)));
        let proven = names(&plan(&strict, &standby(), &Memory::default()));
        assert_eq!(proven[1..4], ["set names", "prove names", "promote"]);
        let fell = |state| {
            let directory = control(state, upstream().history);
            plan(&record, &Facts { directory, ..down() }, &Memory::default()).steps
        };
        // Its history and its first segment are there before that, and the control file is still on the old timeline.
        let begun = fell(ControlState::InRecovery);
        assert_eq!(begun, [Step::Follow(None), Step::Start(StartAs::Standby)]);
        let promoted = fell(ControlState::InProduction);
        assert!(promoted.contains(&Step::Start(StartAs::Primary)) && promoted.iter().all(|s| s.name() != "promote"));
    }

    #[test]
    fn nobody_is_promoted_on_a_lease_that_an_earlier_life_was_told_of() {
        let sealed = record(NodeState::StopReplication, None);
        let mut record = told(sealed, NodeState::WaitPrimary, Some(none(5)));
        record.assignment.as_mut().unwrap().lease_ms = Some(10_000);
        for facts in [standby(), down()] {
            assert_eq!(plan(&record, &facts, &Memory::default()), Plan::default());
            let told = Memory { told: true, ..Memory::default() };
            assert_ne!(plan(&record, &facts, &told), Plan::default());
        }
    }

    #[test]
    fn divergent_wal_is_kept_aside_and_the_directory_marked_before_a_rewind() {
        let record = told(record(NodeState::Demoted, Some(any(4))), NodeState::Catchingup, None);
        let inspect = plan(&record, &down(), &Memory::default());
        let fork = Position::new(1, 800);
        assert_eq!(inspect, Plan { steps: vec![Step::Inspect(fork)], then: None });
        let memory = Memory { inspected: Some((fork, Some(Lsn(950)))), ..Memory::default() };
        let rewind = plan(&record, &down(), &memory);
        assert_eq!(names(&rewind), ["keep aside", "mark", "rewind", "clear", "follow", "start", "admit"]);
        let memory = Memory { inspected: Some((fork, None)), ..Memory::default() };
        assert_eq!(names(&plan(&record, &down(), &memory)), ["follow", "start", "admit"]);
    }

    #[test]
    fn a_standby_on_a_timeline_of_its_own_is_rewound_and_one_that_is_ahead_of_the_monitor_is_left_alone() {
        let mut facts = standby();
        let Server::Up(running) = &mut facts.server else { unreachable!() };
        (running.position.tli, running.receiver) = (Timeline(9), None);
        let record = told(record(NodeState::ReportLsn, None), NodeState::Catchingup, None);
        assert_eq!(names(&plan(&record, &facts, &Memory::default())), ["stop"]);
        let Server::Up(running) = &mut facts.server else { unreachable!() };
        running.receiver =
            Some(Receiver { streaming: true, tli: Timeline(9), last_message: std::time::Duration::ZERO });
        assert_eq!(names(&plan(&record, &facts, &Memory::default())), ["follow"]);
    }

    #[test]
    fn a_standby_that_followed_onto_the_timeline_of_an_upstream_that_opens_is_not_rewound() {
        let ahead = upstream().history.branch(Timeline(3), Lsn(890));
        for state in [NodeState::Secondary, NodeState::Catchingup] {
            let mut record = told(record(state, None), state, None);
            let stopped = Facts { directory: control(ControlState::InRecovery, ahead.clone()), server: Server::Down };
            let mut running = Facts { server: standby().server, ..stopped.clone() };
            let Server::Up(server) = &mut running.server else { unreachable!() };
            server.position.tli = Timeline(3);
            let steps = |record: &KeeperRecord, facts| names(&plan(record, facts, &Memory::default()));
            assert!(steps(&record, &stopped).contains(&"rewind") && steps(&record, &running) == ["stop"], "{state}");
            record.assignment.as_mut().unwrap().upstream.as_mut().unwrap().opening = true;
            assert_eq!(steps(&record, &stopped), ["follow", "start", "admit"], "{state}");
            assert_eq!(steps(&record, &running)[0], "follow", "{state}");
            let strayed = Facts { directory: control(ControlState::ShutDown, ahead.clone()), ..stopped.clone() };
            assert!(steps(&record, &strayed).contains(&"rewind"), "{state}");
        }
    }

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
    fn a_directory_under_a_mark_is_cloned_never_started() {
        for rebuild in [Rebuild::Rewind, Rebuild::Clone] {
            let marked = KeeperRecord { rebuild: Some(rebuild), ..record(NodeState::Demoted, None) };
            let record = told(marked, NodeState::Catchingup, None);
            let plan = plan(&record, &down(), &Memory::default());
            assert_eq!(names(&plan), ["mark", "clone", "clear", "follow", "start", "admit"]);
        }
    }

    #[test]
    fn a_server_that_runs_on_a_directory_under_a_mark_is_stopped_and_cloned() {
        for state in [NodeState::Catchingup, NodeState::Secondary] {
            let marked = KeeperRecord { rebuild: Some(Rebuild::Rewind), ..record(state, None) };
            let plan = plan(&told(marked, state, None), &standby(), &Memory::default());
            assert_eq!(names(&plan)[..4], ["stop", "mark", "clone", "clear"], "{state}");
        }
    }

    #[test]
    fn closing_alone_overrides_the_assignment() {
        let record = told(record(NodeState::Primary, Some(any(4))), NodeState::Primary, Some(any(4)));
        let memory = Memory { closing_alone: true, ..Memory::default() };
        let plan = plan(&record, &open(None), &memory);
        assert_eq!((names(&plan), plan.then), (vec!["stop"], Some(NodeState::DemoteTimeout)));
    }

    #[test]
    fn a_seal_waits_for_the_last_record_of_a_drained_primary() {
        let mut record = told(record(NodeState::PreparePromotion, None), NodeState::StopReplication, None);
        assert_eq!(names(&plan(&record, &standby(), &Memory::default())), ["unfollow", "seal"]);
        record.assignment.as_mut().unwrap().drained = Some(Lsn(990));
        assert_eq!(names(&plan(&record, &standby(), &Memory::default())), ["drain", "unfollow", "seal"]);
        let fallen = Facts { server: Server::Down, ..standby() };
        assert_eq!(names(&plan(&record, &fallen, &Memory::default())), ["unfollow", "start", "seal"]);
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
        let back = steps(NodeState::Secondary, NodeState::Catchingup);
        assert_eq!(back[0], Step::KeepAside(Position::new(1, 0), Lsn(900)), "{back:?}");
        assert_eq!(back[2].name(), "clone");
        for (standby_in_maintenance, first) in [(true, "keep aside"), (false, "inspect")] {
            let record = KeeperRecord { standby_in_maintenance, ..record(NodeState::Maintenance, None) };
            let back = plan(&told(record, NodeState::Catchingup, None), &down(), &Memory::default());
            assert_eq!(names(&back)[0], first);
        }
    }
}
