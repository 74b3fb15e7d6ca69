//! Who may be elected: the sealed votes, what they prove, and the best of those who can win.
//!
//! A vote is a promise that is stored on the node: in this epoch it receives nothing more, and this is where its WAL
//! ends. So the vote of a node that has died since still counts, as long as the winner holds all that it held.

use crate::model::*;
use crate::monitor::health::Life;
use crate::monitor::rules::is_within_policy;
use crate::monitor::view::View;
use crate::mutant;
use std::collections::BTreeSet;

/// A node that can win, and what it must do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winner {
    pub node: NodeId,
    /// A peer that holds WAL it lacks, and up to where.
    pub fetch: Option<(NodeId, Lsn)>,
}

/// The best of those that can win.
struct Standing<'a> {
    node: &'a NodeRecord,
    position: Position,
    /// Who holds most of what it lacks, of those that can still be asked for their WAL.
    most: Option<(&'a NodeRecord, Position)>,
}

impl Standing<'_> {
    /// Where its WAL will end when it opens.
    fn target(&self) -> Lsn {
        self.most.map_or(self.position.lsn, |(_, p)| p.lsn)
    }
}

impl<'a> View<'a> {
    /// Standbys whose vote is asked for in an election: those that run, or could, as standbys. One that has given the role
    /// up and not followed since is among them.
    pub fn voters(&self, old: NodeId) -> impl Iterator<Item = &'a NodeRecord> {
        use NodeState::*;
        self.record.nodes.values().filter(move |n| {
            let stands_by = matches!(
                n.goal(),
                Catchingup
                    | Secondary
                    | WaitMaintenance
                    | ReportLsn
                    | FastForward
                    | PreparePromotion
                    | StopReplication
                    | Demoted
            );
            n.id != old && stands_by
        })
    }

    /// Where a node's vote in the election under way ends, on the lineage of the group.
    pub fn vote(&self, node: &NodeRecord) -> Option<Position> {
        if !self.promises_stand() {
            return None;
        }
        let seal = node.seal.filter(|s| s.epoch == self.record.epoch || mutant!(OldVoteCounts));
        if seal.is_none() && mutant!(ReportsCount) {
            return self.running(node.id).map(|r| r.position);
        }
        let seal = seal?;
        if mutant!(ForkMayVote) {
            return Some(seal.position);
        }
        let on_lineage = self.record.history.as_ref().is_some_and(|h| h.contains(seal.position));
        (on_lineage && self.is_kin(node.id)).then_some(seal.position)
    }

    /// Who has lost follows the winner with what it had sealed on record, and promises nothing any more: from when the winner
    /// is told to open.
    fn promises_stand(&self) -> bool {
        let candidate = |t: &Transfer| t.candidate.and_then(|c| self.record.nodes.get(&c));
        self.record.transfer.as_ref().is_some_and(|t| candidate(t).is_none_or(|c| !c.goal().is_writable()))
    }

    /// Whether a node that holds WAL up to `lsn` holds every acknowledged commit, by the votes that end there or before, and
    /// all that was shown.
    pub fn proves(&self, lsn: Lsn) -> bool {
        self.reaches_what_was_shown(lsn) && self.record.in_force.proven_by(&self.votes_within(lsn))
    }

    /// A new primary shows at once what it inherited, also what nobody had acknowledged; its members may not have come so far
    /// when it dies.
    pub fn reaches_what_was_shown(&self, lsn: Lsn) -> bool {
        self.shown().is_none_or(|shown| lsn >= shown) || mutant!(ShownNotHeld)
    }

    pub fn shown(&self) -> Option<Lsn> {
        self.record.shown.filter(|_| !self.has_shown_nothing()).map(|p| p.lsn)
    }

    /// The primary that is to be replaced was told to open, and knows by now that it is not to: it has never begun the timeline
    /// that it was given.
    fn has_shown_nothing(&self) -> bool {
        let old = self.record.transfer.as_ref().and_then(|t| self.record.nodes.get(&t.old));
        old.filter(|old| self.is_heard(old.id) && !old.goal().is_writable()).is_some_and(|old| {
            let knows = |r: &&Report| r.serial == old.assignment.serial;
            let control = self.report(old.id).filter(knows).and_then(|r| r.facts.control());
            control.is_some_and(|c| {
                let is_standby = matches!(c.state, ControlState::InRecovery | ControlState::ShutDownInRecovery);
                is_standby && c.history.tli.0 < self.record.last_timeline
            })
        })
    }

    /// Of those that can vote somebody holds what was shown, or may: where a vote will end that wasn't given yet nobody knows.
    /// One that has gone since gives it to nobody.
    pub fn may_hold_what_was_shown(&self, old: NodeId) -> bool {
        let gives = |n: &NodeRecord, p: Position| self.reaches_what_was_shown(p.lsn) && self.is_heard(n.id);
        self.voters(old).any(|n| self.could_vote(n) && self.vote(n).is_none_or(|p| gives(n, p)))
    }

    /// The same of every commit that a standby had to acknowledge.
    pub fn proves_where_standbys_counted(&self, lsn: Lsn) -> bool {
        self.reaches_what_was_shown(lsn) && self.record.in_force.proven_where_standbys_counted(&self.votes_within(lsn))
    }

    fn votes_within(&self, lsn: Lsn) -> BTreeSet<NodeId> {
        let unasked = |n: &NodeRecord| mutant!(MaintenanceCounts) && n.goal() == NodeState::Maintenance;
        let within =
            |n: &&NodeRecord| unasked(n) || self.vote(n).is_some_and(|p| p.lsn <= lsn || mutant!(VotesNotCompared));
        self.record.nodes.values().filter(within).map(|n| n.id).collect()
    }

    /// Whether a sealed candidate is not to open because the votes prove too little. Whoever consents to lose what no proof
    /// covers has not asked to do without those that can be asked.
    pub fn awaits_proof(&self, transfer: &Transfer, candidate: &NodeRecord) -> bool {
        let unproven = || self.vote(candidate).is_some_and(|p| !self.proves(p.lsn));
        let has_last_record = || self.vote(candidate).is_some_and(|p| transfer.drained.is_some_and(|lsn| p.lsn > lsn));
        let others_prove = || self.unasked(transfer).next().is_some() && self.election_could_succeed(transfer.old);
        let too_much = || self.vote(candidate).is_some_and(|p| !is_within_policy(self, transfer, p.lsn));
        let unanswered = transfer.waiver.is_none() || others_prove() || too_much();
        let may_not = transfer.kind == TransferKind::Failover && unanswered;
        may_not && candidate.settled_in(NodeState::StopReplication) && unproven() && !has_last_record()
    }

    /// Voters that could still be asked for their vote: those that never were, and those that were in vain, and have come
    /// back a moment ago.
    pub fn unasked(&self, transfer: &Transfer) -> impl Iterator<Item = &'a NodeRecord> {
        let patience = self.settings.node_considered_unhealthy_timeout;
        let view = *self;
        let again = transfer.asked_again.clone();
        let is_back = move |n: &NodeRecord| {
            let since = view.pulse(n.id).and_then(|p| p.back).filter(|_| !n.forced && !again.contains(&n.id));
            since.is_some_and(|at| view.now.since(at) < patience)
        };
        let may_be_asked = move |n: &&NodeRecord| {
            (n.goal() != NodeState::ReportLsn || is_back(n)) && view.vote(n).is_none() && view.could_vote(n)
        };
        self.voters(transfer.old).filter(may_be_asked)
    }

    /// Whoever may acknowledge commits although an operator gives them up: the old primary until it has closed, and a member
    /// that hasn't promised to stand by it no more. Its Postgres answers, and its keeper, which could close or seal it, says
    /// nothing. Where nobody knows who led and who its members were, it may be anyone.
    pub fn stands_by_the_old(&self, transfer: &Transfer) -> Option<&'a NodeRecord> {
        let in_force = &self.record.in_force;
        let members: BTreeSet<NodeId> = in_force.iter().flat_map(|c| c.members.iter().copied()).collect();
        let is_doubted = members.is_empty() && !in_force.is_settled();
        let is_known = !is_doubted && self.record.nodes.contains_key(&transfer.old);
        let is_concerned = |n: &NodeRecord| !is_known || members.contains(&n.id) || n.id == transfer.old;
        let stands = |n: &NodeRecord| {
            let may_lead = n.id == transfer.old || !is_known;
            let leads = may_lead && self.is_heard(n.id) && self.has_yet_to_close(transfer, n).is_some();
            let may_run = || self.pulse(n.id).is_some_and(|p| p.may_run_alone(self.now, self.settings));
            leads || !n.forced && may_run()
        };
        let others = self.record.nodes.values().filter(|n| Some(n.id) != transfer.candidate);
        others.into_iter().find(|n| is_concerned(n) && self.vote(n).is_none() && stands(n))
    }

    /// What is between a node that may have led, whose keeper is heard, and the certainty that it acknowledges nothing more.
    /// One that starts, promotes, or was told to open, may be open in a moment; and where commits wait for nobody one that
    /// doesn't answer may let some through.
    pub fn has_yet_to_close(&self, transfer: &Transfer, node: &NodeRecord) -> Option<&'static str> {
        match &self.report(node.id)?.facts.server {
            Server::Up(running) if !running.in_recovery => Some("is open and has yet to close"),
            Server::Stuck { .. } => {
                let may_let_through = self.record.in_force.may_acknowledge_alone();
                may_let_through.then_some("doesn't answer, and may let commits through until it is down")
            }
            _ if node.id != transfer.old => None,
            Server::Down => {
                self.pulse(node.id)?.may_reopen.then_some("is down, and its keeper has yet to hear to keep it so")
            }
            Server::Starting if self.lingers_shut_down(node.id) => None,
            Server::Starting | Server::Up(_) => Some("is not open, and has yet to be stopped"),
        }
    }

    /// Whether an election could be won if every voter that is heard gave its vote now.
    pub fn election_could_succeed(&self, old: NodeId) -> bool {
        let mut set: BTreeSet<NodeId> = self.voters(old).filter(|n| self.could_vote(n)).map(|n| n.id).collect();
        if mutant!(MaintenanceCounts) {
            set.extend(self.record.nodes.values().filter(|n| n.goal() == NodeState::Maintenance).map(|n| n.id));
        }
        self.record.in_force.proven_by(&set) && self.may_hold_what_was_shown(old)
    }

    /// It has voted in the election under way, or would if it were asked. A seal that is no vote is off the lineage, and what
    /// is half rebuilt can't start.
    pub fn could_vote(&self, node: &NodeRecord) -> bool {
        let is_sealed = self.promises_stand() && node.seal.is_some_and(|s| s.epoch == self.record.epoch);
        let has_data = self.report(node.id).is_some_and(|r| r.facts.control().is_some());
        let might = self.is_heard(node.id) && has_data && self.is_kin(node.id) && !is_sealed && !self.is_torn(node.id);
        self.vote(node).is_some() || might
    }

    /// Whether any voter could lead if it won, as far as is known.
    pub fn has_leader(&self, old: NodeId, preferred: Option<NodeId>) -> bool {
        let may_lead = |n: &NodeRecord| preferred == Some(n.id) || n.candidate_priority > 0;
        self.voters(old).any(|n| may_lead(n) && (self.could_vote(n) || !self.is_heard(n.id)))
    }

    /// May hold the role as far as it goes itself.
    pub fn may_lead(&self, node: &NodeRecord, preferred: Option<NodeId>) -> Result<(), String> {
        if node.candidate_priority == 0 && preferred != Some(node.id) {
            return Err("its candidate priority is 0".into());
        }
        match self.life(node.id) {
            Life::Alive => {}
            // It was stopped on purpose, and starts to give its vote.
            Life::Ill(_) if node.reported == NodeState::Demoted => {}
            Life::Unknown => return Err("it has not been heard of since the monitor started".into()),
            Life::Ill(why) | Life::Lost(why) => return Err(why.into()),
        }
        if !self.is_heard(node.id) {
            return Err("its keeper says nothing".into());
        }
        if self.is_leaving(node.id) {
            return Err("its service is being stopped".into());
        }
        if self.is_torn(node.id) {
            return Err("its data directory is half rebuilt".into());
        }
        Ok(())
    }

    /// The best that has voted and may lead, those passed over only when nobody else is left.
    fn best(&self, transfer: &Transfer) -> Option<(&'a NodeRecord, Position)> {
        let can_win =
            |n: &&NodeRecord| n.settled_in(NodeState::ReportLsn) && self.may_lead(n, transfer.preferred).is_ok();
        let standing: Vec<_> =
            self.voters(transfer.old).filter(can_win).filter_map(|n| Some((n, self.vote(n)?))).collect();
        let rank = |(n, p): &(&NodeRecord, Position)| {
            let passed_over = transfer.passed_over.contains(&n.id);
            let named = transfer.preferred == Some(n.id);
            let stays = !transfer.put_off.contains(&n.id);
            let lsn = if mutant!(VotesNotCompared) { Lsn::ZERO } else { p.lsn };
            (!passed_over, named, stays, n.candidate_priority, lsn, std::cmp::Reverse(n.id))
        };
        standing.into_iter().max_by_key(rank)
    }

    /// A better candidate than `than` that lives and hasn't voted yet is waited for a moment.
    fn awaits_better(&self, transfer: &Transfer, than: &NodeRecord) -> bool {
        let late = self.transfer_lasts(self.settings.election_patience);
        let better = |n: &NodeRecord| {
            let named = transfer.preferred == Some(n.id) && transfer.preferred != Some(than.id);
            let higher = n.candidate_priority > than.candidate_priority && transfer.preferred != Some(than.id);
            (named || higher) && !transfer.passed_over.contains(&n.id)
        };
        let unheard = |n: &NodeRecord| self.vote(n).is_none() && self.may_lead(n, transfer.preferred).is_ok();
        !late && self.voters(transfer.old).any(|n| unheard(n) && better(n))
    }

    /// The winner of the election under way, once the votes prove one.
    pub fn winner(&self, transfer: &Transfer) -> Option<Winner> {
        let standing = self.standing(transfer)?;
        let (node, target) = (standing.node, standing.target());
        // What was shown is no loss that a policy is about.
        let is_shown = || transfer.waiver == Some(Waiver::Policy) && !self.reaches_what_was_shown(target);
        let is_answered_for = || self.is_waived(transfer) && is_within_policy(self, transfer, target) && !is_shown();
        if self.awaits_better(transfer, node) || !(self.proves(target) || is_answered_for()) {
            return None;
        }
        let source = |n: &NodeRecord| if mutant!(FetchFromSelf) { node.id } else { n.id };
        Some(Winner { node: node.id, fetch: standing.most.map(|(n, p)| (source(n), p.lsn)) })
    }

    /// All that the best could hold is less than policy lets it open with.
    pub fn gives_up_too_much(&self, transfer: &Transfer) -> bool {
        self.standing(transfer).is_some_and(|standing| !is_within_policy(self, transfer, standing.target()))
    }

    fn standing(&self, transfer: &Transfer) -> Option<Standing<'a>> {
        let (node, position) = self.best(transfer)?;
        let can_serve = |n: &&NodeRecord| n.id != node.id && self.is_heard(n.id) && self.life(n.id) == Life::Alive;
        let sources = self.voters(transfer.old).filter(can_serve);
        let further = sources.filter_map(|n| Some((n, self.vote(n)?))).filter(|(_, p)| p.lsn > position.lsn);
        let most = further.max_by_key(|(n, p)| (p.lsn, std::cmp::Reverse(n.id)));
        Some(Standing { node, position, most: most.filter(|_| !mutant!(VotesNotCompared)) })
    }

    /// Without proof, everybody who lives has voted, or had the time to. A monitor that has just started doesn't know who
    /// lives, and who of those that have voted can be asked for WAL.
    fn is_waived(&self, transfer: &Transfer) -> bool {
        let late = self.transfer_lasts(self.settings.node_considered_unhealthy_timeout);
        let is_yet_to_vote = |n: &NodeRecord| self.vote(n).is_none() && self.is_heard(n.id);
        let silent = |n: &NodeRecord| is_yet_to_vote(n) || self.life(n.id) == Life::Unknown;
        transfer.waiver.is_some() && (late || !self.voters(transfer.old).any(silent))
    }
}

