//! Calls of operators and new nodes. Each is refused with the reason and what would make it possible, or
//! taken, and asking twice does nothing twice.

use crate::model::*;
use crate::monitor::edit::{Edit, apply};
use crate::monitor::events::Log;
use crate::monitor::rules;
use crate::monitor::state::{Effects, Group, Monitor};
use crate::wire::{Answer, Command, Register};
use std::collections::BTreeMap;

/// Until elections among several standbys exist, a third node could neither vote nor be left out.
const MOST_NODES: usize = 2;

pub fn register(m: &Monitor, now: Moment, wall_ms: u64, ask: &Register) -> Effects {
    let key = GroupKey { formation: ask.formation.clone(), group: ask.group };
    if let Some(refusal) = refuse_registration(m, &key, ask) {
        return refusal;
    }
    if let Some(node) = find_at(m, ask) {
        let answer = Some(registered(m, &key, &m.groups[&key].record.nodes[&node]));
        return Effects { answer, ..Effects::default() };
    }
    let mut record = m.record.clone();
    record.formations.entry(ask.formation.clone()).or_default();
    let id = NodeId(record.next_node);
    record.next_node += 1;
    let empty = Group::new(GroupRecord::new(key.clone()), now);
    let group = m.groups.get(&key).unwrap_or(&empty);
    let mut after = group.record.clone();
    after.system_id = after.system_id.or(ask.system_id);
    if after.nodes.is_empty() {
        after.epoch = after.epoch.next();
        after.in_force = InForce::only(Contract::none(after.new_contract_id()));
    }
    let node = new_node(&after, id, ask);
    after.nodes.insert(id, node);
    apply(&mut after, &[], &m.view(group, now));
    let mut log = Log::new(m, wall_ms);
    let text = format!("{} registers as node {id} at {}:{}", after.nodes[&id].name, ask.host, ask.port);
    log.changes(&group.record, &after, group, None, &text);
    let answer = Some(registered(m, &key, &after.nodes[&id]));
    Effects { record: Some(record), groups: vec![after], events: log.rows, answer }
}

fn new_node(record: &GroupRecord, id: NodeId, ask: &Register) -> NodeRecord {
    let goal = if record.nodes.is_empty() { NodeState::Single } else { NodeState::WaitStandby };
    let epoch = record.epoch;
    NodeRecord {
        id,
        name: if ask.name.is_empty() { format!("node_{id}") } else { ask.name.clone() },
        host: ask.host.clone(),
        port: ask.port,
        candidate_priority: ask.candidate_priority,
        replication_quorum: ask.replication_quorum,
        session: 0,
        moves: 0,
        reported: NodeState::Init,
        position: None,
        assignment: Assignment::new(epoch, goal),
    }
}

fn find_at(m: &Monitor, ask: &Register) -> Option<NodeId> {
    let nodes = m.groups.values().flat_map(|g| g.record.nodes.values());
    nodes.into_iter().find(|n| n.host == ask.host && n.port == ask.port).map(|n| n.id)
}

fn refuse_registration(m: &Monitor, key: &GroupKey, ask: &Register) -> Option<Effects> {
    let all = || m.groups.iter().flat_map(|(key, g)| g.record.nodes.values().map(move |n| (key, n)));
    let at = format!("{}:{}", ask.host, ask.port);
    if let Some((other_key, node)) = all().find(|(_, n)| n.host == ask.host && n.port == ask.port) {
        let same = other_key == key && (ask.name.is_empty() || ask.name == node.name);
        let reason = format!("{at} is already node {} ({}) of group {other_key}", node.id, node.name);
        return (!same).then(|| Effects::refuse(reason, "give another host or port, or drop that node first"));
    }
    if all().any(|(other, n)| other.formation == key.formation && n.name == ask.name) {
        let reason = format!("formation {} already has a node named {}", key.formation, ask.name);
        return Some(Effects::refuse(reason, "give another --name, or drop that node first"));
    }
    if ask.candidate_priority > 100 {
        let reason = format!("candidate priority {} is out of range", ask.candidate_priority);
        return Some(Effects::refuse(reason, "give a number from 0 to 100"));
    }
    let record = m.groups.get(key).map(|g| &g.record)?;
    if let (Some(group_id), Some(own)) = (record.system_id, ask.system_id)
        && group_id != own
    {
        let reason = format!("the data directory has system identifier {own}, group {key} has {group_id}");
        return Some(Effects::refuse(reason, "start from an empty directory, or join the group it belongs to"));
    }
    if record.nodes.len() >= MOST_NODES {
        let reason = format!("group {key} has {MOST_NODES} nodes, and this version elects among no more");
        return Some(Effects::refuse(reason, "drop a node first, or create another formation"));
    }
    None
}

