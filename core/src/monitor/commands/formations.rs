//! What operators change about a formation, and formations that come and go.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::{Edit, apply, leaves_async};
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
        let mut said = Vec::new();
        if (settings.number_sync_standbys, settings.durability) != (known.number_sync_standbys, known.durability) {
            said.push(commits(&settings));
        }
        if settings.secondary != known.secondary {
            said.push(secondary(&settings));
        }
        let text = format!("formation {name} is set to {}", said.join(", "));
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
                let before = self.m.view(group, self.now).durability();
                let left = leaves_async(&after, before, view.durability()).then_some(Edit::Degrade);
                apply(&mut after, left.as_slice(), &view);
                let effects = self.m.run_rules_under(self.now, group, after, log, settings);
                groups.extend(effects.groups);
                log = Log::continuing(self.m, self.wall_ms, effects.events);
            }
        }
        if log.rows.is_empty() {
            log.formation(formation, text);
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
        let (commits, secondary) = (commits(settings), secondary(settings));
        let text = format!("formation {name} is created: {commits}, {secondary}, dbname {}", settings.dbname);
        Ok(self.with_record(name, record, &text))
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
        Ok(self.with_record(name, record, &format!("formation {name} is dropped")))
    }
}

fn commits(settings: &FormationSettings) -> String {
    format!("number_sync_standbys {}, {}", settings.number_sync_standbys, settings.durability().name())
}

fn secondary(settings: &FormationSettings) -> String {
    format!("secondary {}", settings.secondary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;
    use crate::wire::Command;

    fn told(p: &mut Pair, command: Command) -> Vec<(String, String, u32)> {
        let before = p.monitor.next_event;
        let effects = p.feed(Input::Command(command));
        let ids: Vec<u64> = effects.events.iter().map(|e| e.eventid).collect();
        assert_eq!(ids, (before..p.monitor.next_event).collect::<Vec<_>>());
        effects.events.into_iter().map(|e| (e.formationid, e.description, e.nodeid)).collect()
    }

    fn set(formation: &str, change: FormationChange) -> Command {
        Command::SetFormation { formation: formation.into(), change }
    }

    #[test]
    fn a_formation_that_comes_is_changed_or_goes_is_told_of_though_it_has_no_node() {
        let mut p = Pair::settled();
        let settings = FormationSettings { dbname: "app".into(), ..FormationSettings::default() };
        let secondary = FormationChange { secondary: Some(false), ..FormationChange::default() };
        let create = Command::CreateFormation { formation: "f".into(), settings };
        let drop = Command::DropFormation { formation: "f".into() };
        for (command, text) in [
            (create, "formation f is created: number_sync_standbys 0, degrade, secondary true, dbname app"),
            (set("f", secondary), "formation f is set to secondary false"),
            (drop, "formation f is dropped"),
        ] {
            assert_eq!(told(&mut p, command), [("f".to_string(), text.to_string(), 0)]);
        }
    }

    #[test]
    fn what_is_changed_of_a_formation_is_named_at_its_primary() {
        let mut p = Pair::of(3, 0);
        p.monitor.record.formations.get_mut("default").unwrap().secondary = false;
        let durability = Some(Durability::Strict);
        for (change, text) in [
            (FormationChange { secondary: Some(true), ..FormationChange::default() }, "secondary true"),
            (FormationChange { durability, ..FormationChange::default() }, "number_sync_standbys 0, strict"),
            (
                FormationChange { number_sync_standbys: Some(1), ..FormationChange::default() },
                "number_sync_standbys 1, strict",
            ),
        ] {
            let text = format!("formation default is set to {text}");
            assert_eq!(told(&mut p, set("default", change))[0], ("default".to_string(), text, A.0));
        }
    }
}
