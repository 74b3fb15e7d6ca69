//! Calls of operators and new nodes. Each is refused with the reason and what would make it possible, or
//! taken, and asking twice does nothing twice.

mod doubt;
mod formations;
mod handover;
mod heirs;
mod lineage;
mod nodes;
mod register;
#[cfg(test)]
mod repeated;

pub use lineage::CHOSEN;
pub use register::register;

use crate::model::*;
use crate::monitor::edit::{Edit, apply};
use crate::monitor::events::Log;
use crate::monitor::state::{Effects, Group, Monitor};
use crate::mutant;
use crate::wire::{Answer, Command};

pub fn command(m: &Monitor, now: Moment, wall_ms: u64, command: &Command) -> Effects {
    let order = Order { m, now, wall_ms };
    let done = match command {
        Command::Failover { key, to, from, allow_data_loss } => {
            order.fail_over(key, to.as_deref(), *from, *allow_data_loss || mutant!(ConsentAssumed))
        }
        Command::Promote { formation, name, allow_data_loss } => order.promote(formation, name, *allow_data_loss),
        Command::Maintenance { formation, name, on: true, allow_failover } => {
            order.begin_maintenance(formation, name, *allow_failover)
        }
        Command::Maintenance { formation, name, on: false, .. } => order.end_maintenance(formation, name),
        Command::Drop { formation, name, node, force } => order.drop_node(formation, name, *node, *force),
        Command::SetNode { formation, name, node, change } => order.set_node(formation, name, *node, change),
        Command::SetFormation { formation, change } => order.set_formation(formation, change),
        Command::CreateFormation { formation, settings } => order.create_formation(formation, settings),
        Command::DropFormation { formation } => order.drop_formation(formation),
        Command::AcceptTimeline { key, tli, reason } => order.accept_timeline(key, *tli, reason),
    };
    done.unwrap_or_else(|no| Effects::refuse(no.reason, no.remedy))
}

/// Why not, and what would make it possible.
struct Refusal {
    reason: String,
    remedy: String,
}

fn no<T>(reason: impl Into<String>, remedy: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason: reason.into(), remedy: remedy.into() })
}

/// One call, at one moment.
struct Order<'a> {
    m: &'a Monitor,
    now: Moment,
    wall_ms: u64,
}

impl<'a> Order<'a> {
    fn group(&self, key: &GroupKey) -> Result<&'a Group, Refusal> {
        let known: Vec<String> = self.m.groups.keys().map(ToString::to_string).collect();
        let remedy = if known.is_empty() {
            "no node has registered yet".into()
        } else {
            format!("known are: {}", known.join(", "))
        };
        match self.m.groups.get(key) {
            Some(group) => Ok(group),
            None => no(format!("there is no group {} in formation \"{}\"", key.group, key.formation), remedy),
        }
    }

    fn node(&self, formation: &str, name: &str) -> Result<(&'a Group, &'a NodeRecord), Refusal> {
        let in_formation = || self.m.groups.values().filter(|g| g.record.key.formation == formation);
        let all = in_formation().flat_map(|g| g.record.nodes.values().map(move |n| (g, n)));
        let known: Vec<&str> = all.clone().map(|(_, n)| n.name.as_str()).collect();
        let remedy = format!("known nodes are: {}", known.join(", "));
        match all.into_iter().find(|(_, n)| n.name == name) {
            Some(found) => Ok(found),
            None => no(format!("formation {formation} has no node named {name}"), remedy),
        }
    }

    /// The node of this name, which must be the one that was seen under it: names may have changed since.
    fn meant(&self, formation: &str, name: &str, seen: Option<NodeId>) -> Result<(&'a Group, &'a NodeRecord), Refusal> {
        let found = self.node(formation, name)?;
        if seen.is_some_and(|seen| seen != found.1.id) {
            return no(format!("{name} is another node by now"), "look at show state, and say it again");
        }
        Ok(found)
    }

    /// What an order would change isn't known yet.
    fn refuse_in_doubt(&self, group: &Group) -> Result<(), Refusal> {
        if !group.record.in_doubt {
            return Ok(());
        }
        let why = self.m.view(group, self.now).stall().unwrap_or_default();
        no(format!("group {} is in doubt: {why}", group.record.key), "try again when its primary is found")
    }

    fn accepted(&self, note: Option<String>) -> Answer {
        Answer::Accepted { event: self.m.next_event.saturating_sub(1), note }
    }

    /// Nothing is left to do; that is success.
    fn nothing(&self, note: impl Into<String>) -> Effects {
        Effects { answer: Some(self.accepted(Some(note.into()))), ..Effects::default() }
    }

    /// Carries the edits out and lets the rules go on from there. What that means for failover is told beside it.
    fn carry_out(&self, group: &Group, edits: &[Edit], text: &str, note: Option<String>) -> Effects {
        let mut after = group.record.clone();
        apply(&mut after, edits, &self.m.view(group, self.now));
        let heirs = heirs::told(&group.record, &after);
        let text = heirs.iter().fold(text.to_string(), |text, heirs| format!("{text}; {heirs}"));
        let note = note.into_iter().chain(heirs).reduce(|note, heirs| format!("{note}; {heirs}"));
        let mut log = Log::new(self.m, self.wall_ms);
        log.changes(&group.record, &after, group, None, &text);
        let answer = Some(self.accepted(note));
        Effects { answer, ..self.m.run_rules(self.now, group, after, log) }
    }
}
