//! A monitor that knows less than its nodes: it was restored from an old copy, or is new and empty. Its record is
//! brought up to what they report; until the primary is found nothing else is decided.

use crate::model::*;
use crate::monitor::edit::{apply, derive};
use crate::monitor::events::Log;
use crate::monitor::state::{Effects, Group, Monitor};
use crate::monitor::view::View;
use crate::mutant;
use crate::wire::{Again, Answer, Register};

/// What the event says of a node that brings its own account along: its states are no decision of this monitor's.
pub const REGISTERS_AGAIN: &str = "registers again as node";

/// Holds the report against the record, before anything else is taken from it.
pub fn examine(record: &mut GroupRecord, report: &Report, view: &View) {
    let node = &record.nodes[&report.node];
    if record.in_doubt || knows_more(record, node, report) {
        learn(record, report, view);
    } else if node.doubted {
        // The doubt was ended by another; what this node shall be is decided already.
        let node = record.nodes.get_mut(&report.node).expect("looked up above");
        node.doubted = false;
        node.assignment.serial = node.assignment.serial.max(report.serial);
    }
}

/// The node has seen more than this record: numbers only rise, and they have risen past ours.
fn knows_more(record: &GroupRecord, node: &NodeRecord, report: &Report) -> bool {
    if mutant!(EpochsNotCompared) {
        return false;
    }
    report.epoch > record.epoch
        || (!node.doubted && report.serial > node.assignment.serial)
        || report.contract.as_ref().is_some_and(|c| c.id.0 >= record.next_contract)
}

/// Takes what the node says for what it is, and lets every number rise past it.
fn learn(record: &mut GroupRecord, report: &Report, view: &View) {
    if !record.in_doubt {
        begin(record);
    }
    if report.epoch >= record.epoch {
        record.epoch = report.epoch.next();
    }
    if let Some(contract) = &report.contract {
        record.next_contract = record.next_contract.max(contract.id.0 + 1);
    }
    let node = record.nodes.get_mut(&report.node).expect("it has just reported");
    // This monitor may have given it the role, and it hasn't heard so far.
    let given = if node.goal().is_writable() { node.assignment.led_in } else { Epoch::ZERO };
    let (epoch, led_in, contract) = (report.epoch, report.led_in.max(given), report.contract.clone());
    node.word.get_or_insert(Word { epoch, led_in, leased: report.leased, contract });
    node.doubted = false;
    // One that has led until now and names no contract was told that another holds the role.
    let is_deposed = report.state.belongs_to_primary() && report.contract.is_none();
    // One that was told to open goes on; where it would acknowledge alone, only if it is open already.
    let may_open = |contract: &Contract| !contract.is_none() || report.facts.is_open();
    let is_opening = report.state.is_being_promoted() && report.contract.as_ref().is_some_and(may_open);
    node.assignment.goal = match report.state {
        _ if is_deposed => NodeState::Demoted,
        _ if is_opening => NodeState::WaitPrimary,
        state => resting(state),
    };
    let (epoch, serial) = (node.assignment.epoch, node.assignment.serial.max(report.serial));
    let known = &record.nodes[&report.node];
    let told = Assignment { epoch, serial, ..derive(record, known, view) };
    let serial = if told == known.assignment { serial } else { serial + 1 };
    record.nodes.get_mut(&report.node).expect("looked up above").assignment = Assignment { serial, ..told };
}

fn begin(record: &mut GroupRecord) {
    record.in_doubt = true;
    record.transfer = None;
    record.reopening = None;
    // Whatever was agreed since is unknown.
    let unknown = Contract::none(record.new_contract_id());
    record.in_force.add(unknown);
    for node in record.nodes.values_mut() {
        (node.doubted, node.word) = (true, None);
    }
}

/// A state in which a node can be left alone, from the one it reports.
fn resting(state: NodeState) -> NodeState {
    use NodeState::*;
    match state {
        Draining => DemoteTimeout,
        PreparePromotion | StopReplication | FastForward => ReportLsn,
        other => other,
    }
}

/// A new group whose first node hasn't told which database it is: another that joined now might follow a different one.
fn being_created(group: &GroupRecord) -> Option<&NodeRecord> {
    let first = group.nodes.values().find(|node| !node.doubted)?;
    (group.system_id.is_none() && !group.in_doubt).then_some(first)
}

