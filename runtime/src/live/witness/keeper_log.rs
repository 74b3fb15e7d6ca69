//! What a keeper stores. Its store is locked for as long as it runs; but with `-vv` it logs each record once that has
//! reached the disk, and before it acts on it.

use crate::service::mirror::STORED;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgbaton_core::model::KeeperRecord;

/// Milliseconds since 1970, and the record. `now` is any moment within some hours of the line, which has no date.
pub fn read(line: &str, now: Timestamp) -> Option<(u64, KeeperRecord)> {
    let (head, record) = line.split_once(STORED)?;
    let time: jiff::civil::Time = head.split_whitespace().next()?.parse().ok()?;
    let record = serde_json::from_str(record).ok()?;
    let today = now.to_zoned(TimeZone::UTC).date();
    let days = [today.yesterday().ok()?, today, today.tomorrow().ok()?];
    let moments =
        days.into_iter().filter_map(|day| Some(day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp()));
    let at = moments.min_by_key(|moment| moment.duration_since(now).abs())?;
    Some((at.as_millisecond().try_into().ok()?, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{GroupKey, NodeId};

    #[test]
    fn a_record_is_read_back_with_its_time_also_past_midnight() {
        let group = GroupKey { formation: "default".into(), group: 0 };
        let record = KeeperRecord::new(group, NodeId(2), "b".into());
        let json = serde_json::to_string(&record).unwrap();
        let line = format!("23:59:59.250 4711 DEBUG {STORED}{json}");
        let now: Timestamp = "2026-11-25T00:00:01Z".parse().unwrap();
        let (at, read_back) = read(&line, now).unwrap();
        assert_eq!(read_back, record);
        assert_eq!(i64::try_from(at).unwrap(), now.as_millisecond() - 1750);
        assert_eq!(read("23:59:59.250 4711 DEBUG start", now), None);
    }
}
