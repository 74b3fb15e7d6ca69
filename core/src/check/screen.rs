//! What an operator's screen shows of each node beside its states: both worlds look at it all the time, and note what is
//! new.

use super::trace::Kind;
use crate::model::{Moment, Position};
use crate::wire::StateRow;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often it is noted where the WAL of a node is that is written to and otherwise stays as it was.
const NOTE_PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Screen {
    noted: BTreeMap<String, (Moment, StateRow)>,
}

impl Screen {
    /// A row is noted when more of it has changed than the place of its WAL.
    pub fn note(&mut self, at: Moment, rows: &[StateRow]) -> Vec<Kind> {
        let mut news = Vec::new();
        for row in rows {
            let noted = self.noted.get(&row.nodename);
            if noted.is_none_or(|(since, before)| is_news(before, row, at.since(*since))) {
                news.push(shown(row));
                self.noted.insert(row.nodename.clone(), (at, row.clone()));
            }
        }
        news
    }
}

fn is_news(before: &StateRow, row: &StateRow, age: Duration) -> bool {
    let beside =
        |r: &StateRow| (r.current_group_state, r.assigned_group_state, r.reported_tli, r.health, r.pending.clone());
    beside(before) != beside(row) || (before.reported_lsn != row.reported_lsn && age >= NOTE_PERIOD)
}

fn shown(row: &StateRow) -> Kind {
    Kind::Shown {
        node: row.nodename.clone(),
        position: Position { tli: row.reported_tli, lsn: row.reported_lsn },
        health: row.health,
        pending: row.pending.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;
    use crate::monitor::rows;
    use crate::monitor::rules::testing::*;

    #[test]
    fn a_reason_is_noted_when_it_comes_and_when_it_goes_and_wal_alone_now_and_then() {
        let p = Pair::settled();
        let rows = rows::state(&p.monitor, p.now, None, None);
        let mut screen = Screen::default();
        let mut noted = |second: u64, pending: Option<&str>, lsn: u64| {
            let mut rows = rows.clone();
            (rows[0].pending, rows[0].reported_lsn) = (pending.map(str::to_string), Lsn(lsn));
            let news = screen.note(Moment::ZERO + Duration::from_secs(second), &rows);
            news.into_iter()
                .filter_map(|kind| match kind {
                    Kind::Shown { node, pending, .. } => Some((node, pending)),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        let a = |pending: Option<&str>| ("a".to_string(), pending.map(str::to_string));
        assert_eq!(noted(0, None, 1), [a(None), ("b".to_string(), None)]);
        assert_eq!(noted(1, None, 2), []);
        assert_eq!(noted(2, Some("waits for nodes: b"), 2), [a(Some("waits for nodes: b"))]);
        assert_eq!(noted(3, None, 2), [a(None)]);
        assert_eq!(noted(9, None, 3), [a(None)]);
    }
}