#[cfg(test)]
mod tests {
    use crate::model::NodeState::*;
    use crate::model::{ControlState, Durability, History, Lsn, NodeState, Position, Timeline};
    use crate::monitor::edit::{Edit, apply};
    use crate::monitor::rules::testing::*;
    use std::time::Duration;

    /// a is lost, then b; c alone proves every acknowledged commit, opens, and is lost before anybody has come over to it.
    /// It has shown up to 1100, and b is back.
    fn new_primary_is_lost() -> Pair {
        let mut p = Pair::of(3, 2);
        p.dies(B);
        p.dies(A);
        p.says(C, PreparePromotion, cut_off_standby());
        p.vows(C, StopReplication, 1100);
        assert_eq!((p.goal(C), p.record().shown), (WaitPrimary, Some(Position::new(1, 1100))));
        p.dies(C);
        p.says(B, Secondary, cut_off_standby());
        assert_eq!((p.goal(B), p.goal(C)), (ReportLsn, Draining));
        p
    }

    #[test]
    fn who_takes_over_from_a_new_primary_holds_what_it_has_shown() {
        let goals = [(1000, ReportLsn), (1099, ReportLsn), (1100, StopReplication), (1200, StopReplication)];
        for (lsn, goal) in goals {
            let mut p = new_primary_is_lost();
            p.votes(B, lsn);
            assert_eq!(p.goal(B), goal, "{lsn}: {:?}", p.stall());
            if goal == ReportLsn {
                let stall = p.stall().unwrap();
                assert!(stall.starts_with("waits for nodes: commits that c has shown, up to 0/44C, may be"), "{stall}");
                assert!(stall.contains("one of a, c must come back"), "{stall}");
            }
        }
    }

