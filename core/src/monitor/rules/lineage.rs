//! The lineage of the group: what the open primary tells of its own, or those who have followed one that is lost.

use super::Verdict;
use crate::model::{ControlState, NodeRecord};
use crate::monitor::edit::Edit;
use crate::monitor::view::View;

/// The lineage of the open primary is what every other node is compared with.
pub fn lineage(v: &View) -> Option<Verdict> {
    let primary = v.record.primary().filter(|p| p.goal().is_writable() && v.is_heard(p.id) && v.is_open(p.id))?;
    let report = v.report(primary.id).filter(|r| r.epoch == v.record.epoch && r.state.is_writable())?;
    let history = &report.facts.control()?.history;
    if v.record.history.as_ref() == Some(history) {
        return None;
    }
    Some((vec![Edit::Lineage(history.clone())], format!("{} is on timeline {}", primary.name, history.tli)))
}

/// The new primary was open, and lost before it could say so. It has begun its timeline, and its members come over to it
/// there as to any primary that is back: the old one among them, for which a closed server can serve as the source of a rewind.
pub fn closed_again(v: &View) -> Option<Verdict> {
    let candidate = v.record.nodes.get(&v.record.transfer.as_ref()?.candidate?)?;
    let report = v.report(candidate.id).filter(|r| v.is_heard(candidate.id) && r.epoch == v.record.epoch)?;
    let closed = candidate.goal().is_writable() && candidate.reported.has_closed();
    let runs_on = v.running(candidate.id).filter(|_| closed)?.position.tli;
    let history = report.facts.control().map(|c| &c.history);
    // A promotion that was cut and begun anew takes a number beyond the one it was told.
    let history = history.filter(|h| h.tli == runs_on && runs_on.0 >= v.record.last_timeline)?;
    let why =
        format!("{} has been open on timeline {runs_on}, and opens again once its members hold all", candidate.name);
    Some((vec![Edit::Lineage(history.clone()), Edit::EndTransfer], why))
}

/// The new primary is lost before it has told its lineage, or was: an election may be under way. Those that have followed it
/// know: what they acknowledged is on that timeline.
pub fn followed(v: &View) -> Option<Verdict> {
    let transfer = v.record.transfer.as_ref()?;
    let opens = transfer.candidate.and_then(|c| v.record.nodes.get(&c)).filter(|c| c.goal().is_writable());
    if opens.is_some() && v.moving().is_some() {
        return None;
    }
    let lost = opens.map_or(transfer.old, |c| c.id);
    let known = v.record.history.as_ref()?;
    let follows =
        |n: &&NodeRecord| n.id != lost && n.id != transfer.old && v.voters(transfer.old).any(|o| o.id == n.id);
    let theirs = v.record.nodes.values().filter(follows).find_map(|n| {
        let control = v.report(n.id)?.facts.control()?;
        // A standby by its control file: what somebody opened by hand writes a timeline of its own.
        let is_standby = matches!(control.state, ControlState::InRecovery | ControlState::ShutDownInRecovery);
        let history = Some(&control.history).filter(|_| is_standby)?;
        (history.tli.0 >= v.record.last_timeline && history.tli > known.tli && history.is_kin(known)).then_some(history)
    })?;
    Some((vec![Edit::Lineage(theirs.clone())], format!("{} was followed to timeline {}", v.name(lost), theirs.tli)))
}

#[cfg(test)]
mod tests {
    use crate::model::NodeState::*;
    use crate::model::{ControlState, Directory, Facts, History, Lsn, Position, Seal, Sender, Server, Timeline};
    use crate::monitor::rules::testing::*;

