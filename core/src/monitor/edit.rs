//! What rules and commands may change, and what follows from it for every node.

use crate::model::*;
use crate::monitor::view::View;
use crate::mutant;
use std::collections::BTreeSet;

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
    /// The old primary can't be waited for any more.
    Abandon,
    /// The votes elected this node; it fetches first what it lacks.
    Elect(NodeId, Option<(NodeId, Lsn)>),
    /// Others are better than the candidate, as long as there are any.
    PassOver,
    /// The election begins anew, with all votes of this epoch void.
    StartOver,
    /// The election begins anew for this one, which has come back.
    AskAgain(NodeId),
    /// Leave to open without proof.
    Waive(Waiver),
    /// The old primary is dropped once another holds the role.
    DropOld,
    /// The operator wants this node to win.
    Prefer(Option<NodeId>),
    /// The candidate takes over under these terms. The contracts of the old primary are moot, as the sealed votes deny
    /// them, or were given up.
    Install(Terms),
    EndTransfer,
    /// The closed primary is to open again: what it reports until then is no failure.
    Reopen(NodeId),
    /// The lineage of the node that was opened last.
    Lineage(History),
    /// The lineage that an operator has chosen.
    Accept(History),
    /// WAL before this is needed no more.
    Floor(Lsn),
    /// The doubt is over: this node is the primary, under the contract it reports.
    Adopt(NodeId),
    /// A setting of one node.
    Priority(NodeId, u8),
    Quorum(NodeId, bool),
    /// Name, host and port.
    Address(NodeId, String, String, u16),
    /// Nobody waits for its keeper when it is dropped.
    Force(NodeId),
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
    let now = View { record, ..*view }.durability();
    if leaves_async(record, view.durability(), now) {
        degrade(record, view);
    }
    let after = record.clone();
    let view_after = View { record: &after, ..*view };
    let assignments: Vec<(NodeId, Assignment)> =
        after.nodes.values().map(|n| (n.id, derive(&after, n, &view_after))).collect();
    for (id, assignment) in assignments {
        let before = view.record.nodes.get(&id).map(|n| &n.assignment);
        let serial = before.map_or(0, |b| b.serial);
        let unchanged = before.is_some_and(|b| *b == Assignment { serial, ..assignment.clone() });
        let node = record.nodes.get_mut(&id).expect("derived from the same map");
        if assignment.goal.is_writable() {
            node.lease_ms = longest(node.lease_ms, assignment.lease_ms);
        }
        node.assignment = Assignment { serial: if unchanged { serial } else { serial + 1 }, ..assignment };
    }
}

/// The group was asynchronous, and is to wait from now on: until a standby has caught up its primary goes on alone, which is
/// to be on record.
pub fn leaves_async(record: &GroupRecord, before: Durability, now: Durability) -> bool {
    let alone = record.contract().is_some_and(Contract::is_none) && record.nodes.len() > 1;
    alone && !record.in_doubt && before == Durability::Async && now != Durability::Async
}

fn degrade(record: &mut GroupRecord, view: &View) {
    let from = record.primary().and_then(|p| view.running(p.id)).map(|r| r.position);
    let epoch = record.epoch;
    record.degraded.get_or_insert(Degraded { epoch, from });
}

/// Until it says which it goes by, a node may go by either: the longer lease, and none is the longest.
fn longest(known: Option<u64>, told: Option<u64>) -> Option<u64> {
    Some(known?.max(told?))
}

fn node(record: &mut GroupRecord, id: NodeId) -> &mut NodeRecord {
    record.nodes.get_mut(&id).expect("rules and commands name nodes of their group")
}

fn gives_up_old(transfer: &Transfer, view: &View) -> bool {
    transfer.waiver == Some(Waiver::Operator) && view.is_heard(transfer.old)
}

