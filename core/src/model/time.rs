//! Time as the logic sees it: a point on a clock that only goes forward and goes on through suspend.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since some fixed point of one machine's boot clock. Moments of two machines are
/// never compared; what crosses the link is an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    pub const ZERO: Moment = Moment(0);

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, d: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    fn sub(self, d: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// `12.345s`, `250ms`, `1m30s` style durations, as scenario files and settings write them.
pub mod duration {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads `500ms`, `5s`, `1.5s`, `2m`, `1h`.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let bad = || format!("\"{text}\" is not a duration; write a number and a unit: 250ms, 5s, 1.5s, 2m or 1h");
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(bad)?;
        let (number, unit) = text.split_at(split);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        Duration::try_from_secs_f64(number * unit).map_err(|_| bad())
    }

    /// In seconds or else in milliseconds, with a fraction if it must be: `parse` reads the same duration.
    pub fn format(d: Duration) -> String {
        let (ms, rest_ns) = (d.as_millis(), d.subsec_nanos() % 1_000_000);
        if rest_ns > 0 {
            format!("{}ms", format!("{ms}.{rest_ns:06}").trim_end_matches('0'))
        } else if ms.is_multiple_of(1000) {
            format!("{}s", ms / 1000)
        } else {
            format!("{ms}ms")
        }
    }

    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format(*d))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_and_nothing_else() {
        for (text, ms) in [("250ms", 250), ("5s", 5000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration::parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "5x", "-5s", "1.2.3s", "99999999999999999999999h"] {
            assert!(duration::parse(text).unwrap_err().contains("is not a duration"), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_so_that_it_can_be_read() {
        let table =
            [(0, "0s"), (250_000_000, "250ms"), (90_000_000_000, "90s"), (1_500_000, "1.5ms"), (7, "0.000007ms")];
        for (ns, text) in table {
            assert_eq!(duration::format(Duration::from_nanos(ns)), text);
            assert_eq!(duration::parse(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn an_age_is_never_negative() {
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
        assert_eq!((Moment(5) + Duration::from_secs(1)).since(Moment(5)), Duration::from_secs(1));
    }
}
