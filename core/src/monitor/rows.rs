//! What the display commands are answered with.

use crate::model::*;
use crate::monitor::health::{Life, Pulse};
use crate::monitor::state::{Group, Monitor};
use crate::wire::{Answer, NodeTimeline, SettingRow, StateRow, Timelines, UriRow};

/// What a node waits for that only needs its time.
pub const ON_ITS_WAY: &str = "on its way";

fn chosen<'a>(m: &'a Monitor, formation: Option<&'a str>, number: Option<u32>) -> impl Iterator<Item = &'a Group> {
    m.groups.values().filter(move |g| {
        let key = &g.record.key;
        formation.is_none_or(|f| f == key.formation) && number.is_none_or(|n| n == key.group)
    })
}

pub fn state(m: &Monitor, now: Moment, formation: Option<&str>, number: Option<u32>) -> Vec<StateRow> {
    let rows = |g| Group::rows(g, m, now);
    chosen(m, formation, number).flat_map(rows).collect()
}

impl Group {
    fn rows(&self, m: &Monitor, now: Moment) -> Vec<StateRow> {
        self.record.nodes.values().map(|n| self.row(m, now, n)).collect()
    }

    fn row(&self, m: &Monitor, now: Moment, node: &NodeRecord) -> StateRow {
        let view = m.view(self, now);
        let pulse = self.pulses.get(&node.id);
        let position = pulse.and_then(Pulse::facts).and_then(Facts::position).or(node.position);
        let heard = pulse.and_then(|p| p.heard);
        StateRow {
            formation_kind: "pgsql".into(),
            formation: self.record.key.formation.clone(),
            nodename: node.name.clone(),
            nodehost: node.host.clone(),
            nodeport: node.port,
            group_id: self.record.key.group,
            node_id: node.id.0,
            current_group_state: node.reported,
            assigned_group_state: node.goal(),
            candidate_priority: node.candidate_priority,
            replication_quorum: node.replication_quorum,
            reported_tli: position.map_or(Timeline(0), |p| p.tli),
            reported_lsn: position.map_or(Lsn::ZERO, |p| p.lsn),
            health: match view.life(node.id) {
                Life::Unknown => -1,
                Life::Alive => i8::from(view.is_heard(node.id)),
                // Stopped on purpose is not ill.
                Life::Ill(_) => i8::from(view.is_heard(node.id) && !node.reported.runs_postgres()),
                Life::Lost(_) => 0,
            },
            report_age_ms: heard.map(|h| now.since(h).as_millis() as u64),
            pending: self.pending(m, now, node),
        }
    }

    /// What a node waits for, in words.
    fn pending(&self, m: &Monitor, now: Moment, node: &NodeRecord) -> Option<String> {
        let view = m.view(self, now);
        let report = view.report(node.id);
        // Of one that is lost it is what it said last.
        let lives = !matches!(view.life(node.id), Life::Lost(_));
        let trouble = report.filter(|_| lives).and_then(|r| r.trouble.clone());
        if self.record.primary().is_none_or(|primary| primary.id == node.id)
            && let Some(stall) = view.stall()
        {
            let trouble = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            return Some(stall + &trouble);
        }
        if let Some(rebuild) = report.filter(|_| lives).and_then(|r| r.rebuild) {
            let trouble = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            use NodeState::{Catchingup, Secondary, WaitMaintenance};
            let why = match node.goal() {
                Catchingup | Secondary | WaitMaintenance => rebuild.describe(),
                _ => "its data directory is half rebuilt",
            };
            return Some(why.to_string() + &trouble);
        }
        if trouble.is_some() {
            return trouble;
        }
        if node.goal().is_writable() && self.record.degraded.is_some() && self.record.nodes.len() > 1 {
            return Some("commits are acknowledged without a standby until one has caught up".into());
        }
        match view.life(node.id) {
            Life::Lost(why) => Some(why.into()),
            Life::Ill(why) if node.goal().runs_postgres() => Some(why.into()),
            _ if node.reported != node.goal() => {
                Some(format!("{ON_ITS_WAY} from {} to {}", node.reported, node.goal()))
            }
            _ => None,
        }
    }
}

