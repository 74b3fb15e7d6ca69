//! S10: every node speaks for one data directory, and all of a group for the same database. A number stands for one node
//! and a node has one number, until it comes anew, or the monitor gets another store.

use super::roles::is_reset;
use super::trace::{Fault, Kind, Trace};
use crate::model::{NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut first: Option<(&str, u64)> = None;
    let mut register = Register::default();
    for event in &trace.events {
        let at = event.at.seconds();
        match &event.kind {
            Kind::Stored { node, system_id: Some(system_id), .. } | Kind::Configured { node, system_id, .. } => {
                let (known, expected) = *first.get_or_insert((node, *system_id));
                if *system_id != expected {
                    return Err(format!("{node} speaks for system {system_id} at {at:.3} s, {known} for {expected}"));
                }
            }
            _ => {}
        }
        match &event.kind {
            Kind::Fault { fault: Fault::Disk, nodes } => register.renewed.extend(nodes.iter().map(String::as_str)),
            kind if is_reset(kind) => register = Register::after(register),
            Kind::Node { node, id, goal, .. } => {
                register.note(node, *id).map_err(|how| format!("{how} at {at:.3} s"))?;
                if *goal == NodeState::Dropped {
                    register.renewed.insert(node);
                }
            }
            Kind::Configured { node, id, .. } => register.note(node, *id)?,
            _ => {}
        }
    }
    Ok(())
}

/// Who is who, by what one store of the monitor has told.
#[derive(Default)]
struct Register<'a> {
    ids: BTreeMap<&'a str, NodeId>,
    names: BTreeMap<NodeId, &'a str>,
    /// Those that may take another number.
    renewed: BTreeSet<&'a str>,
}

impl<'a> Register<'a> {
    /// Another store may have known others, and each of them once more as it came since.
    fn after(before: Register<'a>) -> Register<'a> {
        Register { renewed: before.ids.into_keys().chain(before.renewed).collect(), ..Register::default() }
    }

    fn note(&mut self, node: &'a str, id: NodeId) -> Result<(), String> {
        let named = *self.names.entry(id).or_insert(node);
        if named != node {
            return Err(format!("{id} is the number of {named} and of {node}"));
        }
        match self.ids.insert(node, id) {
            Some(before) if before != id && !self.renewed.remove(node) => {
                Err(format!("{node} is node {before} and node {id}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::Lsn;
    use crate::model::NodeState::*;

    #[test]
    fn a_foreign_directory_is_found() {
        let foreign = |name: &str| Kind::Configured {
            node: name.into(),
            id: id(name),
            system_id: 8,
            names: [].into(),
            slots: [].into(),
            follows: None,
            keeps_from: None,
            end: Lsn::ZERO,
        };
        let start = || (0, stored("a", 1, Primary, None));
        assert_eq!(check(&trace(vec![start(), (1, stored("b", 1, Secondary, None))])), Ok(()));
        for name in ["a", "b"] {
            assert!(check(&trace(vec![start(), (1, foreign(name))])).unwrap_err().contains("system 8"));
        }
    }

    fn row(name: &str, number: u32, goal: NodeState) -> Kind {
        let mut row = node(name, Secondary, goal, 1);
        if let Kind::Node { id, .. } = &mut row {
            *id = NodeId(number);
        }
        row
    }

    #[test]
    fn a_number_of_two_nodes_and_a_node_with_two_numbers_are_found() {
        let then = |more: Vec<Kind>| {
            let kinds = [row("a", 1, Secondary), row("b", 2, Secondary)].into_iter().chain(more);
            check(&trace(kinds.map(|kind| (1, kind)).collect()))
        };
        let anew = || row("b", 3, Secondary);
        assert!(then(vec![row("b", 1, Secondary)]).unwrap_err().contains("1 is the number of a and of b"));
        assert!(then(vec![anew()]).unwrap_err().contains("b is node 2 and node 3"));
        assert_eq!(then(vec![row("b", 2, Dropped), anew()]), Ok(()));
        assert_eq!(then(vec![fault(Fault::Disk, &["b"]), anew()]), Ok(()));
        assert!(then(vec![fault(Fault::Disk, &["b"]), anew(), row("b", 2, Secondary)]).is_err(), "the old one again");
        let reset = || fault(Fault::MonitorStore, &[]);
        assert_eq!(then(vec![reset(), row("b", 1, Secondary), row("a", 2, Secondary)]), Ok(()));
        assert!(then(vec![reset(), anew(), row("a", 3, Secondary)]).is_err());
    }
}
