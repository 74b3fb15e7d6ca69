//! S9: the configuration of every server that has come to rest agrees with the group, whatever the others are about.

use super::trace::{Kind, Trace};
use super::unfenced::Frozen;
use crate::model::{NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut members: BTreeSet<&str> = BTreeSet::new();
    let mut at_rest: BTreeMap<&str, NodeState> = BTreeMap::new();
    let mut ids: BTreeMap<&str, NodeId> = BTreeMap::new();
    let mut configured = Vec::new();
    let mut frozen = Frozen::of(trace);
    for event in &trace.events {
        frozen.follow(event.at, &event.kind);
        match &event.kind {
            Kind::Ended { node, reported, goal, runs, .. } => {
                if *goal != NodeState::Dropped {
                    members.insert(node);
                }
                // Of one that stands still nobody knows what it has heard.
                if reported == goal && *runs && !frozen.is_still(node) {
                    at_rest.insert(node, *reported);
                }
            }
            Kind::Node { node, id, .. } => {
                ids.insert(node, *id);
            }
            Kind::Configured { node, id, names, slots, follows, .. } => {
                configured.push((node.as_str(), *id, names, slots, follows.as_deref()));
            }
            _ => {}
        }
    }
    // One that has lost its directory is a member all the same.
    ids.extend(configured.iter().map(|(node, id, ..)| (*node, *id)));
    let members: BTreeSet<NodeId> = ids.iter().filter(|(node, _)| members.contains(*node)).map(|(_, id)| *id).collect();
    let primary = at_rest.iter().find(|(_, state)| state.is_writable()).map(|(name, _)| *name);
    for (node, id, names, slots, follows) in configured {
        let Some(state) = at_rest.get(node) else { continue };
        let others: BTreeSet<NodeId> = members.iter().copied().filter(|m| *m != id).collect();
        if let Some(unknown) = slots.iter().find(|s| !others.contains(s)) {
            return Err(format!("{node} keeps a slot for node {unknown}, which is no other member"));
        }
        match state {
            NodeState::Primary | NodeState::WaitPrimary | NodeState::Single => {
                if let Some(unknown) = names.iter().find(|n| !others.contains(n)) {
                    return Err(format!("{node} counts on node {unknown}, which is no other member"));
                }
            }
            // Where nobody leads, others say whether that is lawful; there is nobody to follow.
            NodeState::Secondary if primary.is_some_and(|primary| follows != Some(primary)) => {
                let (follows, primary) = (follows.unwrap_or("nobody"), primary.unwrap_or("nobody"));
                return Err(format!("{node} follows {follows}, primary is {primary}"));
            }
            NodeState::Secondary if primary.is_some() => {}
            _ => continue,
        }
        // Whoever is promoted next is followed at once.
        if let Some(missing) = others.iter().find(|o| !slots.contains(o)) {
            return Err(format!("{node} keeps no slot for node {missing}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::Lsn;
    use crate::model::NodeState::*;

    fn configured(name: &str, names: &[&str], slots: &[&str], follows: Option<&str>) -> Kind {
        let ids = |list: &[&str]| list.iter().map(|n| id(n)).collect();
        Kind::Configured {
            node: name.into(),
            id: id(name),
            system_id: 7,
            names: ids(names),
            slots: ids(slots),
            follows: follows.map(String::from),
            keeps_from: None,
            end: Lsn::ZERO,
        }
    }

    #[test]
    fn names_slots_and_upstreams_that_contradict_the_group_are_found() {
        let end = |a: Kind, b: Kind| {
            check(&trace(vec![
                (0, ended("a", Primary, Primary)),
                (0, ended("b", Secondary, Secondary)),
                (0, a),
                (0, b),
            ]))
        };
        let a = || configured("a", &["b"], &["b"], None);
        let b = || configured("b", &[], &["a"], Some("a"));
        assert_eq!(end(a(), b()), Ok(()));
        assert!(end(configured("a", &["b"], &[], None), b()).unwrap_err().contains("a keeps no slot for node 2"));
        assert!(end(a(), configured("b", &[], &[], Some("a"))).unwrap_err().contains("b keeps no slot for node 1"));
        assert!(end(configured("a", &["c"], &["b"], None), b()).unwrap_err().contains("counts on node 3"));
        assert!(end(a(), configured("b", &[], &["c"], Some("a"))).unwrap_err().contains("slot for node 3"));
        assert!(end(a(), configured("b", &[], &[], Some("c"))).unwrap_err().contains("b follows c"));
        assert!(end(a(), configured("b", &[], &[], None)).unwrap_err().contains("b follows nobody"));
    }

    #[test]
    fn a_node_that_is_on_its_way_excuses_itself_and_nobody_else() {
        let end = |slots: &[&str], third: Kind| {
            let of_b = if slots.contains(&"c") { &["a", "c"][..] } else { &["a"] };
            check(&trace(vec![
                (0, ended("a", Primary, Primary)),
                (0, ended("b", Secondary, Secondary)),
                (0, third),
                (0, configured("a", &["b"], slots, None)),
                (0, configured("b", &[], of_b, Some("a"))),
                (0, configured("c", &[], &["d"], Some("b"))),
            ]))
        };
        let on_its_way = || ended("c", Catchingup, Secondary);
        assert_eq!(end(&["b", "c"], on_its_way()), Ok(()));
        assert!(end(&["c"], on_its_way()).unwrap_err().contains("a keeps no slot for node 2"));
        assert!(end(&["b"], on_its_way()).unwrap_err().contains("no slot for node 3"), "c is a member");
        assert_eq!(end(&["b"], ended("c", Secondary, Dropped)), Ok(()));
        assert!(end(&["b", "c"], ended("c", Secondary, Secondary)).unwrap_err().contains("slot for node 4"));
    }

    #[test]
    fn where_nobody_holds_the_role_a_standby_follows_whom_it_knew() {
        let waits = vec![
            (0, ended("a", DemoteTimeout, DemoteTimeout)),
            (0, ended("b", Secondary, Secondary)),
            (0, configured("b", &[], &[], Some("a"))),
        ];
        assert_eq!(check(&trace(waits)), Ok(()));
    }
}
