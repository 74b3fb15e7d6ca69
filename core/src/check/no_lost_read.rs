//! S1c: what a client has read on a primary is there at the end. A write whose wait was cancelled, which Postgres
//! says with a warning, was shown on no promise, nor was one of a session that waits for nobody, or that somebody ended
//! while it waited; nor one that an old primary shows while it is being closed, which ends all waits, after the role has
//! moved on; nor one on a server that somebody has opened by hand, before its members held what a crash left there.

use super::given_up::GivenUp;
use super::rogues::Rogues;
use super::roles::Role;
use super::trace::{Kind, Trace};
use crate::scenario::words;
use std::collections::{BTreeMap, BTreeSet};

/// What a hand does to commits that wait.
const FREES: [&str; 2] = [words::CANCEL_WAITERS, words::TERMINATE_WAITERS];

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut read = BTreeMap::new();
    let mut cancelled = BTreeSet::new();
    let mut freed = Vec::new();
    // Their clients have given them up; they may wait still.
    let mut unknown = BTreeSet::new();
    let mut found = Vec::new();
    let given_up = GivenUp::of(trace);
    let mut role = Role::default();
    let mut rogues = Rogues::default();
    for event in &trace.events {
        role.follow(event.at, &event.kind);
        rogues.follow(&event.kind);
        match &event.kind {
            Kind::Read { node, .. } if rogues.has(node) => {}
            Kind::Read { node, ids } if role.holder.is_none_or(|holder| holder == node) => ids.iter().for_each(|id| {
                read.entry(*id).or_insert((node, event.at));
            }),
            Kind::Acked { id, warning: true, .. } => {
                cancelled.insert(*id);
            }
            Kind::Step { text } if FREES.iter().any(|words| text.starts_with(words)) => {
                freed.push(event.at);
                cancelled.extend(unknown.iter().filter(|id| !read.contains_key(*id)));
            }
            Kind::NotAcked { id, sent, unpromised, .. } if *unpromised || freed.iter().any(|at| sent <= at) => {
                cancelled.insert(*id);
            }
            Kind::NotAcked { id, known_failed: false, .. } => _ = unknown.insert(*id),
            Kind::Found { ids, .. } => found.push(ids),
            _ => {}
        }
    }
    let missing = |id: &u64| !cancelled.contains(id) && found.iter().any(|ids| !ids.contains(id));
    match read.iter().find(|(id, (node, at))| missing(id) && !given_up.has(**id, node, *at, trace.end())) {
        None => Ok(()),
        Some((id, (node, at))) => {
            Err(format!("write {id} was read on {node} at {:.3} s and is gone at the end", at.seconds()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::Waiver;

    #[test]
    fn what_was_read_and_is_gone_is_found() {
        let read = |ids: &[u64]| Kind::Read { node: "a".into(), ids: ids.iter().copied().collect() };
        assert_eq!(check(&trace(vec![(1, read(&[1, 2])), (9, found(&[1, 2, 3]))])), Ok(()));
        let gone = check(&trace(vec![(1, read(&[1, 2])), (9, found(&[1]))]));
        assert_eq!(gone, Err("write 2 was read on a at 0.001 s and is gone at the end".into()));
        let warned = Kind::Acked { client: 0, id: 2, node: "a".into(), sent: crate::model::Moment(0), warning: true };
        assert_eq!(check(&trace(vec![(0, warned), (1, read(&[1, 2])), (9, found(&[1]))])), Ok(()));
    }

    #[test]
    fn what_a_server_shows_that_was_opened_by_hand_is_not_the_groups_doing() {
        let run = |begin: Vec<Kind>| {
            let read = Kind::Read { node: "a".into(), ids: [2].into() };
            let all = begin.into_iter().chain([read, found(&[])]);
            check(&trace(all.enumerate().map(|(at, kind)| (at as u64, kind)).collect()))
        };
        let hand = || fault(super::super::trace::Fault::Rogue, &["a"]);
        assert_eq!(run(vec![node("a", DemoteTimeout, DemoteTimeout, 1), hand(), opened("a", 2)]), Ok(()));
        assert!(run(vec![node("a", Primary, Primary, 1), hand()]).is_err(), "it was to be open");
        assert!(run(vec![hand(), opened("a", 2), closed("a"), opened("a", 2)]).is_err(), "and by its keeper then");
    }

    #[test]
    fn a_commit_whose_session_was_ended_while_it_waited_was_shown_on_no_promise() {
        let read = Kind::Read { node: "a".into(), ids: [2].into() };
        let freed = Kind::Step { text: "terminate the waiting commits of a".into() };
        let broke = |sent, unpromised| {
            let sent = crate::model::Moment(sent);
            Kind::NotAcked { client: 0, id: 2, known_failed: false, unpromised, sent }
        };
        let run = |broke| check(&trace(vec![(2, freed.clone()), (3, broke), (4, read.clone()), (9, found(&[]))]));
        assert_eq!(run(broke(1_000, false)), Ok(()));
        assert!(run(broke(2_500, false)).is_err(), "it was sent after that");
        assert_eq!(run(broke(2_500, true)), Ok(()), "its session waits for nobody");
        let first = |more: (u64, Kind)| {
            vec![(1, broke(0, false)), more, (3, freed.clone()), (4, read.clone()), (9, found(&[]))]
        };
        let nothing = || (2, Kind::Step { text: "pause b".into() });
        assert_eq!(check(&trace(first(nothing()))), Ok(()), "its client has given it up, and it waited on");
        assert!(check(&trace(first((2, read.clone())))).is_err(), "it had come to its end before");
    }

    #[test]
    fn what_the_old_primary_showed_may_be_given_up() {
        let run = |read_on: &str, waiver| {
            let read = Kind::Read { node: read_on.into(), ids: [2].into() };
            let mut trace = trace(vec![
                (0, node("a", Primary, Primary, 1)),
                (10, given_up("b", 2, waiver)),
                (if read_on == "a" { 5 } else { 15 }, read),
                (99, found(&[])),
            ]);
            trace.sort();
            check(&trace)
        };
        assert_eq!(run("a", Some(Waiver::Policy)), Ok(()));
        assert!(run("a", None).is_err());
        assert!(run("b", Some(Waiver::Policy)).is_err(), "the new one showed it");
    }
}
