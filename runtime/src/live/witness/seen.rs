//! What was seen of all nodes, as events of the trace.

use super::server_log::Names;
use pgbaton_core::check::Kind;
use pgbaton_core::model::{KeeperRecord, Lsn, NodeId, Seal, Timeline};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct Seen {
    /// Milliseconds since 1970.
    pub at: u64,
    pub node: String,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    Stored(Box<KeeperRecord>),
    Failed(String),
    /// The WAL past a fork was copied to a place of its own.
    KeptAside,
    Opened(Timeline),
    Closed,
    Names(Names),
    Branched {
        tli: Timeline,
        parent: Timeline,
        fork: Lsn,
    },
    /// The node's server was asked for WAL.
    AskedBy(NodeId),
    Receives,
    ReceivesNoMore,
}

/// When a node whose files a hand had removed opened next, on others. What it acknowledged until then is out of everybody's
/// reach: a server keeps the files it has open, and clients may read its last answers after its end.
pub fn opens_anew(node: &str, removed: u64, seen: &[Seen]) -> Option<u64> {
    let opens = |s: &&Seen| s.node == node && s.at >= removed && matches!(s.what, What::Opened(_));
    seen.iter().filter(opens).map(|s| s.at).min()
}

/// `gone` gives the writes that a node had acknowledged until then and that are nowhere at the end. What else a rewind
/// or a clone took away can't be read: the directory belongs to no server by then.
pub fn events(seen: &[Seen], gone: impl Fn(&str, u64) -> BTreeSet<u64>) -> Vec<(u64, Kind)> {
    let ids = seen.iter().filter_map(|s| match &s.what {
        What::Stored(record) => Some((record.node, s.node.as_str())),
        _ => None,
    });
    let mut all = Fold { names: ids.collect(), ..Fold::default() };
    for Seen { at, node, what } in seen {
        all.follow(*at, node, what, &gone);
    }
    all.events
}

#[derive(Default)]
struct Fold<'a> {
    names: BTreeMap<NodeId, &'a str>,
    /// Whom each standby has asked last, and from whom its receiver gets WAL.
    asked: BTreeMap<&'a str, &'a str>,
    streams: BTreeMap<&'a str, &'a str>,
    records: BTreeMap<&'a str, &'a KeeperRecord>,
    events: Vec<(u64, Kind)>,
}

impl<'a> Fold<'a> {
    fn follow(&mut self, at: u64, node: &'a str, what: &'a What, gone: &impl Fn(&str, u64) -> BTreeSet<u64>) {
        let name = node.to_string();
        let kind = match what {
            What::Opened(tli) => Kind::Opened { node: name, tli: *tli },
            What::Closed => Kind::Closed { node: name },
            What::Names(names) => Kind::Names { node: name, k: names.k, of: names.of.clone() },
            What::Branched { tli, parent, fork } => {
                Kind::Branched { node: name, tli: *tli, parent: *parent, fork: *fork }
            }
            What::AskedBy(standby) => {
                if let Some(standby) = self.names.get(standby) {
                    self.asked.insert(standby, node);
                }
                return;
            }
            What::Receives => {
                let Some(from) = self.asked.get(node).copied() else { return };
                self.streams.insert(node, from);
                Kind::Received { node: name, from: from.to_string() }
            }
            What::ReceivesNoMore => {
                self.streams.remove(node);
                return;
            }
            // All that a rewind will take away lies past the fork.
            What::KeptAside => Kind::KeptAside { node: name, ids: gone(node, at) },
            What::Failed(step) => Kind::Failed { node: name, step: step.clone() },
            What::Stored(record) => return self.stored(at, node, record, gone),
        };
        self.events.push((at, kind));
    }

