//! The promise of a standby to receive nothing more, and what its winner fetches first.

use super::{Plan, Scene, steps};
use crate::keeper::step::Step;
use crate::model::*;
use crate::ports::StartAs;

impl Scene<'_> {
    /// The server runs in recovery and has promised, in this epoch, to receive nothing more.
    pub(super) fn is_sealed(&self) -> bool {
        self.runs_as_standby() && self.record.seal.is_some_and(|s| s.epoch == self.assignment.epoch)
    }

    pub(super) fn seal(&self, then: Option<NodeState>) -> Plan {
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
    pub(super) fn fetch(&self, hop: NodeState) -> Plan {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::keeper::plan::{Memory, plan};

    #[test]
    fn a_seal_waits_for_the_last_record_of_a_drained_primary() {
        let mut record = told(record(NodeState::PreparePromotion, None), NodeState::StopReplication, None);
        assert_eq!(names(&plan(&record, &standby(), &Memory::default())), ["unfollow", "seal"]);
        record.assignment.as_mut().unwrap().drained = Some(Lsn(990));
        assert_eq!(names(&plan(&record, &standby(), &Memory::default())), ["drain", "unfollow", "seal"]);
        let fallen = Facts { server: Server::Down, ..standby() };
        assert_eq!(names(&plan(&record, &fallen, &Memory::default())), ["unfollow", "start", "seal"]);
    }
}
