//! Following a request: the notification table, until the group is as wanted or time is up.

use super::ask::{Monitor, unexpected};
use super::failure::{Code, Failure};
use super::out;
use super::show::state::STATE_WIDTH;
use super::table::{Column, Table};
use pgbaton_core::monitor::rules::{BEGUN, GIVEN_BACK};
use pgbaton_core::wire::{Answer, EventRow, Request, StateRow};
use std::time::Duration;
use tokio::time::Instant;

/// One call is held by the monitor for as long as it likes to; the wait here is bounded all the same.
const HOLD: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);

/// Which events are of interest, and for how long.
pub struct Follow<'a> {
    pub monitor: &'a Monitor,
    pub formation: String,
    pub group: Option<u32>,
    /// The last event known.
    pub after: u64,
    /// `None`: for as long as it takes.
    pub deadline: Option<Instant>,
    pub shown: Option<Shown>,
    /// What was asked for is a move of the role, and over when that is called off.
    pub of_a_move: bool,
}

/// Whether this is about a move of the role as a whole: that it is called off, or that one begins.
fn ends_move(row: &EventRow) -> Option<Option<&EventRow>> {
    let rule = row.rule_pos?;
    match GIVEN_BACK.contains(&rule) {
        true => Some(Some(row)),
        false => BEGUN.contains(&rule).then_some(None),
    }
}

impl Follow<'_> {
    /// Ends with what `done` finds in the state of the group, looked at now and after every event; `None` when time
    /// is up before.
    pub async fn until<T>(&mut self, done: impl Fn(&[StateRow]) -> Option<T>) -> Result<Option<T>, Failure> {
        loop {
            if let Some(rows) = self.state().await?
                && let Some(found) = done(&rows)
            {
                // What led there is told as well, also when it came with the answer.
                self.take(Duration::ZERO).await?;
                return Ok(Some(found));
            }
            let Some(events) = self.next().await? else { return Ok(None) };
            let over = events.iter().filter(|_| self.of_a_move).rev().find_map(ends_move).flatten();
            if let Some(row) = over {
                let text = format!("the role has not moved: {}", row.description);
                return Err(Failure::new(
                    Code::Internal,
                    text,
                    "see pgbaton show state, and ask again when that is mended",
                ));
            }
        }
    }

    /// The next events, perhaps none yet; `None` when time is up.
    pub async fn next(&mut self) -> Result<Option<Vec<EventRow>>, Failure> {
        let left = self.deadline.map_or(HOLD, |d| d.saturating_duration_since(Instant::now()).min(HOLD));
        if left.is_zero() {
            return Ok(None);
        }
        self.take(left).await.map(Some)
    }

    async fn take(&mut self, hold: Duration) -> Result<Vec<EventRow>, Failure> {
        let request = Request::Events {
            formation: Some(self.formation.clone()),
            group: self.group,
            after: Some(self.after),
            count: 1000,
            wait: !hold.is_zero(),
        };
        let Some(answer) = self.call(&request, hold.max(RETRY)).await? else {
            return Ok(Vec::new());
        };
        let Answer::Events(rows) = answer else {
            return Err(unexpected(&answer));
        };
        for row in &rows {
            self.after = self.after.max(row.eventid);
            if let Some(shown) = &mut self.shown {
                shown.row(row)?;
            }
        }
        Ok(rows)
    }

    async fn state(&self) -> Result<Option<Vec<StateRow>>, Failure> {
        let request = Request::State { formation: Some(self.formation.clone()), group: self.group };
        match self.call(&request, super::ask::PATIENCE).await? {
            Some(Answer::State(rows)) => Ok(Some(rows)),
            Some(other) => Err(unexpected(&other)),
            None => Ok(None),
        }
    }

    /// `None` when the monitor can't be reached: it may be restarted meanwhile, what was asked for doesn't end with it.
    async fn call(&self, request: &Request, patience: Duration) -> Result<Option<Answer>, Failure> {
        match self.monitor.call(request, patience).await {
            Ok(answer) => answer.map(Some),
            Err(e) => {
                tracing::debug!("{e}");
                tokio::time::sleep(RETRY).await;
                Ok(None)
            }
        }
    }

    pub fn finish(&self) -> Result<(), Failure> {
        self.shown.as_ref().map_or(Ok(()), Shown::finish)
    }
}