    fn stored(&mut self, at: u64, node: &'a str, record: &'a KeeperRecord, gone: &impl Fn(&str, u64) -> BTreeSet<u64>) {
        let before = self.records.insert(node, record);
        let gist = |r: &KeeperRecord| (r.epoch, r.state, r.goal(), r.seal, r.system_id);
        let name = node.to_string();
        if before.is_some_and(|before| before.rebuild.is_some()) && record.rebuild.is_none() {
            self.events.push((at, Kind::Rebuilt { node: name.clone(), gone: gone(node, at) }));
        }
        if before.map(gist) == Some(gist(record)) {
            return;
        }
        let (epoch, state, goal, seal, system_id) = gist(record);
        self.events.push((at, Kind::Stored { node: name.clone(), epoch, state, goal, seal, system_id }));
        let sealed = |r: &KeeperRecord| r.seal.filter(|s: &Seal| s.epoch == r.epoch);
        let newly_sealed = sealed(record).is_some() && before.and_then(sealed) != sealed(record);
        if let Some(from) = self.streams.get(node).filter(|_| newly_sealed) {
            // It has promised to get no more, and goes on.
            self.events.push((at, Kind::Received { node: name, from: from.to_string() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{Epoch, GroupKey, Position, Rebuild};

    fn record(id: u32, change: impl FnOnce(&mut KeeperRecord)) -> What {
        let group = GroupKey { formation: "default".into(), group: 0 };
        let mut record = KeeperRecord::new(group, NodeId(id), "x".into());
        change(&mut record);
        What::Stored(Box::new(record))
    }

    fn told(seen: Vec<(&str, What)>) -> Vec<String> {
        let seen: Vec<Seen> =
            seen.into_iter().zip(1..).map(|((node, what), at)| Seen { at, node: node.into(), what }).collect();
        let told = events(&seen, |node, at| if node == "a" { [at].into() } else { [].into() });
        told.into_iter()
            .map(|(at, kind)| match kind {
                Kind::Stored { node, .. } => format!("{at} {node} stored"),
                Kind::Received { node, from } => format!("{at} {node} from {from}"),
                Kind::Rebuilt { node, gone } => format!("{at} {node} without {gone:?}"),
                other => format!("{at} {other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_receiver_that_outlives_a_seal_is_told_of() {
        let sealed = || {
            record(2, |r| {
                r.epoch = Epoch(2);
                r.seal = Some(Seal { epoch: Epoch(2), position: Position::new(1, 100) });
            })
        };
        let start = || vec![("b", record(2, |_| {})), ("a", What::AskedBy(NodeId(2))), ("b", What::Receives)];
        let then = |more: Vec<_>| told(start().into_iter().chain(more).collect());
        assert_eq!(
            then(vec![("b", What::ReceivesNoMore), ("b", sealed())]),
            ["1 b stored", "3 b from a", "5 b stored"]
        );
        assert_eq!(then(vec![("b", sealed())]), ["1 b stored", "3 b from a", "4 b stored", "4 b from a"]);
        assert_eq!(then(vec![("b", sealed()), ("b", sealed())]).len(), 4, "once, and no record twice");
    }

    #[test]
    fn a_server_goes_on_with_removed_files_until_it_opens_on_others() {
        let of = |node: &str, at, what| Seen { at, node: node.into(), what };
        let opened = |node, at| of(node, at, What::Opened(Timeline(1)));
        let closed = of("a", 9, What::Closed);
        let seen = [opened("a", 3), opened("b", 6), closed, opened("a", 11), opened("a", 14)];
        assert_eq!(opens_anew("a", 5, &seen), Some(11), "what clients read after its end was said before");
        assert_eq!(opens_anew("a", 10, &seen), Some(11), "it wasn't open");
        assert_eq!(opens_anew("a", 20, &seen), None);
    }

    #[test]
    fn a_rebuild_ends_with_its_mark() {
        let marked = || record(1, |r| r.rebuild = Some(Rebuild::Rewind));
        let all = told(vec![("a", marked()), ("a", marked()), ("a", record(1, |_| {}))]);
        assert_eq!(all, ["1 a stored", "3 a without {3}"]);
    }
}
