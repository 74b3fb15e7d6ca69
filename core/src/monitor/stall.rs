//! What a group waits for when it doesn't go on: one sentence, which begins with the kind of the wait.

use crate::model::*;
use crate::monitor::health::Life;
use crate::monitor::rules::{is_given_time, is_unminded, lease_is_over};
use crate::monitor::view::View;

/// What the monitor says while it is in doubt.
pub const OLDER: &str = "what the monitor knows is older than what they report";
/// What it says when nobody may lead.
pub const NO_PRIORITY: &str = "every candidate priority is 0";
/// Others that could lead can't vote.
pub const NO_PRIORITY_LEFT: &str = "the candidate priority of all that can vote is 0";

impl View<'_> {
    /// Why nobody holds the role, or why the holder's commits don't go through; `None` when neither is so.
    pub fn stall(&self) -> Option<String> {
        if self.record.in_doubt {
            return Some(self.doubt_stall());
        }
        if let Some(transfer) = self.moving() {
            return self.transfer_stall(transfer);
        }
        let primary = self.record.primary()?;
        match self.primary_lost(primary) {
            Some(why) => Some(self.succession_stall(primary, why)),
            None => self.opening_stall(primary).or_else(|| self.commit_stall(primary)),
        }
    }

    /// The primary is there, and its server not open yet.
    fn opening_stall(&self, primary: &NodeRecord) -> Option<String> {
        let report = self.report(primary.id).filter(|_| self.is_heard(primary.id))?;
        let how = match &report.facts.server {
            Server::Starting => "is starting",
            Server::Stuck { .. } => "doesn't answer queries",
            Server::Down => "is down and is to be opened",
            Server::Up(running) if running.in_recovery => "is in recovery and is to be opened",
            Server::Up(_) => return None,
        };
        Some(format!("waits for nodes: the Postgres of {} {how}", primary.name))
    }

    fn doubt_stall(&self) -> String {
        let remedy = "start the node that led last, or perform promotion --allow-data-loss";
        if let Some(alone) = self.record.nodes.values().find(|n| self.is_heard(n.id) && is_given_time(self, n)) {
            let alone = &alone.name;
            return format!(
                "waits for nodes: {OLDER}; {alone} worked alone, and others may be about to tell of themselves"
            );
        }
        let open = self.record.nodes.values().find(|n| self.is_heard(n.id) && self.is_open(n.id));
        let silent: Vec<&str> = self.record.nodes.values().filter(|n| n.doubted).map(|n| n.name.as_str()).collect();
        match (open, silent.is_empty()) {
            (None, _) if self.record.nodes.keys().all(|id| self.is_heard(*id)) => {
                format!("waits for the operator: {OLDER}, and none of them is open; {remedy}")
            }
            (Some(open), true) => format!(
                "waits for the operator: {OLDER}, and those who acknowledge for {} are missing: another may have been \
                 elected since; start them, or perform promotion --name {} --allow-data-loss",
                open.name, open.name
            ),
            (_, true) => format!("waits for nodes: {OLDER}; the primary tells"),
            (_, false) => format!("waits for nodes: {OLDER}; still to be heard: {}", silent.join(", ")),
        }
    }

    fn transfer_stall(&self, transfer: &Transfer) -> Option<String> {
        if let Some((source, lsn)) = transfer.fetch
            && let Some(candidate) = transfer.candidate
        {
            let (candidate, source) = (self.name(candidate), self.name(source));
            return Some(format!("waits for WAL: {candidate} fetches up to {lsn} from {source}"));
        }
        let candidate = transfer.candidate.and_then(|id| self.record.nodes.get(&id));
        if candidate.is_some_and(|c| self.awaits_proof(transfer, c)) {
            return Some(self.missing_votes(transfer.old));
        }
        let ready = candidate.filter(|c| c.settled_in(NodeState::StopReplication));
        if let Some(unfenced) = ready.and_then(|c| self.unfenced_stall(transfer, c)) {
            return Some(unfenced);
        }
        let electing = transfer.candidate.is_none() && self.winner(transfer).is_none();
        if !electing {
            return candidate.and_then(|c| self.handover_stall(transfer, c));
        }
        let enough = transfer.waiver.is_some() || self.election_could_succeed(transfer.old);
        Some(match enough {
            true if !self.has_leader(transfer.old, transfer.preferred) => self.no_leader(transfer.old),
            true => {
                let may_vote = |n: &NodeRecord| self.could_vote(n) || self.life(n.id) == Life::Unknown;
                let unsealed = self.voters(transfer.old).filter(|n| self.vote(n).is_none() && may_vote(n));
                let names: Vec<&str> = unsealed.map(|n| n.name.as_str()).collect();
                match names.join(", ") {
                    none if none.is_empty() && self.gives_up_too_much(transfer) => self.missing_votes(transfer.old),
                    none if none.is_empty() => self.voters_are_gone(transfer.old),
                    names => format!("waits for nodes: the votes of an election are being sealed, of {names} not yet"),
                }
            }
            false => self.missing_votes(transfer.old),
        })
    }

    /// Somebody has answered for what no vote proves, but another may be open still.
    fn unfenced_stall(&self, transfer: &Transfer, candidate: &NodeRecord) -> Option<String> {
        if self.vote(candidate).is_some_and(|p| self.proves(p.lsn)) {
            return None;
        }
        let old = self.name(transfer.old);
        if transfer.waiver.is_some() && !lease_is_over(self, transfer.old) {
            return Some(format!("waits for nodes: {old} may acknowledge commits until its lease has ended"));
        }
        let waited = self.vote(candidate).is_some_and(|p| self.proves_where_standbys_counted(p.lsn));
        if transfer.waiver == Some(Waiver::Policy) && !waited {
            return Some(self.missing_votes(transfer.old));
        }
        let unfenced = match transfer.waiver? {
            Waiver::Policy => self.record.nodes.get(&transfer.old).filter(|old| is_unminded(self, old.id))?,
            Waiver::Operator => self.stands_by_the_old(transfer)?,
        };
        let (name, pulse) = (&unfenced.name, self.pulse(unfenced.id));
        let closing = self.has_yet_to_close(transfer, unfenced).filter(|_| self.is_heard(unfenced.id));
        if let Some(what) = closing {
            return Some(format!(
                "waits for nodes: the Postgres of {name} {what}; stop its service if that takes long"
            ));
        }
        Some(match pulse.filter(|p| !p.outlived) {
            Some(_) => format!("waits for nodes: it isn't known yet whether the Postgres of {name} answers"),
            None => format!(
                "waits for nodes: the keeper of {name} is silent while its Postgres answers: start its service, stop that \
                 Postgres, or drop node --force if neither can be done"
            ),
        })
    }

    /// Each part of a handover takes its moments; one that takes longer is told.
    fn handover_stall(&self, transfer: &Transfer, candidate: &NodeRecord) -> Option<String> {
        if !self.transfer_lasts(self.settings.standby_stall_timeout) {
            return None;
        }
        let runs = |old: &&NodeRecord| {
            self.is_heard(old.id) && self.report(old.id).is_some_and(|r| r.facts.server != Server::Down)
        };
        let old = self.record.nodes.get(&transfer.old).filter(runs);
        Some(match old.filter(|_| transfer.kind == TransferKind::Switchover) {
            Some(old) => format!("waits for nodes: the Postgres of {} is being stopped", old.name),
            None => {
                format!("waits for nodes: {} is {} and to be {}", candidate.name, candidate.reported, candidate.goal())
            }
        })
    }

    fn succession_stall(&self, primary: &NodeRecord, why: &str) -> String {
        let lost = format!("{} is lost ({why})", primary.name);
        if self.record.nodes.len() == 1 {
            return format!("waits for nodes: {lost} and there is no other node");
        }
        if !self.election_could_succeed(primary.id) {
            return format!("{}; {lost}", self.missing_votes(primary.id));
        }
        if !self.has_leader(primary.id, None) { format!("{}; {lost}", self.no_leader(primary.id)) } else { lost }
    }

    fn voters_are_gone(&self, old: NodeId) -> String {
        let unheard = self.voters(old).filter(|n| self.life(n.id) == Life::Unknown);
        let names: Vec<&str> = unheard.map(|n| n.name.as_str()).collect();
        match names.join(", ") {
            none if none.is_empty() => "waits for nodes: all have voted, and none that may lead is heard".into(),
            names => {
                format!("waits for nodes: all have voted, and since the monitor started {names} haven't been heard")
            }
        }
    }

    fn no_leader(&self, old: NodeId) -> String {
        let all = self.voters(old).all(|n| n.candidate_priority == 0);
        let why = if all { NO_PRIORITY } else { NO_PRIORITY_LEFT };
        format!("waits for the operator: {why}; perform promotion chooses one")
    }

    fn missing_votes(&self, old: NodeId) -> String {
        if self.record.in_force.may_acknowledge_alone() {
            return format!(
                "waits for nodes: {} may have acknowledged commits that it alone holds; start it again, or give them up \
                 with perform failover --allow-data-loss",
                self.name(old)
            );
        }
        let silent =
            |id: &NodeId| !self.record.nodes.get(id).is_some_and(|n| self.vote(n).is_some() || self.is_heard(*id));
        let members = self.record.in_force.iter().flat_map(|c| c.members.iter().copied());
        let shown = self.shown().filter(|_| !self.may_hold_what_was_shown(old));
        let mut missing: Vec<NodeId> = match shown {
            // Anybody who is away may hold it, whether he is asked for commits or not.
            Some(_) => self.record.nodes.values().filter(|n| self.may_hold_it_elsewhere(n)).map(|n| n.id).collect(),
            None => members.filter(silent).collect(),
        };
        missing.push(old);
        missing.sort_unstable();
        missing.dedup();
        let names: Vec<String> = missing.into_iter().map(|id| self.name(id)).collect();
        let what = match shown {
            Some(lsn) => format!("commits that {} has shown, up to {lsn},", self.name(old)),
            None => "acknowledged commits".into(),
        };
        format!(
            "waits for nodes: {what} may be only on nodes that are missing; one of {} must come back, or they are given up \
             with perform failover --allow-data-loss",
            names.join(", ")
        )
    }

    /// It could bring what was shown if it came back, from where it is or from maintenance.
    fn may_hold_it_elsewhere(&self, node: &NodeRecord) -> bool {
        let is_away = !self.is_heard(node.id) || node.goal() == NodeState::Maintenance;
        is_away && self.vote(node).is_none_or(|p| self.reaches_what_was_shown(p.lsn))
    }

    fn commit_stall(&self, primary: &NodeRecord) -> Option<String> {
        let told = self.record.contract()?;
        if let Some((asked, reasons)) = self.unmet_demand(told, |member| self.missing(member)) {
            let policy = self.durability().name();
            return Some(format!("commits wait: on {} {asked} and the formation is {policy}; {reasons}", primary.name));
        }
        // Its server goes on to enforce what it did when the keeper fell silent, which may be older than what was told.
        let is_silent = self.is_mute(primary.id) || self.pulse(primary.id).is_some_and(|p| p.hungup.is_some());
        let mut older = self.record.in_force.iter().filter(|contract| is_silent && *contract != told);
        let (asked, reasons) = older.find_map(|contract| self.unmet_demand(contract, |member| self.away(member)))?;
        Some(format!(
            "commits wait: on {} {asked} as long as its keeper, which is silent, has not changed that; {reasons}",
            primary.name
        ))
    }

    /// What a contract asks for that its members can't give without those that are missing, and why these are.
    fn unmet_demand(
        &self,
        contract: &Contract,
        missing: impl Fn(NodeId) -> Option<&'static str>,
    ) -> Option<(String, String)> {
        let missing: Vec<(NodeId, &str)> = contract.members.iter().filter_map(|m| Some((*m, missing(*m)?))).collect();
        if contract.can_acknowledge_without(&missing.iter().map(|(id, _)| *id).collect()) {
            return None;
        }
        let members: Vec<String> = contract.members.iter().map(|m| self.name(*m)).collect();
        let asked = format!("any {} of {} must acknowledge", contract.k, members.join(", "));
        Some((asked, self.reasons(&missing)))
    }
}

