//! What is known of a node's life, and how much that proves.
//!
//! Positive evidence beats silence: a keeper whose connection broke *and* whose Postgres refuses
//! connections is dead now; a node that merely says nothing is suspected, and lost only after the
//! time the operator has set, and only if its Postgres doesn't answer either.

use crate::model::{Assignment, Facts, Moment, MonitorSettings, NodeState, Position, Report, Server};
use crate::mutant;
use crate::ports::Probe;

/// All that is volatile about a node; a restarted monitor starts with none of it.
#[derive(Debug, Clone)]
pub struct Pulse {
    /// Since when the monitor has been able to hear this node.
    pub known_since: Moment,
    pub heard: Option<Moment>,
    /// Where its WAL ended when its server was seen running last: of one that is down only a checkpoint is known.
    pub position: Option<Position>,
    pub moved: Option<Moment>,
    /// When what it had replayed last changed.
    pub replayed: Option<Moment>,
    pub report: Option<Report>,
    /// Session and number of moves on record when the monitor started. What is older comes from a dead keeper, or was
    /// overtaken on the way.
    pub on_record: (u64, u64),
    /// The keeper's connection broke, with no report since.
    pub hungup: Option<Moment>,
    pub probe_asked: Option<Moment>,
    /// Result of the last probe and when it came.
    pub probe: Option<(Moment, Probe)>,
    /// Its Postgres answered when its keeper didn't, and hasn't refused since: nobody may be left to close it when its
    /// lease ends.
    pub outlived: bool,
    /// When its Postgres answered last, since its keeper fell silent and since it refused a connection.
    pub answered: Option<Moment>,
    /// When it was heard again after a silence or a broken connection, or at all.
    pub back: Option<Moment>,
    /// Since when it has reported that its server is open no more.
    pub closed_since: Option<Moment>,
    /// Since when its server has been there without answering.
    pub stuck_since: Option<Moment>,
    /// Since when the primary hasn't listed it as streaming.
    pub unlisted_since: Option<Moment>,
    /// What it reported as closed it may have been told to open since, or to keep open: then neither its report nor a
    /// refused connection is evidence any more.
    pub may_reopen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Not heard of since the monitor started, and not long enough to conclude anything.
    Unknown,
    /// Reports, and its Postgres is as it should be or on its way.
    Alive,
    /// Its keeper reports that Postgres doesn't run or doesn't answer.
    Ill(&'static str),
    /// Gone, and why we think so.
    Lost(&'static str),
}

impl Pulse {
    pub fn new(now: Moment, on_record: (u64, u64)) -> Pulse {
        Pulse {
            known_since: now,
            heard: None,
            position: None,
            moved: None,
            replayed: None,
            report: None,
            on_record,
            hungup: None,
            probe_asked: None,
            probe: None,
            outlived: false,
            answered: None,
            back: None,
            closed_since: None,
            stuck_since: None,
            unlisted_since: None,
            may_reopen: true,
        }
    }

    pub fn facts(&self) -> Option<&Facts> {
        self.report.as_ref().map(|r| &r.facts)
    }

    /// A report arrived. Older ones, overtaken on the way, are refused.
    pub fn hear(&mut self, now: Moment, report: &Report) -> bool {
        let newer = match &self.report {
            Some(last) => (report.session, report.seq) > (last.session, last.seq),
            None => (report.session, report.moves) >= self.on_record,
        };
        if !newer && !mutant!(StaleSessionIsNews) {
            return false;
        }
        let was_missed = self.hungup.is_some() || self.heard.is_none_or(|heard| self.probe_asked > Some(heard));
        if was_missed {
            self.back = Some(now);
        }
        self.heard = Some(now);
        self.answered = None;
        if self.facts().and_then(Facts::position) != report.facts.position() {
            self.moved = Some(now);
        }
        let replayed = |facts: &Facts| facts.running().map(|r| r.replayed);
        if self.facts().and_then(replayed) != replayed(&report.facts) {
            self.replayed = Some(now);
        }
        self.position = report.facts.running().map(|r| r.position).or(self.position);
        self.hungup = None;
        self.outlived = false;
        self.closed_since = match report.facts.is_open() {
            true => None,
            false if self.facts().is_some_and(Facts::is_open) => Some(now),
            false => self.closed_since,
        };
        self.stuck_since = match report.facts.server {
            Server::Stuck { .. } => self.stuck_since.or(Some(now)),
            _ => None,
        };
        self.report = Some(report.clone());
        true
    }

    /// Its port was tried.
    pub fn try_port(&mut self, now: Moment, found: Probe) {
        self.probe = Some((now, found));
        // A port is tried when there is doubt: after a hangup, or in a long silence.
        (self.outlived, self.answered) = match found {
            Probe::Answers => (true, Some(now)),
            Probe::Silent => (self.outlived, self.answered),
            Probe::Refused => (false, None),
        };
    }

    /// The step of its latest report is over; this is what it has to be.
    pub fn answered(&mut self, goal: NodeState) {
        self.may_reopen |= goal.is_writable() && self.report.as_ref().is_some_and(|r| !says_open(r));
    }

    /// From this report on its word counts: it is open, and asks before it starts its server again; or it knows that it is
    /// not to be.
    pub fn believe(&mut self, report: &Report, assignment: &Assignment) {
        let knows = report.serial == assignment.serial && !assignment.goal.is_writable();
        self.may_reopen &= !says_open(report) && !knows;
    }

    /// Its keeper says nothing that can be read. Its Postgres has answered not long ago, or nobody knows yet whether it does.
    pub fn may_run_alone(&self, now: Moment, settings: &MonitorSettings) -> bool {
        let patience = settings.node_considered_unhealthy_timeout;
        let is_unknown = match self.hungup {
            Some(hungup) => self.probed_since(hungup).is_none(),
            None => self.heard.is_none() && self.probe.is_none() && !self.is_mute(now, settings),
        };
        is_unknown || self.answered.is_some_and(|at| now.since(at) < patience)
    }

    fn last_sign(&self) -> Moment {
        self.heard.unwrap_or(self.known_since)
    }

    /// Its keeper has said nothing for as long as silence is allowed to last.
    pub fn is_mute(&self, now: Moment, settings: &MonitorSettings) -> bool {
        now.since(self.last_sign()) >= settings.node_considered_unhealthy_timeout
    }

    fn probed_since(&self, moment: Moment) -> Option<Probe> {
        self.probe.filter(|(at, _)| *at >= moment).map(|(_, probe)| probe)
    }

    /// Positive evidence of a death: the keeper's connection broke, and since then Postgres refuses connections.
    pub fn died(&self) -> bool {
        self.hungup.is_some_and(|hungup| self.probed_since(hungup) == Some(Probe::Refused))
    }

    pub fn life(&self, now: Moment, settings: &MonitorSettings) -> Life {
        if self.died() {
            return Life::Lost("its keeper's connection broke and its Postgres refuses connections");
        }
        let patience = settings.node_considered_unhealthy_timeout;
        let no_answer = || matches!(self.probed_since(self.last_sign()), Some(Probe::Silent | Probe::Refused));
        if self.is_mute(now, settings) && (no_answer() || mutant!(SilenceIsDeath)) {
            return Life::Lost("it is silent and its Postgres doesn't answer");
        }
        match self.facts().map(|f| &f.server) {
            None => Life::Unknown,
            Some(Server::Up(_) | Server::Starting) => Life::Alive,
            Some(Server::Down) => Life::Ill("its Postgres is down"),
            Some(Server::Stuck { .. }) => match self.stuck_since {
                Some(since) if now.since(since) >= patience => Life::Ill("its Postgres doesn't answer queries"),
                _ => Life::Alive,
            },
        }
    }

    /// Whether its port should be tried now.
    pub fn probe_due(&self, now: Moment, settings: &MonitorSettings) -> bool {
        self.next_probe(settings).is_some_and(|at| at <= now)
    }

    /// When its port should be tried next: at once after a broken connection, and again and again
    /// while it stays silent.
    pub fn next_probe(&self, settings: &MonitorSettings) -> Option<Moment> {
        if let Some(hungup) = self.hungup {
            return Some(match self.probe_asked {
                Some(asked) if asked.since(hungup) >= settings.node_considered_unhealthy_timeout => {
                    asked + settings.probe_period
                }
                Some(asked) if asked >= hungup => asked + settings.probe_period_after_hangup,
                _ => hungup,
            });
        }
        let quiet = self.last_sign() + settings.node_considered_unhealthy_timeout / 2;
        Some(self.probe_asked.map_or(quiet, |asked| quiet.max(asked + settings.probe_period)))
    }

    /// When the passing of time alone may change what `life` says.
    pub fn next_verdict(&self, now: Moment, settings: &MonitorSettings) -> Option<Moment> {
        let patience = settings.node_considered_unhealthy_timeout;
        let candidates = [
            Some(self.last_sign() + patience),
            self.stuck_since.map(|s| s + patience),
            self.unlisted_since.map(|s| s + settings.standby_stall_timeout),
        ];
        candidates.into_iter().flatten().filter(|at| *at > now).min()
    }
}

fn says_open(report: &Report) -> bool {
    report.state.is_writable() && report.facts.is_open()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::report;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn pulse() -> Pulse {
        let mut pulse = Pulse::new(Moment(0), (0, 0));
        assert!(pulse.hear(Moment(0), &report(1)));
        pulse
    }

    #[test]
    fn silence_takes_the_set_time_and_needs_a_silent_postgres_too() {
        let settings = MonitorSettings::default();
        let mut p = pulse();
        let late = Moment(0) + 6 * SECOND;
        assert_eq!(p.life(Moment(0) + 4 * SECOND, &settings), Life::Alive);
        assert_eq!(p.life(late, &settings), Life::Alive, "nobody has looked at its port yet");
        p.probe = Some((Moment(0) + 5 * SECOND, Probe::Answers));
        assert_eq!(p.life(late, &settings), Life::Alive, "its Postgres answers: only the keeper is gone");
        p.probe = Some((Moment(0) + 5 * SECOND, Probe::Silent));
        assert!(matches!(p.life(late, &settings), Life::Lost(_)));
    }

    #[test]
    fn a_broken_connection_and_a_refused_one_are_a_death_at_once() {
        let settings = MonitorSettings::default();
        let mut p = pulse();
        let t = Moment(0) + SECOND;
        p.probe = Some((Moment(0), Probe::Refused));
        p.hungup = Some(t);
        assert_eq!(p.life(t, &settings), Life::Alive, "the probe is older than the hangup");
        assert!(p.probe_due(t, &settings));
        p.probe = Some((t, Probe::Refused));
        assert!(matches!(p.life(t, &settings), Life::Lost(_)));
        p.probe = Some((t, Probe::Answers));
        p.probe_asked = Some(t);
        assert_eq!(p.life(t, &settings), Life::Alive);
        assert!(
            p.next_probe(&settings) < Some(t + SECOND / 10),
            "its Postgres may be dying right now: look again soon"
        );
        p.probe_asked = Some(t + 10 * SECOND);
        assert_eq!(p.next_probe(&settings), Some(t + 11 * SECOND), "the keeper alone is gone");
        assert!(p.hear(t, &report(2)), "a report brings it back to life");
        assert_eq!(p.life(t, &settings), Life::Alive);
    }

    #[test]
    fn an_overtaken_report_changes_nothing() {
        let mut p = pulse();
        assert!(p.hear(Moment(1), &report(5)));
        assert!(!p.hear(Moment(2), &report(4)));
        assert_eq!(p.heard, Some(Moment(1)));
        let reborn = Report { session: 2, ..report(1) };
        assert!(p.hear(Moment(3), &reborn));
        assert!(!p.hear(Moment(4), &report(6)), "the last words of a dead keeper arrive late");
    }
}
