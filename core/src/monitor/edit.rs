//! What rules and commands may change, and what follows from it for every node.

use crate::model::*;
use crate::monitor::view::View;

/// What a rule or a command wants changed. A closed list, so that every way to change a group is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A decision about who may write.
    RaiseEpoch,
    Assign(NodeId, NodeState),
    /// A new contract joins those that may be in force; the primary is told after it is stored.
    Enforce(Terms),
    /// The primary confirmed a contract; older ones leave.
    Confirm(ContractId),
    /// Commits become possible without a standby, from here on.
    Degrade,
    Restore,
    Begin(Transfer),
    /// The old primary stopped in order; its shutdown checkpoint starts here.
    Drained(Lsn),
    /// The old primary can't stop in order any more.
    Undrained,
    /// The candidate's lineage takes over, under no contract yet: those of the old primary are moot, as
    /// the sealed electing set denies them.
    Install,
    EndTransfer,
    /// The lineage of the open primary.
    Lineage(History),
    Forget(NodeId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    None,
    Any(u32, Vec<NodeId>),
}

/// Applies edits and derives every node's assignment anew.
pub fn apply(record: &mut GroupRecord, edits: &[Edit], view: &View) {
    for edit in edits {
        apply_one(record, edit, view);
    }
    let assignments: Vec<(NodeId, Assignment)> = record.nodes.values().map(|n| (n.id, derive(record, n))).collect();
    for (id, assignment) in assignments {
        let before = view.record.nodes.get(&id).map(|n| &n.assignment);
        let serial = before.map_or(0, |b| b.serial);
        let unchanged = before.is_some_and(|b| *b == Assignment { serial, ..assignment.clone() });
        let node = record.nodes.get_mut(&id).expect("derived from the same map");
        node.assignment = Assignment { serial: if unchanged { serial } else { serial + 1 }, ..assignment };
    }
}

fn apply_one(record: &mut GroupRecord, edit: &Edit, view: &View) {
    match edit {
        Edit::RaiseEpoch => record.epoch = record.epoch.next(),
        Edit::Assign(id, goal) => {
            let node = record.nodes.get_mut(id).expect("a rule assigns to nodes of its group");
            node.assignment.goal = *goal;
        }
        Edit::Enforce(terms) => {
            let id = record.new_contract_id();
            record.in_force.add(match terms {
                Terms::None => Contract::none(id),
                Terms::Any(k, members) => Contract::any(id, *k, members.iter().copied().collect()),
            });
        }
        Edit::Confirm(id) => {
            record.in_force.confirm(*id);
        }
        Edit::Degrade => {
            let from = record.primary().and_then(|p| view.running(p.id)).map(|r| r.position);
            let epoch = record.epoch;
            record.degraded.get_or_insert(Degraded { epoch, from });
        }
        Edit::Restore => record.degraded = None,
        Edit::Begin(transfer) => record.transfer = Some(transfer.clone()),
        Edit::Drained(lsn) => {
            if let Some(transfer) = &mut record.transfer {
                transfer.drained = Some(*lsn);
            }
        }
        Edit::Undrained => {
            if let Some(transfer) = &mut record.transfer {
                transfer.kind = TransferKind::Failover;
                transfer.drained = None;
            }
        }
        Edit::Install => {
            let contract = Contract::none(record.new_contract_id());
            record.in_force = InForce::only(contract);
            let candidate = record.transfer.as_ref().map(|t| t.candidate);
            let from = candidate.and_then(|c| view.report(c)).and_then(|r| r.seal).map(|s| s.position);
            record.degraded = Some(Degraded { epoch: record.epoch, from });
        }
        Edit::EndTransfer => record.transfer = None,
        Edit::Lineage(history) => record.history = Some(history.clone()),
        Edit::Forget(id) => {
            record.nodes.remove(id);
        }
    }
}

/// What follows for one node from the record: its goal is the only thing rules choose for it.
fn derive(record: &GroupRecord, node: &NodeRecord) -> Assignment {
    let goal = node.goal();
    let upstream = || {
        let primary = record.primary().filter(|p| p.id != node.id)?;
        let history = record.history.clone()?;
        Some(Upstream { node: primary.id, host: primary.host.clone(), port: primary.port, history })
    };
    let peers = record.nodes.values().filter(|n| n.id != node.id && n.goal() != NodeState::Dropped);
    Assignment {
        serial: node.assignment.serial,
        contract: goal.is_writable().then(|| record.contract().cloned()).flatten(),
        upstream: match goal {
            NodeState::Catchingup | NodeState::Secondary | NodeState::PreparePromotion => upstream(),
            _ => None,
        },
        drained: match goal {
            NodeState::StopReplication => record.transfer.as_ref().and_then(|t| t.drained),
            _ => None,
        },
        peers: peers.map(|p| Peer { node: p.id, host: p.host.clone(), port: p.port }).collect(),
        ..Assignment::new(record.epoch, goal)
    }
}