#[cfg(test)]
mod tests {
    use crate::model::NodeState::*;
    use crate::model::{Contract, ContractId, ControlState, Durability, Epoch, Facts, Server};
    use crate::monitor::rules::testing::*;
    use crate::ports::Probe;
    use std::time::Duration;

    type Story = fn() -> Pair;

    fn in_doubt_and_nobody_is_open() -> Pair {
        let mut p = Pair::in_doubt();
        p.tells(A, DemoteTimeout, stopped(ControlState::ShutDown), |r| (r.epoch, r.serial) = (Epoch(5), 40));
        p
    }

    /// It names members that this monitor has never heard of.
    fn open_and_unproven() -> Pair {
        let mut p = Pair::settled();
        p.monitor_restarts();
        p.tells(B, Secondary, standby(), |r| (r.epoch, r.serial) = (Epoch(5), 40));
        let strangers = Contract::any(ContractId(9), 1, [D, E].into());
        p.tells(A, Primary, primary_of(&[B]), |r| {
            (r.epoch, r.serial, r.contract) = (Epoch(5), 40, Some(strangers.clone()));
        });
        p
    }

    fn electing(votes: &[(crate::model::NodeId, u64)]) -> Pair {
        let mut p = Pair::of(3, 1);
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 90;
        p.dies(A);
        votes.iter().for_each(|(node, lsn)| p.votes(*node, *lsn));
        p
    }