pub fn settings(m: &Monitor, formation: &str) -> Vec<SettingRow> {
    let of_formation = m.record.formations.get(formation).cloned().unwrap_or_default();
    let row = |context: &str, group: Option<u32>, node: Option<&NodeRecord>, setting: &str, value: String| SettingRow {
        context: context.into(),
        group_id: group,
        node_id: node.map(|n| n.id.0),
        nodename: node.map_or_else(|| Some(formation.to_string()), |n| Some(n.name.clone())),
        setting: setting.into(),
        value,
    };
    let groups: Vec<&Group> = chosen(m, Some(formation), None).collect();
    let mut rows: Vec<SettingRow> = [
        ("number_sync_standbys", of_formation.number_sync_standbys.to_string()),
        ("durability", of_formation.durability().name().to_string()),
        ("secondary", of_formation.secondary.to_string()),
        ("dbname", of_formation.dbname),
    ]
    .map(|(setting, value)| row("formation", None, None, setting, value))
    .into();
    for g in &groups {
        let value = format!("'{}'", standby_names(g));
        rows.push(row("primary", Some(g.record.key.group), g.record.primary(), "synchronous_standby_names", value));
    }
    for g in &groups {
        let number = Some(g.record.key.group);
        let quorum =
            |n: &NodeRecord| row("node", number, Some(n), "replication quorum", n.replication_quorum.to_string());
        rows.extend(g.record.nodes.values().map(quorum));
    }
    for g in &groups {
        let number = Some(g.record.key.group);
        let priority =
            |n: &NodeRecord| row("node", number, Some(n), "candidate priority", n.candidate_priority.to_string());
        rows.extend(g.record.nodes.values().map(priority));
    }
    rows
}

pub fn standby_names(group: &Group) -> String {
    group.record.contract().map(Contract::standby_names).unwrap_or_default()
}

pub fn uri(m: &Monitor, formation: Option<&str>) -> Vec<UriRow> {
    let formations = m.record.formations.iter().filter(|(name, _)| formation.is_none_or(|f| f == name.as_str()));
    formations
        .map(|(name, settings)| {
            let nodes = chosen(m, Some(name), None).flat_map(|g| g.record.nodes.values());
            let hosts: Vec<String> =
                nodes.filter(|n| n.goal() != NodeState::Dropped).map(|n| format!("{}:{}", n.host, n.port)).collect();
            let uri = format!(
                "postgres://{}/{}?target_session_attrs=read-write&sslmode=prefer",
                hosts.join(","),
                settings.dbname
            );
            UriRow { kind: "formation".into(), name: name.clone(), uri }
        })
        .collect()
}

pub fn formation(m: &Monitor, name: &str) -> Answer {
    let known = || m.record.formations.keys().cloned().collect::<Vec<_>>().join(", ");
    match m.record.formations.get(name) {
        Some(settings) => Answer::Formation(settings.clone()),
        None => Answer::Refused {
            reason: format!("there is no formation {name}"),
            remedy: format!("known are: {}; create formation makes another", known()),
        },
    }
}

pub fn timelines(m: &Monitor, key: &GroupKey) -> Answer {
    let Some(group) = m.groups.get(key) else {
        return Answer::Refused { reason: format!("there is no group {key}"), remedy: "see show state".into() };
    };
    let reference = group.record.history.clone();
    let of = |node: &NodeRecord| {
        let facts = group.pulses.get(&node.id).and_then(Pulse::facts);
        let position = facts.and_then(Facts::position).or(node.position);
        NodeTimeline {
            node_id: node.id.0,
            nodename: node.name.clone(),
            position,
            history: facts.and_then(Facts::control).map(|c| c.history.clone()),
            on_lineage: reference.as_ref().zip(position).map(|(h, p)| h.contains(p)),
        }
    };
    Answer::Timelines(Timelines { reference: reference.clone(), nodes: group.record.nodes.values().map(of).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;
    use crate::wire::Command;

    #[test]
    fn of_one_that_is_rebuilt_it_says_so_and_what_went_wrong_before() {
        let mut p = Pair::settled();
        let mut shown = |trouble: Option<&str>| {
            p.tells(B, NodeState::Secondary, stopped(ControlState::ShutDown), |r| {
                (r.rebuild, r.trouble) = (Some(Rebuild::Clone), trouble.map(String::from));
            });
            state(&p.monitor, p.now, None, None).into_iter().find(|row| row.node_id == B.0).unwrap().pending
        };
        assert_eq!(shown(None).unwrap(), "its data directory is being copied");
        assert_eq!(shown(Some("a is full")).unwrap(), "its data directory is being copied (a is full)");
    }

    #[test]
    fn whatever_can_be_set_of_a_formation_is_shown() {
        let mut p = Pair::settled();
        let settings = FormationSettings {
            number_sync_standbys: 2,
            durability: Some(Durability::Async),
            secondary: false,
            dbname: "app".into(),
        };
        p.feed(Input::Command(Command::CreateFormation { formation: "f".into(), settings }));
        let shown: Vec<(String, String)> =
            super::settings(&p.monitor, "f").into_iter().map(|row| (row.setting, row.value)).collect();
        let expected =
            [("number_sync_standbys", "2"), ("durability", "async"), ("secondary", "false"), ("dbname", "app")];
        assert_eq!(shown, expected.map(|(setting, value)| (setting.to_string(), value.to_string())));
    }
}
