//! A group of two to set up by hand, for the tests of single rules.

use crate::model::*;
use crate::monitor::health::Pulse;
use crate::monitor::state::{Effects, Group, Input, Monitor, MonitorRecord};
use crate::monitor::view::View;
use crate::ports::Probe;
use crate::wire::{Answer, Command, Register};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const A: NodeId = NodeId(1);
pub const B: NodeId = NodeId(2);
pub const C: NodeId = NodeId(3);
pub const D: NodeId = NodeId(4);
pub const E: NodeId = NodeId(5);

/// A report of node 1 with this number, its Postgres up in recovery.
pub fn report(seq: u64) -> Report {
    Report {
        node: A,
        session: 1,
        seq,
        epoch: Epoch(1),
        state: NodeState::Secondary,
        moves: 0,
        passed: vec![],
        serial: 1,
        facts: standby(),
        applied: None,
        contract: None,
        led_in: Epoch(0),
        leased: false,
        rebuild: None,
        seal: None,
        leaving: false,
        asks: false,
        spent: vec![],
        kept: None,
        trouble: None,
    }
}

fn control(state: ControlState) -> Directory {
    let history = History::root(Timeline(1));
    Directory::Present(Control { system_id: 7, state, checkpoint: Position::new(1, 900), history })
}

fn up(in_recovery: bool, receiver: Option<Receiver>, senders: Vec<Sender>) -> Server {
    let position = Position::new(1, 1000);
    Server::Up(Running {
        in_recovery,
        position,
        replayed: Lsn(1000),
        checkpoint_tli: Timeline(1),
        receiver,
        stranded: None,
        senders,
        stopping: false,
    })
}

pub fn standby() -> Facts {
    let receiver = Receiver { streaming: true, tli: Timeline(1), last_message: Duration::ZERO };
    Facts { directory: control(ControlState::InRecovery), server: up(true, Some(receiver), vec![]) }
}

pub fn cut_off_standby() -> Facts {
    Facts { directory: control(ControlState::InRecovery), server: up(true, None, vec![]) }
}

pub fn primary_with(standby: Option<NodeId>) -> Facts {
    primary_of(standby.as_slice())
}

pub fn primary_of(standbys: &[NodeId]) -> Facts {
    let senders = standbys.iter().map(|node| Sender { node: *node, streaming: true, flushed: Lsn(1000) });
    Facts { directory: control(ControlState::InProduction), server: up(false, None, senders.collect()) }
}

pub fn no_directory() -> Facts {
    Facts { directory: Directory::Absent, server: Server::Down }
}

/// It is there and doesn't answer.
pub fn stuck() -> Facts {
    let server = Server::Stuck { reason: "it doesn't answer".into() };
    Facts { server, ..stopped(ControlState::InProduction) }
}

pub fn stopped(state: ControlState) -> Facts {
    Facts { directory: control(state), server: Server::Down }
}

/// The same, with something else about the server that runs.
pub fn with(mut facts: Facts, change: impl Fn(&mut Running)) -> Facts {
    let Server::Up(running) = &mut facts.server else { panic!("no server runs there") };
    change(running);
    facts
}

/// A new node asks to join.
pub fn joins(name: &str, port: u16) -> Register {
    Register {
        formation: key().formation,
        group: key().group,
        name: name.into(),
        host: "localhost".into(),
        port,
        candidate_priority: 50,
        replication_quorum: true,
        system_id: None,
        again: None,
    }
}

/// Why an order was refused, and what would make it possible.
pub fn refusal(answer: Answer) -> String {
    match answer {
        Answer::Refused { reason, remedy } => format!("{reason}; {remedy}"),
        other => panic!("not refused but {other:?}"),
    }
}

/// Node A is primary under a contract that names B, which is secondary; both have just reported.
pub struct Pair {
    pub monitor: Monitor,
    pub now: Moment,
    seq: u64,
}

pub fn key() -> GroupKey {
    GroupKey { formation: "default".into(), group: 0 }
}

impl Pair {
    pub fn settled() -> Pair {
        Pair::of(2, 0)
    }

    /// A group of so many, all of its standbys in the contract, with this `number_sync_standbys`.
    pub fn of(count: u32, number: u32) -> Pair {
        let mut record = GroupRecord::new(key());
        record.epoch = Epoch(1);
        let members: BTreeSet<NodeId> = (2..=count).map(NodeId).collect();
        record.in_force = InForce::only(Contract::any(record.new_contract_id(), number.max(1), members));
        record.history = Some(History::root(Timeline(1)));
        let names = ["a", "b", "c", "d", "e"];
        for id in (1..=count).map(NodeId) {
            let name = names[id.0 as usize - 1];
            let state = if id == A { NodeState::Primary } else { NodeState::Secondary };
            let assignment = Assignment { serial: 1, ..Assignment::new(Epoch(1), state) };
            let node = NodeRecord {
                id,
                name: name.into(),
                host: "localhost".into(),
                port: 5000 + id.0 as u16,
                candidate_priority: 50,
                replication_quorum: true,
                session: 0,
                moves: 0,
                reported: state,
                position: None,
                seal: None,
                lease_ms: None,
                kept: None,
                forced: false,
                doubted: false,
                word: None,
                assignment,
            };
            record.nodes.insert(id, node);
        }
        let record_of_monitor = MonitorRecord {
            identity: 1,
            next_node: count + 1,
            replication_password: String::new(),
            formations: BTreeMap::from([(
                "default".to_string(),
                FormationSettings { number_sync_standbys: number, ..FormationSettings::default() },
            )]),
        };
        let groups = BTreeMap::from([(key(), Group::new(record, Moment::ZERO))]);
        let monitor = Monitor::new(MonitorSettings::default(), Moment::ZERO, record_of_monitor, groups, 1);
        let mut pair = Pair { monitor, now: Moment::ZERO, seq: 0 };
        let standbys: Vec<NodeId> = (2..=count).map(NodeId).collect();
        pair.says(A, NodeState::Primary, primary_of(&standbys));
        for standby in standbys {
            pair.says(standby, NodeState::Secondary, self::standby());
        }
        pair
    }

