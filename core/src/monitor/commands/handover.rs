//! Calls that move the role: failover, promotion of one node, maintenance, and dropping a node.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::Edit;
use crate::monitor::rules;
use crate::monitor::state::{Effects, Group, MonitorRecord};
use crate::monitor::view::View;

impl Order<'_> {
    pub fn fail_over(&self, key: &GroupKey, to: Option<&str>, consent: bool) -> Result<Effects, Refusal> {
        let group = self.group(key)?;
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
            return Ok(self.steer(group, to, consent));
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
        if view.primary_lost(primary).is_some() {
            return self.elect_by_order(&view, group, primary, to, consent);
        }
        let candidate = match view.successor(primary, preferred) {
            Ok(candidate) => candidate,
            Err(why) => return no(why, "bring the standby back first; show state tells when it is secondary"),
        };
        if primary.reported != primary.goal() || !view.is_open(primary.id) {
            let reason = format!("{} is {} and to be {}", primary.name, primary.reported, primary.goal());
            return no(reason, "wait until it has reached its state; show state tells what it waits for");
        }
        let transfer = Transfer { preferred, ..Transfer::new(TransferKind::Switchover, primary.id, None) };
        let edits = rules::begin_transfer(primary, candidate, transfer);
        let text = format!("switchover from {} to {} was asked for", primary.name, candidate.name);
        Ok(self.carry_out(group, &edits, &text, None))
    }

    /// The role moves already: the operator may name the winner, or consent to a loss.
    fn steer(&self, group: &Group, to: Option<&NodeRecord>, consent: bool) -> Effects {
        let transfer = group.record.transfer.as_ref().expect("the role moves");
        let mut edits = Vec::new();
        if let (Some(node), None) = (to, transfer.candidate) {
            edits.push(Edit::Prefer(Some(node.id)));
        }
        if consent && transfer.waiver != Some(Waiver::Operator) {
            edits.push(Edit::Waive(Waiver::Operator));
        }
        if edits.is_empty() {
            return self.nothing("the role is moving already");
        }
        let named = to.map(|n| format!(" to {}", n.name)).unwrap_or_default();
        let with = if consent { ", with consent to lose what no proof covers" } else { "" };
        self.carry_out(group, &edits, &format!("failover{named} was asked for{with}"), None)
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
        let can = |n: &&NodeRecord| preferred.is_none_or(|p| p == n.id) && view.may_lead(n, preferred).is_ok();
        if !view.voters(primary.id).any(|n| can(&n)) {
            let who = to.map_or("no standby".to_string(), |n| n.name.clone());
            return no(format!("{who} can lead now"), "bring one back, or name one with perform promotion");
        }
        if !consent && !view.election_could_succeed(primary.id) {
            let why = view.stall().unwrap_or_else(|| "not enough standbys are there to prove who is complete".into());
            return no(why, "bring the nodes back that are missing, or give up what they hold with --allow-data-loss");
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

    pub fn drop_node(&self, formation: &str, name: &str, force: bool) -> Result<Effects, Refusal> {
        let (group, node) = self.node(formation, name)?;
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

    /// While the role moves only the node it moves away from can be dropped: once its successor is told to open.
    fn drop_meanwhile(
        &self,
        group: &Group,
        node: &NodeRecord,
        transfer: &Transfer,
        forced: Vec<Edit>,
    ) -> Result<Effects, Refusal> {
        if transfer.old != node.id || transfer.afterwards != Afterwards::Rejoin {
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
        let mut effects = self.carry_out(group, &edits, &text, None);
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
                (Some(record), format!("; number_sync_standbys becomes {most}"))
            }
            _ => (None, String::new()),
        }
    }
}