    fn a_voter_is_lost() -> Pair {
        let mut p = electing(&[(B, 1000)]);
        p.dies(C);
        p
    }

    fn lost_after_it_went_on_alone() -> Pair {
        let mut p = Pair::settled();
        p.dies(B);
        p.says(B, Catchingup, standby());
        p.dies(A);
        p
    }

    fn lost_with_nobody_else() -> Pair {
        let mut p = Pair::settled();
        p.record_mut().nodes.remove(&B);
        p.dies(A);
        p
    }

    fn lost_with_nobody_to_lead() -> Pair {
        let mut p = Pair::settled();
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 0;
        p.dies(A);
        p
    }

    fn commits_wait() -> Pair {
        let mut p = Pair::settled();
        p.set_durability(Durability::Strict);
        p.dies(B);
        p
    }

    /// The keeper died before it could tell its server to go on alone.
    fn did_not_hear_to_go_on_alone() -> Pair {
        let mut p = Pair::settled();
        p.dies(B);
        p.hangs_up(A);
        p.probed(A, Probe::Answers);
        p
    }

    /// The primary of an async group fell silent in a handover, and the operator has given up what it may hold.
    fn under_a_lease() -> Pair {
        let mut p = Pair::settled();
        p.set_durability(Durability::Async);
        p.says(A, Primary, primary_with(Some(B)));
        p.switchover();
        for _ in 0..6 {
            p.passes(Duration::from_secs(1));
            p.says(B, PreparePromotion, cut_off_standby());
            p.probed(A, Probe::Silent);
        }
        p.sealed(1000);
        p.ordered_failover(None, true);
        p
    }

