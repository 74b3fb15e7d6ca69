//! What the clients were told, with times counted from the moment they began.

use pgbaton_core::check::{Kind, Trace};
use pgbaton_core::model::Moment;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone)]
pub struct Write {
    pub client: u32,
    pub id: u64,
    pub sent: Instant,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Acked { node: String, warning: bool },
    NotAcked { known_failed: bool, unpromised: bool },
}

#[derive(Debug)]
pub struct Ledger {
    zero: Instant,
    /// The same moment on the wall clock, which the monitor's events are dated by.
    zero_wall_ms: u64,
    writes: Mutex<Vec<(Instant, Write)>>,
    /// What was read back, and where.
    reads: Mutex<Vec<(Instant, Kind)>>,
    stopped: OnceLock<Instant>,
}

impl Ledger {
    pub fn begin() -> Ledger {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ledger {
            zero: Instant::now(),
            zero_wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            writes: Mutex::default(),
            reads: Mutex::default(),
            stopped: OnceLock::new(),
        }
    }

    /// Another one that counts from the same moment.
    pub fn beside(&self) -> Ledger {
        Ledger { zero: self.zero, zero_wall_ms: self.zero_wall_ms, ..Ledger::begin() }
    }

    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    pub fn moment(&self, at: Instant) -> Moment {
        Moment::ZERO + at.saturating_duration_since(self.zero)
    }

    /// What happened before the clients began counts as their beginning.
    pub fn wall_moment(&self, wall_ms: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(wall_ms.saturating_sub(self.zero_wall_ms))
    }

    pub fn is_since_beginning(&self, wall_ms: u64) -> bool {
        wall_ms >= self.zero_wall_ms
    }

    pub fn instant(&self, since_zero: Duration) -> Instant {
        self.zero + since_zero
    }

    pub fn note(&self, write: Write) {
        self.writes().push((Instant::now(), write));
    }

    pub fn note_read(&self, node: &str, ids: BTreeSet<u64>) {
        self.push_read(Kind::Read { node: node.to_string(), ids });
    }

    pub fn note_standby_read(&self, node: &str, ids: BTreeSet<u64>) {
        self.push_read(Kind::StandbyRead { node: node.to_string(), ids });
    }

