//! What operators change about one node.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::Edit;
use crate::monitor::state::Effects;
use crate::wire::NodeChange;

impl Order<'_> {
    pub fn set_node(
        &self,
        formation: &str,
        named: &str,
        seen: Option<NodeId>,
        change: &NodeChange,
    ) -> Result<Effects, Refusal> {
        // Whoever lost the answer knows it by its old name.
        let renamed = || self.meant(formation, change.name.as_deref().filter(|_| seen.is_some())?, seen).ok();
        let found = self.meant(formation, named, seen);
        let (group, node) = found.or_else(|refusal| renamed().ok_or(refusal))?;
        if is_set_so(node, change) {
            return Ok(self.nothing(format!("{} is set so already", node.name)));
        }
        let mut edits = Vec::new();
        let mut said = Vec::new();
        if let Some(priority) = change.candidate_priority.filter(|p| *p != node.candidate_priority) {
            if priority > 100 {
                return no(format!("candidate priority {priority} is out of range"), "give a number from 0 to 100");
            }
            edits.push(Edit::Priority(node.id, priority));
            said.push(format!("candidate priority {priority}"));
        }
        if let Some(quorum) = change.replication_quorum.filter(|q| *q != node.replication_quorum) {
            self.refuse_too_small_a_quorum(formation, node, quorum)?;
            edits.push(Edit::Quorum(node.id, quorum));
            said.push(format!("replication quorum {quorum}"));
        }
        if let Some(bad) = change.name.as_deref().and_then(name::bad_name) {
            return no(bad, name::NAME_REMEDY);
        }
        if let Some(bad) = change.host.as_deref().and_then(name::bad_host) {
            return no(bad, name::HOST_REMEDY);
        }
        let new_name = change.name.clone().unwrap_or_else(|| node.name.clone());
        let host = change.host.clone().unwrap_or_else(|| node.host.clone());
        let port = change.port.unwrap_or(node.port);
        if (&new_name, &host, port) != (&node.name, &node.host, node.port) {
            self.refuse_taken(formation, node, &new_name, &host, port)?;
            said.push(format!("{new_name} at {host}:{port}"));
            edits.push(Edit::Address(node.id, new_name, host, port));
        }
        let text = format!("{named} is set to {}", said.join(", "));
        Ok(self.carry_out(group, &edits, &text, None))
    }

    /// n acknowledgements need n + 1 standbys that give them, so that one may fail.
    fn refuse_too_small_a_quorum(&self, formation: &str, node: &NodeRecord, takes_part: bool) -> Result<(), Refusal> {
        let Some(settings) = self.m.record.formations.get(formation) else { return Ok(()) };
        let number = settings.number_sync_standbys;
        let needed = match (number, settings.durability()) {
            (0, Durability::Strict) => 1,
            (0, _) => return Ok(()),
            (number, _) => number + 1,
        };
        let Some(group) = self.m.group_of(node.id).filter(|_| !takes_part) else { return Ok(()) };
        // One of the quorum is the primary, whoever that is at the moment.
        let stays = |n: &&NodeRecord| n.replication_quorum && n.id != node.id && n.goal() != NodeState::Dropped;
        let left = (group.record.nodes.values().filter(stays).count() as u32).saturating_sub(1);
        if left >= needed {
            return Ok(());
        }
        let asks = match number {
            0 => "the formation is strict".to_string(),
            number => format!("number_sync_standbys is {number}"),
        };
        let reason = format!("{asks} and {left} standbys would be left in the quorum");
        no(reason, format!("it needs {needed}; lower what the formation asks for first: set formation"))
    }

    fn refuse_taken(
        &self,
        formation: &str,
        node: &NodeRecord,
        name: &str,
        host: &str,
        port: u16,
    ) -> Result<(), Refusal> {
        let others = self.m.groups.values().flat_map(|g| g.record.nodes.values().map(move |n| (&g.record.key, n)));
        for (key, other) in others.filter(|(_, n)| n.id != node.id) {
            if other.host == host && other.port == port {
                return no(format!("{host}:{port} is node {} ({}) of {key}", other.id, other.name), "give another");
            }
            if key.formation == formation && other.name == name {
                return no(format!("formation {formation} has a node named {name}"), "give another name");
            }
        }
        Ok(())
    }
}

fn is_set_so(node: &NodeRecord, change: &NodeChange) -> bool {
    let NodeChange { candidate_priority, replication_quorum, name, host, port } = change;
    candidate_priority.is_none_or(|priority| priority == node.candidate_priority)
        && replication_quorum.is_none_or(|takes_part| takes_part == node.replication_quorum)
        && name.as_ref().is_none_or(|name| *name == node.name)
        && host.as_ref().is_none_or(|host| *host == node.host)
        && port.is_none_or(|port| port == node.port)
}

#[cfg(test)]
mod tests {
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;
    use crate::wire::{Answer, Command, NodeChange, Register};

    /// A host goes into pg_hba.conf of every other node.
    #[test]
    fn a_node_can_not_be_said_to_be_everywhere_neither_at_first_nor_later() {
        let mut p = Pair::settled();
        for bad in ["all", "h\nhost all all 0.0.0.0/0 trust", ".example"] {
            let change = NodeChange { host: Some(bad.into()), ..NodeChange::default() };
            let moved =
                p.orders(Command::SetNode { formation: "default".into(), name: "b".into(), node: None, change });
            let ask = Register { host: bad.into(), ..joins("c", 1) };
            let joined = p.feed(Input::Register(ask)).answer.unwrap();
            for answer in [moved, joined] {
                let Answer::Refused { reason, remedy } = answer else { panic!("{bad}: {answer:?}") };
                assert!(reason.contains("can't be the host name") && remedy.contains("letters"), "{reason}");
            }
        }
        assert!(p.record().nodes.values().all(|node| node.host == "localhost") && p.record().nodes.len() == 2);
        let change = NodeChange { name: Some("b b".into()), ..NodeChange::default() };
        let renamed = p.orders(Command::SetNode { formation: "default".into(), name: "b".into(), node: None, change });
        assert!(matches!(renamed, Answer::Refused { .. }), "{renamed:?}");
    }

    #[test]
    fn the_name_of_another_node_is_no_proof_that_this_one_was_renamed() {
        let mut p = Pair::settled();
        let mut renamed = |node| {
            let (change, name) = (NodeChange { name: Some("b".into()), ..NodeChange::default() }, "x".to_string());
            p.orders(Command::SetNode { formation: "default".into(), name, node, change })
        };
        for (node, accepted) in [(None, false), (Some(A), false), (Some(B), true)] {
            assert_eq!(matches!(renamed(node), Answer::Accepted { .. }), accepted, "{node:?}");
        }
        let (change, name) = (NodeChange { candidate_priority: Some(7), ..NodeChange::default() }, "b".to_string());
        let set = Command::SetNode { formation: "default".into(), name, node: Some(A), change };
        assert!(refusal(p.orders(set)).contains("b is another node by now"));
    }
}
