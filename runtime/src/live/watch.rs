//! What the monitor shows of the cluster, and the conditions of a scenario.

use super::hands;
use super::ledger::Ledger;
use crate::ports::HttpLink;
use anyhow::{Result, bail};
use pgbaton_core::model::{GroupKey, NodeState};
use pgbaton_core::ports::{Link, LinkError};
use pgbaton_core::scenario::condition::{ServerIs, Writable, is_settled};
use pgbaton_core::scenario::{Cast, Condition};
use pgbaton_core::wire::{self, Answer, EventRow, Request, StateRow};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// Writes count as impossible after this long without an acknowledgement.
const QUIET: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(15);

#[derive(Debug)]
pub struct Watch {
    link: HttpLink,
    /// Names in the order of the cluster, and where each one's Postgres listens.
    nodes: Vec<(String, SocketAddrV4)>,
    groups: Vec<GroupKey>,
    /// As seen last: while the monitor is down, roles are those it gave last.
    rows: Vec<StateRow>,
    /// Events of monitors that are no more: their successors may not know them.
    kept: Vec<EventRow>,
}

impl Watch {
    /// The first group is the one that roles are of.
    pub fn new(link: HttpLink, nodes: Vec<(String, SocketAddrV4)>, groups: Vec<GroupKey>) -> Watch {
        Watch { link, nodes, groups, rows: Vec::new(), kept: Vec::new() }
    }

    pub async fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, LinkError> {
        let bytes = self.link.call(wire::encode(request), patience).await?;
        wire::decode(&bytes).map_err(|e| LinkError::Rejected(e.to_string()))
    }

    /// False while the monitor doesn't answer.
    pub async fn look(&mut self) -> bool {
        let request = Request::State { formation: None, group: None };
        match self.ask(&request, PATIENCE).await {
            Ok(Answer::State(rows)) => {
                self.rows = rows;
                true
            }
            _ => false,
        }
    }

    pub fn rows(&self) -> &[StateRow] {
        &self.rows
    }

    pub fn row(&self, node: &str) -> Option<&StateRow> {
        self.rows.iter().find(|row| row.nodename == node)
    }

    pub fn goals(&self) -> Vec<(String, NodeState)> {
        let row = |name: &String| self.row(name).filter(|row| row.key() == self.groups[0]);
        let goal = |(name, _): &(String, _)| Some((name.clone(), row(name)?.assigned_group_state));
        self.nodes.iter().filter_map(goal).collect()
    }

    /// Each group is.
    pub fn settled(&self) -> bool {
        self.groups.iter().all(|group| self.is_settled(group))
    }

    fn rows_of<'a>(&'a self, group: &'a GroupKey) -> impl Iterator<Item = &'a StateRow> {
        self.rows.iter().filter(move |row| row.key() == *group)
    }

    pub fn is_settled(&self, group: &GroupKey) -> bool {
        is_settled(&self.rows, group)
    }

