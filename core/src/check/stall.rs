//! L7: a group that doesn't settle says why, in one of the ways the monitor knows, and the world agrees with it.

use super::convergence::settled;
use super::rogues::Rogues;
use super::trace::{Answered, Fault, Kind, Terms, Trace};
use crate::model::NodeState;
use crate::monitor::stall::{NO_PRIORITY, NO_PRIORITY_LEFT, OLDER};
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};

/// How a reason begins that leaves the primary in its role.
const COMMITS_WAIT: &str = "commits wait";

pub fn check(trace: &Trace) -> Result<(), String> {
    match settled(trace) {
        Ok(()) => Ok(()),
        Err(how) => reason(trace).map(|_| ()).map_err(|why| format!("{how}; {why}")),
    }
}

/// What the nodes were said to wait for at the end.
pub fn reasons(trace: &Trace) -> impl Iterator<Item = &str> {
    trace.events.iter().filter_map(|e| match &e.kind {
        Kind::Ended { pending, .. } => pending.as_deref(),
        _ => None,
    })
}

/// The lawful reason for which the group waits; an error says why there is none.
pub fn reason(trace: &Trace) -> Result<&str, String> {
    let facts = Facts::of(trace);
    let mut refused = Vec::new();
    for text in reasons(trace) {
        match facts.agree_with(text) {
            Ok(()) => return Ok(text),
            Err(why) => refused.push(format!("\"{text}\": {why}")),
        }
    }
    Err(if refused.is_empty() { "no reason is published".into() } else { refused.join("; ") })
}

/// Whom the lawful reasons keep from settling: everybody, where nobody holds the role; where commits wait those alone that
/// the reason names, as any other could follow the primary and acknowledge.
#[derive(Default)]
pub struct Excuse<'a> {
    everybody: bool,
    named: BTreeSet<&'a str>,
}

impl<'a> Excuse<'a> {
    pub fn of(trace: &'a Trace) -> Excuse<'a> {
        let facts = Facts::of(trace);
        let mut excuse = Excuse::default();
        for text in reasons(trace).filter(|text| facts.agree_with(text).is_ok()) {
            match text.starts_with(COMMITS_WAIT) {
                true => excuse.named.extend(words(text)),
                false => excuse.everybody = true,
            }
        }
        if !excuse.named.is_empty() {
            excuse.named.extend(facts.members.iter().filter(|(_, member)| !member.runs).map(|(node, _)| *node));
        }
        excuse
    }

    pub fn covers(&self, node: &str) -> bool {
        self.everybody || self.named.contains(node)
    }

    pub fn is_none(&self) -> bool {
        !self.everybody && self.named.is_empty()
    }
}

struct Facts<'a> {
    members: BTreeMap<&'a str, Member>,
    /// The monitor was given another store.
    knows_less: bool,
    /// Those that never lead, by what somebody has wanted of each.
    never_lead: BTreeSet<&'a str>,
    /// Those that were such at any time: another store may remember it.
    ever: BTreeSet<&'a str>,
}

/// Of the group, at the end.
#[derive(Clone, Copy)]
struct Member {
    goal: NodeState,
    /// Its keeper runs, isn't frozen and has its data, as far as is known.
    runs: bool,
    /// It holds a history of its own: it has no vote, and a primary that is there takes it back.
    strayed: bool,
    /// What it held is gone: what has come back at its address has nothing of it.
    lost: bool,
}

impl Member {
    fn votes(&self) -> bool {
        self.runs && !self.strayed
    }
}