    fn push_read(&self, read: Kind) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), read));
    }

    fn writes(&self) -> MutexGuard<'_, Vec<(Instant, Write)>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest write was acknowledged, was sent after `since`, and not to `except`.
    pub fn is_writable(&self, since: Instant, except: Option<&str>) -> bool {
        match self.writes().last().map(|(_, write)| (write.sent, &write.outcome)) {
            Some((sent, Outcome::Acked { node, .. })) => sent >= since && Some(node.as_str()) != except,
            _ => false,
        }
    }

    /// Nothing was acknowledged for `quiet`, counted from `since` at the earliest.
    pub fn is_quiet(&self, since: Instant, quiet: Duration) -> bool {
        let writes = self.writes();
        let acked = writes.iter().rev().find(|(_, w)| matches!(w.outcome, Outcome::Acked { .. }));
        acked.map_or(since, |(at, _)| since.max(*at)).elapsed() >= quiet
    }

    /// Moments of all acknowledgements, in order.
    pub fn acks(&self) -> Vec<Moment> {
        let writes = self.writes();
        let acked = writes.iter().filter(|(_, w)| matches!(w.outcome, Outcome::Acked { .. }));
        acked.map(|(at, _)| self.moment(*at)).collect()
    }

    /// Ids of all writes that were acknowledged without a warning.
    pub fn promised(&self) -> BTreeSet<u64> {
        let writes = self.writes();
        let promised = writes.iter().filter(|(_, w)| matches!(w.outcome, Outcome::Acked { warning: false, .. }));
        promised.map(|(_, write)| write.id).collect()
    }

    /// When the first write that this node has acknowledged was sent, and when that was known.
    pub fn first_acknowledged_by(&self, node: &str) -> Option<(Instant, Instant)> {
        let writes = self.writes();
        let by_node = |w: &Write| matches!(&w.outcome, Outcome::Acked { node: by, .. } if by == node);
        writes.iter().find(|(_, write)| by_node(write)).map(|(at, write)| (write.sent, *at))
    }

    /// The clients are told to end.
    pub fn stop(&self) {
        let _the_first_counts = self.stopped.set(Instant::now());
    }

    /// The longest time without an acknowledgement that reaches beyond `since`.
    pub fn longest_silence(&self, since: Moment) -> Duration {
        let acks = self.acks();
        let starts = [Moment::ZERO].into_iter().chain(acks.iter().copied());
        let gaps = starts.zip(acks.iter().copied().chain([self.now()]));
        gaps.filter(|(_, end)| *end > since).map(|(start, end)| end.since(start)).max().unwrap_or_default()
    }

    /// For a node and a moment: the writes it had acknowledged until then that are missing from a primary at the end, one
    /// of these nodes.
    pub fn missing_from(&self, nodes: &[String], ends: &[Kind]) -> impl Fn(&str, Moment) -> BTreeSet<u64> + use<> {
        let found: Vec<&BTreeSet<u64>> = ends
            .iter()
            .filter_map(|kind| match kind {
                Kind::Found { node, ids } if nodes.contains(node) => Some(ids),
                _ => None,
            })
            .collect();
        let writes = self.writes();
        let missing = writes.iter().filter(|(_, write)| found.iter().any(|ids| !ids.contains(&write.id)));
        let missing = missing.filter_map(|(at, write)| match &write.outcome {
            Outcome::Acked { node, .. } => Some((node.clone(), self.moment(*at), write.id)),
            Outcome::NotAcked { .. } => None,
        });
        let missing: Vec<(String, Moment, u64)> = missing.collect();
        move |by, until| missing.iter().filter(|(node, at, _)| node == by && *at <= until).map(|(.., id)| *id).collect()
    }

    pub fn write_into(&self, trace: &mut Trace) {
        trace.push(Moment::ZERO, Kind::ClientsBegan);
        if let Some(stopped) = self.stopped.get() {
            trace.push(self.moment(*stopped), Kind::ClientsStopped);
        }
        self.write_answers_into(trace);
    }

    /// What clients were told, without when they began and ended.
    pub fn write_answers_into(&self, trace: &mut Trace) {
        for (at, read) in self.reads.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            trace.push(self.moment(*at), read.clone());
        }
        for (at, write) in self.writes().iter() {
            let sent = self.moment(write.sent);
            let (client, id) = (write.client, write.id);
            let kind = match &write.outcome {
                Outcome::Acked { node, warning } => {
                    Kind::Acked { client, id, node: node.clone(), sent, warning: *warning }
                }
                Outcome::NotAcked { known_failed, unpromised } => {
                    Kind::NotAcked { client, id, known_failed: *known_failed, unpromised: *unpromised, sent }
                }
            };
            trace.push(self.moment(*at), kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(node: &str, sent: Instant) -> Write {
        Write { client: 0, id: 1, sent, outcome: Outcome::Acked { node: node.into(), warning: false } }
    }

    #[test]
    fn only_writes_sent_since_then_prove_that_a_node_is_writable() {
        let ledger = Ledger::begin();
        let since = Instant::now();
        let before = since - Duration::from_millis(2);
        ledger.note(write("smdw", before));
        assert!(!ledger.is_writable(since, None));
        ledger.note(write("mdw", Instant::now()));
        assert!(ledger.is_writable(since, None));
        assert!(!ledger.is_writable(since, Some("mdw")));
        assert!(ledger.is_writable(since, Some("smdw")));
        assert!(!ledger.is_quiet(since, Duration::from_secs(1)));
        assert_eq!(ledger.acks().len(), 2);
    }
}
