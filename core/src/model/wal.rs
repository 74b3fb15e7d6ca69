//! Where a node is in the write-ahead log: LSNs, timelines and their ancestry.
//!
//! An LSN means nothing without the timeline it is on, so [`Position`] has no `Ord`; two positions
//! are compared through a [`History`].

use crate::mutant;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::str::FromStr;

/// WAL is recycled by segments of this size.
pub const SEGMENT: u64 = 16 << 20;

/// Byte address in the WAL. Written `16/B374D848`: the high and the low half in hexadecimal.
/// Ordered only for use within one timeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);

    /// Bytes from `earlier` to here; zero when this one is behind.
    pub fn bytes_past(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an LSN (two hexadecimal numbers with a slash between, as 0/451B7A0)")]
pub struct BadLsn(pub String);

impl FromStr for Lsn {
    type Err = BadLsn;
    fn from_str(text: &str) -> Result<Lsn, BadLsn> {
        let bad = || BadLsn(text.to_string());
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        let half = |h: &str| u32::from_str_radix(h, 16).map_err(|_| bad());
        Ok(Lsn((u64::from(half(high)?) << 32) | u64::from(half(low)?)))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Lsn, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// Timeline id (TLI): Postgres starts a new one at each promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in the log of one timeline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    pub tli: Timeline,
    pub lsn: Lsn,
}

impl Position {
    pub fn new(tli: u32, lsn: u64) -> Position {
        Position { tli: Timeline(tli), lsn: Lsn(lsn) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}: {}", self.tli.0, self.lsn)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tli.0, self.lsn)
    }
}

/// The end of one ancestor: its timeline and the LSN at which the next one branched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Switch {
    pub tli: Timeline,
    pub at: Lsn,
}

/// A timeline with its ancestors, oldest first: what Postgres keeps in `0000000N.history`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct History {
    pub tli: Timeline,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Switch>,
}

impl History {
    pub fn root(tli: Timeline) -> History {
        History { tli, ancestors: Vec::new() }
    }

    /// The history of a timeline that branches off this one at `at`.
    pub fn branch(&self, tli: Timeline, at: Lsn) -> History {
        let mut ancestors = self.ancestors.clone();
        ancestors.push(Switch { tli: self.tli, at });
        History { tli, ancestors }
    }

    /// Where this timeline leaves its parent.
    pub fn beginning(&self) -> Position {
        let first = Position { tli: self.tli, lsn: Lsn::ZERO };
        self.ancestors.last().map_or(first, |switch| Position { tli: switch.tli, lsn: switch.at })
    }

    /// Where `tli` ends within this history: `None` when it is no part of it, `Lsn(u64::MAX)` for
    /// the timeline itself, which goes on.
    pub fn end_of(&self, tli: Timeline) -> Option<Lsn> {
        if tli == self.tli {
            return Some(Lsn(u64::MAX));
        }
        self.ancestors.iter().find(|s| s.tli == tli).map(|s| s.at)
    }

    /// Whether all WAL up to `position` is also part of this history.
    pub fn contains(&self, position: Position) -> bool {
        self.end_of(position.tli).is_some_and(|end| position.lsn <= end)
    }

    /// Whether `other` is this history or an earlier part of it: equal numbers stand for equal timelines.
    pub fn is_kin(&self, other: &History) -> bool {
        if mutant!(TimelineNumbersCompared) {
            return self.end_of(other.tli).is_some();
        }
        let upto = self.ancestors.iter().take_while(|s| s.tli != other.tli);
        self.end_of(other.tli).is_some() && upto.eq(other.ancestors.iter())
    }

    /// Where `other` leaves this history: the last point both share. `None` when they share no
    /// timeline. Numbers alone prove nothing: two nodes cut off from each other may both choose the
    /// next free number, so ancestors must agree on the switch points as well.
    pub fn fork(&self, other: &History) -> Option<Position> {
        let mut shared = None;
        let (mine, theirs) = (self.full(), other.full());
        for (a, b) in mine.iter().zip(theirs.iter()) {
            if a.tli != b.tli {
                break;
            }
            shared = Some(Position { tli: a.tli, lsn: a.at.min(b.at) });
            if a.at != b.at && !(mutant!(TimelineNumbersCompared) && theirs.last() != Some(b)) {
                break;
            }
        }
        shared
    }

    fn full(&self) -> Vec<Switch> {
        let mut all = self.ancestors.clone();
        all.push(Switch { tli: self.tli, at: Lsn(u64::MAX) });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_is_written_as_postgres_writes_it() {
        for (text, value) in [("0/0", 0), ("0/451B7A0", 0x451_B7A0), ("16/B374D848", 0x16_B374_D848)] {
            assert_eq!(text.parse::<Lsn>(), Ok(Lsn(value)));
            assert_eq!(Lsn(value).to_string(), text);
        }
        for bad in ["", "0", "/", "g/0", "0/100000000", "0/-1"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_history_contains_its_ancestors_up_to_their_switch_points() {
        let h = History::root(Timeline(1)).branch(Timeline(2), Lsn(100)).branch(Timeline(4), Lsn(300));
        let table = [
            (Position::new(1, 100), true),
            (Position::new(1, 101), false),
            (Position::new(2, 300), true),
            (Position::new(3, 1), false),
            (Position::new(4, 1 << 40), true),
        ];
        for (position, expected) in table {
            assert_eq!(h.contains(position), expected, "{position:?}");
        }
    }

    #[test]
    fn forks_are_found_by_ancestry_not_by_number() {
        let root = History::root(Timeline(1));
        let ours = root.branch(Timeline(2), Lsn(100));
        let theirs = root.branch(Timeline(2), Lsn(80));
        assert_eq!(ours.fork(&theirs), Some(Position::new(1, 80)));
        assert_eq!(ours.fork(&root), Some(Position::new(1, 100)));
        assert_eq!(ours.fork(&ours), Some(Position { tli: Timeline(2), lsn: Lsn(u64::MAX) }));
        assert_eq!(ours.fork(&History::root(Timeline(7))), None);
    }
}
