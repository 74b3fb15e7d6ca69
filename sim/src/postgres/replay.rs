//! The startup process of a server in recovery.

use super::host::{PgHost, until_either};
use super::wal::Kind;
use crate::world::fate::either;
use pgbaton_core::model::Moment;
use std::sync::Arc;
use std::time::Duration;

/// What redo of one record takes.
pub(super) const REDO: Duration = Duration::from_micros(20);

enum Next {
    /// Up to so many records.
    Now(usize),
    /// The next one is a commit that is held back until then.
    At(Moment),
}

impl PgHost {
    pub(super) async fn replay(self: Arc<Self>) {
        loop {
            let states = self.bells.state.rings();
            if let Next::At(due) = until_either(&self.bells.wal, &self.bells.state, || self.next_to_replay()).await {
                either(self.fate.sleep_until(due), self.bells.state.past(states)).await;
                continue;
            }
            let turn = self.fate.draw_ms(1..3);
            self.fate.sleep(turn).await;
            if let Some(Next::Now(count)) = self.next_to_replay() {
                self.apply(count, (turn.as_micros() / REDO.as_micros()) as usize);
            }
        }
    }

    /// `recovery_min_apply_delay` holds commits back, until a promotion is asked for.
    fn next_to_replay(&self) -> Option<Next> {
        let mut pg = self.pg();
        let delay = pg.settings.recovery_min_apply_delay;
        let (dir, server) = pg.running()?;
        if !server.in_recovery || server.replayed >= dir.flushed {
            return None;
        }
        if delay.is_zero() || server.promoting {
            return Some(Next::Now(dir.flushed));
        }
        let now = self.fate.now();
        let waiting = &dir.wal.records()[server.replayed..dir.flushed];
        let held = waiting.iter().position(|r| matches!(r.kind, Kind::Insert { .. }) && r.at + delay > now);
        Some(match held {
            None => Next::Now(dir.flushed),
            Some(0) => Next::At(waiting[0].at + delay),
            Some(n) => Next::Now(server.replayed + n),
        })
    }

    /// Up to `count`, as far as one turn takes it.
    fn apply(&self, count: usize, most: usize) {
        let asked = {
            let mut pg = self.pg();
            let Some((dir, server)) = pg.running() else { return };
            let count = count.min(server.replayed + most);
            let applied = &dir.wal.records()[server.replayed..count];
            let asked = applied.iter().any(|r| matches!(r.kind, Kind::Insert { feedback: true, .. }));
            let told = applied.iter().rev().find_map(|r| match r.kind {
                Kind::Parameters { hints_logged } => Some(hints_logged),
                _ => None,
            });
            dir.pages.hints_logged = told.unwrap_or(dir.pages.hints_logged);
            server.replayed = count;
            asked
        };
        self.bells.replay.ring();
        if asked {
            self.bells.feedback.ring();
        }
    }
}