fn registered(m: &Monitor, key: &GroupKey, node: &NodeRecord) -> Answer {
    Answer::Registered {
        node: node.id,
        key: key.clone(),
        name: node.name.clone(),
        monitor: m.record.identity,
        session: m.groups.get(key).map_or(0, |g| g.last_session(node)),
        replication_password: m.record.replication_password.clone(),
        settings: m.record.formations.get(&key.formation).cloned().unwrap_or_default(),
    }
}

pub fn command(m: &Monitor, now: Moment, wall_ms: u64, command: &Command) -> Effects {
    match command {
        Command::Failover { key, .. } => switchover(m, now, wall_ms, key),
        Command::Drop { formation, name, force } => drop_node(m, now, wall_ms, formation, name, *force),
        _ => Effects::refuse("not built yet", "wait"),
    }
}

fn switchover(m: &Monitor, now: Moment, wall_ms: u64, key: &GroupKey) -> Effects {
    let Some(group) = m.groups.get(key) else {
        return unknown_group(m, key);
    };
    let accepted = Answer::Accepted { event: m.next_event.saturating_sub(1), note: None };
    if group.record.transfer.is_some() {
        return Effects { answer: Some(accepted), ..Effects::default() };
    }
    let view = m.view(group, now);
    let Some(primary) = group.record.primary() else {
        return Effects::refuse(format!("group {key} has no primary"), "look at show state for what it waits for");
    };
    if group.record.nodes.len() < 2 {
        let reason = format!("{} is the only node of group {key}", primary.name);
        return Effects::refuse(reason, "add a standby with create postgres");
    }
    if !primary.settled_in(NodeState::Primary) {
        let standby = view.candidate().err().map(|why| format!(", {why}")).unwrap_or_default();
        let reason =
            format!("{} is {} and to be {}, not primary{standby}", primary.name, primary.reported, primary.goal());
        return Effects::refuse(reason, "wait until the standby is secondary and the primary is primary");
    }
    let candidate = match view.candidate() {
        Ok(candidate) => candidate,
        Err(why) => {
            return Effects::refuse(why, "bring the standby back first; show state tells when it is secondary");
        }
    };
    let mut after = group.record.clone();
    apply(&mut after, &rules::begin_transfer(TransferKind::Switchover, primary, candidate), &view);
    let mut log = Log::new(m, wall_ms);
    let text = format!("switchover from {} to {} was asked for", primary.name, candidate.name);
    log.changes(&group.record, &after, group, None, &text);
    Effects { answer: Some(accepted), ..m.run_rules(now, group, after, log) }
}

fn drop_node(m: &Monitor, now: Moment, wall_ms: u64, formation: &str, name: &str, force: bool) -> Effects {
    let mut groups = m.groups.values().filter(|g| g.record.key.formation == formation);
    let Some(group) = groups.find(|g| g.record.nodes.values().any(|n| n.name == name)) else {
        let known: BTreeMap<_, _> =
            m.groups.values().flat_map(|g| g.record.nodes.values()).map(|n| (n.name.as_str(), ())).collect();
        let known: Vec<&str> = known.into_keys().collect();
        let reason = format!("formation {formation} has no node named {name}");
        return Effects::refuse(reason, format!("known nodes are: {}", known.join(", ")));
    };
    let node = group.record.nodes.values().find(|n| n.name == name).expect("the group was found by it");
    let accepted = Answer::Accepted { event: m.next_event.saturating_sub(1), note: None };
    let is_primary = group.record.primary().is_some_and(|p| p.id == node.id);
    if is_primary && group.record.nodes.len() > 1 {
        let reason = format!("{name} is the primary of group {}", group.record.key);
        return Effects::refuse(reason, "move the role away first: perform switchover");
    }
    if group.record.transfer.is_some() {
        let reason = format!("the role is moving in group {}", group.record.key);
        return Effects::refuse(reason, "try again when it has settled");
    }
    let view = m.view(group, now);
    let mut edits = vec![Edit::Assign(node.id, NodeState::Dropped)];
    if force && !group.record.in_force.iter().any(|c| c.members.contains(&node.id)) {
        edits.push(Edit::Forget(node.id));
    }
    let mut after = group.record.clone();
    apply(&mut after, &edits, &view);
    let mut log = Log::new(m, wall_ms);
    log.changes(&group.record, &after, group, None, &format!("{name} is dropped, as asked"));
    Effects { answer: Some(accepted), ..m.run_rules(now, group, after, log) }
}

fn unknown_group(m: &Monitor, key: &GroupKey) -> Effects {
    let known: Vec<String> = m.groups.keys().map(ToString::to_string).collect();
    let remedy =
        if known.is_empty() { "no node has registered yet".into() } else { format!("known are: {}", known.join(", ")) };
    Effects::refuse(format!("there is no group {} in formation \"{}\"", key.group, key.formation), remedy)
}