/// A node that another monitor knew keeps its number and its data.
pub fn register_again(
    m: &Monitor,
    now: Moment,
    wall_ms: u64,
    ask: &Register,
    again: &Again,
    registered: impl Fn(&Monitor, &GroupKey, &NodeRecord) -> Answer,
) -> Effects {
    if let Some(taken) = m.group_of(again.node) {
        let reason = format!("node number {} is taken in group {}", again.node, taken.record.key);
        return Effects::refuse(reason, "drop that node, or create this one anew");
    }
    let key = GroupKey { formation: ask.formation.clone(), group: ask.group };
    if let Some(creating) = m.groups.get(&key).and_then(|g| being_created(&g.record)) {
        let reason = format!("group {key} is being created by {}, whose database isn't there yet", creating.name);
        return Effects::refuse(reason, "drop that node if the group is the one this node knows; it will ask again");
    }
    let mut record = m.record.clone();
    // The formations this monitor made by itself know nothing yet; what the first node brings is what was asked for.
    let group_is_new = m.groups.get(&key).is_none_or(|g| g.record.nodes.is_empty());
    let settings = record.formations.entry(ask.formation.clone()).or_default();
    // Whoever led last was told of the last change; another may have been away since.
    if group_is_new && *settings == FormationSettings::default() || again.state.belongs_to_primary() {
        settings.clone_from(&again.formation);
    }
    record.next_node = record.next_node.max(again.node.0 + 1);
    if m.groups.values().all(|g| g.record.nodes.is_empty()) {
        record.replication_password.clone_from(&again.replication_password);
    }
    let empty = Group::new(GroupRecord::new(key.clone()), now);
    let group = m.groups.get(&key).unwrap_or(&empty);
    let mut after = group.record.clone();
    if !after.in_doubt {
        begin(&mut after);
    }
    after.system_id = after.system_id.or(ask.system_id);
    after.epoch = after.epoch.max(again.epoch.next());
    let assignment = Assignment::new(after.epoch, resting(again.state));
    let node =
        NodeRecord { reported: again.state, doubted: true, ..NodeRecord::registered(again.node, ask, assignment) };
    after.nodes.insert(node.id, node);
    apply(&mut after, &[], &m.view(group, now));
    let mut log = Log::new(m, wall_ms);
    let text = format!("{} {REGISTERS_AGAIN} {}, {} as it was", ask.name, again.node, again.state);
    log.changes(&group.record, &after, group, None, &text);
    let known = Monitor {
        record: record.clone(),
        groups: Default::default(),
        homes: Default::default(),
        settings: m.settings.clone(),
        ..*m
    };
    let answer = Some(registered(&known, &key, &after.nodes[&again.node]));
    Effects { record: Some(record), groups: vec![after], events: log.rows, answer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;

    fn ask(name: &str, port: u16, system_id: Option<u64>, again: Option<Again>) -> Input {
        Input::Register(Register { system_id, again, ..joins(name, port) })
    }

    #[test]
    fn a_group_that_is_being_created_takes_nobody_who_may_hold_another_database() {
        let mut p = Pair::settled();
        p.record_mut().nodes.clear();
        p.record_mut().system_id = None;
        let new = p.feed(ask("new", 5001, None, None)).answer;
        assert!(matches!(new, Some(Answer::Registered { .. })), "{new:?}");
        let old = || {
            let (state, epoch) = (NodeState::Primary, Epoch(4));
            let formation = FormationSettings::default();
            Some(Again { node: NodeId(7), state, epoch, replication_password: String::new(), formation })
        };
        let refused = |p: &mut Pair| match p.feed(ask("old", 5007, Some(1), old())).answer {
            Some(Answer::Refused { reason, .. }) => reason,
            other => panic!("not refused but {other:?}"),
        };
        assert!(refused(&mut p).contains("is being created by new"));
        p.record_mut().system_id = Some(2);
        assert!(refused(&mut p).contains("system identifier 1"), "now it is known that they differ");
        p.record_mut().system_id = Some(1);
        let taken = p.feed(ask("old", 5007, Some(1), old())).answer;
        assert!(matches!(taken, Some(Answer::Registered { node: NodeId(7), .. })), "{taken:?}");
    }

    #[test]
    fn a_formation_is_what_its_last_primary_was_told() {
        let brought = |node, state, durability| {
            let (node, epoch) = (NodeId(node), Epoch(4));
            let formation = FormationSettings { durability: Some(durability), ..FormationSettings::default() };
            Again { node, state, epoch, replication_password: String::new(), formation }
        };
        let old = || brought(7, NodeState::Secondary, Durability::Async);
        let primary = || brought(8, NodeState::Primary, Durability::Strict);
        for order in [[old(), primary()], [primary(), old()]] {
            let mut p = Pair::settled();
            p.record_mut().nodes.clear();
            p.record_mut().system_id = Some(1);
            p.monitor.record.formations.insert("default".into(), FormationSettings::default());
            for again in order {
                let name = format!("n{}", again.node);
                let told = p.feed(ask(&name, 5000 + again.node.0 as u16, Some(1), Some(again))).answer;
                assert!(matches!(told, Some(Answer::Registered { .. })), "{told:?}");
            }
            assert_eq!(p.monitor.record.formations["default"].durability, Some(Durability::Strict));
        }
    }
}
