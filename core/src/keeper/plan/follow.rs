//! A standby that runs: whom it follows, and whether it still can.

use super::{Plan, Scene, steps};
use crate::keeper::step::Step;
use crate::model::wal::SEGMENT;
use crate::model::*;
use crate::mutant;

impl Scene<'_> {
    pub(super) fn keep_following(&self) -> Plan {
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
                let floor = self
                    .assignment
                    .wal_floor
                    .filter(|floor| self.memory.advanced < Some(*floor) && !mutant!(SlotsStayBehind));
                plan.extend(floor.map(Step::AdvanceSlots));
                steps(plan)
            }
            _ => self.rejoin(None),
        }
    }

    /// The running standby holds WAL that its upstream never had: it would ask for the same in vain for ever. A newer
    /// timeline than the upstream's is no proof while it streams: it may know of a promotion before the monitor does.
    pub(super) fn diverges(&self, running: &Running, upstream: &Upstream) -> bool {
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
    pub(super) fn is_stranded(&self, running: &Running) -> bool {
        let same_timeline = self.assignment.upstream.as_ref().is_some_and(|u| u.history.tli == running.position.tli);
        self.record.state == NodeState::Catchingup
            && match running.stranded {
                Some(Stranded::WalRemoved) => true,
                Some(Stranded::Forked) => same_timeline && !mutant!(TimelineNumbersCompared),
                None => false,
            }
    }

    /// The last WAL of a node whose upstream doesn't know it.
    pub(super) fn unknown_wal(&self, running: &Running) -> Option<(Position, Lsn)> {
        let end = running.position.lsn;
        let from = Lsn(end.0.saturating_sub(SEGMENT) / SEGMENT * SEGMENT);
        let forked = running.stranded == Some(Stranded::Forked);
        forked.then_some((Position { tli: running.position.tli, lsn: from }, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::keeper::plan::{Memory, plan};

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
    fn a_server_that_runs_on_a_directory_under_a_mark_is_stopped_and_cloned() {
        for state in [NodeState::Catchingup, NodeState::Secondary] {
            let marked = KeeperRecord { rebuild: Some(Rebuild::Rewind), ..record(state, None) };
            let plan = plan(&told(marked, state, None), &standby(), &Memory::default());
            assert_eq!(names(&plan)[..4], ["stop", "mark", "clone", "clear"], "{state}");
        }
    }
}
