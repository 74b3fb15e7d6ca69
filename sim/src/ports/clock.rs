//! One machine's clock: it started at its own time and may run fast or slow.

use crate::world::Fate;
use pgbaton_core::model::Moment;
use pgbaton_core::mutant;
use pgbaton_core::ports::Clock;
use pgbaton_core::scenario::ClockOptions;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So many waits in a row for a moment that has passed already are a loop that goes nowhere. On a real
/// machine it burns a processor; here time stands still while a task runs, so it would never end.
const SPIN_LIMIT: u64 = 100_000;

/// 2026-01-01T00:00:00Z, when every run begins.
pub const WALL_BASE_MS: u64 = 1_767_225_600_000;

/// How a machine's clock differs from true time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Skew {
    pub offset: Duration,
    /// Seconds it shows for each true second.
    pub rate: f64,
}

impl Skew {
    pub fn of(clock: &ClockOptions) -> Skew {
        Skew { offset: clock.ahead, rate: 1.0 + f64::from(clock.drift_ppm) / 1e6 }
    }
}

impl Default for Skew {
    fn default() -> Self {
        Skew { offset: Duration::ZERO, rate: 1.0 }
    }
}

#[derive(Debug, Clone)]
pub struct SimClock {
    fate: Fate,
    skew: Skew,
    spins: Arc<AtomicU64>,
    /// When somebody moved the wall clock, and how far it has been moved since.
    moves: Arc<Mutex<Vec<(Moment, i64)>>>,
    /// For a planted bug: true time that it has missed, and since when it stands still.
    missed: Arc<Mutex<(Duration, Option<Moment>)>>,
}

impl SimClock {
    pub fn new(fate: Fate, skew: Skew) -> SimClock {
        assert!(skew.rate > 0.0, "a clock goes forward");
        SimClock { fate, skew, spins: Arc::default(), moves: Arc::default(), missed: Arc::default() }
    }

    /// The wall clock alone: what counts time doesn't notice.
    pub fn move_wall(&self, by_ms: i64) {
        let moved = self.wall_moved_ms() + by_ms;
        self.moves.lock().unwrap().push((self.fate.now(), moved));
    }

    /// The machine goes to sleep, or wakes up. The clock of the port counts that time.
    pub fn sleeps(&self, asleep: bool) {
        if !mutant!(LeaseStopsInSuspend) {
            return;
        }
        let mut missed = self.missed.lock().unwrap();
        let now = self.fate.now();
        let since = missed.1.take();
        missed.0 += since.map_or(Duration::ZERO, |since| now.since(since));
        missed.1 = asleep.then_some(now);
    }

    fn counted(&self) -> Moment {
        let now = self.fate.now();
        if !mutant!(LeaseStopsInSuspend) {
            return now;
        }
        let missed = self.missed.lock().unwrap();
        Moment::ZERO + missed.1.unwrap_or(now).since(Moment::ZERO + missed.0)
    }

    fn wall_moved_ms(&self) -> i64 {
        self.moves.lock().unwrap().last().map_or(0, |(_, moved)| *moved)
    }

    /// When the wall clock showed this; the last time, when it did so twice, and none that is still to come.
    pub fn when(&self, wall_ms: u64) -> Moment {
        let moves = self.moves.lock().unwrap();
        let at = |moved: i64| Moment(wall_ms.saturating_add_signed(-moved).saturating_sub(WALL_BASE_MS) * 1000);
        // Clocks are shown in whole milliseconds.
        let reached = |(since, moved): &&(Moment, i64)| {
            let begun = wall_ms.saturating_add_signed(-moved) >= WALL_BASE_MS + since.0 / 1000;
            begun && at(*moved) <= self.fate.now()
        };
        moves.iter().rev().find(reached).map_or_else(|| at(0), |(_, moved)| at(*moved))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        let shown = self.counted().0 as f64 * self.skew.rate;
        Moment(shown as u64) + self.skew.offset
    }

    fn wall_ms(&self) -> u64 {
        (WALL_BASE_MS + self.fate.now().0 / 1000).saturating_add_signed(self.wall_moved_ms())
    }

    async fn sleep_until(&self, until: Moment) {
        // A skewed clock needs a second, short sleep at times: rounding must not end the first too early.
        if until > self.now() {
            self.spins.store(0, Ordering::Relaxed);
        }
        let spins = self.spins.fetch_add(1, Ordering::Relaxed);
        assert!(spins < SPIN_LIMIT, "a loop waits for moments that have passed, at {:?}", self.now());
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            self.fate.sleep(left.div_f64(self.skew.rate)).await;
        }
    }

    fn random(&self) -> u64 {
        self.fate.random()
    }
}
