//! Opening for writes under a contract, and staying open under it.

use super::{Plan, Scene, steps};
use crate::keeper::fence;
use crate::keeper::step::Step;
use crate::model::*;
use crate::mutant;
use crate::ports::{StartAs, StopMode};

impl Scene<'_> {
    /// Opens for writes under the assigned contract, by the shortest way that is safe from where the server is.
    pub(super) fn open(&self, hop: NodeState) -> Plan {
        let Some(contract) = self.assignment.contract.clone() else {
            return Plan::default();
        };
        if self.record.rebuild.is_some() {
            return Plan::default();
        }
        let was_closed = self.record.state.has_closed();
        let unconfirmed = self.memory.confirmed != Some(self.record.state);
        // A lease that an earlier life was told of may be over by now, and another node open.
        // And whoever was elected, and has yet to open, may have been passed over since.
        let opens = self.record.state == NodeState::StopReplication;
        let outdated = opens && (self.assignment.lease_ms.is_some() || !self.facts.is_open()) && !self.memory.told;
        if was_closed && unconfirmed && !self.members_may_vouch(&contract) || outdated {
            // What is stored may be outdated: nobody opens on the strength of it.
            return Plan::default();
        }
        let mut plan = vec![];
        if self.record.contract.as_ref() != Some(&contract) {
            plan.push(Step::Remember(contract.clone()));
        }
        let way = match &self.facts.server {
            Server::Up(running) => self.way_from_running(running, &contract),
            Server::Down => self.way_from_stopped(&contract),
            Server::Starting | Server::Stuck { .. } => Err(Plan::default()),
        };
        match way {
            Ok(way) => plan.extend(way),
            Err(first) => return first,
        }
        plan.extend([Step::Prove(contract.clone()), Step::Admit(self.assignment.peers.clone())]);
        if !self.opens_at_once(&contract) {
            plan.push(Step::AwaitMembers(contract));
        }
        Plan { steps: plan, then: Some(hop) }
    }

    /// What leads a server that runs to being open; or what is to be done before anything else, after which all is seen
    /// anew.
    fn way_from_running(&self, running: &Running, contract: &Contract) -> Result<Vec<Step>, Plan> {
        let tli = running.position.tli;
        match self.record.state {
            _ if running.stopping => Err(steps(self.stopped())),
            _ if !running.in_recovery => Ok(vec![Step::Enforce(contract.clone())]),
            // It has been open, and somebody has started it as a standby since.
            NodeState::StopReplication if !contract.is_none() && self.has_begun(tli) => {
                Err(Plan { steps: self.stopped(), then: Some(NodeState::DemoteTimeout) })
            }
            NodeState::StopReplication => Ok(self.promote(contract, tli)),
            _ if self.lacks_checkpoint(contract) && !self.is_to_leave(Some(tli)) => {
                Err(steps(vec![Step::Stop(StopMode::Fast), Step::Recover]))
            }
            _ => Ok(self.reopen(contract, Some(tli))),
        }
    }

    /// The same for one that is down.
    fn way_from_stopped(&self, contract: &Contract) -> Result<Vec<Step>, Plan> {
        let opened = || vec![Step::Enforce(contract.clone()), Step::Start(StartAs::Primary)];
        let closed = || vec![Step::Follow(None), Step::Start(StartAs::Standby)];
        let is_absent = matches!(self.facts.directory, Directory::Absent);
        match self.record.state {
            state if is_absent && (self.is_first(state) || mutant!(InitdbOverLostDirectory)) => {
                Ok([vec![Step::Create], opened()].concat())
            }
            // Interrupted before the promotion was done.
            NodeState::StopReplication if !self.was_open() => Err(steps(closed())),
            _ if self.facts.control().is_none() => Err(Plan::default()),
            // It was given the role, and lost before its promotion was done: it still has to leave the old timeline.
            _ if !self.was_open() && self.is_to_leave(self.facts.position().map(|p| p.tli)) => Err(steps(closed())),
            // Running, it will show what it has replayed.
            _ if !self.was_open() && self.lacks_checkpoint(contract) => Err(steps(closed())),
            // It was open, if not for long, and has closed: what it wrote meanwhile its members may not have.
            NodeState::StopReplication if !contract.is_none() && !mutant!(OpensAfterCrash) => {
                Err(Plan { steps: self.stopped(), then: Some(NodeState::DemoteTimeout) })
            }
            NodeState::Init => Ok(opened()),
            _ if self.opens_at_once(contract) => Ok(opened()),
            _ => {
                let recovered: Vec<Step> =
                    self.lacks_checkpoint(contract).then_some(Step::Recover).into_iter().collect();
                Ok([recovered, closed(), self.reopen(contract, None)].concat())
            }
        }
    }

    /// A new primary under a contract is open before its members have come over to it: without it they could not, and
    /// commits wait. One that was open before shows what a crash left behind, which none of them may hold.
    fn opens_at_once(&self, contract: &Contract) -> bool {
        contract.is_none() || self.record.state == NodeState::StopReplication || mutant!(OpensAfterCrash)
    }

    /// A rewind from it would find nothing to do: it was lost before the first checkpoint on its timeline, and closed it
    /// makes none. Of a stopped server it must be known besides that it was open: the files of a promotion that was cut
    /// show its timeline too, and recovery alone would end on the one before.
    fn lacks_checkpoint(&self, contract: &Contract) -> bool {
        let is_behind = |c: &Control| c.checkpoint.tli < c.history.tli;
        !self.opens_at_once(contract) && self.facts.control().is_some_and(is_behind)
    }

    /// It runs on the timeline that it was told to begin.
    fn has_begun(&self, timeline: Timeline) -> bool {
        self.assignment.timeline.is_some_and(|least| timeline >= least)
    }

    /// The first node of a new group: no other makes a database, as there is one already.
    fn is_first(&self, state: NodeState) -> bool {
        state == NodeState::Init && self.assignment.goal == NodeState::Single
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
    fn members_may_vouch(&self, contract: &Contract) -> bool {
        self.memory.unheard && !self.opens_at_once(contract) && self.record.contract.as_ref() == Some(contract)
    }

    /// The server runs closed, in recovery. Under a contract its members first get what a crash left
    /// behind: commits that waited for them became durable here and will be visible.
    fn reopen(&self, contract: &Contract, runs_on: Option<Timeline>) -> Vec<Step> {
        let mut plan = vec![];
        if !self.opens_at_once(contract) {
            plan.push(Step::Admit(self.assignment.peers.clone()));
            plan.push(Step::AwaitMembers(contract.clone()));
        }
        match runs_on.filter(|tli| self.is_to_leave(Some(*tli))) {
            Some(tli) => plan.extend(self.promote(contract, tli)),
            None => plan.extend([
                Step::Stop(StopMode::Fast),
                Step::Enforce(contract.clone()),
                Step::Start(StartAs::Primary),
            ]),
        }
        plan
    }

    /// Another has begun this timeline, and may have written there what this node doesn't hold.
    fn is_to_leave(&self, timeline: Option<Timeline>) -> bool {
        self.assignment.timeline.zip(timeline).is_some_and(|(least, own)| own < least)
    }

    pub(super) fn keep_open(&self) -> Plan {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::keeper::plan::{Memory, plan};

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
    fn only_the_first_node_of_a_new_group_makes_a_database() {
        let empty = Facts { directory: Directory::Absent, server: Server::Down };
        let creates = |goal| {
            let new = told(record(NodeState::Init, None), goal, Some(none(1)));
            names(&plan(&new, &empty, &Memory::default())).contains(&"initdb")
        };
        assert!(creates(NodeState::Single));
        assert!(!creates(NodeState::WaitPrimary) && !creates(NodeState::Primary), "the group has one already");
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

    /// What was committed there in vain, and waits for nobody any more, would be seen, and be lost with the next election.
    #[test]
    fn a_new_primary_that_was_lost_after_it_opened_comes_back_closed_however_short_its_life_was() {
        let fell = |lineage: History| {
            let checkpoint = Position::new(1, 900);
            let control = Control { system_id: 7, state: ControlState::InProduction, checkpoint, history: lineage };
            Facts { directory: Directory::Present(control), server: Server::Down }
        };
        let plan_of = |state, contract: Contract, facts: &Facts| {
            let record = told(record(state, Some(contract.clone())), NodeState::WaitPrimary, Some(contract));
            let memory = Memory { confirmed: Some(state), told: true, ended: true, ..Memory::default() };
            plan(&record, facts, &memory)
        };
        let begun = fell(upstream().history);
        let untold = plan_of(NodeState::StopReplication, any(5), &begun);
        assert_eq!((untold.steps, untold.then), (vec![], Some(NodeState::DemoteTimeout)), "it has been open");
        let back = names(&plan_of(NodeState::DemoteTimeout, any(5), &begun));
        assert_eq!(back[..5], ["recover", "unfollow", "start", "admit", "await members"], "{back:?}");
        let checkpointed = names(&plan_of(NodeState::DemoteTimeout, any(5), &fell(History::root(Timeline(1)))));
        assert_eq!(checkpointed[..4], ["unfollow", "start", "admit", "await members"], "{checkpointed:?}");
        let closed = names(&plan_of(NodeState::DemoteTimeout, any(5), &standby()));
        assert_eq!(closed[..2], ["admit", "await members"], "{closed:?}");
        // Whoever has started it beside the keeper, read-only, made no checkpoint either.
        let beside = |state| {
            let Server::Up(mut running) = standby().server else { unreachable!() };
            (running.position.tli, running.receiver) = (upstream().history.tli, None);
            let mut record = told(record(state, Some(any(5))), NodeState::WaitPrimary, Some(any(5)));
            record.assignment.as_mut().unwrap().timeline = Some(Timeline(2));
            let memory = Memory { confirmed: Some(state), told: true, ended: true, ..Memory::default() };
            plan(&record, &Facts { server: Server::Up(running), ..begun.clone() }, &memory)
        };
        assert_eq!(names(&beside(NodeState::DemoteTimeout)), ["stop", "recover"]);
        let untold = beside(NodeState::StopReplication);
        assert_eq!((names(&untold), untold.then), (vec!["stop"], Some(NodeState::DemoteTimeout)));
        for state in [NodeState::StopReplication, NodeState::DemoteTimeout] {
            let alone = plan_of(state, none(5), &begun);
            assert_eq!(names(&alone)[..2], ["set names", "start"], "nobody else is to hold it");
        }
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
        let memory = Memory { told: true, ..Memory::default() };
        let sealed = record(NodeState::StopReplication, None);
        let record = told(sealed, NodeState::WaitPrimary, Some(none(5)));
        let first = plan(&record, &standby(), &memory);
        assert_eq!(names(&first)[..3], ["remember contract", "set names", "promote"]);
        let anew = plan(&record, &standby(), &Memory::default());
        assert!(anew.steps.is_empty(), "by the word of an earlier life: {:?}", names(&anew));
        let strict = told(KeeperRecord { assignment: None, ..record.clone() }, NodeState::WaitPrimary, Some(any(5)));
        let proven = names(&plan(&strict, &standby(), &memory));
        assert_eq!(proven[1..4], ["set names", "prove names", "promote"]);
        let fell = |state| {
            let directory = control(state, upstream().history);
            plan(&record, &Facts { directory, ..down() }, &memory).steps
        };
        // Its history and its first segment are there before that, and the control file is still on the old timeline.
        let begun = fell(ControlState::InRecovery);
        assert_eq!(begun, [Step::Follow(None), Step::Start(StartAs::Standby)]);
        let promoted = fell(ControlState::InProduction);
        assert!(promoted.contains(&Step::Start(StartAs::Primary)) && promoted.iter().all(|s| s.name() != "promote"));
    }

    /// It was elected, lost before its promotion was done, and keeps the role since nobody else could be elected.
    #[test]
    fn one_that_never_opened_leaves_the_old_timeline_however_it_comes_to_open() {
        let memory = Memory { confirmed: Some(NodeState::Draining), ..Memory::default() };
        let steps = |contract: Contract, least, facts: &Facts| {
            let mut given =
                told(record(NodeState::Draining, Some(contract.clone())), NodeState::Primary, Some(contract));
            given.assignment.as_mut().unwrap().timeline = least;
            names(&plan(&given, facts, &memory))
        };
        let broke_off = Facts { server: Server::Down, ..standby() };
        for contract in [none(5), any(5)] {
            assert_eq!(steps(contract.clone(), Some(Timeline(2)), &broke_off), ["unfollow", "start"]);
            let closed = steps(contract.clone(), Some(Timeline(2)), &standby());
            assert!(closed.contains(&"promote") && !closed.contains(&"start"), "{closed:?}");
            let own = steps(contract, None, &standby());
            assert!(own.contains(&"start") && !own.contains(&"promote"), "{own:?}");
        }
        assert_eq!(steps(any(5), Some(Timeline(2)), &standby())[..2], ["admit", "await members"]);
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
}
