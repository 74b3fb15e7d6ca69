//! A node joins, or asks again after its first answer was lost.

use super::{NUMBER_BECOMES, heirs};
use crate::model::*;
use crate::monitor::doubt;
use crate::monitor::edit::apply;
use crate::monitor::events::Log;
use crate::monitor::state::{Effects, Group, Monitor};
use crate::wire::{Answer, Register};

pub fn register(m: &Monitor, now: Moment, wall_ms: u64, ask: &Register) -> Effects {
    let key = GroupKey { formation: ask.formation.clone(), group: ask.group };
    if let Some(refusal) = refuse_registration(m, &key, ask) {
        return refusal;
    }
    if let Some(node) = find_at(m, ask) {
        let answer = Some(registered(m, &key, &m.groups[&key].record.nodes[&node]));
        return Effects { answer, ..Effects::default() };
    }
    if let Some(again) = &ask.again {
        return doubt::register_again(m, now, wall_ms, ask, again, registered);
    }
    let mut record = m.record.clone();
    let formation = record.formations.entry(ask.formation.clone()).or_default();
    let id = NodeId(record.next_node);
    record.next_node += 1;
    let empty = Group::new(GroupRecord::new(key.clone()), now);
    let group = m.groups.get(&key).unwrap_or(&empty);
    let mut after = group.record.clone();
    if after.nodes.is_empty() {
        // Numbers go on from a group of that name that has come to its end; nothing else does.
        let GroupRecord { epoch, next_contract, .. } = after;
        after = GroupRecord { epoch: epoch.next(), next_contract, ..GroupRecord::new(key.clone()) };
        after.in_force = InForce::only(Contract::none(after.new_contract_id()));
    }
    after.system_id = after.system_id.or(ask.system_id);
    let node = new_node(&after, id, ask);
    after.nodes.insert(id, node);
    let others = m.groups.values().map(|g| &g.record).filter(|g| g.key != key && g.key.formation == key.formation);
    let raised = raise_number(formation, &after, others);
    apply(&mut after, &[], &m.view(group, now));
    let mut log = Log::new(m, wall_ms);
    let heirs = heirs::told(&group.record, &after).map(|told| format!("; {told}")).unwrap_or_default();
    let text = format!("{} registers as node {id} at {}:{}{raised}{heirs}", after.nodes[&id].name, ask.host, ask.port);
    log.changes(&group.record, &after, group, None, &text);
    let answer = Some(registered(m, &key, &after.nodes[&id]));
    Effects { record: Some(record), groups: vec![after], events: log.rows, answer }
}

/// As pg_auto_failover does: with a second standby in the quorum, commits are to wait for one whatever happens. The
/// number is the formation's: every group of it must have them. Who has chosen a durability has said what is wanted.
fn raise_number<'a>(
    formation: &mut FormationSettings,
    group: &GroupRecord,
    mut others: impl Iterator<Item = &'a GroupRecord>,
) -> String {
    let enough = group.quorum() == 3 && others.all(|g| g.nodes.is_empty() || g.quorum() >= 3);
    if formation.number_sync_standbys > 0 || formation.durability.is_some() || !enough {
        return String::new();
    }
    formation.number_sync_standbys = 1;
    format!("; {NUMBER_BECOMES}1, commits are to wait for a standby whatever happens")
}

