//! Asking twice does nothing twice: every order there is, given again at once, after the monitor was started anew, and when
//! all that follows from it is done.

use crate::model::NodeState::*;
use crate::model::*;
use crate::monitor::rules::testing::*;
use crate::monitor::state::{Group, Input, Monitor, MonitorRecord};
use crate::wire::{Answer, Command, FormationChange, NodeChange};
use std::collections::BTreeSet;
use std::time::Duration;

/// An order in a world that it changes.
struct Case {
    world: fn() -> Pair,
    order: Command,
    /// What is said of it while it is being carried out.
    again: &'static str,
    /// And when that is done; `None` where it would be another order then.
    done: Option<&'static str>,
}

fn failover(to: Option<&str>, from: Option<NodeId>, allow_data_loss: bool) -> Command {
    Command::Failover { key: key(), to: to.map(str::to_string), from, allow_data_loss }
}

fn promote(name: &str, allow_data_loss: bool) -> Command {
    Command::Promote { formation: key().formation, name: name.into(), allow_data_loss }
}

fn maintenance(name: &str, on: bool, allow_failover: bool) -> Command {
    Command::Maintenance { formation: key().formation, name: name.into(), on, allow_failover }
}

fn drop_node(name: &str, node: Option<NodeId>, force: bool) -> Command {
    Command::Drop { formation: key().formation, name: name.into(), node, force }
}

fn set_node(name: &str, node: Option<NodeId>, change: NodeChange) -> Command {
    Command::SetNode { formation: key().formation, name: name.into(), node, change }
}

fn three() -> Pair {
    Pair::of(3, 1)
}

/// a is gone, and b and c are asked for their votes.
fn electing() -> Pair {
    let mut p = three();
    p.dies(A);
    p
}

/// Nobody is left who proves what a may have acknowledged.
fn hopeless() -> Pair {
    let mut p = three();
    p.dies(C);
    p.dies(A);
    assert!(p.record().transfer.is_none(), "{:?}", p.goals());
    p
}

/// a, which may have led last, is gone.
fn in_doubt() -> Pair {
    let mut p = Pair::in_doubt();
    p.dies(A);
    p
}

/// By an operator's consent c is elected, and the keeper of b, whose server answers, says nothing.
fn b_is_silent() -> Pair {
    let mut p = Pair::of(4, 1);
    p.hangs_up(B);
    p.dies(A);
    p.probed(B, crate::ports::Probe::Answers);
    p.ordered_failover(Some("c"), true);
    p.votes(C, 1000);
    p.votes(D, 1000);
    p
}

fn in_maintenance() -> Pair {
    let mut p = Pair::settled();
    p.record_mut().nodes.get_mut(&B).expect("it has two").assignment.goal = Maintenance;
    p.says(B, Maintenance, stopped(ControlState::ShutDown));
    p
}

/// a is gone, and b was promoted by hand.
fn strayed() -> Pair {
    let mut p = Pair::settled();
    p.says(B, Secondary, branched());
    p.dies(A);
    p
}

fn branched() -> Facts {
    let mut facts = stopped(ControlState::ShutDown);
    let Directory::Present(control) = &mut facts.directory else { panic!("it has data") };
    control.history = History::root(Timeline(1)).branch(Timeline(2), Lsn(900));
    facts
}

fn with_another_formation() -> Pair {
    let mut p = Pair::settled();
    p.monitor.record.formations.insert("f".into(), FormationSettings::default());
    p
}

fn cases() -> Vec<Case> {
    let settled = Pair::settled;
    let case = |world, order, again, done| Case { world, order, again, done: Some(done) };
    let priority = NodeChange { candidate_priority: Some(7), ..NodeChange::default() };
    let quorum = NodeChange { replication_quorum: Some(false), ..NodeChange::default() };
    let name = NodeChange { name: Some("x".into()), port: Some(7000), ..NodeChange::default() };
    let durability = FormationChange { durability: Some(Durability::Async), ..FormationChange::default() };
    let number = FormationChange { number_sync_standbys: Some(0), ..FormationChange::default() };
    let accept = Command::AcceptTimeline { key: key(), tli: Timeline(2), reason: "b was promoted by hand".into() };
    let set = |change| Command::SetFormation { formation: key().formation, change };
    let create = Command::CreateFormation { formation: "f".into(), settings: FormationSettings::default() };
    const MOVING: &str = "the role is moving already";
    const DROPPED: &str = "is being dropped already";
    const SET: &str = "is set so already";
    vec![
        case(settled, failover(None, Some(A), false), MOVING, "the role has moved already, to b"),
        case(three, failover(Some("c"), Some(A), false), MOVING, "the role has moved already, to c"),
        case(electing, failover(Some("c"), None, false), MOVING, "c is the primary already"),
        case(electing, failover(None, Some(A), true), MOVING, "the role has moved already"),
        case(hopeless, failover(None, Some(A), true), MOVING, "the role has moved already, to b"),
        case(in_doubt, failover(Some("c"), None, true), MOVING, "c is the primary already"),
        case(settled, promote("b", false), MOVING, "b is the primary already"),
        case(hopeless, promote("b", true), MOVING, "b is the primary already"),
        case(settled, maintenance("b", true, false), "on its way there", "in maintenance"),
        case(settled, maintenance("a", true, true), "on its way there", "in maintenance"),
        case(in_maintenance, maintenance("b", false, false), "b is not in maintenance", "b is not in maintenance"),
        case(three, drop_node("c", Some(C), false), DROPPED, "c has gone already"),
        case(three, drop_node("c", None, true), DROPPED, "no node named c"),
        case(settled, drop_node("a", Some(A), false), DROPPED, "a has gone already"),
        case(settled, drop_node("a", None, true), DROPPED, "no node named a"),
        Case { done: None, ..case(b_is_silent, drop_node("b", Some(B), true), "b isn't waited for any more", "") },
        case(settled, set_node("b", None, priority), SET, SET),
        case(settled, set_node("b", None, quorum), SET, SET),
        case(settled, set_node("b", Some(B), name), SET, SET),
        case(settled, set(durability), SET, SET),
        case(three, set(number), SET, SET),
        case(settled, create, "exists already", "exists already"),
        case(
            with_another_formation,
            Command::DropFormation { formation: "f".into() },
            "no formation f",
            "no formation f",
        ),
        case(strayed, accept, "is the reference already", "is the reference already"),
    ]
}