impl<'a> Facts<'a> {
    fn of(trace: &'a Trace) -> Facts<'a> {
        let begin: BTreeSet<&str> = trace.terms.never_lead.iter().map(String::as_str).collect();
        let mut facts = Facts { members: BTreeMap::new(), knows_less: false, never_lead: begin.clone(), ever: begin };
        let mut frozen: BTreeSet<&str> = BTreeSet::new();
        let (mut hurt, mut lost) = (BTreeSet::<&str>::new(), BTreeSet::<&str>::new());
        let mut strayed: BTreeSet<&str> = BTreeSet::new();
        let mut rogues = Rogues::default();
        for event in &trace.events {
            match &event.kind {
                Kind::Closed { node } if rogues.has(node) => _ = strayed.insert(node),
                Kind::Fault { fault: Fault::Pause, nodes } => frozen.extend(nodes.iter().map(String::as_str)),
                Kind::Fault { fault: Fault::Mend, nodes } => nodes.iter().for_each(|n| {
                    frozen.remove(n.as_str());
                }),
                // What a drawn story breaks it has mended.
                Kind::Fault { fault: Fault::Other, nodes } if !trace.terms.drawn => {
                    hurt.extend(nodes.iter().map(String::as_str));
                }
                Kind::Fault { fault: Fault::Disk, nodes } => {
                    lost.extend(nodes.iter().map(String::as_str));
                    facts.forgets_what_was_set(nodes, &trace.terms);
                }
                Kind::Step { text } => {
                    frozen.extend(text.strip_prefix(words::PAUSE_KEEPER).map(str::trim_start));
                    lost.extend(text.strip_prefix(words::LOSE_DIRECTORY).map(str::trim_start));
                }
                // The group has it again.
                Kind::Node { node, reported, goal, .. }
                    if reported == goal && matches!(goal, NodeState::Secondary | NodeState::Primary) =>
                {
                    for set in [&mut hurt, &mut lost, &mut strayed] {
                        set.remove(node.as_str());
                    }
                }
                Kind::Ended { node, runs, goal, .. } => {
                    let is_in = |set: &BTreeSet<&str>| set.contains(node.as_str());
                    let runs = *runs && !is_in(&frozen) && !is_in(&hurt) && !rogues.has(node);
                    let (lost, strayed) = (is_in(&lost), is_in(&strayed));
                    facts.members.insert(node, Member { goal: *goal, runs, strayed, lost });
                }
                kind => facts.wants(kind),
            }
            rogues.follow(&event.kind);
        }
        facts
    }

    /// Who shall lead and who shall not, as far as this says it.
    fn wants(&mut self, kind: &'a Kind) {
        match kind {
            Kind::Told { order, answer } if !matches!(answer, Answered::Refused { .. }) => {
                let of = |what: &str| Some(order.split_once(what)?.1);
                let name = of("name: \"").and_then(|rest| Some(rest.split_once('"')?.0));
                match (name, of("candidate_priority: Some(")) {
                    (Some(name), Some(priority)) if priority.starts_with("0)") => {
                        self.never_lead.insert(name);
                        self.ever.insert(name);
                    }
                    (Some(name), Some(_)) if *answer == Answered::Accepted => _ = self.never_lead.remove(name),
                    _ => {}
                }
            }
            Kind::Fault { fault: Fault::MonitorStore, .. } => {
                self.knows_less = true;
                self.never_lead = self.ever.clone();
            }
            _ => {}
        }
    }

    /// These come back as they came first.
    fn forgets_what_was_set(&mut self, nodes: &[String], begin: &'a Terms) {
        self.never_lead.retain(|node| !nodes.iter().any(|n| n == node));
        self.never_lead.extend(begin.never_lead.iter().filter(|n| nodes.contains(n)).map(String::as_str));
    }

    fn agree_with(&self, text: &str) -> Result<(), String> {
        let Some((kind, what)) = text.split_once(": ") else { return Err("it is none of the known reasons".into()) };
        let is_down = |member: &Member| !member.votes() || member.lost;
        let a_named_is_down = || words(what).any(|word| self.members.get(word).is_some_and(is_down));
        match kind {
            "waits for the operator" if what.starts_with(OLDER) && self.knows_less => Ok(()),
            "waits for the operator" if what.starts_with(NO_PRIORITY) && self.nobody_may_lead() => Ok(()),
            "waits for the operator" if what.starts_with(NO_PRIORITY_LEFT) && !self.never_lead.is_empty() => Ok(()),
            "waits for the operator" => Err("nothing was done that only an operator could mend".into()),
            // Of those that are missing one may be enough.
            "waits for nodes" if a_named_is_down() => Ok(()),
            // It can't name whom it has forgotten.
            "waits for nodes" if what.starts_with(OLDER) && self.members.values().any(|member| !member.votes()) => {
                Ok(())
            }
            "waits for WAL" if a_named_is_down() => Ok(()),
            "waits for nodes" | "waits for WAL" => Err("it names no member that is down".into()),
            COMMITS_WAIT => self.commits_wait(what),
            _ => Err("it is none of the known reasons".into()),
        }
    }

    fn nobody_may_lead(&self) -> bool {
        let could = |(node, member): (&&str, &Member)| {
            let stands_by = !member.goal.belongs_to_primary() && !is_resting(member.goal);
            member.votes() && stands_by && !self.never_lead.contains(*node)
        };
        !self.members.iter().any(could)
    }

    /// Too few are left of those that a primary asks to acknowledge: "any 1 of a, b must acknowledge".
    fn commits_wait(&self, what: &str) -> Result<(), String> {
        let demand = what.split_once("any ").and_then(|(_, rest)| rest.split_once(" must acknowledge"));
        let demand = demand.and_then(|(demand, _)| demand.split_once(" of "));
        let Some((Ok(k), members)) = demand.map(|(k, members)| (k.parse::<usize>(), members)) else {
            return Err("it doesn't say who must acknowledge".into());
        };
        let able = |name: &&str| self.members.get(name).is_some_and(|m| m.runs && !is_resting(m.goal));
        match members.split(", ").filter(able).count() < k {
            true => Ok(()),
            false => Err(format!("{k} of them run")),
        }
    }
}

/// In an operator's hands.
fn is_resting(goal: NodeState) -> bool {
    matches!(goal, NodeState::Maintenance | NodeState::WaitMaintenance)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    fn ends(pending: Option<&str>, a_runs: bool, more: Vec<(u64, Kind)>) -> Result<(), String> {
        let a = Kind::Ended { node: "a".into(), reported: Primary, goal: Draining, pending: None, runs: a_runs };
        let end = [(9, a), (9, waiting("b", ReportLsn, ReportLsn, pending))];
        check(&trace(more.into_iter().chain(end).collect()))
    }

    #[test]
    fn a_reason_counts_only_when_the_world_agrees() {
        assert_eq!(ends(Some("waits for nodes: a"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for nodes: a"), true, vec![]).unwrap_err().contains("no member that is down"));
        assert_eq!(ends(Some("waits for nodes: one of a, b must come back"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for nodes: b"), false, vec![]).is_err());
        let disk = || (1, fault(Fault::Disk, &["a"]));
        assert_eq!(ends(Some("waits for nodes: a"), true, vec![disk()]), Ok(()), "what it held is lost");
        let cloned = (2, node("a", Secondary, Secondary, 1));
        assert!(ends(Some("waits for nodes: a"), true, vec![disk(), cloned]).is_err());
        let in_doubt = "waits for nodes: what the monitor knows is older than what they report; the primary tells";
        assert_eq!(ends(Some(in_doubt), false, vec![]), Ok(()));
        assert!(ends(Some(in_doubt), true, vec![]).is_err());
        let sealing = |whom| format!("waits for nodes: the votes of an election are being sealed, of {whom} not yet");
        assert_eq!(ends(Some(&sealing("a, b")), false, vec![]), Ok(()));
        assert!(ends(Some(&sealing("b")), false, vec![]).is_err(), "b runs");
        assert!(ends(Some(&sealing("")), false, vec![]).is_err(), "it names nobody");
        assert_eq!(ends(Some("waits for WAL: up to 0/10, held by a"), false, vec![]), Ok(()));
        assert!(ends(Some("waits for WAL: up to 0/10, held by a"), true, vec![]).is_err());
        let wait = |asked| format!("commits wait: on c any {asked} must acknowledge and the formation is strict; why");
        assert_eq!(ends(Some(&wait("1 of a")), false, vec![]), Ok(()));
        assert!(ends(Some(&wait("1 of a")), true, vec![]).is_err());
        assert!(ends(Some(&wait("1 of a, b")), false, vec![]).is_err(), "b is enough");
        assert!(ends(Some(&wait("1 of b")), false, vec![]).is_err(), "a is not asked");
        assert_eq!(ends(Some(&wait("2 of a, b")), false, vec![]), Ok(()));
        assert_eq!(ends(Some(&wait("1 of node 9")), true, vec![]), Ok(()), "it is no member any more");
        assert!(ends(Some("commits wait: 0 of 1"), false, vec![]).is_err());
        assert!(ends(Some("thinks it over"), false, vec![]).is_err());
        assert!(ends(None, false, vec![]).unwrap_err().contains("no reason is published"));
    }

    #[test]
    fn who_has_strayed_has_no_vote_and_can_follow_a_primary() {
        let hand = vec![(1, fault(Fault::Rogue, &["a"])), (2, opened("a", 2)), (3, closed("a"))];
        assert_eq!(ends(Some("waits for nodes: a"), true, hand.clone()), Ok(()));
        let wait = "commits wait: on c any 1 of a must acknowledge and the formation is strict; why";
        assert!(ends(Some(wait), true, hand.clone()).unwrap_err().contains("1 of them run"));
        assert_eq!(ends(Some(wait), false, hand), Ok(()));
    }

    #[test]
    fn commits_that_wait_excuse_those_they_wait_for() {
        let covered = |pending: &str| {
            let a = Kind::Ended { node: "a".into(), reported: Primary, goal: Primary, pending: None, runs: false };
            let run = trace(vec![(9, a), (9, waiting("b", WaitPrimary, Primary, Some(pending)))]);
            let excuse = Excuse::of(&run);
            ["a", "b", "c"].map(|node| excuse.covers(node))
        };
        assert_eq!(
            covered("commits wait: on b any 1 of a must acknowledge and the formation is strict"),
            [true, true, false]
        );
        assert_eq!(covered("waits for nodes: a is lost"), [true; 3], "there is no primary to follow");
        assert_eq!(covered("commits wait: on b any 1 of b must acknowledge"), [false; 3], "b runs");
    }

    #[test]
    fn an_operator_is_waited_for_only_where_something_needs_one() {
        let older = Some("waits for the operator: what the monitor knows is older than what they report");
        assert!(ends(older, true, vec![(1, fault(Fault::Machine, &["a"]))]).is_err());
        assert_eq!(ends(older, true, vec![(1, fault(Fault::MonitorStore, &[]))]), Ok(()));
        let nobody = Some("waits for the operator: every candidate priority is 0; perform promotion chooses one");
        assert!(ends(nobody, true, vec![(1, fault(Fault::MonitorStore, &[]))]).is_err());
        let told = |name: &str, priority: u8, answer| {
            let change = format!("NodeChange {{ candidate_priority: Some({priority}) }}");
            (1, Kind::Told { order: format!("SetNode {{ name: \"{name}\", change: {change} }}"), answer })
        };
        let accepted = |name, priority| told(name, priority, Answered::Accepted);
        assert_eq!(ends(nobody, true, vec![accepted("b", 0)]), Ok(()), "a is the old primary");
        assert!(ends(nobody, true, vec![accepted("a", 0)]).is_err(), "b may lead");
        assert!(ends(nobody, true, vec![accepted("b", 0), accepted("b", 50)]).is_err(), "it was taken back");
        assert!(ends(nobody, true, vec![told("b", 0, Answered::Refused { why: "no".into() })]).is_err());
        let lost = Answered::Lost { why: "silent".into() };
        assert_eq!(ends(nobody, true, vec![told("b", 0, lost)]), Ok(()), "it may have been heard");
        assert!(ends(nobody, true, vec![accepted("b", 0), (2, fault(Fault::Disk, &["b"]))]).is_err(), "it came anew");
        let reset = (3, fault(Fault::MonitorStore, &[]));
        assert_eq!(ends(nobody, true, vec![accepted("b", 0), accepted("b", 50), reset]), Ok(()), "an older store");
        assert!(ends(Some("waits for the operator: lineages differ"), true, vec![accepted("b", 0)]).is_err());
    }

    #[test]
    fn the_frozen_and_the_hurt_count_as_down_until_they_are_back() {
        let waits = |more| ends(Some("waits for nodes: a"), true, more);
        for frozen in [fault(Fault::Pause, &["a"]), Kind::Step { text: format!("{} a", words::PAUSE_KEEPER) }] {
            assert_eq!(waits(vec![(1, frozen.clone())]), Ok(()));
            assert!(waits(vec![(1, frozen), (2, fault(Fault::Mend, &["a"]))]).is_err());
        }
        let hurt = || vec![(1, fault(Fault::Rogue, &["a"])), (2, opened("a", 2)), (3, closed("a"))];
        let then = |kind| waits([hurt(), vec![(4, kind)]].concat());
        assert_eq!(then(node("a", Catchingup, Secondary, 1)), Ok(()));
        assert!(then(node("a", Secondary, Secondary, 1)).is_err());
        assert_eq!(waits(hurt()[..2].to_vec()), Ok(()), "it is still open");
        let in_vain = Kind::Step { text: "passed over: start by hand the server of a: it runs already".into() };
        assert!(waits(vec![(1, fault(Fault::Rogue, &["a"])), (2, in_vain)]).is_err(), "nothing came of it");
    }
}
