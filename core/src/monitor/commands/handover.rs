//! Calls that move the role: failover, promotion of one node, maintenance, and dropping a node.

use super::{NUMBER_BECOMES, Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::Edit;
use crate::monitor::rules;
use crate::monitor::state::{Effects, Group, MonitorRecord};
use crate::monitor::view::View;

const NO_SUCCESSOR: &str = "bring a standby back, show state tells when it is secondary; one whose candidate priority is 0 \
                            is promoted if perform promotion names it, or after set node candidate-priority";

impl Order<'_> {
    pub fn fail_over(
        &self,
        key: &GroupKey,
        to: Option<&str>,
        from: Option<NodeId>,
        consent: bool,
    ) -> Result<Effects, Refusal> {
        let group = self.group(key)?;
        let rests = !group.record.in_doubt && self.m.view(group, self.now).moving().is_none();
        if let Some(leads) = group.record.primary().filter(|p| rests && from.is_some_and(|from| from != p.id)) {
            return Ok(self.nothing(format!("the role has moved already, to {}", leads.name)));
        }
        let to = match to {
            Some(name) => {
                let (of, node) = self.node(&key.formation, name)?;
                if of.record.key != *key {
                    return no(format!("{name} is a node of group {}, not of {key}", of.record.key), "name that group");
                }
                Some(node)
            }
            None => None,
        };
        self.move_role(group, to, consent)
    }

    pub fn promote(&self, formation: &str, name: &str, consent: bool) -> Result<Effects, Refusal> {
        let (group, node) = self.node(formation, name)?;
        self.move_role(group, Some(node), consent)
    }

    fn move_role(&self, group: &Group, to: Option<&NodeRecord>, consent: bool) -> Result<Effects, Refusal> {
        let record = &group.record;
        if record.in_doubt {
            return self.end_doubt(group, to, consent);
        }
        if self.m.view(group, self.now).moving().is_some() {
            return self.steer(group, to, consent);
        }
        let Some(primary) = record.primary() else {
            return no(format!("group {} has no primary", record.key), "look at show state for what it waits for");
        };
        if to.is_some_and(|node| node.id == primary.id) {
            return Ok(self.nothing(format!("{} is the primary already", primary.name)));
        }
        let view = self.m.view(group, self.now);
        if record.nodes.len() < 2 {
            let reason = format!("{} is the only node of group {}", primary.name, record.key);
            return no(reason, "add a standby with create postgres");
        }
        let preferred = to.map(|n| n.id);
        // One that has its time to open again, or recovers, isn't waited for if somebody asks.
        if view.primary_lost(primary).is_some() || view.is_closed(primary.id) {
            return self.elect_by_order(&view, group, primary, to, consent);
        }
        let candidate = match view.successor(primary, preferred) {
            Ok(candidate) => candidate,
            Err(why) => return no(why, NO_SUCCESSOR),
        };
        if !view.is_open(primary.id) {
            let why = view.stall().unwrap_or_else(|| format!("{} isn't open", primary.name));
            return no(why, "wait until it answers, or until it is given up");
        }
        if primary.reported != primary.goal() {
            let reason = format!("{} is {} and to be {}", primary.name, primary.reported, primary.goal());
            return no(reason, "wait until it has reached its state; show state tells what it waits for");
        }
        let transfer = Transfer { preferred, ..Transfer::new(TransferKind::Switchover, primary.id, None) };
        let edits = rules::begin_transfer(primary, candidate, transfer);
        let text = format!("switchover from {} to {} was asked for", primary.name, candidate.name);
        Ok(self.carry_out(group, &edits, &text, None))
    }

    /// The role moves already: the operator may name the winner, or consent to a loss. Where too few votes can come nobody
    /// wins, whoever is named.
    fn steer(&self, group: &Group, to: Option<&NodeRecord>, consent: bool) -> Result<Effects, Refusal> {
        let transfer = group.record.transfer.as_ref().expect("the role moves");
        let mut edits = Vec::new();
        if let Some(node) = to.filter(|node| transfer.candidate.is_none() && transfer.preferred != Some(node.id)) {
            edits.push(Edit::Prefer(Some(node.id)));
        }
        if consent && transfer.waiver != Some(Waiver::Operator) {
            edits.push(Edit::Waive(Waiver::Operator));
        }
        if edits.is_empty() {
            return Ok(self.nothing("the role is moving already"));
        }
        let view = self.m.view(group, self.now);
        let is_stuck = transfer.candidate.is_none() && !view.election_could_succeed(transfer.old);
        if is_stuck && !consent && transfer.waiver != Some(Waiver::Operator) {
            return self.refuse_without_votes(&view);
        }
        let named = to.map(|n| format!(" to {}", n.name)).unwrap_or_default();
        let with = if consent { ", with consent to lose what no proof covers" } else { "" };
        Ok(self.carry_out(group, &edits, &format!("failover{named} was asked for{with}"), None))
    }

    fn refuse_without_votes(&self, view: &View) -> Result<Effects, Refusal> {
        let why = view.stall().unwrap_or_else(|| "not enough standbys are there to prove who is complete".into());
        no(why, "bring the nodes back that are missing, or give up what they hold with --allow-data-loss")
    }

    /// The primary is lost and the rules have not found a way: the operator's word opens one.
    fn elect_by_order(
        &self,
        view: &View,
        group: &Group,
        primary: &NodeRecord,
        to: Option<&NodeRecord>,
        consent: bool,
    ) -> Result<Effects, Refusal> {
        let preferred = to.map(|n| n.id);
        let can = |n: &NodeRecord| preferred.is_none_or(|p| p == n.id) && view.may_lead(n, preferred).is_ok();
        if !view.voters(primary.id).any(can) {
            let who = to.map_or("no standby can lead now".to_string(), |n| format!("{} can't lead now", n.name));
            return no(who, "bring one back, or name one with perform promotion");
        }
        if !consent && !view.election_could_succeed(primary.id) {
            return self.refuse_without_votes(view);
        }
        let waiver = consent.then_some(Waiver::Operator);
        let transfer = Transfer { preferred, waiver, ..Transfer::new(TransferKind::Failover, primary.id, None) };
        let edits = rules::call_votes(view, transfer);
        let with = if consent { ", with consent to lose what no proof covers" } else { "" };
        let text = format!("failover from {} was asked for{with}", primary.name);
        Ok(self.carry_out(group, &edits, &text, None))
    }

    pub fn begin_maintenance(&self, formation: &str, name: &str, allow_failover: bool) -> Result<Effects, Refusal> {
        use NodeState::*;
        let (group, node) = self.node(formation, name)?;
        let record = &group.record;
        let view = self.m.view(group, self.now);
        if matches!(node.goal(), PrepareMaintenance | WaitMaintenance | Maintenance) {
            return Ok(self.nothing(format!("{name} is in maintenance or on its way there")));
        }
        self.refuse_in_doubt(group)?;
        if let Some(transfer) = view.moving() {
            if transfer.old == node.id && transfer.afterwards == Afterwards::Maintenance {
                return Ok(self.nothing(format!("{name} is on its way to maintenance")));
            }
            return no(format!("the role is moving in group {}", record.key), "try again when it has settled");
        }
        if record.primary().is_some_and(|p| p.id == node.id) {
            return self.primary_to_maintenance(&view, group, node, allow_failover);
        }
        if !matches!(node.goal(), Secondary | Catchingup) || node.reported != node.goal() {
            let reason = format!("{name} is {} and to be {}", node.reported, node.goal());
            return no(reason, "maintenance begins from secondary or catchingup");
        }
        self.refuse_to_block(&view, node)?;
        let text = format!("maintenance of {name} was asked for");
        Ok(self.carry_out(group, &[Edit::Assign(node.id, WaitMaintenance)], &text, None))
    }

    /// A strict formation without enough members could never let the node out of its contract.
    fn refuse_to_block(&self, view: &View, node: &NodeRecord) -> Result<(), Refusal> {
        let counts = view.record.contract().is_some_and(|c| c.members.contains(&node.id));
        if !counts || view.durability() != Durability::Strict {
            return Ok(());
        }
        let asked = view.formation.acknowledgements() as usize;
        let others = view.record.standbys().filter(|n| n.id != node.id && view.missing(n.id).is_none()).count();
        if others >= asked {
            return Ok(());
        }
        let reason = format!(
            "without {} commits would wait: {asked} standbys must acknowledge and {others} others can",
            node.name
        );
        no(reason, "bring another standby up, or lower it: set formation number-sync-standbys, or durability degrade")
    }

    fn primary_to_maintenance(
        &self,
        view: &View,
        group: &Group,
        primary: &NodeRecord,
        allow_failover: bool,
    ) -> Result<Effects, Refusal> {
        if !allow_failover {
            let reason = format!("{} is the primary", primary.name);
            return no(reason, "say --allow-failover to move the role to a standby first");
        }
        let candidate = match view.successor(primary, None) {
            Ok(candidate) if view.is_open(primary.id) => candidate,
            Ok(_) => return no(format!("{} is not open", primary.name), "wait until it is"),
            Err(why) => return no(why, "the role needs a standby to go to; bring one back first"),
        };
        let transfer = Transfer {
            afterwards: Afterwards::Maintenance,
            ..Transfer::new(TransferKind::Switchover, primary.id, None)
        };
        let edits = rules::begin_transfer(primary, candidate, transfer);
        let text = format!("maintenance of {} was asked for, {} takes over", primary.name, candidate.name);
        Ok(self.carry_out(group, &edits, &text, None))
    }

    pub fn end_maintenance(&self, formation: &str, name: &str) -> Result<Effects, Refusal> {
        use NodeState::*;
        let (group, node) = self.node(formation, name)?;
        self.refuse_in_doubt(group)?;
        let electing = group.record.transfer.as_ref().is_some_and(|t| t.candidate.is_none());
        let goal = match node.goal() {
            Maintenance if electing => ReportLsn,
            Maintenance | WaitMaintenance => Catchingup,
            PrepareMaintenance => return no(format!("{name} is handing its role over"), "wait until it has"),
            _ => return Ok(self.nothing(format!("{name} is not in maintenance"))),
        };
        let text = format!("the maintenance of {name} is over");
        Ok(self.carry_out(group, &[Edit::Assign(node.id, goal)], &text, None))
    }

    pub fn drop_node(
        &self,
        formation: &str,
        name: &str,
        seen: Option<NodeId>,
        force: bool,
    ) -> Result<Effects, Refusal> {
        let mut all = self.m.groups.values().flat_map(|g| g.record.nodes.keys());
        if seen.is_some_and(|seen| all.all(|id| *id != seen)) {
            return Ok(self.nothing(format!("{name} has gone already")));
        }
        let (group, node) = self.meant(formation, name, seen)?;
        let record = &group.record;
        let view = self.m.view(group, self.now);
        let forced = if force { vec![Edit::Force(node.id)] } else { vec![] };
        if node.goal() == NodeState::Dropped {
            let edits = if force && !node.forced { forced } else { vec![] };
            let text = format!("{name} is dropped by force, as asked");
            return Ok(match edits.is_empty() {
                true => self.nothing(format!("{name} is being dropped already")),
                false => self.carry_out(group, &edits, &text, None),
            });
        }
        self.refuse_in_doubt(group)?;
        if let Some(transfer) = view.moving() {
            return self.drop_meanwhile(group, node, transfer, forced);
        }
        self.refuse_to_strip(&view, node)?;
        let is_primary = record.primary().is_some_and(|p| p.id == node.id);
        let text = format!("{name} is dropped, as asked");
        if is_primary && record.nodes.len() > 1 {
            return self.drop_primary(&view, group, node, forced, &text);
        }
        let edits = [vec![Edit::Assign(node.id, NodeState::Dropped)], forced].concat();
        let (number, note) = self.lowered_number(group, node);
        let mut effects = self.carry_out(group, &edits, &format!("{text}{note}"), None);
        effects.record = number;
        Ok(effects)
    }

    /// Commits of a strict formation would wait for ever for a standby that acknowledges.
    fn refuse_to_strip(&self, view: &View, node: &NodeRecord) -> Result<(), Refusal> {
        let mut others = view.record.standbys().filter(|n| n.id != node.id).peekable();
        let is_primary = view.record.primary().is_some_and(|p| p.id == node.id);
        let strips = others.peek().is_some() && others.all(|n| !n.replication_quorum);
        if is_primary || !strips || !node.replication_quorum || view.durability() != Durability::Strict {
            return Ok(());
        }
        let reason = format!("without {} no standby that is left acknowledges, and the formation is strict", node.name);
        no(reason, "let another take part first: set node replication-quorum true; or set formation durability")
    }

    /// While the role moves only the node it moves away from can be dropped: once its successor is told to open. Another that
    /// is silent can be given up.
    fn drop_meanwhile(
        &self,
        group: &Group,
        node: &NodeRecord,
        transfer: &Transfer,
        forced: Vec<Edit>,
    ) -> Result<Effects, Refusal> {
        if transfer.old == node.id && transfer.afterwards == Afterwards::Drop && (forced.is_empty() || node.forced) {
            return Ok(self.nothing(format!("{} is being dropped already", node.name)));
        }
        let is_given_up = transfer.waiver == Some(Waiver::Operator) && !self.m.view(group, self.now).is_heard(node.id);
        let stays = transfer.old != node.id || transfer.afterwards == Afterwards::Maintenance;
        if stays && !forced.is_empty() && is_given_up {
            // It can't be asked to go before it is heard. Nobody waits for it any more.
            let text =
                format!("{} isn't waited for any more, as asked; drop it again once another holds the role", node.name);
            if node.forced {
                return Ok(self.nothing(text));
            }
            return Ok(self.carry_out(group, &forced, &text, None));
        }
        if stays {
            let reason = format!("the role is moving in group {}", group.record.key);
            return no(reason, "try again when it has settled");
        }
        let mut edits = forced;
        if group.record.primary().is_some_and(|p| p.id != node.id) {
            edits.push(Edit::Assign(node.id, NodeState::Dropped));
        } else {
            edits.push(Edit::DropOld);
        }
        let (number, note) = self.lowered_number(group, node);
        let text = format!("{} is dropped as soon as another holds the role, as asked{note}", node.name);
        // What it alone may hold is given up by consent, which this is not.
        let waits = self.m.view(group, self.now).stall().map(|stall| format!("the role has yet to move: {stall}"));
        let mut effects = self.carry_out(group, &edits, &text, waits);
        effects.record = number;
        Ok(effects)
    }

    fn drop_primary(
        &self,
        view: &View,
        group: &Group,
        primary: &NodeRecord,
        forced: Vec<Edit>,
        text: &str,
    ) -> Result<Effects, Refusal> {
        let begun = |kind| Transfer { afterwards: Afterwards::Drop, ..Transfer::new(kind, primary.id, None) };
        let moved = if view.primary_lost(primary).is_some() {
            if !view.election_could_succeed(primary.id) {
                let why = view.stall().unwrap_or_else(|| "nobody can take over".into());
                return no(why, "bring the nodes back that are missing, or perform failover --allow-data-loss first");
            }
            rules::call_votes(view, begun(TransferKind::Failover))
        } else {
            match view.successor(primary, None) {
                Ok(candidate) => rules::begin_transfer(primary, candidate, begun(TransferKind::Switchover)),
                Err(why) => {
                    return no(why, "the role needs a standby to go to; bring one back, or drop the standbys first");
                }
            }
        };
        let (number, note) = self.lowered_number(group, primary);
        let mut effects = self.carry_out(group, &[moved, forced].concat(), &format!("{text}{note}"), None);
        effects.record = number;
        Ok(effects)
    }

    /// The number of acknowledgements can't be more than the greatest quorum left in the formation allows: as
    /// pg_auto_failover counts, one standby may fail.
    fn lowered_number(&self, group: &Group, leaving: &NodeRecord) -> (Option<MonitorRecord>, String) {
        let formation = &group.record.key.formation;
        let counted = leaving.replication_quorum && leaving.goal() != NodeState::Dropped;
        let quorum = |g: &Group| g.record.quorum() - usize::from(counted && g.record.key == group.record.key);
        let groups = self.m.groups.values().filter(|g| g.record.key.formation == *formation);
        let most = groups.map(quorum).max().unwrap_or(0).saturating_sub(2) as u32;
        let mut record = self.m.record.clone();
        match record.formations.get_mut(formation) {
            Some(f) if f.number_sync_standbys > most => {
                f.number_sync_standbys = most;
                (Some(record), format!("; {NUMBER_BECOMES}{most}"))
            }
            _ => (None, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeState::*;
    use crate::monitor::rules::testing::*;
    use crate::wire::{Answer, Command};

    /// What an order that was taken is answered with: empty, when something follows.
    fn note(answer: Answer) -> String {
        match answer {
            Answer::Accepted { note, .. } => note.unwrap_or_default(),
            other => panic!("not taken but {other:?}"),
        }
    }

    fn assert_refused(answer: Answer, why: &str) {
        let refusal = refusal(answer);
        assert!(refusal.contains(why), "\"{refusal}\" doesn't say \"{why}\"");
    }

    fn transfer(p: &Pair) -> &Transfer {
        p.record().transfer.as_ref().expect("the role moves")
    }

    #[test]
    fn an_order_must_name_a_node_of_the_group() {
        let mut p = Pair::settled();
        let elsewhere = GroupKey { formation: "default".into(), group: 1 };
        let mut other = Pair::of(4, 1).record().clone();
        (other.key, other.nodes) = (elsewhere.clone(), other.nodes.split_off(&D));
        p.monitor.groups.insert(elsewhere, Group::new(other, p.now));
        assert_refused(p.ordered_failover(Some("z"), false), "no node named z; known nodes are: a, b");
        assert_refused(p.ordered_failover(Some("d"), false), "d is a node of group default/1, not of default/0");
        let key = GroupKey { formation: "default".into(), group: 7 };
        let nowhere = Command::Failover { key, to: None, from: None, allow_data_loss: false };
        assert_refused(p.orders(nowhere), "there is no group 7");
        assert_eq!(note(p.ordered_failover(Some("a"), false)), "a is the primary already");
        assert_eq!(p.goals(), (Primary, Secondary));
    }

    #[test]
    fn a_node_that_has_another_name_by_now_has_not_gone() {
        let mut p = Pair::settled();
        let drop =
            |name: &str, node| Command::Drop { formation: key().formation, name: name.into(), node, force: false };
        assert_refused(p.orders(drop("c", Some(B))), "no node named c");
        assert_refused(p.orders(drop("a", Some(B))), "a is another node by now");
        assert_eq!(p.goals(), (Primary, Secondary));
    }

    #[test]
    fn a_handover_needs_a_settled_primary_and_somebody_to_take_over() {
        let mut p = Pair::settled();
        p.says(A, WaitPrimary, primary_with(Some(B)));
        assert_refused(p.ordered_failover(None, false), "a is wait_primary and to be primary");
        p.record_mut().nodes.remove(&B);
        assert_refused(p.ordered_failover(None, false), "a is the only node of group default/0");
        p.record_mut().nodes.get_mut(&A).unwrap().assignment.goal = Demoted;
        assert_refused(p.ordered_failover(None, false), "group default/0 has no primary");
        let mut p = Pair::of(3, 1);
        p.record_mut().nodes.get_mut(&C).unwrap().candidate_priority = 0;
        assert_eq!(note(p.ordered_failover(Some("c"), false)), "", "who is named needs no priority");
        assert_eq!((p.goal(A), p.goal(C)), (Draining, PreparePromotion));
    }

    #[test]
    fn while_an_election_runs_its_winner_may_be_named_and_a_loss_consented_to_once() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        assert_eq!(note(p.ordered_failover(Some("c"), false)), "");
        assert_eq!((transfer(&p).preferred, transfer(&p).waiver), (Some(C), None));
        assert_eq!(note(p.ordered_failover(Some("c"), false)), "the role is moving already");
        assert_eq!(note(p.ordered_failover(None, true)), "");
        assert_eq!((transfer(&p).preferred, transfer(&p).waiver), (Some(C), Some(Waiver::Operator)));
        assert_eq!(note(p.ordered_failover(None, true)), "the role is moving already");
        let mut p = Pair::settled();
        p.switchover();
        assert_eq!(note(p.ordered_failover(Some("a"), false)), "the role is moving already", "to b");
        assert_eq!(transfer(&p).preferred, None);
    }

    #[test]
    fn who_is_named_when_too_few_can_vote_is_refused_as_before_the_votes_were_called() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.dies(B);
        assert!(p.record().transfer.is_some(), "b died after it was asked for its vote");
        assert_refused(p.ordered_failover(Some("c"), false), "one of a, b must come back");
        assert_eq!(transfer(&p).preferred, None);
        assert_eq!(note(p.ordered_failover(Some("c"), true)), "", "what they hold is given up");
        assert_eq!((transfer(&p).preferred, transfer(&p).waiver), (Some(C), Some(Waiver::Operator)));
    }

    #[test]
    fn what_a_lost_primary_may_hold_alone_is_given_up_by_consent_only() {
        let mut p = Pair::settled();
        p.dies(B);
        p.dies(A);
        assert_refused(p.ordered_failover(None, true), "no standby can lead now");
        assert_refused(p.ordered_failover(Some("b"), true), "b can't lead now");
        p.says(B, Catchingup, cut_off_standby());
        assert_refused(p.ordered_failover(None, false), "a may have acknowledged commits that it alone holds");
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
        assert_eq!(note(p.ordered_failover(None, true)), "");
        assert_eq!((p.goals(), transfer(&p).waiver), ((Draining, ReportLsn), Some(Waiver::Operator)));
    }

    #[test]
    fn a_standby_goes_to_maintenance_and_comes_back() {
        let mut p = Pair::settled();
        assert_eq!(note(p.ordered_maintenance("b", false, false)), "b is not in maintenance");
        assert_eq!(note(p.ordered_maintenance("b", true, false)), "");
        assert_eq!(p.goal(B), WaitMaintenance);
        assert_eq!(note(p.ordered_maintenance("b", false, false)), "");
        assert_eq!(p.goal(B), Catchingup);
        assert_refused(p.ordered_maintenance("b", true, false), "b is secondary and to be catchingup");
    }

    #[test]
    fn maintenance_of_the_primary_moves_the_role_if_that_is_allowed() {
        let mut p = Pair::settled();
        assert_refused(p.ordered_maintenance("a", true, false), "a is the primary; say --allow-failover");
        assert_eq!(note(p.ordered_maintenance("a", true, true)), "");
        assert_eq!(p.goals(), (PrepareMaintenance, PreparePromotion));
        assert_refused(p.ordered_maintenance("b", true, true), "the role is moving");
        assert_refused(p.ordered_maintenance("a", false, false), "a is handing its role over");
        let mut p = Pair::settled();
        p.says(A, Primary, primary_with(None));
        assert_refused(p.ordered_maintenance("a", true, true), "b can't be promoted: it doesn't stream");
        assert_eq!(p.goals(), (Primary, Secondary));
    }

    #[test]
    fn maintenance_that_would_stop_the_commits_of_a_strict_group_is_refused() {
        for (count, durability, refused) in [
            (2, Durability::Strict, true),
            (3, Durability::Strict, false),
            (2, Durability::Degrade, false),
            (2, Durability::Async, false),
        ] {
            let mut p = Pair::of(count, 0);
            p.set_durability(durability);
            let answer = p.ordered_maintenance("b", true, false);
            match refused {
                true => {
                    assert_refused(answer, "without b commits would wait: 1 standbys must acknowledge and 0 others")
                }
                false => assert_eq!(note(answer), "", "{count} nodes, {durability:?}"),
            }
        }
    }

    #[test]
    fn who_comes_back_from_maintenance_during_an_election_is_asked_for_its_vote() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.record_mut().nodes.get_mut(&C).unwrap().assignment.goal = Maintenance;
        assert_eq!(note(p.ordered_maintenance("c", false, false)), "");
        assert_eq!(p.goal(C), ReportLsn);
    }

    #[test]
    fn one_that_is_being_dropped_may_be_forced_to_go() {
        let mut p = Pair::settled();
        for forced in [false, true] {
            assert_eq!(note(p.ordered_drop("b", forced)), "");
            assert_eq!((p.goal(B), p.record().nodes[&B].forced), (Dropped, forced));
        }
        assert_refused(p.ordered_drop("z", true), "no node named z");
    }

    #[test]
    fn a_primary_is_dropped_after_it_has_handed_over() {
        let mut p = Pair::settled();
        assert_eq!(note(p.ordered_drop("a", false)), "");
        assert_eq!((p.goals(), transfer(&p).afterwards), ((Draining, PreparePromotion), Afterwards::Drop));
        assert_refused(p.ordered_drop("b", false), "the role is moving");
        let mut p = Pair::settled();
        p.says(A, Primary, primary_with(None));
        assert_refused(p.ordered_drop("a", false), "b can't be promoted: it doesn't stream");
        p.record_mut().nodes.remove(&B);
        assert_eq!(note(p.ordered_drop("a", false)), "", "nobody is left to hand over to");
        assert_eq!(p.goal(A), Dropped);
    }

    #[test]
    fn a_lost_primary_is_dropped_if_its_successor_can_be_proven() {
        let mut p = Pair::of(3, 1);
        for node in [B, C] {
            p.record_mut().nodes.get_mut(&node).unwrap().candidate_priority = 0;
        }
        p.dies(A);
        assert_eq!(note(p.ordered_drop("a", false)), "");
        assert_eq!((p.goal(B), transfer(&p).afterwards), (ReportLsn, Afterwards::Drop));
        let mut p = Pair::settled();
        p.dies(B);
        p.says(B, Catchingup, cut_off_standby());
        p.dies(A);
        assert_refused(p.ordered_drop("a", true), "perform failover --allow-data-loss first");
        assert_eq!(p.goals(), (WaitPrimary, Catchingup));
    }

    #[test]
    fn the_old_primary_may_be_dropped_while_the_role_leaves_it() {
        let mut p = Pair::settled();
        p.switchover();
        assert_eq!(note(p.ordered_drop("a", false)), "");
        assert_eq!((p.goal(A), transfer(&p).afterwards), (Draining, Afterwards::Drop), "the role may yet come back");
        assert_eq!(note(p.ordered_drop("a", true)), "");
        assert!(p.record().nodes[&A].forced);
        let mut p = Pair::settled();
        p.switchover();
        p.says(B, PreparePromotion, standby());
        p.says(A, Draining, stopped(ControlState::ShutDown));
        p.sealed(1000);
        assert_eq!(p.goals(), (Demoted, WaitPrimary));
        assert_eq!(note(p.ordered_drop("a", false)), "");
        assert_eq!(p.goal(A), Dropped, "another holds the role");
    }

    #[test]
    fn who_leaves_the_quorum_takes_the_number_of_acknowledgements_down_with_it() {
        for (count, takes_part, number) in [(3, true, 0), (4, true, 1), (4, false, 1), (5, true, 1)] {
            let mut p = Pair::of(count, 1);
            p.record_mut().nodes.get_mut(&C).unwrap().replication_quorum = takes_part;
            assert_eq!(note(p.ordered_drop("c", false)), "");
            let asked = p.monitor.record.formations["default"].number_sync_standbys;
            assert_eq!(asked, number, "of {count}, takes part: {takes_part}");
        }
    }
}
