//! The primary is gone and its successor has to be found: one standby that alone proves everything takes over
//! directly, several seal their votes first.

use super::Verdict;
use super::transfer::{begin, can_keep_the_role, give_back};
use crate::model::NodeState::*;
use crate::model::{Durability, NodeId, NodeRecord, Transfer, TransferKind, Waiver};
use crate::monitor::edit::Edit;
use crate::monitor::health::Life;
use crate::monitor::view::View;

/// The edits that ask every standby for its vote.
pub fn call_votes(v: &View, old: &NodeRecord, transfer: Transfer) -> Vec<Edit> {
    let closing = if old.reported == DemoteTimeout { DemoteTimeout } else { transfer.closing() };
    let mut edits = vec![Edit::RaiseEpoch, Edit::Begin(transfer), Edit::Assign(old.id, closing)];
    edits.extend(v.voters(old.id).map(|n| Edit::Assign(n.id, ReportLsn)));
    edits
}

/// The primary's server is gone or closed, and enough standbys are there to prove who is complete.
pub fn fail_over(v: &View) -> Option<Verdict> {
    if v.record.transfer.is_some() || v.record.in_doubt {
        return None;
    }
    let old = v.record.primary().filter(|p| p.goal().is_writable())?;
    let why = v.primary_lost(old)?;
    let transfer = Transfer::new(TransferKind::Failover, old.id, None);
    let mut heard = v.voters(old.id).filter(|n| v.is_heard(n.id));
    if let (Some(only), None) = (heard.next(), heard.next()) {
        // Nobody else could win, and nobody else is needed.
        let proven = v.record.in_force.proven_by(&[only.id].into());
        if proven && v.is_fit(only, None).is_ok() {
            let why = format!("{} takes over from {}: {why}", only.name, old.name);
            return Some((begin(old, only, transfer), why));
        }
    }
    if !v.voters(old.id).any(|n| v.may_lead(n, None).is_ok()) {
        return None;
    }
    if v.election_could_succeed(old.id) {
        let why = format!("the standbys of {} elect a new primary: {why}", old.name);
        return Some((call_votes(v, old, transfer), why));
    }
    let loss = bounded_loss(v, old)?;
    let transfer = Transfer { waiver: Some(Waiver::Policy), ..transfer };
    Some((call_votes(v, old, transfer), format!("the standbys of {} elect a new primary: {why}; {loss}", old.name)))
}

/// An asynchronous group may go on without proof once the lease of the old primary has ended by its own clock, and
/// only if little can be lost.
fn bounded_loss(v: &View, old: &NodeRecord) -> Option<String> {
    if v.durability() != Durability::Async || v.record.degraded.is_some() {
        return None;
    }
    let pulse = v.pulse(old.id)?;
    let lease = v.settings.async_lease;
    // Clocks of two machines drift apart by less than a tenth.
    let ended = pulse.heard.is_some_and(|at| v.now.since(at) >= lease + lease / 10);
    let closed = pulse.died() || matches!(v.life(old.id), Life::Ill(_)) && old.reported == DemoteTimeout;
    let known = pulse.facts()?.position()?.lsn;
    let held = v.voters(old.id).filter(|n| v.may_lead(n, None).is_ok()).filter_map(|n| v.running(n.id));
    let best = held.map(|r| r.position.lsn).max()?;
    let lost = known.bytes_past(best);
    let bounded = (ended || closed) && lost <= v.settings.async_loss_bytes;
    bounded.then(|| format!("of what is known {lost} bytes are not on them"))
}

/// The votes prove a winner.
pub fn elect(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref().filter(|t| t.candidate.is_none())?;
    let winner = v.winner(transfer)?;
    let name = v.name(winner.node);
    let elect = Edit::Elect(winner.node, winner.fetch);
    Some(match winner.fetch {
        Some((source, lsn)) => (
            vec![elect, Edit::Assign(winner.node, FastForward)],
            format!("{name} is elected and first fetches up to {lsn} from {}", v.name(source)),
        ),
        None => (vec![elect, promote(winner.node), close(transfer)], format!("{name} is elected")),
    })
}

fn promote(winner: NodeId) -> Edit {
    Edit::Assign(winner, StopReplication)
}

fn close(transfer: &Transfer) -> Edit {
    Edit::Assign(transfer.old, DemoteTimeout)
}

/// The winner holds now what it lacked.
pub fn fetched(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref()?;
    let (_, lsn) = transfer.fetch?;
    let winner = v.record.nodes.get(&transfer.candidate?).filter(|n| n.settled_in(FastForward))?;
    v.vote(winner).filter(|p| p.lsn >= lsn)?;
    let edits = vec![Edit::Elect(winner.id, None), promote(winner.id), close(transfer)];
    Some((edits, format!("{} holds all there is, up to {lsn}", winner.name)))
}

/// The winner is lost or doesn't get on, and others can be elected: all votes are taken again.
pub fn start_over(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref()?;
    let winner = v.record.nodes.get(&transfer.candidate?).filter(|n| n.goal().is_being_promoted())?;
    let others = || v.voters(transfer.old).any(|n| n.id != winner.id && v.is_heard(n.id));
    let stuck_since = v.pulse(winner.id).and_then(|p| p.moved).max(v.transfer_since);
    let stuck = stuck_since.is_none_or(|since| v.now.since(since) >= v.settings.fetch_timeout);
    let source_lost = transfer.fetch.is_some_and(|(source, _)| matches!(v.life(source), Life::Lost(_) | Life::Ill(_)));
    let abandoned = transfer.kind == TransferKind::Failover && transfer.waiver.is_none();
    let short = || abandoned && winner.settled_in(StopReplication) && v.vote(winner).is_some_and(|p| !v.proves(p.lsn));
    let has_last_record = || v.vote(winner).is_some_and(|p| transfer.drained.is_some_and(|lsn| p.lsn > lsn));
    let why = match v.life(winner.id) {
        Life::Lost(why) => why,
        _ if v.is_mute(winner.id) => "its keeper says nothing",
        _ if winner.goal() == FastForward && source_lost => "the node it fetches from is lost",
        _ if transfer.kind == TransferKind::Failover && stuck => "it doesn't get on",
        _ if short() && !has_last_record() => "the old primary is gone and others may hold more",
        _ => return None,
    };
    if !others() {
        return None;
    }
    let mut edits = vec![Edit::RaiseEpoch, Edit::StartOver];
    edits.extend(v.voters(transfer.old).map(|n| Edit::Assign(n.id, ReportLsn)));
    Some((edits, format!("the election begins anew, {} is passed over: {why}", winner.name)))
}

/// The votes that are there, or could still come, prove nothing, and the old primary is back: it holds everything.
pub fn return_of_the_old(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref().filter(|t| t.candidate.is_none())?;
    let old = v.record.nodes.get(&transfer.old)?;
    let late = v.transfer_since.is_some_and(|since| v.now.since(since) >= v.settings.drain_timeout);
    if (v.election_could_succeed(old.id) && !late) || !can_keep_the_role(v, old) || v.is_leaving(old.id) {
        return None;
    }
    Some((give_back(v, old), format!("{} is back before an election could be won: it keeps the role", old.name)))
}