fn apply_one(record: &mut GroupRecord, edit: &Edit, view: &View) {
    match edit {
        Edit::RaiseEpoch => record.epoch = record.epoch.next(),
        Edit::Assign(id, goal) => node(record, *id).assignment.goal = *goal,
        Edit::Enforce(terms) => {
            let contract = contract(record, terms);
            if mutant!(ContractLeavesWhenTold) {
                record.in_force = InForce::only(contract);
                return;
            }
            record.in_force.add(contract);
        }
        Edit::Confirm(id) => {
            record.in_force.confirm(*id);
            record.shown = None;
        }
        Edit::Degrade => degrade(record, view),
        Edit::Restore => record.degraded = None,
        Edit::Begin(transfer) => {
            record.transfer = Some(Transfer { gives_up_old: gives_up_old(transfer, view), ..transfer.clone() });
            // What was given its time in vain is not waited for again.
            record.reopening = record.reopening.filter(|id| *id == transfer.old && view.has_not_reopened(*id));
        }
        Edit::Install(terms) => install(record, terms, view),
        Edit::EndTransfer => {
            record.transfer = None;
            record.reopening = None;
            // Whoever was given up for this move of the role is a node like any other.
            record.nodes.values_mut().for_each(|n| n.forced &= n.goal() == NodeState::Dropped);
        }
        Edit::Reopen(id) => record.reopening = Some(*id),
        Edit::Drained(_)
        | Edit::Abandon
        | Edit::Elect(..)
        | Edit::PassOver
        | Edit::StartOver
        | Edit::AskAgain(_)
        | Edit::Waive(_)
        | Edit::DropOld
        | Edit::Prefer(_) => {
            if let Some(transfer) = &mut record.transfer {
                change_transfer(transfer, edit);
                transfer.gives_up_old |= matches!(edit, Edit::Waive(_)) && gives_up_old(transfer, view);
            }
        }
        Edit::Lineage(history) => {
            record.last_timeline = record.last_timeline.max(history.tli.0);
            (record.history, record.accepted) = (Some(history.clone()), None);
        }
        Edit::Accept(history) => {
            record.last_timeline = record.last_timeline.max(history.tli.0);
            (record.history, record.accepted) = (Some(history.clone()), Some(history.clone()));
            // What was shown elsewhere he has given up with that.
            record.shown = record.shown.filter(|shown| history.contains(*shown));
        }
        Edit::Adopt(id) => adopt(record, *id, view),
        Edit::Floor(lsn) => record.wal_floor = Some(*lsn),
        Edit::Priority(id, priority) => node(record, *id).candidate_priority = *priority,
        Edit::Quorum(id, takes_part) => node(record, *id).replication_quorum = *takes_part,
        Edit::Address(id, name, host, port) => {
            let node = node(record, *id);
            (node.name, node.host, node.port) = (name.clone(), host.clone(), *port);
        }
        Edit::Force(id) => node(record, *id).forced = true,
        Edit::Forget(id) => {
            record.nodes.remove(id);
            if mutant!(DropLeavesContract) {
                record.in_force = without(&record.in_force, *id);
            }
        }
    }
}

fn change_transfer(transfer: &mut Transfer, edit: &Edit) {
    match edit {
        Edit::Drained(lsn) => transfer.drained = Some(*lsn),
        Edit::Abandon => transfer.kind = TransferKind::Failover,
        Edit::Elect(winner, fetch) => (transfer.candidate, transfer.fetch) = (Some(*winner), *fetch),
        Edit::PassOver => transfer.passed_over.extend(transfer.candidate),
        Edit::StartOver => {
            (transfer.candidate, transfer.fetch) = (None, None);
            (transfer.kind, transfer.drained) = (TransferKind::Failover, None);
        }
        Edit::AskAgain(node) => _ = transfer.asked_again.insert(*node),
        Edit::Waive(waiver) => transfer.waiver = Some(*waiver),
        Edit::DropOld => transfer.afterwards = Afterwards::Drop,
        Edit::Prefer(node) => transfer.preferred = *node,
        _ => unreachable!("only edits of a transfer come here"),
    }
}

/// For a planted bug: the same contracts, as if this node had never been a member.
fn without(in_force: &InForce, node: NodeId) -> InForce {
    let mut rest = InForce::default();
    for contract in in_force.iter() {
        let members: BTreeSet<NodeId> = contract.members.iter().copied().filter(|m| *m != node).collect();
        let k = contract.k.min(members.len() as u32);
        rest.add(if k == 0 { Contract::none(contract.id) } else { Contract::any(contract.id, k, members) });
    }
    rest
}

fn contract(record: &mut GroupRecord, terms: &Terms) -> Contract {
    let id = record.new_contract_id();
    match terms {
        Terms::None => Contract::none(id),
        Terms::Any(k, members) => Contract::any(id, *k, members.iter().copied().collect()),
    }
}

fn install(record: &mut GroupRecord, terms: &Terms, view: &View) {
    let contract = contract(record, terms);
    let alone = contract.is_none() && view.durability() != Durability::Async;
    let candidate = record.transfer.as_ref().and_then(|t| t.candidate);
    let from = candidate.and_then(|c| record.nodes[&c].seal).map(|s| s.position);
    let is_held = is_held(record, &contract, from, view);
    record.in_force = if is_held { InForce::only(contract) } else { founding(record, contract) };
    // After the last record of an old primary that has stopped in order there is no commit.
    let drained = record.transfer.as_ref().and_then(|t| t.drained);
    record.shown = from.filter(|_| !is_held).map(|p| Position { lsn: drained.map_or(p.lsn, |d| d.min(p.lsn)), ..p });
    record.accepted = None;
    record.degraded = alone.then_some(Degraded { epoch: record.epoch, from });
    let known = record.history.as_ref().map_or(0, |h| h.tli.0);
    record.last_timeline = record.last_timeline.max(known) + 1;
}

