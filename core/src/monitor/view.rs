//! What the rules look at: one group, at one moment, with the questions they all ask.

use crate::model::*;
use crate::monitor::health::{Life, Pulse};
use crate::mutant;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub record: &'a GroupRecord,
    /// The record before this step; times are told from it.
    pub stored: &'a GroupRecord,
    pub pulses: &'a BTreeMap<NodeId, Pulse>,
    pub settings: &'a MonitorSettings,
    pub formation: &'a FormationSettings,
    /// When the stored transfer began, or its candidate changed.
    pub transfer_since: Option<Moment>,
    /// When its candidate was told to open.
    pub opening_since: Option<Moment>,
    /// When it was decided on, whatever has become of it since.
    pub transfer_decided: Option<Moment>,
    /// When the closed primary was told to open again.
    pub reopening_since: Option<Moment>,
    /// When the doubt began.
    pub doubt_since: Option<Moment>,
    pub now: Moment,
}

impl<'a> View<'a> {
    /// Whether the transfer has stood as it is, with the candidate it has, for this long.
    pub fn transfer_lasts(&self, long: Duration) -> bool {
        let stage = |r: &'a GroupRecord| r.transfer.as_ref().map(|t| (r.epoch, t.candidate));
        let unchanged = stage(self.stored) == stage(self.record);
        unchanged && self.transfer_since.is_none_or(|since| self.now.since(since) >= long)
    }

    /// Whether the candidate was told to open so long ago, however long it had waited for that.
    fn opening_lasts(&self, long: Duration) -> bool {
        let opens = |r: &GroupRecord| {
            let candidate = r.transfer.as_ref().and_then(|t| r.nodes.get(&t.candidate?));
            candidate.is_some_and(|c| c.goal().is_writable())
        };
        opens(self.stored)
            && self.transfer_lasts(long)
            && self.opening_since.is_none_or(|at| self.now.since(at) >= long)
    }

    /// Whether the role has been on its way for this long, through however many elections.
    pub fn transfer_since_decided(&self, long: Duration) -> bool {
        let from = |r: &'a GroupRecord| r.transfer.as_ref().map(|t| t.old);
        from(self.stored).is_some()
            && from(self.stored) == from(self.record)
            && self.transfer_decided.is_none_or(|since| self.now.since(since) >= long)
    }

