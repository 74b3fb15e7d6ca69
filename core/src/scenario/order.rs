//! Steps that are an operator's order: what is sent to the monitor, and which answer is right. The same in both worlds.

use super::resolve::Selector;
use super::verb::{AcceptTimeline, Ask, DropNode, Failover, Maintenance, Promote, SetFormation, SetNode, Verb};
use crate::model::{GroupKey, Timeline};
use crate::ports::LinkError;
use crate::wire::{Answer, Command, FormationChange, NodeChange};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub command: Command,
    refused: Option<String>,
    may_be_refused: bool,
}

impl Verb {
    /// The order a verb is; none for what is done to the world. `name` gives the node a selector means at this moment.
    pub fn order<E>(
        &self,
        group: &GroupKey,
        name: impl Fn(&Selector) -> Result<String, E>,
    ) -> Option<Result<Order, E>> {
        let (key, formation) = (group.clone(), group.formation.clone());
        let mut may_be_refused = false;
        let (command, refused) = match self {
            Verb::Switchover(Ask { refused, may_be_refused: race }) => {
                may_be_refused = *race;
                (Ok(Command::Failover { key, to: None, from: None, allow_data_loss: false }), refused)
            }
            Verb::Failover(Failover { allow_data_loss, refused, may_be_refused: race }) => {
                may_be_refused = *race;
                (Ok(Command::Failover { key, to: None, from: None, allow_data_loss: *allow_data_loss }), refused)
            }
            Verb::Promote(Promote { node, allow_data_loss, refused, may_be_refused: race }) => {
                may_be_refused = *race;
                let allow_data_loss = *allow_data_loss;
                (name(node).map(|name| Command::Promote { formation, name, allow_data_loss }), refused)
            }
            Verb::Maintenance(Maintenance { node, on, allow_failover, refused }) => {
                let (on, allow_failover) = (*on, *allow_failover);
                (name(node).map(|name| Command::Maintenance { formation, name, on, allow_failover }), refused)
            }
            Verb::SetNode(SetNode { node, candidate_priority, replication_quorum, refused }) => {
                let (candidate_priority, replication_quorum) = (*candidate_priority, *replication_quorum);
                let change = NodeChange { candidate_priority, replication_quorum, ..NodeChange::default() };
                (name(node).map(|name| Command::SetNode { formation, name, node: None, change }), refused)
            }
            Verb::SetFormation(SetFormation { number_sync_standbys, durability, secondary, refused }) => {
                let change = FormationChange {
                    number_sync_standbys: *number_sync_standbys,
                    durability: *durability,
                    secondary: *secondary,
                };
                (Ok(Command::SetFormation { formation, change }), refused)
            }
            Verb::Drop(DropNode { node, force, refused, may_be_refused: race }) => {
                may_be_refused = *race;
                let force = *force;
                (name(node).map(|name| Command::Drop { formation, name, node: None, force }), refused)
            }
            Verb::AcceptTimeline(AcceptTimeline { tli, reason, refused }) => {
                (Ok(Command::AcceptTimeline { key, tli: Timeline(*tli), reason: reason.clone() }), refused)
            }
            _ => return None,
        };
        Some(command.map(|command| Order { command, refused: refused.clone(), may_be_refused }))
    }
}

impl Order {
    /// Whether the monitor answered as the story expects.
    pub fn judge(&self, answer: Answer) -> Result<(), String> {
        match (answer, &self.refused) {
            (Answer::Accepted { .. }, None) => Ok(()),
            (Answer::Refused { .. }, None) if self.may_be_refused => Ok(()),
            (Answer::Refused { reason, remedy }, Some(expected)) => {
                let said = format!("{reason}: {remedy}");
                let complaint = || format!("refused with \"{said}\", not with \"{expected}\"");
                said.contains(expected.as_str()).then_some(()).ok_or_else(complaint)
            }
            (Answer::Refused { reason, remedy }, None) => Err(format!("refused: {reason}: {remedy}")),
            (other, Some(expected)) => Err(format!("not refused with \"{expected}\" but answered with {other:?}")),
            (other, None) => Err(format!("answered with {other:?}")),
        }
    }
}

/// The order was certainly not taken, and may be in a moment: the monitor is down, or its store takes nothing.
pub fn is_to_be_repeated(answer: &Result<Answer, LinkError>) -> bool {
    matches!(answer, Ok(Answer::Unavailable { .. }) | Err(LinkError::Refused(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::verb::Nothing;

    fn order(verb: &Verb) -> Option<Order> {
        let name = |selector: &Selector| Ok::<_, ()>(selector.to_string());
        verb.order(&GroupKey { formation: "fotest".into(), group: 1 }, name).map(Result::unwrap)
    }

    #[test]
    fn an_order_names_its_node_and_the_rest_of_the_verbs_are_none() {
        let promote =
            Promote { node: Selector::Name("b".into()), allow_data_loss: true, refused: None, may_be_refused: false };
        let expected = Command::Promote { formation: "fotest".into(), name: "b".into(), allow_data_loss: true };
        assert_eq!(order(&Verb::Promote(promote)).unwrap().command, expected);
        assert_eq!(order(&Verb::Heal(Nothing {})), None);
    }

    #[test]
    fn an_answer_is_right_when_it_is_the_expected_one() {
        let ask = |refused: Option<&str>, may_be_refused| {
            order(&Verb::Switchover(Ask { refused: refused.map(Into::into), may_be_refused })).unwrap()
        };
        let taken = || Answer::Accepted { event: 1, note: None };
        let refused = || Answer::Refused { reason: "no standby".into(), remedy: "add one".into() };
        let table = [
            (ask(None, false), taken(), true),
            (ask(None, false), refused(), false),
            (ask(None, true), taken(), true),
            (ask(None, true), refused(), true),
            (ask(Some("add one"), false), refused(), true),
            (ask(Some("late"), false), refused(), false),
            (ask(Some("add one"), false), taken(), false),
            (ask(None, true), Answer::Unavailable { reason: "full".into() }, false),
        ];
        for (order, answer, right) in table {
            let shown = format!("{order:?} {answer:?}");
            assert_eq!(order.judge(answer).is_ok(), right, "{shown}");
        }
    }
}