/// Whether enough members of the contract of a new primary hold all that it does, up to `end`.
fn is_held(record: &GroupRecord, contract: &Contract, end: Option<Position>, view: &View) -> bool {
    let reaches = |held: Position| end.is_some_and(|end| held.tli == end.tli && held.lsn >= end.lsn);
    let holds_all = |id: &&NodeId| record.nodes.get(id).and_then(|n| view.vote(n)).is_some_and(reaches);
    contract.members.iter().filter(holds_all).count() >= contract.k as usize
}

/// What may be in force under a new primary. As long as fewer of the contract's members hold all there is than must
/// acknowledge, those that it leaves over prove nothing about what came before: whoever had to be asked then must still be
/// asked, until the primary has confirmed that its members have come that far.
fn founding(record: &GroupRecord, contract: Contract) -> InForce {
    // One that asked for no standby was answered for: nobody would be elected without it.
    let mut in_force = InForce::default();
    record.in_force.iter().filter(|c| !c.is_none()).for_each(|c| in_force.add(c.clone()));
    in_force.add(contract);
    in_force
}

/// Until it confirms a contract it may acknowledge alone.
fn adopt(record: &mut GroupRecord, primary: NodeId, view: &View) {
    let unknown = Contract::none(record.new_contract_id());
    record.in_force = InForce::only(unknown);
    record.shown = None;
    let reported = view.report(primary).and_then(|r| r.contract.clone());
    let reported = reported.or_else(|| record.nodes[&primary].word.as_ref()?.contract.clone());
    let (k, members) = reported.map_or((0, vec![]), |c| (c.k, c.members.into_iter().collect()));
    let terms = if k == 0 { Terms::None } else { Terms::Any(k, members) };
    let contract = contract(record, &terms);
    record.in_force.add(contract);
    record.in_doubt = false;
    record.nodes.values_mut().for_each(|n| n.word = None);
    record.epoch = record.epoch.next();
    let from = view.running(primary).map(|r| r.position);
    record.degraded = (view.durability() != Durability::Async).then_some(Degraded { epoch: record.epoch, from });
    record.history = view.report(primary).and_then(|r| r.facts.control()).map(|c| c.history.clone());
}