    #[test]
    fn whoever_holds_what_was_shown_mends_it_by_coming_back() {
        let mut p = new_primary_is_lost();
        p.votes(B, 1000);
        p.says(C, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!((p.goal(B), p.goal(C)), (Secondary, Primary), "{:?}", p.stall());

        let mut p = new_primary_is_lost();
        p.votes(B, 1000);
        p.votes(A, 1100);
        assert_eq!((p.goal(A), p.goal(B)), (StopReplication, ReportLsn), "{:?}", p.stall());
    }

    #[test]
    fn an_operator_may_give_up_what_was_shown() {
        let mut p = new_primary_is_lost();
        p.votes(B, 1000);
        p.ordered_failover(None, true);
        p.passes(p.monitor.settings.node_considered_unhealthy_timeout);
        p.votes(B, 1000);
        assert_eq!(p.goal(B), StopReplication, "{:?}", p.stall());
        p.vows(B, StopReplication, 1000);
        assert_eq!((p.goal(B), p.record().shown), (WaitPrimary, Some(Position::new(1, 1000))), "{:?}", p.stall());
    }

    /// The primary confirms its contract once enough of its members have come as far as it has.
    #[test]
    fn what_was_shown_is_held_once_the_contract_is_confirmed() {
        for heard_of_members in [false, true] {
            let mut p = Pair::of(3, 2);
            p.dies(B);
            p.dies(A);
            p.says(C, PreparePromotion, cut_off_standby());
            p.vows(C, StopReplication, 1100);
            let applied = p.record().contract().map(|c| c.id).filter(|_| heard_of_members);
            let open = with(primary_of(&[]), |r| r.position = Position::new(2, 1200));
            p.tells(C, NodeState::WaitPrimary, open, |r| r.applied = applied);
            let history = History::root(Timeline(1)).branch(Timeline(2), Lsn(1100));
            p.record_mut().history = Some(history);
            assert_eq!(p.record().shown.is_none(), heard_of_members);
        }
    }

    /// One that could serve what was shown has gone again: it is named, and the role is kept for whoever is back with it.
    #[test]
    fn the_vote_of_one_that_has_gone_gives_nobody_what_was_shown() {
        let mut p = new_primary_is_lost();
        p.votes(A, 1100);
        p.dies(A);
        p.votes(B, 1000);
        assert_eq!(p.goal(B), ReportLsn);
        let stall = p.stall().unwrap();
        assert!(stall.contains("commits that c has shown") && stall.contains("one of a, c must come back"), "{stall}");
        p.says(C, DemoteTimeout, stopped(ControlState::InProduction));
        assert_eq!(p.goal(C), Primary, "{:?}", p.stall());
    }

    #[test]
    fn no_policy_gives_up_what_was_shown() {
        let mut p = new_primary_is_lost();
        p.votes(B, 1000);
        p.set_durability(Durability::Async);
        for _ in 0..60 {
            p.passes(Duration::from_secs(1));
            p.votes(B, 1000);
        }
        assert_eq!(p.goal(B), ReportLsn, "{:?}", p.stall());
    }

    /// The seal is past the last record of the old primary, and there is no commit in between.
    #[test]
    fn after_a_switchover_whoever_holds_all_commits_may_take_over() {
        let mut p = Pair::of(3, 2);
        p.switchover();
        let candidate = [B, C].into_iter().find(|n| p.goal(*n) == PreparePromotion).unwrap();
        let other = if candidate == B { C } else { B };
        p.says(candidate, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.vows(candidate, StopReplication, 1000);
        assert_eq!((p.goal(candidate), p.record().shown), (WaitPrimary, Some(Position::new(1, 900))));
        p.dies(candidate);
        p.dies(A);
        p.says(other, Secondary, cut_off_standby());
        p.votes(other, 950);
        assert_eq!(p.goal(other), StopReplication, "{:?}", p.stall());
    }

    /// Its server went down before it was promoted, and its keeper knows that it is to stay so.
    #[test]
    fn one_that_was_told_to_open_and_never_did_has_shown_nothing() {
        for opened in [false, true] {
            let mut p = new_primary_is_lost();
            p.votes(B, 1000);
            assert_eq!(p.goal(B), ReportLsn);
            let state = if opened { ControlState::InProduction } else { ControlState::InRecovery };
            let (serial, goal) = (p.record().nodes[&C].assignment.serial, p.goal(C));
            assert!(!goal.is_writable());
            p.tells(C, DemoteTimeout, stopped(state), |r| r.serial = serial);
            assert_eq!(p.goal(B) == StopReplication, !opened, "{:?}", p.stall());
        }
    }

    #[test]
    fn whoever_accepts_another_timeline_gives_up_what_was_shown_elsewhere() {
        for (fork, stays) in [(1100, true), (1050, false)] {
            let p = new_primary_is_lost();
            let history = History::root(Timeline(1)).branch(Timeline(7), Lsn(fork));
            let view = p.view();
            let mut record = p.record().clone();
            apply(&mut record, &[Edit::Accept(history)], &view);
            assert_eq!(record.shown.is_some(), stays);
        }
    }
}