    /// Waits for a condition; false when it didn't come about in time. A goal may be reached and gone before it is seen
    /// here: one that was set since the last deed, at `acted`, counts too.
    pub async fn wait_for(
        &mut self,
        condition: &Condition,
        within: Duration,
        acted: Instant,
        ledger: &Ledger,
        cast: &Cast,
    ) -> bool {
        let since = Instant::now();
        loop {
            let answered = self.look().await;
            if self.holds(condition, since, answered, ledger, cast).await {
                return true;
            }
            if self.was_told(condition, acted, ledger, cast).await {
                return true;
            }
            if since.elapsed() >= within {
                return false;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// States of a monitor that doesn't answer prove nothing; roles that name a node may be old.
    async fn holds(&self, condition: &Condition, since: Instant, answered: bool, ledger: &Ledger, cast: &Cast) -> bool {
        let resolve = |selector| cast.resolve(selector, &self.goals());
        match condition {
            Condition::Settled => answered && self.settled(),
            Condition::Covered { node } => {
                let Ok(name) = resolve(node) else { return false };
                let row = self.row(&name);
                let group = row.map_or_else(|| self.groups[0].clone(), StateRow::key);
                let told = self.all_events().await.unwrap_or_default();
                let latest = told.iter().rev().find(|event| event.key() == group);
                let waits = latest.is_some_and(EventRow::waits_for_standbys);
                answered
                    && match row {
                        Some(_) => self.is_settled(&group) && waits,
                        None => self.rows_of(&group).any(|r| r.assigned_group_state.is_writable()),
                    }
            }
            Condition::State { node, state } => resolve(node).is_ok_and(|name| {
                let row = self.row(&name);
                answered && row.is_some_and(|r| [r.current_group_state, r.assigned_group_state] == [*state; 2])
            }),
            Condition::Goal { node, goal } => resolve(node)
                .is_ok_and(|name| answered && self.row(&name).is_some_and(|r| r.assigned_group_state == *goal)),
            Condition::Pending { pending } => {
                answered && self.rows.iter().any(|r| r.pending.as_ref().is_some_and(|p| p.contains(pending)))
            }
            Condition::Postgres { node, postgres } => match resolve(node) {
                Ok(name) => self.server_is(&name, *postgres).await,
                Err(_) => false,
            },
            Condition::Event { text } => {
                let told = self.all_events().await.unwrap_or_default();
                told.iter().any(|e| ledger.is_since_beginning(e.eventtime) && e.description.contains(text))
            }
            Condition::Writable { writable, except } => match except.as_ref().map(resolve).transpose() {
                Err(_) => false,
                Ok(except) => match writable {
                    Writable::One => ledger.is_writable(since, except.as_deref()),
                    Writable::None => ledger.is_quiet(since, QUIET),
                },
            },
        }
    }

    /// The goal waited for was set since `acted`.
    async fn was_told(&self, condition: &Condition, acted: Instant, ledger: &Ledger, cast: &Cast) -> bool {
        let Condition::Goal { node, goal } = condition else { return false };
        let Ok(name) = cast.resolve(node, &self.goals()) else { return false };
        let told = self.all_events().await.unwrap_or_default();
        let since = ledger.moment(acted);
        let later = told.iter().filter(|e| ledger.wall_moment(e.eventtime) >= since);
        later.into_iter().any(|e| e.nodename == name && e.goalstate == *goal)
    }

    /// Asked of the server itself: the monitor knows only what a keeper says.
    async fn server_is(&self, node: &str, what: ServerIs) -> bool {
        let Some((_, server)) = self.nodes.iter().find(|(name, _)| name == node) else { return false };
        let recovers = hands::sql(*server, "SELECT pg_is_in_recovery()").await.ok();
        let recovers = recovers.as_ref().and_then(|rows| rows.first()).map(String::as_str);
        match what {
            ServerIs::Down => tokio::net::TcpStream::connect(server).await.is_err(),
            ServerIs::Up => recovers.is_some(),
            ServerIs::Standby => recovers == Some("t"),
            ServerIs::Open => recovers == Some("f"),
        }
    }

    /// Before a monitor is taken away.
    pub async fn keep_events(&mut self) {
        // One that is down already has nothing to say.
        if let Ok(all) = self.all_events().await {
            self.kept = all;
        }
    }

    /// What this monitor and those before it have logged.
    pub async fn all_events(&self) -> Result<Vec<EventRow>> {
        let mut all = self.kept.clone();
        let new = self.events().await?.into_iter().filter(|row| !self.kept.contains(row));
        all.extend(new);
        all.sort_by_key(|row| row.eventtime);
        Ok(all)
    }

    /// The monitor's whole log.
    async fn events(&self) -> Result<Vec<EventRow>> {
        let mut all: Vec<EventRow> = Vec::new();
        loop {
            let request = Request::Events {
                formation: None,
                group: None,
                after: Some(all.last().map_or(0, |e| e.eventid)),
                count: 1000,
                wait: false,
            };
            match self.ask(&request, PATIENCE * 5).await? {
                Answer::Events(rows) if rows.is_empty() => return Ok(all),
                Answer::Events(rows) => all.extend(rows),
                other => bail!("the monitor answered {other:?} when asked for its events"),
            }
        }
    }

    /// Where each node stands, for a complaint.
    pub fn describe(&self) -> String {
        let one = |row: &StateRow| {
            let pending = row.pending.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{}: {} -> {}{pending}", row.nodename, row.current_group_state, row.assigned_group_state)
        };
        self.rows.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
