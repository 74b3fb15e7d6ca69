//! Physical replication slots, and how long WAL is kept. Both are looked at when a checkpoint, or on a
//! standby a restartpoint, is done.

use super::directory::DataDir;
use super::host::PgHost;
use super::server::Phase;
use super::settings::Settings;
use pgbaton_core::model::Lsn;

/// It belongs to one directory: neither streaming nor a base backup carries it over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// The oldest WAL its owner may still need; `None` reserves nothing.
    pub restart: Option<Lsn>,
    /// It fell behind further than slots may: what it held is gone.
    pub lost: bool,
}

impl DataDir {
    /// Keeps a slot of that name as it is. A new one reserves WAL from the last checkpoint on.
    pub fn create_slot(&mut self, name: &str) {
        let restart = Some(self.checkpoint.lsn);
        self.slots.entry(name.to_string()).or_insert(Slot { restart, lost: false });
    }

    /// `pg_replication_slot_advance`; `reached` is what is flushed here, or on a standby replayed.
    pub fn advance_slot(&mut self, name: &str, to: Lsn, reached: Lsn) -> Result<Lsn, String> {
        let slot = self.slots.get_mut(name).ok_or_else(|| missing(name))?;
        let Some(now) = slot.restart else {
            return Err(format!("replication slot \"{name}\" cannot be advanced"));
        };
        let to = to.min(reached);
        if to < now {
            return Err(format!("cannot advance replication slot to {to}, minimum is {now}"));
        }
        slot.restart = Some(to);
        Ok(to)
    }

    /// What the owner has confirmed is kept for it no longer. Before version 16 a lost slot holds WAL again by that.
    pub(super) fn confirm_slot(&mut self, name: &str, flushed: Lsn, version: u32) {
        if let Some(slot) = self.slots.get_mut(name).filter(|slot| !slot.lost || version < 16) {
            *slot = Slot { restart: Some(flushed), lost: false };
        }
    }

    /// Removes the WAL that nothing asks for any more; gives the slots that have lost theirs by it.
    pub(super) fn recycle(&mut self, settings: &Settings) -> Vec<String> {
        let segment = |lsn: Lsn| lsn.0 / settings.segment_bytes;
        let now = segment(self.wal.end());
        let back = |bytes: u64| now.saturating_sub(bytes / settings.segment_bytes);
        let mut keep = segment(self.checkpoint.lsn).min(back(settings.wal_keep_size));
        if let Some(oldest) = self.slots.values().filter_map(|slot| slot.restart).min() {
            let limit = settings.max_slot_wal_keep_size.map_or(0, back);
            keep = keep.min(segment(oldest).max(limit));
        }
        let from = Lsn(keep * settings.segment_bytes);
        self.wal.remove_before(from);
        let behind = self.slots.iter_mut().filter(|(_, slot)| slot.restart.is_some_and(|at| at < from));
        let lose = |(name, slot): (&String, &mut Slot)| {
            *slot = Slot { restart: None, lost: true };
            name.clone()
        };
        behind.map(lose).collect()
    }
}

impl PgHost {
    /// Makes the slots exactly these. One that is in use stays until another time.
    pub fn admit(&self, wanted: &[String]) -> Result<(), String> {
        let mut pg = self.pg();
        let Some((dir, server)) = pg.running().filter(|(_, server)| server.phase == Phase::Up) else {
            return Err("admit peers: the server is not up".into());
        };
        dir.slots.retain(|name, slot| server.uses(name) || wanted.contains(name) && !slot.lost);
        wanted.iter().for_each(|name| dir.create_slot(name));
        Ok(())
    }

    /// The port drops each lost slot that nobody uses, and makes it anew.
    pub fn renew_lost_slots(&self) {
        let mut pg = self.pg();
        let Some((dir, server)) = pg.running().filter(|(_, server)| server.phase == Phase::Up) else { return };
        let lost = dir.slots.iter().filter(|(name, slot)| slot.lost && !server.uses(name));
        for name in lost.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            dir.slots.remove(&name);
            dir.create_slot(&name);
        }
    }

    /// On a standby, whose slots nobody else moves: all that have not come as far yet.
    pub fn advance_slots(&self, to: Lsn) -> Result<(), String> {
        let mut pg = self.pg();
        let Some((dir, server)) = pg.running().filter(|(_, server)| server.phase == Phase::Up) else {
            return Err("advance slots: the server is not up".into());
        };
        if !server.in_recovery {
            return Ok(());
        }
        let reached = dir.wal.end_of(server.replayed);
        let behind = |slot: &Slot| slot.restart.is_some_and(|at| at < to.min(reached));
        let names = dir.slots.iter().filter(|(name, slot)| behind(slot) && !server.uses(name));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        names.iter().try_for_each(|name| dir.advance_slot(name, to, reached).map(drop))
    }
}

pub(super) fn missing(name: &str) -> String {
    format!("replication slot \"{name}\" does not exist")
}

/// What a server says of WAL that it no longer has.
pub(super) fn removed(lsn: Lsn, segment_bytes: u64) -> String {
    format!("requested WAL segment {} has already been removed", lsn.0 / segment_bytes)
}