    /// The move of the role under way. One whose winner was told to open and is lost is none: that one is the primary, and
    /// may be replaced as any other.
    pub fn moving(&self) -> Option<&'a Transfer> {
        let transfer = self.record.transfer.as_ref()?;
        let opens = transfer.candidate.and_then(|c| self.record.nodes.get(&c)).filter(|c| c.goal().is_writable());
        let lost = opens.is_some_and(|c| match self.life(c.id) {
            Life::Lost(_) => true,
            Life::Ill(_) => self.opening_lasts(self.settings.drain_timeout),
            Life::Alive => self.does_not_open(c.id),
            Life::Unknown => false,
        });
        (!lost).then_some(transfer)
    }

    /// It was told to open, and neither opens nor gets on with the WAL that it has yet to replay.
    fn does_not_open(&self, candidate: NodeId) -> bool {
        let time = self.settings.drain_timeout;
        !self.is_open(candidate) && !self.gets_on(candidate, time) && self.opening_lasts(time)
    }

    /// It has received or replayed something in this time.
    pub fn gets_on(&self, node: NodeId, time: Duration) -> bool {
        let last = |p: &Pulse| p.moved.max(p.replayed);
        self.pulse(node).and_then(last).is_some_and(|at| self.now.since(at) < time)
    }

    pub fn pulse(&self, node: NodeId) -> Option<&'a Pulse> {
        self.pulses.get(&node)
    }

    pub fn report(&self, node: NodeId) -> Option<&'a Report> {
        self.pulse(node)?.report.as_ref()
    }

    pub fn running(&self, node: NodeId) -> Option<&'a Running> {
        self.report(node)?.facts.running()
    }

    pub fn life(&self, node: NodeId) -> Life {
        self.pulse(node).map_or(Life::Unknown, |p| p.life(self.now, self.settings))
    }

    /// How long after its last word a node that acknowledges alone may go on, by the clock of this machine: the lease it
    /// was heard to have, and a tenth, by less than which clocks of two machines drift apart.
    pub fn lease_of(&self, node: NodeId) -> Duration {
        let told = self.record.nodes.get(&node).and_then(|n| n.lease_ms).map(Duration::from_millis);
        let lease = told.unwrap_or(self.settings.async_lease);
        lease + lease / 10
    }

    pub fn name(&self, node: NodeId) -> String {
        match self.record.nodes.get(&node) {
            Some(node) => node.name.clone(),
            None if node == NodeId::UNKNOWN => "whoever led last".into(),
            None => format!("node {node}"),
        }
    }

    /// It reports, whatever its Postgres does.
    pub fn is_heard(&self, node: NodeId) -> bool {
        let listening = self.pulse(node).is_some_and(|p| p.heard.is_some() && p.hungup.is_none());
        listening && !self.is_mute(node) && matches!(self.life(node), Life::Alive | Life::Ill(_))
    }

    /// Its keeper has said nothing for as long as silence is allowed to last.
    pub fn is_mute(&self, node: NodeId) -> bool {
        self.pulse(node).is_some_and(|p| p.is_mute(self.now, self.settings))
    }

    pub fn is_leaving(&self, node: NodeId) -> bool {
        self.report(node).is_some_and(|r| r.leaving)
    }

    /// Its data directory is half rewound or half cloned.
    pub fn is_torn(&self, node: NodeId) -> bool {
        self.report(node).is_some_and(|r| r.rebuild.is_some())
    }

    /// It reports that its Postgres is open: out of recovery and answering.
    pub fn is_open(&self, node: NodeId) -> bool {
        self.running(node).is_some_and(|r| !r.in_recovery)
    }

    /// By its own word its server is down, starts or recovers.
    pub fn is_closed(&self, node: NodeId) -> bool {
        let closed = |server: &Server| match server {
            Server::Down | Server::Starting => true,
            Server::Up(running) => running.in_recovery,
            Server::Stuck { .. } => false,
        };
        self.is_heard(node) && self.report(node).is_some_and(|r| closed(&r.facts.server))
    }

    /// Its archiver may hold the postmaster up for ever; when the control file says shut down nobody writes any more. One
    /// that has just been started looks the same, but not for long.
    pub fn lingers_shut_down(&self, node: NodeId) -> bool {
        let control = self.report(node).and_then(|r| r.facts.control());
        let heard = self.pulse(node).and_then(|p| p.heard).zip(self.transfer_since);
        let patience = self.settings.node_considered_unhealthy_timeout;
        control.is_some_and(|c| c.state == ControlState::ShutDown)
            && heard.is_some_and(|(heard, since)| heard.since(since) >= patience)
    }

    /// The primary, open and heard, with both its states among `states`.
    pub fn open_primary(&self, states: &[NodeState]) -> Option<&'a NodeRecord> {
        let primary = self.record.primary()?;
        let among = states.contains(&primary.goal()) && states.contains(&primary.reported);
        (among && self.is_heard(primary.id) && self.is_open(primary.id)).then_some(primary)
    }

    /// The primary that others can follow: open, or closed until enough of them hold what it holds.
    pub fn followable_primary(&self) -> Option<&'a NodeRecord> {
        use NodeState::*;
        let primary = self.record.primary()?;
        let closed = primary.goal().is_writable() && primary.reported.has_closed() && self.is_heard(primary.id);
        let runs = closed && self.running(primary.id).is_some();
        self.open_primary(&[WaitPrimary, Primary]).or(runs.then_some(primary))
    }

    /// The primary, open or closed, can serve as the source of a clone or rewind: its lineage is known here, and its
    /// control file is on its own timeline. Before the first checkpoint after a promotion it shows the
    /// old one, and a rewind from it would find nothing to do.
    pub fn can_be_source(&self, primary: NodeId) -> bool {
        let lineage = self.record.history.as_ref().map(|h| h.tli);
        self.record.transfer.is_none()
            && self.running(primary).is_some_and(|r| {
                let checkpointed = r.checkpoint_tli == r.position.tli || mutant!(RewindBeforeCheckpoint);
                checkpointed && lineage == Some(r.position.tli)
            })
    }

    /// By the standby's own account WAL arrives: its upstream is alive, whatever we can see of it.
    pub fn receives(&self, standby: NodeId) -> bool {
        let age_limit = self.settings.node_considered_unhealthy_timeout;
        let since_report = self.pulse(standby).and_then(|p| p.heard).map_or(age_limit, |h| self.now.since(h));
        self.running(standby)
            .and_then(|r| r.receiver.as_ref())
            .is_some_and(|r| r.streaming && r.last_message + since_report < age_limit)
    }

    /// The primary lists the standby as streaming, at most `catchup_bytes` behind.
    pub fn streams(&self, primary: NodeId, standby: NodeId) -> bool {
        let Some(running) = self.running(primary) else {
            return false;
        };
        running
            .sender(standby)
            .is_some_and(|s| s.streaming && running.position.lsn.bytes_past(s.flushed) <= self.settings.catchup_bytes)
    }

    /// Its WAL is part of the lineage of the node that was opened last.
    pub fn is_on_lineage(&self, node: NodeId) -> bool {
        match (&self.record.history, self.running(node)) {
            _ if mutant!(ForkMayVote) => true,
            (Some(history), Some(running)) => history.contains(running.position) && self.is_kin(node),
            _ => false,
        }
    }

    /// Its data belongs to this group, and its timeline's number stands for the same history as ours. Not known is
    /// no proof of the contrary.
    pub fn is_kin(&self, node: NodeId) -> bool {
        let Some(control) = self.report(node).and_then(|r| r.facts.control()) else {
            return true;
        };
        self.record.system_id.is_none_or(|id| id == control.system_id)
            && self.record.history.as_ref().is_none_or(|h| h.is_kin(&control.history))
    }

    /// A member that can no longer be counted on to acknowledge, and why.
    pub fn missing(&self, member: NodeId) -> Option<&'static str> {
        let Some(node) = self.record.nodes.get(&member) else {
            return Some("it is no longer a node of the group");
        };
        match node.goal() {
            NodeState::Secondary => {}
            NodeState::WaitMaintenance | NodeState::Maintenance if mutant!(MaintenanceCounts) => {}
            NodeState::WaitMaintenance | NodeState::Maintenance => return Some("it goes to maintenance"),
            NodeState::Dropped => return Some("it is being dropped"),
            _ => return Some("it is no longer to be a secondary"),
        }
        if !node.replication_quorum {
            return Some("it takes no part in the quorum");
        }
        self.away(member)
    }

    /// A secondary that isn't there, and why.
    pub fn away(&self, standby: NodeId) -> Option<&'static str> {
        match self.life(standby) {
            Life::Lost(why) | Life::Ill(why) => return Some(why),
            Life::Unknown | Life::Alive => {}
        }
        if self.is_leaving(standby) {
            return Some("its service is being stopped");
        }
        if self.is_open(standby) {
            return Some("its Postgres has left recovery behind our back");
        }
        if mutant!(StalledStandbyCounts) {
            return None;
        }
        let stalled = self.pulse(standby)?.unlisted_since?;
        (self.now.since(stalled) >= self.settings.standby_stall_timeout).then_some("it doesn't stream from the primary")
    }

    /// A standby to which the role can be handed: a settled secondary, well and on the lineage.
    pub fn is_fit(&self, node: &NodeRecord, preferred: Option<NodeId>) -> Result<(), String> {
        if !node.settled_in(NodeState::Secondary) {
            return Err(format!("it is {} and to be {}, not secondary", node.reported, node.goal()));
        }
        self.may_lead(node, preferred)?;
        if !self.is_on_lineage(node.id) {
            return Err("its WAL is not on the lineage of the group".into());
        }
        Ok(())
    }

    /// The node a living primary hands over to: it streams, so what it lacks arrives before the primary is down.
    pub fn successor(&self, primary: &NodeRecord, preferred: Option<NodeId>) -> Result<&'a NodeRecord, String> {
        let mut why = String::from("there is no standby");
        let mut fit = Vec::new();
        for node in self.record.standbys().filter(|n| preferred.is_none_or(|p| p == n.id)) {
            let streams = || match self.streams(primary.id, node.id) {
                true => Ok(()),
                false => Err("it doesn't stream from the primary, or is far behind".to_string()),
            };
            match self.is_fit(node, preferred).and_then(|()| streams()) {
                Ok(()) => fit.push(node),
                Err(reason) => why = format!("{} can't be promoted: {reason}", node.name),
            }
        }
        let flushed = |n: &NodeRecord| self.running(primary.id).and_then(|r| r.sender(n.id)).map(|s| s.flushed);
        fit.into_iter().max_by_key(|n| (n.candidate_priority, flushed(n), std::cmp::Reverse(n.id))).ok_or(why)
    }

    /// A primary fell silent, and so did every standby at that time: the monitor itself may be cut off. What it was told
    /// last proves nothing then, above all not that nobody receives from that primary.
    pub fn is_deaf(&self, primary: &NodeRecord) -> bool {
        let recently = self.settings.node_considered_unhealthy_timeout / 2;
        let speaks = |n: &NodeRecord| {
            self.pulse(n.id).and_then(|p| p.heard).is_some_and(|heard| self.now.since(heard) < recently)
        };
        let silent = self.is_mute(primary.id) && !self.pulse(primary.id).is_some_and(Pulse::died);
        silent && !self.record.standbys().any(speaks)
    }

    /// The monitor has just started, and someone else has yet to say a first word. Whoever connects first proves nothing:
    /// a record restored from an old copy knows less than those who follow a moment later, and another election may have
    /// been won since. A port that refuses is no word: its keeper may be about to speak.
    pub fn awaits_first_word(&self, except: NodeId) -> bool {
        let others = self.record.nodes.values().filter(|n| n.id != except && n.reported != NodeState::Init);
        let mut pulses = others.filter_map(|n| self.pulse(n.id));
        pulses.any(|p| p.heard.is_none() && !p.is_mute(self.now, self.settings))
    }

    /// It was told to open again, and has had its time.
    pub fn has_not_reopened(&self, primary: NodeId) -> bool {
        let told = |r: &GroupRecord| (r.epoch, r.reopening);
        let unchanged = told(self.stored) == told(self.record);
        let late = |since| self.now.since(since) >= self.settings.drain_timeout;
        unchanged && self.record.reopening == Some(primary) && self.reopening_since.is_some_and(late)
    }

    /// The primary holds no open server any more, and why; only what can be relied on counts.
    pub fn primary_lost(&self, primary: &NodeRecord) -> Option<&'static str> {
        // What can't be read now may be readable in a moment: it counts as a server that is down.
        let gone = |facts: &Facts| facts.directory == Directory::Absent;
        let never_had_one = primary.reported == NodeState::Init && self.record.system_id.is_none();
        if self.is_heard(primary.id) && !never_had_one && self.report(primary.id).is_some_and(|r| gone(&r.facts)) {
            return Some("its data directory is gone");
        }
        let reopens = self.record.reopening == Some(primary.id) && !self.is_mute(primary.id);
        match self.life(primary.id) {
            Life::Ill(_) | Life::Alive if reopens && !self.has_not_reopened(primary.id) => None,
            Life::Lost(why) => {
                // Asymmetric cuts: what its standby still receives proves that it lives.
                let seen = !mutant!(SilenceIsDeath) && self.record.standbys().any(|s| self.receives(s.id));
                (!seen || self.pulse(primary.id).is_some_and(Pulse::died)).then_some(why)
            }
            Life::Ill(why) => Some(why),
            Life::Unknown => None,
            Life::Alive => {
                let reported_closed = primary.reported == NodeState::DemoteTimeout && self.is_heard(primary.id);
                let was_told = self.record.transfer.as_ref().is_some_and(|t| t.candidate == Some(primary.id));
                match (reported_closed, was_told && self.does_not_open(primary.id)) {
                    (true, _) => Some("it has closed by itself"),
                    (_, true) => Some("it was told to open and doesn't"),
                    _ => None,
                }
            }
        }
    }
}
