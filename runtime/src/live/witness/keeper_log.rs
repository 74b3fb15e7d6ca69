//! What a keeper stores, which steps fail, and which WAL it keeps where before a rewind takes it. Its store is locked for as long as it runs; but
//! with `-vv` it logs each record once that has reached the disk, and before it acts on it.

use crate::service::mirror::STORED;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgbaton_core::model::{KEPT_IN, KeeperRecord, Kept, Position, Timeline};
use pgbaton_core::shell::STEP_FAILED;

#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Stored(Box<KeeperRecord>),
    KeptIn(Kept),
    Failed(String),
}

/// Milliseconds since 1970, and what was said. `now` is any moment within some hours of the line, which has no date.
pub fn read(line: &str, now: Timestamp) -> Option<(u64, Said)> {
    if let Some((head, record)) = line.split_once(STORED) {
        return Some((moment(head, now)?, Said::Stored(serde_json::from_str(record).ok()?)));
    }
    if let Some((head, place)) = line.split_once(KEPT_IN) {
        return Some((moment(head, now)?, Said::KeptIn(kept(head, place.trim())?)));
    }
    let (head, step) = line.split_once(STEP_FAILED)?.0.split_once(" WARN ")?;
    Some((moment(head, now)?, Said::Failed(step.trim().into())))
}

fn kept(head: &str, place: &str) -> Option<Kept> {
    let words: Vec<&str> = head.split_whitespace().collect();
    let [.., "from", from, "to", end, "on", "timeline", tli] = words[..] else { return None };
    let fork = Position { tli: Timeline(tli.parse().ok()?), lsn: from.parse().ok()? };
    Some(Kept { fork, end: end.parse().ok()?, place: place.into() })
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
    use pgbaton_core::model::{GroupKey, Lsn, NodeId};

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
        let kept = Kept { fork: Position::new(1, 3), end: Lsn(4), place: "/srv/a.pgbaton/kept/1".into() };
        assert_eq!(read(&format!("23:59:59.250 4711 WARN {kept}"), now).unwrap().1, Said::KeptIn(kept));
        let failed = format!("23:59:59.250 4711 WARN set names{STEP_FAILED}no space left on device");
        assert_eq!(read(&failed, now).unwrap().1, Said::Failed("set names".into()));
        assert_eq!(read("23:59:59.250 4711 DEBUG start", now), None);
    }
}