/// What follows for one node from the record: its goal is the only thing rules choose for it. In doubt nobody is told
/// anything that it didn't say itself.
pub fn derive(record: &GroupRecord, node: &NodeRecord, view: &View) -> Assignment {
    use NodeState::*;
    let goal = node.goal();
    let transfer = record.transfer.as_ref();
    let is_candidate = |n: &NodeRecord| transfer.is_some_and(|t| t.candidate == Some(n.id));
    let source = match goal {
        _ if record.in_doubt => None,
        Catchingup | Secondary | WaitMaintenance | PreparePromotion => record.primary(),
        FastForward => transfer.and_then(|t| record.nodes.get(&t.fetch?.0)),
        _ => None,
    };
    let upstream = |source: &NodeRecord| {
        let history = record.history.clone()?;
        // One that opens again may have a timeline that nobody has told of, too.
        let opening = source.goal().is_writable() && (is_candidate(source) || !source.reported.is_writable());
        Some(Upstream { node: source.id, host: source.host.clone(), port: source.port, history, opening })
    };
    // One that was lost before it opened, and keeps the role, has yet to begin its timeline.
    let position = view.report(node.id).and_then(|r| r.facts.position());
    let has_yet_to_begin = position.is_some_and(|p| p.tli.0 < record.last_timeline);
    let promoted = goal.is_writable() && (is_candidate(node) || has_yet_to_begin);
    let word = node.word.as_ref().filter(|_| record.in_doubt);
    let contract = if record.in_doubt { word.and_then(|w| w.contract.as_ref()) } else { record.contract() };
    let contract = contract.filter(|_| goal.is_writable());
    let alone = contract.is_some_and(Contract::is_none) && (record.in_doubt || record.nodes.len() > 1);
    let leased = alone && view.durability() == Durability::Async;
    let peers = record.nodes.values().filter(|n| n.id != node.id && n.goal() != Dropped);
    Assignment {
        serial: node.assignment.serial,
        contract: contract.cloned(),
        led_in: match goal.is_writable() {
            true if record.in_doubt => word.map_or(node.assignment.led_in, |w| w.led_in),
            true => record.epoch,
            false => Epoch::ZERO,
        },
        upstream: source.filter(|s| s.id != node.id).and_then(upstream),
        drained: match goal {
            // Nobody waits for the last record of an old primary that is gone.
            StopReplication => transfer.filter(|t| t.kind == TransferKind::Switchover).and_then(|t| t.drained),
            _ => None,
        },
        fetch: transfer.and_then(|t| t.fetch).filter(|_| goal == FastForward).map(|(_, lsn)| lsn),
        timeline: (promoted && !mutant!(TimelineReused)).then_some(Timeline(record.last_timeline)),
        lease_ms: leased.then_some(view.settings.async_lease.as_millis() as u64),
        accepted: record.accepted.clone(),
        wal_floor: record.wal_floor.filter(|_| source.is_some()),
        formation: view.formation.clone(),
        own: Some(NodeSettings {
            name: node.name.clone(),
            host: node.host.clone(),
            port: node.port,
            candidate_priority: node.candidate_priority,
            replication_quorum: node.replication_quorum,
        }),
        peers: peers.map(|p| Peer { node: p.id, host: p.host.clone(), port: p.port }).collect(),
        ..Assignment::new(record.epoch, goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use NodeState::*;

    /// What these edits make of the group as it is.
    fn after(p: &Pair, edits: &[Edit]) -> GroupRecord {
        let mut record = p.record().clone();
        apply(&mut record, edits, &p.view());
        record
    }

    fn told(record: &GroupRecord, node: NodeId) -> &Assignment {
        &record.nodes[&node].assignment
    }

    #[test]
    fn a_standby_is_told_whom_to_follow_and_who_is_sealed_or_closed_is_told_nobody() {
        let p = Pair::of(3, 1);
        for (goal, follows) in [
            (Catchingup, true),
            (Secondary, true),
            (WaitMaintenance, true),
            (PreparePromotion, true),
            (StopReplication, false),
            (ReportLsn, false),
            (Demoted, false),
            (Maintenance, false),
            (Dropped, false),
        ] {
            let record = after(&p, &[Edit::Assign(B, goal)]);
            let upstream = told(&record, B).upstream.as_ref().map(|u| (u.node, u.port));
            assert_eq!(upstream, follows.then_some((A, 5001)), "{goal}");
            assert_eq!(told(&record, B).contract, None, "{goal}");
            let peers: Vec<NodeId> = told(&record, A).peers.iter().map(|p| p.node).collect();
            let known: &[NodeId] = if goal == Dropped { &[C] } else { &[B, C] };
            assert_eq!(peers, known, "{goal}");
            assert_eq!(told(&record, A).contract.as_ref(), record.contract());
        }
    }

    /// Those who follow it there already are no fork.
    #[test]
    fn a_primary_that_is_to_open_again_may_have_a_timeline_that_nobody_knows() {
        let mut p = Pair::settled();
        for (reported, opening) in [(Primary, false), (DemoteTimeout, true), (WaitPrimary, false)] {
            p.record_mut().nodes.get_mut(&A).unwrap().reported = reported;
            let record = after(&p, &[]);
            assert_eq!(told(&record, B).upstream.as_ref().unwrap().opening, opening, "{reported}");
        }
    }

    #[test]
    fn an_assignment_counts_up_when_it_changes_and_only_then() {
        let mut p = Pair::of(3, 1);
        *p.record_mut() = after(&p, &[]);
        let before = [A, B, C].map(|n| told(p.record(), n).serial);
        for (edits, rise) in [
            (vec![], [0, 0, 0]),
            (vec![Edit::Assign(B, Catchingup)], [0, 1, 0]),
            (vec![Edit::Enforce(Terms::None)], [1, 0, 0]),
            (vec![Edit::RaiseEpoch], [1, 1, 1]),
            (vec![Edit::Priority(B, 7)], [0, 1, 0]),
            (vec![Edit::Address(B, "b".into(), "elsewhere".into(), 5002)], [1, 1, 1]),
        ] {
            let record = after(&p, &edits);
            let serials = [A, B, C].map(|n| told(&record, n).serial);
            assert_eq!([0, 1, 2].map(|n| serials[n] - before[n]), rise, "{edits:?}");
        }
    }

    #[test]
    fn only_the_primary_of_an_async_group_that_waits_for_nobody_has_a_lease() {
        for (durability, terms, leased) in [
            (Durability::Async, Terms::None, true),
            (Durability::Async, Terms::Any(1, vec![B]), false),
            (Durability::Degrade, Terms::None, false),
            (Durability::Strict, Terms::None, false),
        ] {
            let mut p = Pair::settled();
            p.set_durability(durability);
            let record = after(&p, &[Edit::Enforce(terms)]);
            assert_eq!(told(&record, A).lease_ms.is_some(), leased, "{durability:?}");
            assert_eq!(told(&record, B).lease_ms, None);
            p.record_mut().nodes.remove(&B);
            let alone = after(&p, &[Edit::Enforce(Terms::None)]);
            assert_eq!(told(&alone, A).lease_ms, None, "nobody could take over");
        }
    }

    #[test]
    fn no_two_promotions_are_told_the_same_timeline() {
        let mut p = Pair::settled();
        p.dies(A);
        p.says(B, PreparePromotion, standby());
        p.sealed(1000);
        let given = |edits: &[Edit]| told(&after(&p, edits), B).timeline;
        assert_eq!(given(&[]), Some(Timeline(2)));
        let again = Edit::Install(Terms::None);
        assert_eq!(given(std::slice::from_ref(&again)), Some(Timeline(3)), "the first may have been used");
        let seen = Edit::Lineage(History::root(Timeline(1)).branch(Timeline(7), Lsn(1000)));
        assert_eq!(given(&[seen, again]), Some(Timeline(8)), "somebody has used 7");
        assert_eq!(told(p.record(), A).timeline, None);
    }

    #[test]
    fn a_contract_joins_those_in_force_until_the_primary_has_confirmed_a_newer_one() {
        let p = Pair::settled();
        let ids = |edits: &[Edit]| after(&p, edits).in_force.iter().map(|c| c.id.0).collect::<Vec<_>>();
        let none = || Edit::Enforce(Terms::None);
        assert_eq!(ids(&[]), [1]);
        assert_eq!(ids(&[none(), Edit::Enforce(Terms::Any(1, vec![B]))]), [1, 2, 3]);
        assert_eq!(ids(&[none(), none(), Edit::Confirm(ContractId(2))]), [2, 3]);
        assert_eq!(ids(&[none(), Edit::Confirm(ContractId(9))]), [1, 2], "nobody was told of it");
    }

    #[test]
    fn commits_without_a_standby_are_counted_from_the_first_of_them() {
        let mut p = Pair::settled();
        *p.record_mut() = after(&p, &[Edit::Degrade]);
        let from = |record: GroupRecord| record.degraded.and_then(|d| d.from).map(|p| p.lsn);
        p.tells(A, Primary, with(primary_with(None), |r| r.position.lsn = Lsn(2000)), |r| r.applied = None);
        assert_eq!(from(after(&p, &[Edit::Degrade])), Some(Lsn(1000)));
        assert_eq!(from(after(&p, &[Edit::Restore, Edit::Degrade])), Some(Lsn(2000)));
        assert_eq!(after(&p, &[Edit::Restore]).degraded, None);
    }

    #[test]
    fn what_is_said_of_a_transfer_says_nothing_where_there_is_none() {
        let p = Pair::settled();
        let of_a_transfer = [
            Edit::Drained(Lsn(1)),
            Edit::Abandon,
            Edit::Elect(B, None),
            Edit::PassOver,
            Edit::StartOver,
            Edit::AskAgain(B),
            Edit::DropOld,
        ];
        assert_eq!(after(&p, &of_a_transfer), after(&p, &[]));
        let begun = Edit::Begin(Transfer::new(TransferKind::Switchover, A, Some(B)));
        let transfer = |edit: Edit| after(&p, &[begun.clone(), edit]).transfer.unwrap();
        assert_eq!(transfer(Edit::Drained(Lsn(1))).drained, Some(Lsn(1)));
        assert_eq!(transfer(Edit::Abandon).kind, TransferKind::Failover);
        assert_eq!(transfer(Edit::DropOld).afterwards, Afterwards::Drop);
        assert_eq!(transfer(Edit::PassOver).passed_over, [B].into());
        let anew = transfer(Edit::StartOver);
        assert_eq!((anew.kind, anew.candidate, anew.passed_over), (TransferKind::Failover, None, [].into()));
    }

    #[test]
    fn one_that_keeps_the_role_before_it_has_begun_its_timeline_is_told_its_number() {
        let mut p = Pair::settled();
        for (last, told) in [(1, None), (2, Some(Timeline(2)))] {
            p.record_mut().last_timeline = last;
            assert_eq!(after(&p, &[Edit::Assign(A, Primary)]).nodes[&A].assignment.timeline, told);
            assert_eq!(after(&p, &[Edit::Assign(B, Secondary)]).nodes[&B].assignment.timeline, None);
        }
    }
}
