//! What a scenario waits for.

use super::observer::Observer;
use crate::clients::Clients;
use crate::postgres::{PgHost, Phase};
use crate::world::NodeMachine;
use pgbaton_core::model::{GroupKey, Moment, NodeState};
use pgbaton_core::scenario::condition::{ServerIs, Writable, is_settled};
use pgbaton_core::scenario::{Cast, Condition, Scenario, Unresolved};
use pgbaton_core::wire::StateRow;
use std::sync::Arc;
use std::time::Duration;

/// Writes count as impossible after this long without an acknowledgement.
const QUIET: Duration = Duration::from_secs(1);

pub struct Sight<'a> {
    pub scenario: &'a Scenario,
    pub machines: &'a [Arc<NodeMachine>],
    pub observer: &'a Observer,
    pub clients: Option<&'a Clients>,
    pub cast: &'a Cast,
    /// When the clients began.
    pub began: Moment,
    /// When the step began to wait: older writes prove nothing.
    pub since: Moment,
    pub now: Moment,
}

impl Sight<'_> {
    pub fn holds(&self, condition: &Condition) -> Result<bool, Unresolved> {
        match condition {
            Condition::Settled => Ok(self.settled()),
            Condition::Covered { node } => {
                let name = self.cast.resolve(node, &self.goals())?;
                let group = self.scenario.group_of(Some(&name));
                let is_led = self.rows(&group).iter().any(|r| r.assigned_group_state.is_writable());
                Ok(match self.observer.row(&name) {
                    Some(_) => self.is_settled(&group) && self.observer.waits_for_standbys(&group),
                    None => is_led,
                })
            }
            Condition::State { node, state } => {
                let name = self.cast.resolve(node, &self.goals())?;
                let row = self.observer.row(&name);
                Ok(row.is_some_and(|r| r.current_group_state == *state && r.assigned_group_state == *state))
            }
            Condition::Goal { node, goal } => {
                let name = self.cast.resolve(node, &self.goals())?;
                Ok(self.observer.row(&name).is_some_and(|r| r.assigned_group_state == *goal))
            }
            Condition::Postgres { node, postgres } => {
                let name = self.cast.resolve(node, &self.goals())?;
                let machine = self.machines.iter().find(|m| m.name == name);
                Ok(machine.is_some_and(|m| server_is(&m.pg, *postgres)))
            }
            Condition::Pending { pending } => {
                let rows = self.observer.rows();
                Ok(rows.iter().any(|r| r.pending.as_ref().is_some_and(|p| p.contains(pending))))
            }
            Condition::Event { text } => Ok(self.observer.told_since(self.began, text)),
            Condition::Writable { writable, except } => {
                let except = except.as_ref().map(|s| self.cast.resolve(s, &self.goals())).transpose()?;
                Ok(self.writable(*writable, except.as_deref()))
            }
        }
    }

    fn writable(&self, writable: Writable, except: Option<&str>) -> bool {
        let latest = self.clients.map(Clients::latest).unwrap_or_default();
        match writable {
            Writable::One => latest.acked.is_some_and(|ack| {
                let newest = latest.failed_at.is_none_or(|failed| failed <= ack.at);
                newest && ack.sent >= self.since && except != Some(ack.node.as_str())
            }),
            Writable::None => {
                let last = latest.acked.map_or(self.since, |ack| ack.at.max(self.since));
                self.now.since(last) >= QUIET
            }
        }
    }

    /// Roles are those of the first group.
    fn goals(&self) -> Vec<(String, NodeState)> {
        self.observer.goals(&self.scenario.cluster.nodes)
    }

    fn rows(&self, group: &GroupKey) -> Vec<StateRow> {
        self.observer.rows().into_iter().filter(|row| row.key() == *group).collect()
    }

    /// Each group is.
    pub fn settled(&self) -> bool {
        self.scenario.clusters().all(|cluster| self.is_settled(&cluster.key()))
    }

    pub fn is_settled(&self, group: &GroupKey) -> bool {
        is_settled(&self.observer.rows(), group)
    }
}

fn server_is(pg: &PgHost, asked: ServerIs) -> bool {
    let pg = pg.pg();
    let up = pg.server.as_ref().filter(|s| s.phase == Phase::Up);
    match asked {
        ServerIs::Down => pg.server.is_none(),
        ServerIs::Up => up.is_some(),
        ServerIs::Standby => up.is_some_and(|s| s.in_recovery),
        ServerIs::Open => pg.is_open(),
    }
}
