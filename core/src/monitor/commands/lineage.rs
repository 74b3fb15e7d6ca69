//! An operator decides which of two histories is the group's.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::Edit;
use crate::monitor::state::Effects;
use std::collections::BTreeSet;

/// What the event says that chooses a history; an order that changes nothing makes none.
pub const CHOSEN: &str = "is accepted as the reference";

impl Order<'_> {
    pub fn accept_timeline(&self, key: &GroupKey, tli: Timeline, reason: &str) -> Result<Effects, Refusal> {
        let group = self.group(key)?;
        self.refuse_in_doubt(group)?;
        let view = self.m.view(group, self.now);
        let controls = group.record.nodes.keys().filter_map(|id| view.report(*id)?.facts.control());
        let histories: Vec<&History> = controls.map(|c| &c.history).collect();
        let reference = group.record.history.as_ref();
        let already = || Ok(self.nothing(format!("timeline {tli} is the reference already")));
        let Some(history) = histories.iter().find(|h| h.tli == tli) else {
            // Whoever is on it may not have been heard yet.
            if reference.is_some_and(|h| h.tli == tli) {
                return already();
            }
            let known: BTreeSet<Timeline> = histories.iter().map(|h| h.tli).collect();
            let known: Vec<String> = known.iter().map(Timeline::to_string).collect();
            return no(
                format!("no node of group {key} is on timeline {tli}"),
                format!("known are: {}", known.join(", ")),
            );
        };
        if reference == Some(history) {
            return already();
        }
        let unheard = group.record.nodes.values().find(|node| view.report(node.id).is_none());
        if let (Some(unheard), true) = (unheard, reference.is_some_and(|h| h.tli == tli)) {
            let reason =
                format!("the reference of group {key} is another timeline {tli}, perhaps that of {}", unheard.name);
            return no(reason, format!("wait until {} is heard, or drop it", unheard.name));
        }
        if histories.iter().any(|h| h.tli == tli && h != history) {
            let reason = format!("two nodes of group {key} have different histories of timeline {tli}");
            return no(reason, "stop the one that is wrong first; show timeline tells which is which");
        }
        // Two that were opened by hand at the same point look alike, and each has written its own.
        let was_open = |c: &&Control| matches!(c.state, ControlState::InProduction | ControlState::ShutDown);
        let opened = group.record.nodes.keys().filter_map(|id| view.report(*id)?.facts.control()).filter(was_open);
        if opened.filter(|c| c.history == **history).count() > 1 {
            let reason = format!("two nodes of group {key} were opened on timeline {tli}, each for itself");
            return no(reason, "drop the one that is wrong first");
        }
        if let Some(primary) = group.record.primary().filter(|p| view.is_open(p.id) && view.is_heard(p.id)) {
            let reason = format!("{} is open, so its timeline is the one all follow", primary.name);
            return no(reason, "a timeline can be chosen only while no primary is open");
        }
        let text = format!("timeline {tli} {CHOSEN}: {reason}");
        Ok(self.carry_out(group, &[Edit::Accept((*history).clone())], &text, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeState::*;
    use crate::monitor::rules::testing::*;
    use crate::wire::{Answer, Command};

    fn accept(p: &mut Pair, tli: u32) -> Answer {
        let key = p.record().key.clone();
        p.orders(Command::AcceptTimeline { key, tli: Timeline(tli), reason: "b was promoted by hand".into() })
    }

    /// Closed, on a timeline of its own that it began at `at`.
    fn strayed(at: u64) -> Facts {
        let mut facts = stopped(ControlState::ShutDown);
        let Directory::Present(control) = &mut facts.directory else { unreachable!() };
        control.history = History::root(Timeline(1)).branch(Timeline(2), Lsn(at));
        facts
    }

    #[test]
    fn a_timeline_is_accepted_while_no_primary_is_open_and_its_node_is_told_so() {
        let mut p = Pair::settled();
        p.says(B, Secondary, strayed(900));
        assert!(refusal(accept(&mut p, 2)).contains("a is open, so its timeline is the one all follow"));
        p.dies(A);
        let goals = p.goals();
        assert!(refusal(accept(&mut p, 7)).contains("no node of group default/0 is on timeline 7; known are: 1, 2"));
        assert!(matches!(accept(&mut p, 2), Answer::Accepted { .. }));
        assert_eq!(p.record().history.as_ref().map(|h| h.tli), Some(Timeline(2)));
        assert_eq!((p.goals(), &p.record().transfer), (goals, &None));
        assert_eq!(p.record().nodes[&B].assignment.accepted, p.record().history);
    }

    #[test]
    fn another_history_of_the_number_that_was_accepted_is_not_accepted_for_it() {
        let mut p = Pair::of(3, 1);
        p.says(B, Secondary, strayed(900));
        p.dies(A);
        assert!(matches!(accept(&mut p, 2), Answer::Accepted { .. }));
        let chosen = p.record().history.clone();
        p.monitor_restarts();
        p.says(A, Demoted, stopped(ControlState::ShutDown));
        p.says(C, Secondary, strayed(800));
        assert!(refusal(accept(&mut p, 2)).contains("is another timeline 2, perhaps that of b"));
        assert_eq!(p.record().history, chosen);
        // It has nothing of that any more.
        p.says(B, Secondary, stopped(ControlState::ShutDown));
        assert!(matches!(accept(&mut p, 2), Answer::Accepted { .. }));
        assert_ne!(p.record().history, chosen);
    }

    #[test]
    fn of_two_histories_under_one_number_none_is_accepted() {
        let mut p = Pair::of(3, 1);
        p.says(B, Secondary, strayed(900));
        p.says(C, Secondary, strayed(900));
        p.dies(A);
        assert!(refusal(accept(&mut p, 2)).contains("were opened on timeline 2, each for itself"));
        p.says(C, Secondary, strayed(800));
        assert!(refusal(accept(&mut p, 2)).contains("two nodes of group default/0 have different histories"));
        assert_eq!(p.record().history, Some(History::root(Timeline(1))));
    }
}
