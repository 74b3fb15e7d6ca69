//! One machine's clock: it started at its own time and may run fast or slow.

use crate::world::Fate;
use pgbaton_core::model::Moment;
use pgbaton_core::ports::Clock;
use pgbaton_core::scenario::ClockOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
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
    /// How far somebody has moved the wall clock.
    wall_moved_ms: Arc<AtomicI64>,
}

impl SimClock {
    pub fn new(fate: Fate, skew: Skew) -> SimClock {
        assert!(skew.rate > 0.0, "a clock goes forward");
        SimClock { fate, skew, spins: Arc::default(), wall_moved_ms: Arc::default() }
    }

    /// The wall clock alone: what counts time doesn't notice.
    pub fn move_wall(&self, by_ms: i64) {
        self.wall_moved_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub fn wall_moved_ms(&self) -> i64 {
        self.wall_moved_ms.load(Ordering::Relaxed)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        let shown = self.fate.now().0 as f64 * self.skew.rate;
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
