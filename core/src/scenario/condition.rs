//! What a step can wait for.

use super::resolve::Selector;
use crate::model::{GroupKey, NodeState, Rebuild};
use crate::wire::StateRow;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub enum Condition {
    /// A node has reported a state and has no other goal.
    State { node: Selector, state: NodeState },
    /// A node is told to be something, whatever it is yet.
    Goal { node: Selector, goal: NodeState },
    /// What the server of a node is, whatever its keeper says.
    Postgres { node: Selector, postgres: ServerIs },
    /// The clients' latest writes are acknowledged, by a node that isn't `except`; or none are.
    Writable { writable: Writable, except: Option<Selector> },
    /// Some node waits for something, and the reason it gives contains this.
    Pending { pending: String },
    /// Since the clients began there was an event whose description contains this.
    Event { text: String },
    /// Every node has reached its goal, one is primary (or single), the rest are secondary.
    Settled,
    /// This node may be lost with all it has: the group is settled and commits wait for a standby, or it is led and the
    /// node is no member any more.
    Covered { node: Selector },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Writable {
    One,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerIs {
    Down,
    /// It takes connections, in whatever role.
    Up,
    Standby,
    /// Out of recovery: it takes writes.
    Open,
}

/// What a condition may hold; one table instead of an untagged enum, so that errors name the key.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    node: Option<Selector>,
    state: Option<NodeState>,
    goal: Option<NodeState>,
    postgres: Option<ServerIs>,
    writable: Option<Writable>,
    except: Option<Selector>,
    pending: Option<String>,
    events: Option<String>,
    settled: Option<bool>,
    covered: Option<Selector>,
}

const FORMS: &str = "a condition is { node, state }, { node, goal }, { node, postgres }, { writable } with or without \
                     except, { pending }, { events }, { settled = true } or { covered }";

impl TryFrom<Fields> for Condition {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Condition, &'static str> {
        let Fields { node, state, goal, postgres, writable, except, pending, events, settled, covered } = fields;
        let of_node = (node, state, goal, postgres);
        match (of_node, writable, except, pending, events, (settled, covered)) {
            ((Some(node), Some(state), None, None), None, None, None, None, (None, None)) => {
                Ok(Condition::State { node, state })
            }
            ((Some(node), None, Some(goal), None), None, None, None, None, (None, None)) => {
                Ok(Condition::Goal { node, goal })
            }
            ((Some(node), None, None, Some(postgres)), None, None, None, None, (None, None)) => {
                Ok(Condition::Postgres { node, postgres })
            }
            ((None, None, None, None), Some(writable), except, None, None, (None, None)) => {
                Ok(Condition::Writable { writable, except })
            }
            ((None, None, None, None), None, None, Some(pending), None, (None, None)) => {
                Ok(Condition::Pending { pending })
            }
            ((None, None, None, None), None, None, None, Some(text), (None, None)) => Ok(Condition::Event { text }),
            ((None, None, None, None), None, None, None, None, (Some(true), None)) => Ok(Condition::Settled),
            ((None, None, None, None), None, None, None, None, (None, Some(node))) => Ok(Condition::Covered { node }),
            _ => Err(FORMS),
        }
    }
}

impl From<Condition> for Fields {
    fn from(condition: Condition) -> Fields {
        let none = Fields::default();
        match condition {
            Condition::State { node, state } => Fields { node: Some(node), state: Some(state), ..none },
            Condition::Goal { node, goal } => Fields { node: Some(node), goal: Some(goal), ..none },
            Condition::Postgres { node, postgres } => Fields { node: Some(node), postgres: Some(postgres), ..none },
            Condition::Writable { writable, except } => Fields { writable: Some(writable), except, ..none },
            Condition::Pending { pending } => Fields { pending: Some(pending), ..none },
            Condition::Event { text } => Fields { events: Some(text), ..none },
            Condition::Settled => Fields { settled: Some(true), ..none },
            Condition::Covered { node } => Fields { covered: Some(node), ..none },
        }
    }
}

impl Condition {
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Condition::State { node, .. }
            | Condition::Goal { node, .. }
            | Condition::Postgres { node, .. }
            | Condition::Covered { node } => Some(node),
            Condition::Writable { except, .. } => except.as_ref(),
            Condition::Pending { .. } | Condition::Event { .. } | Condition::Settled => None,
        }
    }
}

/// Every node of a group has reached its goal and is, as far as is known, well; one is primary (or single), the rest are
/// secondary. A keeper that comes back says what it was until it has seen what its server is: then its row says that it isn't
/// well.
pub fn is_settled(rows: &[StateRow], group: &GroupKey) -> bool {
    use NodeState::{Primary, Secondary, Single};
    let rows = || rows.iter().filter(|row| row.key() == *group);
    let rests = |row: &StateRow| row.current_group_state == row.assigned_group_state && row.health != 0;
    rows().filter(|row| matches!(row.assigned_group_state, Primary | Single)).count() == 1
        && rows().all(|row| matches!(row.assigned_group_state, Primary | Single | Secondary) && rests(row))
}

/// The node gets its data directory anew, which takes as long as there is data.
pub fn is_rebuilt(row: &StateRow) -> bool {
    let kinds = [Rebuild::Rewind, Rebuild::Clone].map(Rebuild::describe);
    row.pending.as_deref().is_some_and(|why| kinds.iter().any(|kind| why.starts_with(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::{Lsn, Timeline};

    fn row(formation: &str, current: NodeState, goal: NodeState, health: i8) -> StateRow {
        StateRow {
            formation_kind: "pgsql".into(),
            formation: formation.into(),
            nodename: "n".into(),
            nodehost: "127.0.0.1".into(),
            nodeport: 5432,
            group_id: 0,
            node_id: 1,
            current_group_state: current,
            assigned_group_state: goal,
            candidate_priority: 50,
            replication_quorum: true,
            reported_tli: Timeline(1),
            reported_lsn: Lsn::ZERO,
            health,
            report_age_ms: Some(0),
            pending: None,
        }
    }

    #[test]
    fn settled_are_those_that_have_reached_their_goals_and_are_well() {
        let primary = row("f", Primary, Primary, 1);
        let table = [
            (true, vec![primary.clone(), row("f", Secondary, Secondary, 1)]),
            (true, vec![row("f", Single, Single, 1), row("other", Primary, Draining, 0)]),
            (false, vec![row("f", Primary, Primary, 0), row("f", Secondary, Secondary, 1)]),
            (false, vec![primary.clone(), row("f", Secondary, Secondary, 0)]),
            (false, vec![primary.clone(), row("f", Catchingup, Secondary, 1)]),
            (false, vec![primary.clone(), row("f", Catchingup, Catchingup, 1)]),
            (false, vec![primary.clone(), primary]),
            (false, vec![row("f", Secondary, Secondary, 1)]),
            (false, vec![]),
        ];
        for (settled, rows) in table {
            assert_eq!(is_settled(&rows, &GroupKey { formation: "f".into(), group: 0 }), settled, "{rows:?}");
        }
    }
}
