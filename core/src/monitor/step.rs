//! One step of the monitor: from an input to what shall be stored and said.

use crate::model::*;
use crate::monitor::commands;
use crate::monitor::doubt;
use crate::monitor::edit::apply;
use crate::monitor::events::Log;
use crate::monitor::state::{Effects, Group, Input, Monitor};
use crate::monitor::view::View;

impl Monitor {
    /// Decides. Pure: `wall_ms` is only what the events will show.
    pub fn step(&self, now: Moment, wall_ms: u64, input: &Input) -> Effects {
        match input {
            Input::Report(key, _) | Input::Hangup(key, _) | Input::Probed(key, _, _) | Input::Tick(key) => {
                self.groups.get(key).map(|g| self.step_group(now, wall_ms, g, input)).unwrap_or_default()
            }
            Input::Register(ask) => commands::register(self, now, wall_ms, ask),
            Input::Command(command) => commands::command(self, now, wall_ms, command),
        }
    }

    fn step_group(&self, now: Moment, wall_ms: u64, group: &Group, input: &Input) -> Effects {
        let mut log = Log::new(self, wall_ms);
        let mut record = group.record.clone();
        if let Input::Report(_, report) = input {
            let view = self.view(group, now);
            take_in(&mut record, report, group, &view, &mut log);
            // Its followers are told whether it is open, also when nothing follows from that.
            let is_open = |r: &GroupRecord| r.primary().map(|p| p.reported.is_writable());
            if is_open(&record) != is_open(&group.record) && !record.in_doubt {
                let taken_in = record.clone();
                apply(&mut record, &[], &View { record: &taken_in, ..view });
            }
        }
        self.run_rules(now, group, record, log)
    }
}

/// Reported state and position, and every state walked through on the way. The position on record of who may write is never
/// older than by `stale_bytes`.
fn take_in(record: &mut GroupRecord, report: &Report, group: &Group, view: &View, log: &mut Log) {
    let current = view.report(report.node);
    if current.is_none_or(|r| (r.session, r.seq) != (report.session, report.seq)) {
        return;
    }
    let Some(node) = record.nodes.get_mut(&report.node) else { return };
    node.seal = report.seal;
    doubt::examine(record, report, view);
    let Some(node) = record.nodes.get_mut(&report.node) else { return };
    if report.serial == node.assignment.serial && node.goal().is_writable() {
        node.lease_ms = node.assignment.lease_ms;
    }
    if let Some(position) = report.facts.end_of_wal(node.position).filter(|_| node.goal().is_writable())
        && node.position.is_none_or(|known| {
            position.tli != known.tli || position.lsn.bytes_past(known.lsn) >= view.settings.stale_bytes()
        })
    {
        node.position = Some(position);
    }
    let walked = walked(node, report);
    (node.session, node.moves) = (report.session, report.moves);
    for state in walked {
        let before = record.clone();
        let node = record.nodes.get_mut(&report.node).expect("looked up above");
        if node.reported == state {
            continue;
        }
        node.reported = state;
        node.position = report.facts.end_of_wal(node.position);
        let text = match state == report.state {
            true => format!("{} is {state}{}", node.name, how(report)),
            false => format!("{} is {state}", node.name),
        };
        log.changes(&before, record, group, None, &text);
    }
    if let Some(node) = record.nodes.get_mut(&report.node)
        && let Some(kept) = report.kept.as_ref().filter(|kept| node.kept.as_ref() != Some(kept))
    {
        node.kept = Some(kept.clone());
        log.of(record, report.node, group, &format!("of {} {kept}", record.nodes[&report.node].name));
    }
    if record.reopening == Some(report.node) && report.state.is_writable() && report.facts.is_open() {
        record.reopening = None;
    }
    if let Some(control) = report.facts.control() {
        record.system_id.get_or_insert(control.system_id);
    }
}

/// The states a report shows that are not on record yet, oldest first.
fn walked(node: &NodeRecord, report: &Report) -> Vec<NodeState> {
    let known = if node.session == report.session { node.moves } else { 0 };
    let new = report.moves.saturating_sub(known) as usize;
    let passed = &report.passed[report.passed.len() - new.saturating_sub(1).min(report.passed.len())..];
    passed.iter().copied().chain([report.state]).collect()
}

