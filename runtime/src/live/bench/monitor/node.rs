//! A node without Postgres: it takes what it is told for done, and reports what a keeper would see then.

use pgbaton_core::model::{
    Assignment, Control, ControlState, Directory, Epoch, Facts, History, Lsn, NodeId, NodeState, Position, Receiver,
    Report, Running, Seal, Sender, Server, Timeline,
};
use std::time::Duration;

/// All WAL there is. Nobody writes, so nobody lacks any.
const END: Lsn = Lsn(0x300_0000);

#[derive(Debug, Clone)]
pub struct Node {
    id: NodeId,
    system_id: u64,
    seq: u64,
    pub state: NodeState,
    moves: u64,
    passed: Vec<NodeState>,
    assignment: Option<Assignment>,
    history: History,
    /// How its Postgres ended, if it did.
    ended: ControlState,
}

impl Node {
    pub fn new(id: NodeId, system_id: u64) -> Node {
        Node {
            id,
            system_id,
            seq: 0,
            state: NodeState::Init,
            moves: 0,
            passed: Vec::new(),
            assignment: None,
            history: History::root(Timeline(1)),
            ended: ControlState::ShutDown,
        }
    }

    /// In the state it was told to be in.
    pub fn is_settled(&self) -> bool {
        self.assignment.as_ref().is_some_and(|a| a.goal == self.state)
    }

    /// Does all that is asked for, along the legal way. False when it is no news.
    pub fn take(&mut self, told: Assignment) -> bool {
        if self.assignment.as_ref().is_some_and(|a| a.serial >= told.serial) {
            return false;
        }
        if let Some(upstream) = &told.upstream {
            self.history = upstream.history.clone();
        }
        while let Some(hop) = self.state.next_hop(told.goal) {
            if self.state == NodeState::StopReplication && hop.is_writable() {
                let next = Timeline(self.history.tli.0 + 1);
                self.history = self.history.branch(told.timeline.unwrap_or(next), END);
            }
            self.walk(hop);
        }
        self.ended = ControlState::ShutDown;
        self.assignment = Some(told);
        true
    }

    /// Its Postgres has crashed.
    pub fn dies(&mut self) {
        self.ended = ControlState::InProduction;
        self.walk(NodeState::DemoteTimeout);
    }

    fn walk(&mut self, to: NodeState) {
        self.passed.push(self.state);
        self.moves += 1;
        self.state = to;
    }

    /// No report is lost here, so each tells the way since the one before.
    pub fn report(&mut self) -> Report {
        self.seq += 1;
        let told = self.assignment.as_ref();
        let contract = told.and_then(|a| a.contract.clone()).filter(|_| self.state.is_writable());
        let epoch = told.map_or(Epoch::ZERO, |a| a.epoch);
        let sealed = matches!(self.state, NodeState::StopReplication | NodeState::ReportLsn);
        Report {
            node: self.id,
            session: 1,
            seq: self.seq,
            epoch,
            state: self.state,
            moves: self.moves,
            passed: std::mem::take(&mut self.passed),
            serial: told.map_or(0, |a| a.serial),
            facts: self.facts(),
            applied: contract.as_ref().map(|c| c.id),
            contract,
            led_in: told.map_or(Epoch::default(), |a| a.led_in),
            leased: false,
            rebuild: None,
            seal: sealed.then_some(Seal { epoch, position: self.position() }),
            leaving: false,
            asks: false,
            spent: Vec::new(),
            kept: None,
            trouble: None,
        }
    }

    fn position(&self) -> Position {
        Position { tli: self.history.tli, lsn: END }
    }

    fn facts(&self) -> Facts {
        if matches!(self.state, NodeState::Init | NodeState::WaitStandby) {
            return Facts::unknown();
        }
        let (server, state) = match self.state.runs_postgres() {
            false => (Server::Down, self.ended),
            true if self.state.is_writable() => (Server::Up(self.running()), ControlState::InProduction),
            true => (Server::Up(self.running()), ControlState::InRecovery),
        };
        let checkpoint = self.position();
        let control = Control { system_id: self.system_id, state, checkpoint, history: self.history.clone() };
        Facts { directory: Directory::Present(control), server }
    }

    fn running(&self) -> Running {
        let in_recovery = !self.state.is_writable();
        let follows = matches!(self.state, NodeState::Catchingup | NodeState::Secondary | NodeState::PreparePromotion);
        let receiver = Receiver { streaming: true, tli: self.history.tli, last_message: Duration::ZERO };
        let peers = self.assignment.iter().flat_map(|a| &a.peers).filter(|_| !in_recovery);
        Running {
            in_recovery,
            position: self.position(),
            replayed: END,
            checkpoint_tli: self.history.tli,
            receiver: follows.then_some(receiver),
            stranded: None,
            senders: peers.map(|peer| Sender { node: peer.node, streaming: true, flushed: END }).collect(),
            stopping: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(serial: u64, goal: NodeState) -> Assignment {
        Assignment { serial, ..Assignment::new(Epoch(serial), goal) }
    }

    #[test]
    fn it_reports_that_it_did_as_it_was_told_and_the_way_there() {
        let mut node = Node::new(NodeId(1), 7);
        assert_eq!(node.report().facts, Facts::unknown());
        assert!(node.take(told(1, NodeState::WaitStandby)));
        assert!(node.take(told(2, NodeState::Secondary)));
        let report = node.report();
        assert_eq!((report.state, report.serial, report.seq, report.moves), (NodeState::Secondary, 2, 2, 3));
        assert_eq!(report.passed, [NodeState::Init, NodeState::WaitStandby, NodeState::Catchingup]);
        assert!(report.facts.running().unwrap().in_recovery && node.is_settled());
        assert!(!node.take(told(2, NodeState::Catchingup)), "it knows that one");
        assert!(node.report().passed.is_empty());
    }

    #[test]
    fn a_promotion_begins_a_timeline_after_a_sealed_vote() {
        let mut node = Node::new(NodeId(1), 7);
        node.take(told(1, NodeState::Secondary));
        node.take(told(2, NodeState::StopReplication));
        assert_eq!(node.report().seal.map(|s| s.epoch), Some(Epoch(2)));
        node.take(told(3, NodeState::WaitPrimary));
        let report = node.report();
        assert_eq!(report.facts.position().map(|p| p.tli), Some(Timeline(2)));
        assert!(report.facts.is_open() && report.seal.is_none());
    }

    #[test]
    fn a_death_is_a_closed_node_whose_postgres_has_crashed() {
        let mut node = Node::new(NodeId(1), 7);
        node.take(told(1, NodeState::Single));
        node.dies();
        let report = node.report();
        assert_eq!((report.state, &report.facts.server), (NodeState::DemoteTimeout, &Server::Down));
        assert_eq!(report.facts.control().unwrap().state, ControlState::InProduction);
        assert!(!node.is_settled());
    }
}
