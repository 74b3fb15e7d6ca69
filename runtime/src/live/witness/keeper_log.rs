//! What a keeper stores, which steps fail, and where it keeps WAL before a rewind takes it. Its store is locked for as long as it runs; but
//! with `-vv` it logs each record once that has reached the disk, and before it acts on it.

use crate::service::mirror::STORED;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgbaton_core::model::KEPT_IN;
use pgbaton_core::model::KeeperRecord;
use pgbaton_core::shell::STEP_FAILED;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Stored(Box<KeeperRecord>),
    KeptIn(PathBuf),
    Failed(String),
}

/// Milliseconds since 1970, and what was said. `now` is any moment within some hours of the line, which has no date.
pub fn read(line: &str, now: Timestamp) -> Option<(u64, Said)> {
    if let Some((head, record)) = line.split_once(STORED) {
        return Some((moment(head, now)?, Said::Stored(serde_json::from_str(record).ok()?)));
    }
    if let Some((head, place)) = line.split_once(KEPT_IN) {
        return Some((moment(head, now)?, Said::KeptIn(place.trim().into())));
    }
    let (head, step) = line.split_once(STEP_FAILED)?.0.split_once(" WARN ")?;
    Some((moment(head, now)?, Said::Failed(step.trim().into())))
}

fn moment(head: &str, now: Timestamp) -> Option<u64> {
    let time: jiff::civil::Time = head.split_whitespace().next()?.parse().ok()?;
    let today = now.to_zoned(TimeZone::UTC).date();
    let days = [today.yesterday().ok()?, today, today.tomorrow().ok()?];
    let moments =
        days.into_iter().filter_map(|day| Some(day.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp()));
    let at = moments.min_by_key(|moment| moment.duration_since(now).abs())?;
    at.as_millisecond().try_into().ok()
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
        assert_eq!(read_back, Said::Stored(Box::new(record)));
        assert_eq!(i64::try_from(at).unwrap(), now.as_millisecond() - 1750);
        let kept = format!("23:59:59.250 4711 WARN WAL from 0/3 to 0/4 on timeline 1 {KEPT_IN}/srv/a.pgbaton/kept/1");
        assert_eq!(read(&kept, now).unwrap().1, Said::KeptIn("/srv/a.pgbaton/kept/1".into()));
        let failed = format!("23:59:59.250 4711 WARN set names{STEP_FAILED}no space left on device");
        assert_eq!(read(&failed, now).unwrap().1, Said::Failed("set names".into()));
        assert_eq!(read("23:59:59.250 4711 DEBUG start", now), None);
    }
}