    #[test]
    fn each_wait_is_told_with_its_kind_and_with_who_is_waited_for() {
        let stories: [(Story, &str); 13] = [
            (
                Pair::in_doubt,
                "waits for nodes: what the monitor knows is older than what they report; still to be heard: a",
            ),
            (in_doubt_and_nobody_is_open, "waits for the operator: what the monitor knows is older than"),
            (
                open_and_unproven,
                "waits for the operator: what the monitor knows is older than what they report, and those who",
            ),
            (|| electing(&[(C, 1100), (B, 1000)]), "waits for WAL: b fetches up to 0/44C from c"),
            (|| electing(&[(B, 1000)]), "waits for nodes: the votes of an election are being sealed, of c not yet"),
            (
                a_voter_is_lost,
                "waits for nodes: acknowledged commits may be only on nodes that are missing; one of a, c",
            ),
            (lost_after_it_went_on_alone, "waits for nodes: a may have acknowledged commits that it alone holds"),
            (lost_with_nobody_else, "waits for nodes: a is lost (its keeper's connection broke"),
            (lost_with_nobody_to_lead, "waits for the operator: every candidate priority is 0; perform promotion"),
            (commits_wait, "commits wait: on a any 1 of b must acknowledge and the formation is strict; b: its keeper"),
            (
                did_not_hear_to_go_on_alone,
                "commits wait: on a any 1 of b must acknowledge as long as its keeper, which is silent, has not changed that; b",
            ),
            (under_a_lease, "waits for nodes: a may acknowledge commits until its lease has ended"),
            (|| electing(&[]), "waits for nodes: the votes of an election are being sealed, of b, c not yet"),
        ];
        for (story, expected) in stories {
            let stall = story().stall();
            assert!(stall.as_ref().is_some_and(|s| s.starts_with(expected)), "{stall:?} is not {expected}");
        }
    }