fn new_node(record: &GroupRecord, id: NodeId, ask: &Register) -> NodeRecord {
    let goal = if record.nodes.is_empty() { NodeState::Single } else { NodeState::WaitStandby };
    NodeRecord::registered(id, ask, Assignment::new(record.epoch, goal))
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
        if same && let Some(refusal) = refuse_to_begin_anew(m, other_key, node, ask) {
            return Some(refusal);
        }
        return (!same).then(|| Effects::refuse(reason, "give another host or port, or drop that node first"));
    }
    if all().any(|(other, n)| other.formation == key.formation && n.name == ask.name) {
        let reason = format!("formation {} already has a node named {}", key.formation, ask.name);
        return Some(Effects::refuse(reason, "give another --name, or drop that node first"));
    }
    if let Some(bad) = Some(&ask.name).filter(|name| !name.is_empty()).and_then(|name| name::bad_name(name)) {
        return Some(Effects::refuse(bad, name::NAME_REMEDY));
    }
    if let Some(bad) = name::bad_host(&ask.host) {
        return Some(Effects::refuse(bad, name::HOST_REMEDY));
    }
    if ask.candidate_priority > 100 {
        let reason = format!("candidate priority {} is out of range", ask.candidate_priority);
        return Some(Effects::refuse(reason, "give a number from 0 to 100"));
    }
    let record = m.groups.get(key).map(|g| &g.record).filter(|r| !r.nodes.is_empty())?;
    if m.record.formations.get(&key.formation).is_some_and(|f| !f.secondary) {
        let reason = format!("formation {} takes no secondaries, and group {key} has a node", key.formation);
        return Some(Effects::refuse(reason, "allow them first: enable secondary"));
    }
    if let (Some(group_id), Some(own)) = (record.system_id, ask.system_id)
        && group_id != own
    {
        let reason = format!("the data directory has system identifier {own}, group {key} has {group_id}");
        return Some(Effects::refuse(reason, "start from an empty directory, or join the group it belongs to"));
    }
    if record.nodes.len() >= MOST_NODES {
        let reason = format!("group {key} has {MOST_NODES} nodes, and a group holds no more");
        return Some(Effects::refuse(reason, "drop a node first, or join another group"));
    }
    None
}

/// The one that leads is created again, so it has lost its directory and its record. Under its old number it would open a
/// new, empty database in the group's name.
fn refuse_to_begin_anew(m: &Monitor, key: &GroupKey, node: &NodeRecord, ask: &Register) -> Option<Effects> {
    let group = &m.groups[key].record;
    let leads = node.goal().belongs_to_primary() || node.goal().is_being_promoted();
    let had_data = group.system_id.is_some() && node.reported != NodeState::Init;
    (leads && had_data && ask.again.is_none()).then(|| {
        let reason = format!("{} is the primary of group {key} and has a database; this one has none", node.name);
        let remedy = "start it with the directory it had; if that is gone for good, let a standby take over (perform \
                      failover) and drop this node first";
        Effects::refuse(reason, remedy)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;

    fn create(p: &mut Pair, node: NodeId) -> Answer {
        let known = p.record().nodes[&node].clone();
        p.feed(Input::Register(joins(&known.name, known.port))).answer.expect("every call is answered")
    }

    #[test]
    fn a_primary_that_is_created_again_does_not_begin_a_new_database_in_the_name_of_the_group() {
        let mut p = Pair::settled();
        let Answer::Refused { reason, .. } = create(&mut p, A) else { panic!("let in") };
        assert!(reason.contains("a is the primary of group default/0 and has a database"), "{reason}");
        assert!(matches!(create(&mut p, B), Answer::Registered { node: B, .. }), "a standby is cloned");
        p.record_mut().nodes.get_mut(&A).unwrap().reported = NodeState::Init;
        assert!(matches!(create(&mut p, A), Answer::Registered { node: A, .. }), "its first answer was lost");
    }

    #[test]
    fn a_third_node_raises_the_number_when_no_other_group_of_the_formation_is_smaller() {
        let group = |count| Pair::of(count, 0).record().clone();
        for (joined, other, number) in [(3, 3, 1), (3, 2, 0), (2, 3, 0), (4, 3, 0), (3, 4, 1)] {
            let mut formation = FormationSettings::default();
            raise_number(&mut formation, &group(joined), [group(other)].iter());
            assert_eq!(formation.number_sync_standbys, number, "{joined} beside {other}");
        }
    }
}
