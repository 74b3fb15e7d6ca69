//! Who holds the role, as the monitor's log tells it.

use super::trace::{Fault, Kind, Trace};
use crate::model::{Epoch, Moment, Waiver};
use crate::monitor::doubt::REGISTERS_AGAIN;
use crate::monitor::rules::{END_DOUBT, OPEN, answered_for};

/// Another node than before was told to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion<'a> {
    pub at: Moment,
    pub from: &'a str,
    /// When that one had been told to open.
    pub since: Moment,
    pub to: &'a str,
    pub epoch: Epoch,
    /// It was not proven complete, and by whose word it was told to open all the same.
    pub waiver: Option<Waiver>,
}

/// Stands for the old primary that nobody remembers.
const UNKNOWN: &str = "";

/// Follows the role through a trace.
#[derive(Debug, Default)]
pub struct Role<'a> {
    pub holder: Option<&'a str>,
    pub since: Option<Moment>,
    /// The monitor has got another store and has decided nothing since: what it tells is what that one knew, and what
    /// nodes bring along.
    in_doubt: bool,
}

impl<'a> Role<'a> {
    /// The move of the role that this event is, if it is one.
    pub fn follow(&mut self, at: Moment, kind: &'a Kind) -> Option<Promotion<'a>> {
        if is_reset(kind) {
            (self.holder, self.in_doubt) = (None, true);
        }
        let Kind::Node { node, goal, epoch, rule, description, .. } = kind else { return None };
        if description.contains(REGISTERS_AGAIN) {
            return None;
        }
        let ends_doubt = rule.is_some_and(|number| END_DOUBT.contains(&number));
        if self.in_doubt && ends_doubt {
            // The one it has found is named by this row or by the next of its own.
            self.holder = None;
        }
        self.in_doubt &= rule.is_none();
        if self.holder.is_none() && !self.in_doubt && goal.belongs_to_primary() {
            (self.holder, self.since) = (Some(node.as_str()), Some(at));
        }
        if !goal.is_writable() || self.holder == Some(node.as_str()) {
            return None;
        }
        let before = self.holder.replace(node).zip(self.since.replace(at));
        let waiver = waiver(*rule, description);
        // Who is found open in a doubt was promoted before; who is chosen in it may follow on nobody knows whom.
        let unknown = waiver.map(|_| (UNKNOWN, at));
        let (from, since) = before.filter(|_| !self.in_doubt && !ends_doubt).or(unknown)?;
        Some(Promotion { at, from, since, to: node, epoch: *epoch, waiver })
    }
}

fn waiver(rule: Option<u16>, description: &str) -> Option<Waiver> {
    let all = [Waiver::Operator, Waiver::Policy];
    all.into_iter().find(|waiver| rule == Some(OPEN) && description.contains(answered_for(*waiver)))
}

/// What the monitor tells from here on comes out of another store: it is no move of the role when that one names
/// another node than the one before did.
pub fn is_reset(kind: &Kind) -> bool {
    matches!(kind, Kind::Fault { fault: Fault::MonitorStore, .. })
}

pub fn promotions(trace: &Trace) -> Vec<Promotion<'_>> {
    let mut role = Role::default();
    trace.events.iter().filter_map(|e| role.follow(e.at, &e.kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn what_another_store_believes_is_no_move_of_the_role_until_it_decides() {
        let moves = |rows: Vec<Kind>| {
            let begin = [node("a", Primary, Primary, 1), fault(Fault::MonitorStore, &[])];
            let kinds = begin.into_iter().chain(rows).collect::<Vec<_>>();
            promotions(&trace(kinds.into_iter().map(|kind| (1, kind)).collect())).len()
        };
        let believed = || vec![node("a", Primary, Primary, 1), node("b", Primary, Primary, 4)];
        assert_eq!(moves(believed()), 0);
        let then = |kind| moves(believed().into_iter().chain([kind]).collect());
        assert_eq!(then(by_rule(END_DOUBT[0], node("a", Primary, Primary, 5))), 0, "it was open");
        assert_eq!(then(by_rule(OPEN, node("a", StopReplication, WaitPrimary, 5))), 1);
        let away = by_rule(END_DOUBT[0], node("b", Primary, Catchingup, 5));
        let found = vec![node("b", Primary, Primary, 4), away, by_rule(401, node("a", Primary, Primary, 5))];
        assert_eq!(moves(found), 0, "the event of a doubt's end names only who is not the primary");
        let lost = by_rule(215, node("a", Primary, Draining, 2));
        assert_eq!(moves(vec![lost, by_rule(OPEN, node("b", StopReplication, WaitPrimary, 2))]), 1);
        assert_eq!(moves(vec![by_rule(217, node("a", Primary, Primary, 1)), node("b", Primary, Primary, 4)]), 1);
    }

    #[test]
    fn a_promotion_says_who_answers_for_what_may_be_missing() {
        let opened = |waiver| {
            let run = trace(vec![(0, node("a", Primary, Primary, 1)), (1, given_up("b", 2, waiver))]);
            promotions(&run)[0].waiver
        };
        assert_eq!(opened(Some(Waiver::Operator)), Some(Waiver::Operator));
        assert_eq!(opened(Some(Waiver::Policy)), Some(Waiver::Policy));
        assert_eq!(opened(None), None);
    }
}
