//! Sizes as Postgres writes them: `64MB`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The smallest last: every other unit ends in it.
const UNITS: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

impl Size {
    fn read(text: &str) -> Option<Size> {
        let in_unit = |(unit, bytes): &(&str, u64)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*bytes);
        UNITS.iter().find_map(in_unit).map(Size)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
        let text = String::deserialize(d)?;
        let complaint = || D::Error::custom(format!("\"{text}\" is not a size; write a number and B, kB, MB or GB"));
        Size::read(&text).ok_or_else(complaint)
    }
}

/// Exact, in the largest unit that is.
impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let exact = |(_, bytes): &&(&str, u64)| self.0.is_multiple_of(*bytes);
        let (unit, bytes) = UNITS.iter().find(exact).expect("a size is a number of bytes");
        s.collect_str(&format_args!("{}{unit}", self.0 / bytes))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}MB", self.0.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        let table = [
            ("64kB", Some(65_536)),
            ("7B", Some(7)),
            ("2GB", Some(2 << 30)),
            ("64", None),
            ("MB", None),
            ("-1MB", None),
        ];
        for (text, bytes) in table {
            assert_eq!(Size::read(text), bytes.map(Size), "{text}");
        }
        assert_eq!(Size::read("99999999999999GB"), None);
    }
}
