//! What operators change about a formation, and formations that come and go.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::{Edit, apply};
use crate::monitor::events::Log;
use crate::monitor::state::{Effects, MonitorRecord};
use crate::monitor::view::View;
use crate::wire::FormationChange;

impl Order<'_> {
    pub fn set_formation(&self, name: &str, change: &FormationChange) -> Result<Effects, Refusal> {
        let known = self.formation(name)?;
        let mut settings = known.clone();
        if let Some(number) = change.number_sync_standbys {
            self.refuse_too_great_a_number(name, number)?;
            settings.number_sync_standbys = number;
        }
        settings.durability = change.durability.or(settings.durability);
        if let Some(secondary) = change.secondary {
            let crowded = self.m.groups.values().find(|g| g.record.key.formation == name && g.record.nodes.len() > 1);
            if let Some(group) = crowded.filter(|_| !secondary) {
                return no(format!("group {} has standbys", group.record.key), "drop them first");
            }
            settings.secondary = secondary;
        }
        if settings == *known {
            return Ok(self.nothing(format!("formation {name} is set so already")));
        }
        let text = format!(
            "formation {name} is set to number_sync_standbys {}, {}",
            settings.number_sync_standbys,
            settings.durability().name()
        );
        let mut record = self.m.record.clone();
        record.formations.insert(name.to_string(), settings);
        Ok(self.with_record(name, record, &text))
    }

    /// Stores the monitor's record and lets the rules of every group of the formation go on from it.
    fn with_record(&self, formation: &str, record: MonitorRecord, text: &str) -> Effects {
        let mut log = Log::new(self.m, self.wall_ms);
        let mut groups = Vec::new();
        let changed = record.formations.get(formation);
        for group in self.m.groups.values().filter(|g| g.record.key.formation == formation) {
            log.changes(&group.record, &group.record, group, None, text);
            if let Some(settings) = changed {
                let mut after = group.record.clone();
                let view = View { formation: settings, ..self.m.view(group, self.now) };
                apply(&mut after, &left_async(&view, self.m.view(group, self.now).durability()), &view);
                let effects = self.m.run_rules_under(self.now, group, after, log, settings);
                groups.extend(effects.groups);
                log = Log::continuing(self.m, self.wall_ms, effects.events);
            }
        }
        Effects { record: Some(record), groups, events: log.rows, answer: Some(self.accepted(None)) }
    }

    fn formation(&self, name: &str) -> Result<&FormationSettings, Refusal> {
        let known: Vec<&str> = self.m.record.formations.keys().map(String::as_str).collect();
        match self.m.record.formations.get(name) {
            Some(settings) => Ok(settings),
            None => no(format!("there is no formation {name}"), format!("known are: {}", known.join(", "))),
        }
    }

    fn refuse_too_great_a_number(&self, name: &str, number: u32) -> Result<(), Refusal> {
        for group in self.m.groups.values().filter(|g| g.record.key.formation == name && g.record.nodes.len() > 1) {
            let quorum = group.record.standbys().filter(|n| n.replication_quorum).count() as u32;
            if number > 0 && quorum < number + 1 {
                let reason = format!(
                    "number_sync_standbys {number} needs {} standbys in the quorum, group {} has {quorum}",
                    number + 1,
                    group.record.key
                );
                return no(
                    reason,
                    "add standbys first, or choose durability strict for one standby that must acknowledge",
                );
            }
        }
        Ok(())
    }

    pub fn create_formation(&self, name: &str, settings: &FormationSettings) -> Result<Effects, Refusal> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return no(format!("\"{name}\" can't be the name of a formation"), "use letters, digits, - and _");
        }
        match self.m.record.formations.get(name) {
            Some(known) if known == settings => return Ok(self.nothing(format!("formation {name} exists already"))),
            Some(_) => {
                return no(format!("formation {name} exists with other settings"), "change it with set formation");
            }
            None => {}
        }
        let mut record = self.m.record.clone();
        record.formations.insert(name.to_string(), settings.clone());
        Ok(self.with_record(name, record, ""))
    }

    pub fn drop_formation(&self, name: &str) -> Result<Effects, Refusal> {
        if !self.m.record.formations.contains_key(name) {
            return Ok(self.nothing(format!("there is no formation {name}")));
        }
        let mut groups = self.m.groups.values().filter(|g| g.record.key.formation == name);
        if let Some(group) = groups.find(|g| !g.record.nodes.is_empty()) {
            let names: Vec<&str> = group.record.nodes.values().map(|n| n.name.as_str()).collect();
            return no(format!("formation {name} has nodes: {}", names.join(", ")), "drop them first");
        }
        let mut record = self.m.record.clone();
        record.formations.remove(name);
        Ok(Effects { record: Some(record), answer: Some(self.accepted(None)), ..Effects::default() })
    }
}

/// A group that was asynchronous and is to wait from now on goes on alone until a standby has caught up: that is told.
fn left_async(view: &View, before: Durability) -> Vec<Edit> {
    let alone = view.record.contract().is_some_and(Contract::is_none) && view.record.nodes.len() > 1;
    let leaves = before == Durability::Async && view.durability() != Durability::Async;
    if alone && leaves { vec![Edit::Degrade] } else { vec![] }
}
