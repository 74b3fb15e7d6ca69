//! Who may take the role over without being asked to, and what an operator is told when that comes to an end.

use crate::model::*;

/// Whom the primary of a group has behind it, by candidate priority alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heirs<'a> {
    /// No standby is there at all.
    Alone,
    Nobody,
    /// Nobody may take over from it, once it leads.
    Last(&'a str),
    Enough,
}

/// What a change of the group means for failover, if anything.
pub fn told(before: &GroupRecord, after: &GroupRecord) -> Option<String> {
    let (was, is) = (heirs(before), heirs(after));
    let group = &after.key;
    match is {
        _ if was == is => None,
        Heirs::Nobody => {
            Some(format!("automatic failover of group {group} is off: the candidate priority of every standby is 0"))
        }
        Heirs::Last(name) => {
            Some(format!("{name} is the last candidate of group {group}: nobody may take over from it"))
        }
        Heirs::Enough if was == Heirs::Nobody => Some(format!("automatic failover of group {group} is on")),
        Heirs::Enough | Heirs::Alone => None,
    }
}

fn heirs(record: &GroupRecord) -> Heirs<'_> {
    let leaves = |id| record.transfer.as_ref().is_some_and(|t| t.afterwards == Afterwards::Drop && t.old == id);
    let stays = |n: &&NodeRecord| n.goal() != NodeState::Dropped && !leaves(n.id);
    if record.nodes.values().filter(stays).count() < 2 {
        return Heirs::Alone;
    }
    let primary = record.primary().map(|p| p.id);
    let mut candidates = record.nodes.values().filter(stays).filter(|n| n.candidate_priority > 0);
    match (candidates.next(), candidates.next()) {
        (None, _) => Heirs::Nobody,
        (Some(one), None) if Some(one.id) == primary => Heirs::Nobody,
        (Some(one), None) => Heirs::Last(&one.name),
        (Some(_), Some(_)) => Heirs::Enough,
    }
}

#[cfg(test)]
mod tests {
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;
    use crate::wire::{Answer, Command, NodeChange, Register};

    const OFF: &str = "automatic failover of group default/0 is off: the candidate priority of every standby is 0";

    /// What a change of priority is answered with, which is in its event as well.
    fn said(p: &mut Pair, name: &str, priority: u8) -> Option<String> {
        let change = NodeChange { candidate_priority: Some(priority), ..NodeChange::default() };
        let command = Command::SetNode { formation: "default".into(), name: name.into(), node: None, change };
        let effects = p.feed(Input::Command(command));
        let Some(Answer::Accepted { note, .. }) = effects.answer else { panic!("{:?}", effects.answer) };
        let suffix = note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
        assert_eq!(effects.events[0].description, format!("{name} is set to candidate priority {priority}{suffix}"));
        note
    }

    #[test]
    fn who_takes_the_last_candidate_away_is_told_that_nobody_takes_over() {
        let mut p = Pair::of(3, 0);
        let last =
            |name: &str| format!("{name} is the last candidate of group default/0: nobody may take over from it");
        for (name, priority, note) in [
            ("b", 0, None),
            ("c", 0, Some(OFF.to_string())),
            ("a", 0, None),
            ("b", 50, Some(last("b"))),
            ("c", 50, None),
            ("b", 20, None),
            ("b", 0, Some(last("c"))),
            ("c", 0, Some(OFF.to_string())),
            ("a", 50, None),
            ("c", 50, Some("automatic failover of group default/0 is on".to_string())),
        ] {
            assert_eq!(said(&mut p, name, priority), note, "{name} {priority}");
        }
    }

    #[test]
    fn so_is_who_drops_it_and_a_node_alone_needs_nobody() {
        let mut p = Pair::of(3, 0);
        said(&mut p, "c", 0);
        let Answer::Accepted { note, .. } = p.ordered_drop("b", false) else { panic!("it is dropped") };
        assert_eq!(note.as_deref(), Some(OFF));
        let mut p = Pair::of(3, 0);
        said(&mut p, "c", 0);
        let Answer::Accepted { note, .. } = p.ordered_drop("a", false) else { panic!("it is dropped") };
        assert_eq!(note.as_deref(), Some("b is the last candidate of group default/0: nobody may take over from it"));
        let mut p = Pair::settled();
        assert!(matches!(p.ordered_drop("b", false), Answer::Accepted { note: None, .. }));
    }

    #[test]
    fn one_that_joins_and_may_never_lead_is_told_of_too() {
        let mut p = Pair::settled();
        p.record_mut().nodes.remove(&B);
        let ask = Register { candidate_priority: 0, ..joins("c", 1) };
        let told = p.feed(Input::Register(ask)).events[0].description.clone();
        assert!(told.starts_with("c registers as node") && told.ends_with(OFF), "{told}");
    }
}
