use pgbaton_core::model::Moment;
use pgbaton_core::ports::Clock;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine's boot clock: it goes on while the machine is suspended, and no one can set it.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

/// tokio's timers stand still during a suspend. A long wait is therefore cut into pieces, so that it
/// ends at most this late after the machine wakes up; a lease depends on it.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

impl Clock for BootClock {
    fn now(&self) -> Moment {
        let t = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(t.tv_sec).expect("time since boot isn't negative");
        let nanos = u64::try_from(t.tv_nsec).expect("nanoseconds aren't negative");
        Moment(seconds * 1_000_000 + nanos / 1000)
    }

    fn wall_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_until(&self, until: Moment) {
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_at_its_moment_and_not_before() {
        let clock = BootClock;
        let until = clock.now() + Duration::from_millis(20);
        clock.sleep_until(until).await;
        assert!(clock.now() >= until);
        clock.sleep_until(Moment::ZERO).await;
        assert_ne!(clock.random(), clock.random());
    }
}
