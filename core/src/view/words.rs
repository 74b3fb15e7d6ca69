//! Each event as a line of text, in parts that say what they stand for: a terminal and a page colour the same parts.

use crate::check::{Answered, Event, Fault, Kind, Trace};
use crate::model::{NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// What a part of a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    State(NodeState),
    /// What was done to the world.
    Step,
    /// A server takes writes from here on.
    Opens,
    Closes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub tone: Tone,
    pub text: String,
}

fn part(tone: Tone, text: impl Into<String>) -> Part {
    Part { tone, text: text.into() }
}

/// The names that a line needs: how wide they are, and whom a number means.
#[derive(Debug)]
pub struct Words<'a> {
    width: usize,
    names: BTreeMap<NodeId, &'a str>,
}

impl<'a> Words<'a> {
    pub fn of(trace: &'a Trace) -> Words<'a> {
        let named = trace.events.iter().filter_map(|e| match &e.kind {
            Kind::Node { node, id, .. } => Some((*id, node.as_str())),
            _ => None,
        });
        Words { width: trace.nodes.iter().map(String::len).max().unwrap_or(0), names: named.collect() }
    }

    /// The line of an event: seconds, who, what. Without spaces at its end.
    pub fn line(&self, event: &Event) -> Vec<Part> {
        let at = event.at.seconds();
        let mut parts = match &event.kind {
            Kind::Step { text } => {
                vec![part(Tone::Plain, format!("{at:>9.3}  ")), part(Tone::Step, format!("[{text}]"))]
            }
            kind => match who(kind) {
                Some(node) => vec![part(Tone::Plain, format!("{at:>9.3}  {node:<width$}  ", width = self.width))],
                None => vec![part(Tone::Plain, format!("{at:>9.3}  "))],
            },
        };
        parts.extend(self.what(&event.kind));
        if let Some(last) = parts.last_mut() {
            last.text.truncate(last.text.trim_end().len());
        }
        parts
    }

    fn what(&self, kind: &Kind) -> Vec<Part> {
        match kind {
            Kind::Step { .. } => vec![],
            Kind::Node { reported, goal, epoch, rule, description, .. } => {
                let rule = rule.map_or_else(|| "   ".to_string(), |r| r.to_string());
                vec![
                    part(Tone::State(*reported), format!("{reported:>17}")),
                    part(Tone::Plain, " -> "),
                    part(Tone::State(*goal), format!("{goal:<17}")),
                    part(Tone::Plain, format!("  e{epoch} {rule}  {description}")),
                ]
            }
            Kind::Opened { .. } => vec![part(Tone::Opens, "accepts writes")],
            Kind::Closed { .. } => vec![part(Tone::Closes, "accepts no writes")],
            Kind::Stored { epoch, state, goal, seal, .. } => {
                let mut parts = vec![part(Tone::Plain, format!("keeper stores e{epoch} ")), state_part(*state)];
                if let Some(goal) = goal {
                    parts.extend([part(Tone::Plain, " -> "), state_part(*goal)]);
                }
                if let Some(seal) = seal {
                    let (tli, lsn) = (seal.position.tli, seal.position.lsn);
                    parts.push(part(Tone::Plain, format!(", sealed in e{} at {lsn} of timeline {tli}", seal.epoch)));
                }
                parts
            }
            Kind::Ended { reported, goal, pending, runs, .. } => {
                let pending = pending.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
                let keeper = if *runs { "" } else { ", its keeper doesn't run" };
                vec![
                    part(Tone::Plain, "ends as "),
                    state_part(*reported),
                    part(Tone::Plain, " -> "),
                    state_part(*goal),
                    part(Tone::Plain, format!("{pending}{keeper}")),
                ]
            }
            other => vec![part(Tone::Plain, self.sentence(other))],
        }
    }

    /// The events that have no states in them.
    fn sentence(&self, kind: &Kind) -> String {
        match kind {
            Kind::Names { k: 0, .. } => "its backends wait for no standby".into(),
            Kind::Names { k, of, .. } => format!("its backends wait for any {k} of {}", self.names(of)),
            Kind::Branched { tli, parent, fork, .. } => format!("promoted: timeline {tli} leaves {parent} at {fork}"),
            Kind::Received { from, .. } => format!("receives WAL from {from}"),
            Kind::KeptAside { ids, .. } if ids.is_empty() => {
                "its WAL past the fork is kept aside, no write is in it".into()
            }
            Kind::KeptAside { ids, .. } => format!("the WAL of writes {} is kept aside", ranges(ids)),
            Kind::Failed { step, .. } => format!("{step} failed"),
            Kind::Rebuilt { gone, .. } if gone.is_empty() => "its directory was replaced, no write went with it".into(),
            Kind::Rebuilt { gone, .. } => format!("its directory was replaced, with it went writes {}", ranges(gone)),
            Kind::Fault { fault, nodes } if nodes.is_empty() => fault_word(*fault).into(),
            Kind::Fault { fault, nodes } => format!("{}: {}", fault_word(*fault), nodes.join(", ")),
            Kind::Asked { order } => format!("asked: {order}"),
            Kind::Told { order, answer } => format!("{}: {order}", answer_words(answer)),
            Kind::Healed => "the story is over: all links are mended, nothing goes wrong from here on".into(),
            Kind::ClientsBegan => "clients begin to write".into(),
            Kind::ClientsStopped => "clients are told to stop".into(),
            Kind::Acked { client, id, sent, warning, .. } => {
                let warned = if *warning { ", with a warning" } else { "" };
                format!("acknowledged write {id} to client {client}, sent {:.3}{warned}", sent.seconds())
            }
            Kind::NotAcked { client, id, known_failed, sent, .. } => {
                let how = if *known_failed { "was refused" } else { "knows nothing of" };
                format!("client {client} {how} write {id}, sent {:.3}", sent.seconds())
            }
            Kind::Read { ids, .. } => format!("a client read back writes {}", ranges(ids)),
            Kind::StandbyRead { ids, .. } => format!("a client read writes {} on it, a standby", ranges(ids)),
            Kind::Found { ids, .. } => format!("at the end it has writes {}", ranges(ids)),
            Kind::Configured { system_id, names, slots, follows, .. } => format!(
                "ends configured: system {system_id}, synchronous_standby_names {}, slots for {}, follows {}",
                self.names(names),
                self.names(slots),
                follows.as_deref().unwrap_or("nobody")
            ),
            Kind::Shown { position, health, pending, .. } => {
                let health = match health {
                    1 => "",
                    0 => ", lost or not answering",
                    _ => ", not heard of since the monitor started",
                };
                let pending = pending.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
                format!("shown at {} of timeline {}{health}{pending}", position.lsn, position.tli)
            }
            Kind::Step { .. }
            | Kind::Node { .. }
            | Kind::Opened { .. }
            | Kind::Closed { .. }
            | Kind::Stored { .. }
            | Kind::Ended { .. } => unreachable!("these have parts of their own"),
        }
    }

    fn names(&self, ids: &BTreeSet<NodeId>) -> String {
        let name = |id: &NodeId| self.names.get(id).map_or_else(|| id.to_string(), |name| name.to_string());
        match ids.is_empty() {
            true => "nobody".into(),
            false => ids.iter().map(name).collect::<Vec<_>>().join(", "),
        }
    }

    /// A contract with names in place of numbers.
    pub fn contract(&self, in_force: &str) -> String {
        let number = |word: &str| {
            let named = word.parse().ok().and_then(|id| self.names.get(&NodeId(id)));
            named.map_or_else(|| word.to_string(), |name| name.to_string())
        };
        let one = |text: &str| match text.split_once('(').and_then(|(k, rest)| Some((k, rest.strip_suffix(')')?))) {
            Some((k, members)) => format!("{k}{}", members.split(", ").map(number).collect::<Vec<_>>().join(", ")),
            None => text.to_string(),
        };
        in_force.split("; ").map(one).collect::<Vec<_>>().join("; ")
    }
}

fn state_part(state: NodeState) -> Part {
    part(Tone::State(state), state.name())
}

/// Whose line it is.
pub fn who(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::Node { node, .. }
        | Kind::Opened { node, .. }
        | Kind::Closed { node }
        | Kind::Names { node, .. }
        | Kind::Branched { node, .. }
        | Kind::Received { node, .. }
        | Kind::KeptAside { node, .. }
        | Kind::Rebuilt { node, .. }
        | Kind::Failed { node, .. }
        | Kind::Stored { node, .. }
        | Kind::Acked { node, .. }
        | Kind::Read { node, .. }
        | Kind::StandbyRead { node, .. }
        | Kind::Found { node, .. }
        | Kind::Ended { node, .. }
        | Kind::Configured { node, .. }
        | Kind::Shown { node, .. } => Some(node),
        Kind::Step { .. }
        | Kind::Fault { .. }
        | Kind::Asked { .. }
        | Kind::Told { .. }
        | Kind::Healed
        | Kind::ClientsBegan
        | Kind::ClientsStopped
        | Kind::NotAcked { .. } => None,
    }
}

fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Monitor => "counts as a fault of the monitor",
        Fault::MonitorStore => "counts as another store for the monitor",
        Fault::Keeper => "counts as a fault of a keeper",
        Fault::Postgres => "counts as a fault of Postgres",
        Fault::Machine => "counts as a fault of machines",
        Fault::Disk => "counts as the loss of machines with their disks",
        Fault::Pause => "counts as a pause",
        Fault::Service => "counts as a stop in order",
        Fault::Link => "counts as a fault of links",
        Fault::Mend => "counts as mended",
        Fault::Order => "counts as an order",
        Fault::Rogue => "counts as a hand behind the keeper's back",
        Fault::Other => "counts as a fault that may cost anything",
    }
}

fn answer_words(answer: &Answered) -> String {
    match answer {
        Answered::Accepted => "accepted".into(),
        Answered::Refused { why } => format!("refused ({why})"),
        Answered::Lost { why } => format!("without an answer ({why})"),
    }
}

/// `1-7, 9`: numbers that follow each other as a range.
fn ranges<T: Display + Copy + Into<u64>>(ids: &BTreeSet<T>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for id in ids.iter().map(|id| (*id).into()) {
        match runs.last_mut() {
            Some((_, to)) if *to + 1 == id => *to = id,
            _ => runs.push((id, id)),
        }
    }
    let one = |(from, to): &(u64, u64)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    match runs.is_empty() {
        true => "none".into(),
        false => runs.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::trace::Event;
    use crate::model::{Epoch, Moment};

    fn row(node: &str, id: u32) -> Kind {
        Kind::Node {
            node: node.into(),
            id: NodeId(id),
            reported: NodeState::Single,
            goal: NodeState::WaitPrimary,
            epoch: Epoch(3),
            in_force: "none".into(),
            rule: Some(105),
            description: "makes room ".into(),
        }
    }

    #[test]
    fn a_line_has_its_states_as_parts_and_no_space_at_its_end() {
        let mut trace = Trace { nodes: vec!["mdw".into(), "s".into()], ..Trace::default() };
        trace.push(Moment(1_500_000), row("s", 7));
        let words = Words::of(&trace);
        let parts = words.line(&trace.events[0]);
        let text: String = parts.iter().map(|p| p.text.as_str()).collect();
        assert_eq!(text, "    1.500  s               single -> wait_primary       e3 105  makes room");
        assert_eq!(parts[1].tone, Tone::State(NodeState::Single));
        assert_eq!(parts[3].tone, Tone::State(NodeState::WaitPrimary));
        let names =
            Event { at: Moment(0), kind: Kind::Names { node: "mdw".into(), k: 1, of: [NodeId(7), NodeId(9)].into() } };
        assert_eq!(words.line(&names)[1].text, "its backends wait for any 1 of s, 9");
        assert_eq!(words.contract("any 1 of (7, 9); none"), "any 1 of s, 9; none");
    }

    #[test]
    fn numbers_that_follow_each_other_are_a_range() {
        assert_eq!(ranges(&BTreeSet::from([1u64, 2, 3, 5, 9, 10])), "1-3, 5, 9-10");
        assert_eq!(ranges::<u64>(&BTreeSet::new()), "none");
    }
}
