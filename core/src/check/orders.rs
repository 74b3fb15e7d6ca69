//! An operator's orders and their answers, in the words of a trace.

use super::CONSENT;
use super::trace::Answered;
use crate::model::Durability;
use crate::wire::{Answer, Command, Request};

/// One line for an order.
pub fn describe(request: &Request) -> String {
    let Request::Command(command) = request else { return format!("{request:?}") };
    let consent = if gives_commits_up(command) { format!(", {CONSENT}") } else { String::new() };
    format!("{command:?}{consent}")
}

/// Whether an order, in these words, is about this formation.
pub fn is_about(order: &str, formation: &str) -> bool {
    order.contains(&format!("formation: {formation:?}"))
}

/// The group it is about, if it names one.
pub fn group_in(order: &str) -> Option<u32> {
    let (_, rest) = order.split_once("group: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether it is about this node.
pub fn names(order: &str, node: &str) -> bool {
    order.contains(&format!("name: {node:?}"))
}

fn gives_commits_up(command: &Command) -> bool {
    match command {
        Command::Failover { allow_data_loss, .. } | Command::Promote { allow_data_loss, .. } => *allow_data_loss,
        Command::AcceptTimeline { .. } => true,
        Command::SetFormation { change, .. } => change.durability == Some(Durability::Async),
        Command::Maintenance { .. }
        | Command::Drop { .. }
        | Command::SetNode { .. }
        | Command::CreateFormation { .. }
        | Command::DropFormation { .. } => false,
    }
}

pub fn answered<E: ToString>(answer: &Result<Answer, E>) -> Answered {
    match answer {
        Ok(Answer::Accepted { .. }) => Answered::Accepted,
        Ok(Answer::Refused { reason, .. }) => Answered::Refused { why: reason.clone() },
        Ok(other) => Answered::Lost { why: format!("the answer was {other:?}") },
        Err(e) => Answered::Lost { why: e.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupKey;

    #[test]
    fn consent_shows_in_the_words_of_an_order() {
        let failover = |allow_data_loss| {
            let key = GroupKey { formation: "default".into(), group: 0 };
            describe(&Request::Command(Command::Failover { key, to: None, from: None, allow_data_loss }))
        };
        assert!(failover(true).contains(CONSENT));
        assert!(!failover(false).contains(CONSENT));
    }
}
