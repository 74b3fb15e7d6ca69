//! Time and chance of a run. Both come from the seed, and both work outside of a task as well: a
//! connection that is dropped while its process dies still needs to know how long the news travels.

use super::nap::Nap;
use futures_util::future::{Either, select};
use madsim::rand::{GlobalRng, RngCore};
use madsim::time::TimeHandle;
use pgbaton_core::model::Moment;
use pgbaton_core::scenario::FaultPoint;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Clone)]
pub struct Fate {
    time: TimeHandle,
    rng: GlobalRng,
    points: Arc<Points>,
}

/// Points in the code that are live in this run, and how often each strikes.
#[derive(Debug, Default)]
struct Points {
    rates: BTreeMap<FaultPoint, f64>,
    armed: AtomicBool,
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fate")
    }
}

impl Fate {
    /// Of the runtime in whose context this is called.
    pub fn current() -> Fate {
        Fate { time: TimeHandle::current(), rng: madsim::rand::thread_rng(), points: Arc::default() }
    }

    /// The same for a run in which these points are live, once they are armed.
    pub fn with_points(self, rates: BTreeMap<FaultPoint, f64>) -> Fate {
        Fate { points: Arc::new(Points { rates, ..Points::default() }), ..self }
    }

    pub fn arm(&self, armed: bool) {
        self.points.armed.store(armed, Ordering::Relaxed);
    }

    /// Whether something goes wrong here, this time. A run without this point draws nothing for it.
    pub fn strikes(&self, point: FaultPoint) -> bool {
        let rate = self.points.rates.get(&point).filter(|_| self.points.armed.load(Ordering::Relaxed));
        rate.is_some_and(|rate| self.happens(*rate))
    }

    /// `rate` is a part of one.
    pub fn happens(&self, rate: f64) -> bool {
        self.below(1_000_000) < (rate * 1e6) as u64
    }

    /// True time since the run began; what a machine's clock says is its own matter.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.time.elapsed().as_micros()).expect("a run ends before time does"))
    }

    /// Sleeps of less than a millisecond take one: madsim's timers are no finer.
    pub async fn sleep(&self, d: Duration) {
        Nap::new(&self.time, d).await;
    }

    pub async fn sleep_until(&self, at: Moment) {
        let left = at.since(self.now());
        if !left.is_zero() {
            self.sleep(left).await;
        }
    }

    pub fn random(&self) -> u64 {
        self.rng.clone().next_u64()
    }

    /// A whole number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.random() % bound.max(1)
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time within the range, drawn evenly.
    pub fn draw(&self, range: Range<Duration>) -> Duration {
        let (low, high) = (range.start.as_micros() as u64, range.end.as_micros() as u64);
        Duration::from_micros(low + self.below(high.saturating_sub(low)))
    }

    pub fn draw_ms(&self, range: Range<u64>) -> Duration {
        self.draw(Duration::from_millis(range.start)..Duration::from_millis(range.end))
    }

    /// `None` when the time is over before the work is done.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), pin!(self.sleep(limit))).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }
}

/// Whichever ends first; the left one when both could. `futures::select!` would toss a coin of its own.
pub async fn either<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> Either<A, B> {
    match select(pin!(left), pin!(right)).await {
        Either::Left((a, _)) => Either::Left(a),
        Either::Right((b, _)) => Either::Right(b),
    }
}
