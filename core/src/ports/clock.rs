use crate::model::Moment;
use std::future::Future;

/// A node's own clock and its source of randomness.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Time since boot, suspend included (Linux: CLOCK_BOOTTIME). Never goes back.
    fn now(&self) -> Moment;

    /// Milliseconds since 1970 in UTC, for display only; it may jump.
    fn wall_ms(&self) -> u64;

    /// Ends at `until`, or soon after.
    fn sleep_until(&self, until: Moment) -> impl Future<Output = ()> + Send;

    fn random(&self) -> u64;
}