/// What it took to get there, and what stands in the way of the next step.
fn how(report: &Report) -> String {
    let spent: Vec<String> =
        report.spent.iter().map(|s| format!("{} {:.3} s", s.step, s.micros as f64 / 1e6)).collect();
    let trouble = report.trouble.as_ref().map(|t| format!(" ({t})")).unwrap_or_default();
    if spent.is_empty() { trouble } else { format!(": {}{trouble}", spent.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules::testing::*;
    use NodeState::*;

    fn said(effects: &Effects) -> Vec<&str> {
        effects.events.iter().map(|e| e.description.as_str()).collect()
    }

    #[test]
    fn what_was_overtaken_or_comes_from_a_dead_keeper_is_not_taken_in() {
        let mut p = Pair::settled();
        p.tells(B, Secondary, standby(), |r| r.session = 5);
        for (session, seq) in [(5, 0), (4, 1000)] {
            let effects = p.tells(B, Catchingup, cut_off_standby(), |r| (r.session, r.seq) = (session, seq));
            assert!(effects.is_empty(), "session {session}: {effects:?}");
            assert_eq!(p.record().nodes[&B].reported, Secondary);
        }
        p.tells(B, Catchingup, standby(), |r| r.session = 6);
        assert_eq!(p.record().nodes[&B].reported, Catchingup);
    }

    #[test]
    fn nobody_is_told_of_a_group_or_a_node_that_is_not_known() {
        let mut p = Pair::settled();
        let elsewhere = GroupKey { formation: "default".into(), group: 7 };
        assert!(p.feed(Input::Tick(elsewhere)).is_empty());
        assert!(p.says(E, Single, primary_with(None)).is_empty());
    }

    /// Nobody may lead in its place, so no rule has anything to do.
    #[test]
    fn the_followers_of_a_primary_that_has_closed_know_that_it_may_open_on_another_timeline() {
        let mut p = Pair::settled();
        p.record_mut().nodes.get_mut(&B).unwrap().candidate_priority = 0;
        let is_opening = |p: &Pair| p.record().nodes[&B].assignment.upstream.as_ref().is_some_and(|u| u.opening);
        for (state, facts, opening) in [
            (Primary, primary_of(&[B]), false),
            (DemoteTimeout, stopped(ControlState::InProduction), true),
            (WaitPrimary, primary_of(&[B]), false),
        ] {
            p.says(A, state, facts);
            assert_eq!((is_opening(&p), p.goal(A).is_writable()), (opening, true), "{state}");
        }
    }

    /// The monitor's record is older than what it says, and it was not heard when that became known.
    #[test]
    fn a_primary_that_was_doubted_and_is_closed_is_told_with_a_number_above_its_own() {
        let mut p = Pair::of(3, 1);
        p.dies(A);
        p.record_mut().nodes.get_mut(&A).unwrap().doubted = true;
        let told = 50;
        p.tells(A, DemoteTimeout, stopped(ControlState::ShutDown), |r| r.serial = told);
        assert!(p.record().nodes[&A].assignment.serial >= told && p.record().transfer.is_some());
        p.tells(A, DemoteTimeout, stopped(ControlState::ShutDown), |r| r.serial = told);
        assert!(!p.record().in_doubt && p.record().transfer.is_some(), "it goes on");
    }

    #[test]
    fn wal_that_was_kept_aside_is_told_once() {
        let mut p = Pair::settled();
        let kept = |end| Kept { fork: Position::new(1, 800), end: Lsn(end), place: "/srv/b.pgbaton/kept/1".into() };
        let tells = |p: &mut Pair, end| {
            let effects = p.tells(B, Secondary, standby(), |r| r.kept = Some(kept(end)));
            said(&effects).iter().filter(|text| text.starts_with("of b WAL from 0/320 to 0/")).count()
        };
        let told: Vec<usize> = [950, 950, 990].map(|end| tells(&mut p, end)).into();
        assert_eq!(told, [1, 0, 1]);
        p.monitor_restarts();
        assert_eq!((tells(&mut p, 990), p.record().nodes[&B].kept.clone()), (0, Some(kept(990))));
    }

    #[test]
    fn every_state_a_node_has_walked_through_is_told_once() {
        let mut p = Pair::settled();
        p.set_durability(Durability::Strict);
        let walks = |p: &mut Pair, session, moves, passed: &[NodeState], state| {
            let effects = p.tells(B, state, standby(), |r| {
                (r.session, r.moves, r.passed) = (session, moves, passed.to_vec());
            });
            said(&effects).join(", ")
        };
        assert_eq!(walks(&mut p, 1, 2, &[Catchingup], Secondary), "b is catchingup, b is secondary");
        assert_eq!(walks(&mut p, 1, 2, &[Catchingup], Secondary), "", "the answer was lost on its way");
        assert_eq!(walks(&mut p, 1, 3, &[Catchingup, Secondary], Catchingup), "b is catchingup");
        assert_eq!(walks(&mut p, 2, 1, &[], Secondary), "b is secondary", "another life, which counts anew");
    }

    #[test]
    fn a_state_is_told_with_what_it_took_and_with_what_is_in_the_way() {
        let spent = |step: &str, micros| Spent { step: step.into(), micros };
        for (took, trouble, expected) in [
            (vec![], None, "b is catchingup"),
            (
                vec![spent("stop", 250_000), spent("rewind", 1_500_000)],
                None,
                "b is catchingup: stop 0.250 s, rewind 1.500 s",
            ),
            (vec![], Some("no space left"), "b is catchingup (no space left)"),
            (vec![spent("stop", 250_000)], Some("no space left"), "b is catchingup: stop 0.250 s (no space left)"),
        ] {
            let mut p = Pair::settled();
            p.set_durability(Durability::Strict);
            let effects = p.tells(B, Catchingup, standby(), |r| {
                (r.spent, r.trouble) = (took.clone(), trouble.map(String::from));
            });
            assert_eq!(said(&effects), [expected]);
        }
    }

    #[test]
    fn the_position_of_who_may_write_is_stored_when_it_is_out_of_date_and_that_of_a_standby_is_not() {
        let mut p = Pair::settled();
        let stale = p.monitor.settings.stale_bytes();
        let at = |facts, position| with(facts, move |r| r.position = position);
        for (tli, lsn, stored) in [(1, 999 + stale, false), (1, 1000 + stale, true), (2, 1000 + stale, true)] {
            let position = Position::new(tli, lsn);
            p.tells(A, Primary, at(primary_with(Some(B)), position), |r| r.epoch = Epoch(0));
            assert_eq!(p.record().nodes[&A].position == Some(position), stored, "{position}");
        }
        p.says(B, Secondary, at(standby(), Position::new(1, 1000 + 2 * stale)));
        assert_eq!(p.record().nodes[&B].position, None);
    }

    #[test]
    fn a_lease_counts_once_the_primary_says_that_it_has_it() {
        let mut p = Pair::settled();
        p.set_durability(Durability::Async);
        p.says(A, Primary, primary_with(Some(B)));
        let Assignment { serial, lease_ms, .. } = p.record().nodes[&A].assignment.clone();
        assert!(lease_ms.is_some());
        for (serial, known) in [(serial - 1, None), (serial, lease_ms)] {
            p.tells(A, Primary, primary_with(Some(B)), |r| r.serial = serial);
            assert_eq!(p.record().nodes[&A].lease_ms, known, "serial {serial}");
        }
    }

    #[test]
    fn a_primary_that_was_told_to_open_again_is_waited_for_until_it_is_open() {
        let mut p = Pair::settled();
        p.record_mut().reopening = Some(A);
        for (state, facts, waits) in [
            (DemoteTimeout, stopped(ControlState::ShutDown), true),
            (Primary, Facts { server: Server::Starting, ..stopped(ControlState::ShutDown) }, true),
            (Primary, primary_with(Some(B)), false),
        ] {
            p.says(A, state, facts);
            assert_eq!(p.record().reopening.is_some(), waits, "{state}");
        }
    }
}