/// When a wait of so many seconds ends; 0 has no end.
pub fn deadline(seconds: u64) -> Option<Instant> {
    (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds))
}

/// The notification table. Its rows come one by one, so columns are made wide enough for the group's nodes.
pub struct Shown {
    table: Table,
    json: bool,
    events: Vec<EventRow>,
}

impl Shown {
    pub fn new(nodes: &[StateRow], json: bool) -> Result<Shown, Failure> {
        let widest = |cell: &dyn Fn(&StateRow) -> String| nodes.iter().map(|n| cell(n).len()).max().unwrap_or(0);
        let table = Table::new(vec![
            Column::new("Time").at_least(8),
            Column::new("Name").at_least(widest(&|n| n.nodename.clone())),
            Column::new("Node").at_least(5),
            Column::new("Host:Port").at_least(widest(&|n| format!("{}:{}", n.nodehost, n.nodeport))),
            Column::new("Current State").at_least(STATE_WIDTH),
            Column::new("Assigned State").at_least(STATE_WIDTH),
        ]);
        if !json {
            tracing::info!("Following table displays times when notifications are received");
            out::text(&table.header())?;
        }
        Ok(Shown { table, json, events: Vec::new() })
    }

    fn row(&mut self, event: &EventRow) -> Result<(), Failure> {
        // What concerns the group alone is told at a node's row that repeats the one before.
        let pair = |e: &EventRow| (e.reportedstate, e.goalstate);
        let last = self.events.iter().rev().find(|e| e.nodeid == event.nodeid).map(pair);
        self.events.push(event.clone());
        if self.json || last == Some(pair(event)) {
            return Ok(());
        }
        let received = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        out::text(&self.table.line(&cells(received, event)))
    }

    fn finish(&self) -> Result<(), Failure> {
        match self.json {
            true => out::json(&self.events),
            false => out::text("\n"),
        }
    }

    /// What the rules say about where the time went.
    pub fn durations(&self) -> impl Iterator<Item = &str> {
        let told = self.events.iter().filter(|e| e.rule_pos.is_some() && e.description.contains("detect "));
        told.map(|e| e.description.as_str())
    }
}

fn cells(received: String, event: &EventRow) -> Vec<String> {
    vec![
        received,
        event.nodename.clone(),
        event.nodeid.to_string(),
        format!("{}:{}", event.nodehost, event.nodeport),
        event.reportedstate.to_string(),
        event.goalstate.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in the operations note; pg_auto_failover's header leaves `Time` eight wide too.
    #[test]
    fn the_notification_table_looks_as_users_know_it() {
        let table = Table::new(vec![
            Column::new("Time").at_least(8),
            Column::new("Name").at_least(4),
            Column::new("Node").at_least(5),
            Column::new("Host:Port").at_least("failoversecondary:5432".len()),
            Column::new("Current State").at_least(STATE_WIDTH),
            Column::new("Assigned State").at_least(STATE_WIDTH),
        ]);
        let row = ["22:58:33", "mdw", "1", "failoverprimary:5432", "secondary", "prepare_promotion"];
        let text = table.header() + &table.line(&row.map(str::to_string));
        let expected = "    \
    Time | Name |  Node |              Host:Port |       Current State |      Assigned State
---------+------+-------+------------------------+---------------------+--------------------
22:58:33 |  mdw |     1 |   failoverprimary:5432 |           secondary |   prepare_promotion
";
        assert_eq!(text, expected);
    }
}