/// All that is on record.
fn stored(p: &Pair) -> (MonitorRecord, Vec<GroupRecord>, u64) {
    let groups = p.monitor.groups.values().map(|g| g.record.clone()).collect();
    (p.monitor.record.clone(), groups, p.monitor.next_event)
}

/// The monitor is started again, and knows what it reads.
fn restart(p: &mut Pair) {
    let (record, groups, next_event) = stored(p);
    let bytes = serde_json::to_vec(&(record, groups)).expect("records are plain data");
    let (record, groups): (MonitorRecord, Vec<GroupRecord>) = serde_json::from_slice(&bytes).expect("just written");
    let groups = groups.into_iter().map(|g| (g.key.clone(), Group::new(g, p.now))).collect();
    p.monitor = Monitor::new(p.monitor.settings.clone(), p.now, record, groups, next_event);
}

/// All that are there do what they are told, until nothing is left to do.
fn play_on(p: &mut Pair) {
    for _ in 0..60 {
        let heard = |p: &Pair, node: &NodeId| p.view().is_heard(*node);
        for node in p.record().nodes.keys().copied().filter(|node| heard(p, node)).collect::<Vec<_>>() {
            obey(p, node);
        }
        p.passes(Duration::from_secs(1));
    }
}

fn obey(p: &mut Pair, node: NodeId) {
    let Some(goal) = p.record().nodes.get(&node).map(NodeRecord::goal) else { return };
    let standbys: Vec<NodeId> = p.record().nodes.keys().copied().filter(|n| *n != node).collect();
    match goal {
        ReportLsn | StopReplication | FastForward => p.vows(node, goal, 1000),
        goal if goal.is_writable() => _ = p.says(node, goal, primary_of(&standbys)),
        Catchingup | Secondary | WaitMaintenance | PreparePromotion => _ = p.says(node, goal, standby()),
        goal => _ = p.says(node, goal, stopped(ControlState::ShutDown)),
    }
}

fn assert_nothing_follows(p: &mut Pair, order: &Command, says: &str, when: &str) {
    let before = stored(p);
    let effects = p.feed(Input::Command(order.clone()));
    let answer = match effects.answer.clone().expect("every order is answered") {
        Answer::Accepted { note, .. } => note.unwrap_or_default(),
        refused => refusal(refused),
    };
    assert!(!answer.is_empty() && answer.contains(says), "{order:?} {when}: \"{answer}\" doesn't say \"{says}\"");
    assert!(effects.is_empty() && stored(p) == before, "{order:?} {when}: {effects:?}");
}

#[test]
fn an_order_that_is_given_again_changes_nothing() {
    for Case { world, order, again, done } in cases() {
        let mut p = world();
        let effects = p.feed(Input::Command(order.clone()));
        assert!(matches!(effects.answer, Some(Answer::Accepted { .. })), "{order:?}: {:?}", effects.answer);
        assert!(!effects.is_empty(), "{order:?} changes nothing here");
        assert_nothing_follows(&mut p, &order, again, "at once");
        restart(&mut p);
        assert_nothing_follows(&mut p, &order, again, "after a restart");

        let Some(done) = done else { continue };
        let mut p = world();
        p.feed(Input::Command(order.clone()));
        play_on(&mut p);
        assert_nothing_follows(&mut p, &order, done, "when it is done");
        restart(&mut p);
        assert_nothing_follows(&mut p, &order, done, "when it is done, after a restart");
    }
}

/// The names of all orders, as they are told to whoever asks for one that there isn't.
#[test]
fn no_order_is_left_out() {
    let told = serde_json::from_str::<Command>("\"nonsense\"").unwrap_err().to_string();
    let all: BTreeSet<String> = told.split('`').skip(1).step_by(2).skip(1).map(String::from).collect();
    let name = |order: &Command| match serde_json::to_value(order).expect("orders are plain data") {
        serde_json::Value::Object(order) => order.keys().next().cloned().expect("it has its name"),
        other => panic!("{other}"),
    };
    assert_eq!(cases().iter().map(|case| name(&case.order)).collect::<BTreeSet<_>>(), all, "{told}");
}