    #[test]
    fn one_that_was_told_to_open_and_is_lost_is_replaced_by_who_has_followed_it() {
        let mut p = Pair::of(4, 1);
        p.dies(A);
        for node in [B, C, D] {
            p.votes(node, 1000);
        }
        p.vows(B, StopReplication, 1000);
        assert_eq!((p.goal(B), p.goal(C)), (WaitPrimary, Secondary));
        let theirs = History::root(Timeline(1)).branch(Timeline(p.record().last_timeline), Lsn(1000));
        let followed = || {
            let mut facts = standby();
            let Directory::Present(control) = &mut facts.directory else { unreachable!() };
            control.history = theirs.clone();
            let Server::Up(running) = &mut facts.server else { unreachable!() };
            running.position = Position { tli: theirs.tli, lsn: Lsn(1100) };
            facts
        };
        for node in [C, D] {
            p.says(node, Secondary, followed());
        }
        p.dies(B);
        p.says(C, Secondary, followed());
        assert_eq!((p.goal(B), p.goal(C), p.goal(D)), (Draining, ReportLsn, ReportLsn));
        assert_eq!(p.record().history.as_ref(), Some(&theirs));
        let epoch = p.record().epoch;
        for (node, lsn) in [(C, 1100), (D, 1050)] {
            let seal = Some(Seal { epoch, position: Position { tli: theirs.tli, lsn: Lsn(lsn) } });
            p.tells(node, ReportLsn, followed(), |r| r.seal = seal);
        }
        assert_eq!(p.goal(C), StopReplication, "{:?}", p.stall());
    }

    /// Its winner was open, and lost with what nobody else holds before it could say so.
    #[test]
    fn a_new_primary_that_is_back_and_closed_is_followed_as_any_other() {
        let mut p = Pair::settled();
        p.set_durability(crate::model::Durability::Strict);
        p.dies(A);
        p.says(B, PreparePromotion, standby());
        p.sealed(1000);
        let own = Timeline(p.record().last_timeline + 1);
        let theirs = History::root(Timeline(1)).branch(own, Lsn(1000));
        let closed = |tli| {
            let mut facts = standby();
            let Directory::Present(control) = &mut facts.directory else { unreachable!() };
            let Server::Up(running) = &mut facts.server else { unreachable!() };
            if tli == own {
                control.history = theirs.clone();
                (running.position, running.checkpoint_tli) = (Position { tli, lsn: Lsn(1100) }, tli);
            }
            facts
        };
        p.says(B, DemoteTimeout, closed(Timeline(1)));
        assert!(p.record().transfer.is_some(), "it has yet to begin its timeline");
        p.says(B, DemoteTimeout, closed(own));
        assert_eq!((p.record().transfer.as_ref(), p.record().history.as_ref()), (None, Some(&theirs)));
        p.says(A, Demoted, stopped(ControlState::InProduction));
        assert_eq!(p.goals(), (Catchingup, WaitPrimary), "{:?}", p.stall());
        let lists = |tli| {
            let mut facts = closed(tli);
            let Server::Up(running) = &mut facts.server else { unreachable!() };
            running.senders = vec![Sender { node: A, streaming: true, flushed: Lsn(1100) }];
            facts
        };
        p.says(A, Catchingup, closed(own));
        p.says(B, DemoteTimeout, lists(own));
        p.says(A, Catchingup, with(closed(own), |r| r.receiver = standby().running().unwrap().receiver.clone()));
        assert_eq!(p.goals(), (Secondary, WaitPrimary), "{:?}", p.stall());
    }

    /// Its service was told to stop while it was being promoted.
    #[test]
    fn one_that_hands_over_as_soon_as_it_is_open_has_told_its_timeline_first() {
        let mut p = Pair::settled();
        let theirs = History::root(Timeline(1)).branch(Timeline(2), Lsn(900));
        let on_theirs = |mut facts: Facts| {
            let Directory::Present(control) = &mut facts.directory else { unreachable!() };
            control.history = theirs.clone();
            let Server::Up(running) = &mut facts.server else { unreachable!() };
            running.position.tli = theirs.tli;
            facts
        };
        p.says(B, Secondary, on_theirs(standby()));
        p.tells(A, Primary, on_theirs(primary_with(Some(B))), |r| r.leaving = true);
        assert_eq!(p.goals(), (Draining, PreparePromotion));
        assert_eq!(p.record().history, Some(theirs), "no vote of those that follow it could be read");
    }
}
