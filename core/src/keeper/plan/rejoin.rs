//! Becoming a standby of the upstream by nothing, rewind or clone.

use super::{Plan, Scene, steps};
use crate::keeper::lineage::{self, Rejoin};
use crate::keeper::step::Step;
use crate::model::*;
use crate::mutant;
use crate::ports::StartAs;

impl Scene<'_> {
    /// Becomes a standby of the upstream by nothing, rewind or clone.
    pub(super) fn rejoin(&self, then: Option<NodeState>) -> Plan {
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
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::keeper::plan::{Memory, plan};

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
    fn a_directory_under_a_mark_is_cloned_never_started() {
        for rebuild in [Rebuild::Rewind, Rebuild::Clone] {
            let marked = KeeperRecord { rebuild: Some(rebuild), ..record(NodeState::Demoted, None) };
            let record = told(marked, NodeState::Catchingup, None);
            let plan = plan(&record, &down(), &Memory::default());
            assert_eq!(names(&plan), ["mark", "clone", "clear", "follow", "start", "admit"]);
        }
    }
}