    /// The monitor was put back to a copy in which a is primary, b and c have seen a later epoch, and a is silent.
    pub fn in_doubt() -> Pair {
        let mut p = Pair::of(3, 1);
        p.monitor_restarts();
        for node in [B, C] {
            p.tells(node, NodeState::Secondary, cut_off_standby(), |r| (r.epoch, r.serial) = (Epoch(5), 40));
        }
        assert!(p.record().in_doubt);
        p
    }

    pub fn set_durability(&mut self, durability: Durability) {
        self.monitor.record.formations.values_mut().for_each(|f| f.durability = Some(durability));
    }

    /// What it has heard is gone, what it has stored stays.
    pub fn monitor_restarts(&mut self) {
        let record = self.record().clone();
        self.monitor.groups.insert(key(), Group::new(record, self.now));
    }

    pub fn goal(&self, node: NodeId) -> NodeState {
        self.record().nodes[&node].goal()
    }

    pub fn view(&self) -> View<'_> {
        self.monitor.view(&self.monitor.groups[&key()], self.now)
    }

    pub fn stall(&self) -> Option<String> {
        self.view().stall()
    }

    pub fn orders(&mut self, command: Command) -> Answer {
        self.feed(Input::Command(command)).answer.expect("every order is answered")
    }

    pub fn ordered_failover(&mut self, to: Option<&str>, allow_data_loss: bool) -> Answer {
        self.orders(Command::Failover { key: key(), to: to.map(str::to_string), from: None, allow_data_loss })
    }

    pub fn ordered_drop(&mut self, name: &str, force: bool) -> Answer {
        self.orders(Command::Drop { formation: key().formation, name: name.into(), node: None, force })
    }

    /// Into maintenance, or out of it.
    pub fn ordered_maintenance(&mut self, name: &str, on: bool, allow_failover: bool) -> Answer {
        self.orders(Command::Maintenance { formation: key().formation, name: name.into(), on, allow_failover })
    }

    /// The node has given its vote of this epoch and waits.
    pub fn votes(&mut self, node: NodeId, lsn: u64) {
        self.vows(node, NodeState::ReportLsn, lsn);
    }

    pub fn vows(&mut self, node: NodeId, state: NodeState, lsn: u64) {
        let epoch = self.record().epoch;
        let seal = Some(Seal { epoch, position: Position::new(1, lsn) });
        self.tells(node, state, cut_off_standby(), |r| r.seal = seal);
    }

    pub fn record(&self) -> &GroupRecord {
        &self.monitor.groups[&key()].record
    }

    pub fn record_mut(&mut self) -> &mut GroupRecord {
        &mut self.monitor.groups.get_mut(&key()).expect("made with it").record
    }

    pub fn pulse(&self, node: NodeId) -> &Pulse {
        &self.monitor.groups[&key()].pulses[&node]
    }

    /// b and c are what they are told to be, and vote alike.
    pub fn standbys_obey(&mut self) {
        for node in [B, C] {
            match self.goal(node) {
                goal @ (NodeState::ReportLsn | NodeState::StopReplication) => self.vows(node, goal, 1000),
                goal => drop(self.says(node, goal, cut_off_standby())),
            }
        }
    }

    /// How long it took to decide on the transfer under way.
    pub fn took_to_decide(&self) -> Option<Duration> {
        self.monitor.groups[&key()].stopwatch.map(|s| s.detect)
    }

    pub fn goals(&self) -> (NodeState, NodeState) {
        (self.record().nodes[&A].goal(), self.record().nodes[&B].goal())
    }

    pub fn feed(&mut self, input: Input) -> Effects {
        self.monitor.note(self.now, &input);
        let effects = self.monitor.step(self.now, 0, &input);
        self.monitor.settle(self.now, &effects);
        effects
    }

    pub fn says(&mut self, node: NodeId, state: NodeState, facts: Facts) -> Effects {
        self.tells(node, state, facts, |_| {})
    }

    /// As `says`, with more in the report.
    pub fn tells(&mut self, node: NodeId, state: NodeState, facts: Facts, more: impl Fn(&mut Report)) -> Effects {
        self.seq += 1;
        let epoch = self.record().epoch;
        let mut report = Report { node, state, facts, epoch, ..report(self.seq) };
        if state == NodeState::Primary {
            report.applied = self.record().contract().map(|c| c.id);
            report.contract = self.record().contract().cloned();
        }
        more(&mut report);
        if report.contract.is_some() && report.led_in == Epoch(0) {
            report.led_in = report.epoch;
        }
        self.feed(Input::Report(key(), Box::new(report)))
    }

    pub fn hangs_up(&mut self, node: NodeId) {
        self.feed(Input::Hangup(key(), node));
    }

    pub fn dies(&mut self, node: NodeId) {
        self.hangs_up(node);
        self.feed(Input::Probed(key(), node, Probe::Refused));
    }

    pub fn probed(&mut self, node: NodeId, probe: Probe) {
        self.feed(Input::Probed(key(), node, probe));
    }

    pub fn passes(&mut self, time: Duration) {
        self.now = self.now + time;
        self.feed(Input::Tick(key()));
    }

    pub fn switchover(&mut self) -> Effects {
        self.feed(Input::Command(Command::Failover { key: key(), to: None, from: None, allow_data_loss: false }))
    }

    pub fn sealed(&mut self, lsn: u64) {
        self.vows(B, NodeState::StopReplication, lsn);
    }
}