    #[test]
    fn what_takes_long_is_told() {
        let mut p = Pair::settled();
        p.switchover();
        let draining = |p: &mut Pair| drop(p.says(A, Primary, primary_with(Some(B))));
        draining(&mut p);
        assert_eq!(p.stall(), None, "a handover takes its moments");
        p.passes(p.monitor.settings.standby_stall_timeout);
        draining(&mut p);
        assert_eq!(p.stall().unwrap(), "waits for nodes: the Postgres of a is being stopped");
        p.says(A, DemoteTimeout, stopped(ControlState::ShutDown));
        p.passes(p.monitor.settings.standby_stall_timeout);
        p.says(B, PreparePromotion, standby());
        assert_eq!(p.stall().unwrap(), "waits for nodes: b is prepare_promotion and to be stop_replication");

        let mut p = Pair::settled();
        let starting = Facts { server: Server::Starting, ..stopped(ControlState::InProduction) };
        p.says(A, Primary, starting);
        assert_eq!(p.stall().unwrap(), "waits for nodes: the Postgres of a is starting");
    }

    #[test]
    fn nothing_is_said_of_a_group_that_goes_on() {
        let stories: [(&str, Story); 5] = [
            ("all is well", Pair::settled),
            ("one member of two is enough", || {
                let mut p = Pair::of(3, 1);
                p.hangs_up(C);
                p
            }),
            ("its primary goes on alone", || {
                let mut p = Pair::settled();
                p.dies(B);
                p
            }),
            ("a handover is under way", || {
                let mut p = Pair::settled();
                p.switchover();
                p
            }),
            ("the doubt is over", || {
                let mut p = Pair::in_doubt();
                let contract = Contract::any(ContractId(9), 1, [B, C].into());
                p.tells(A, Primary, primary_of(&[B, C]), |r| {
                    (r.epoch, r.serial, r.contract) = (Epoch(5), 40, Some(contract.clone()));
                });
                p
            }),
        ];
        for (why, story) in stories {
            assert_eq!(story().stall(), None, "{why}");
        }
    }

    #[test]
    fn a_lease_that_has_ended_is_waited_for_no_longer() {
        let mut p = under_a_lease();
        p.passes(Duration::from_secs(6));
        p.sealed(1000);
        assert_eq!(p.goal(B), WaitPrimary);
        assert!(p.stall().is_none_or(|stall| !stall.contains("lease")), "{:?}", p.stall());
    }
}
