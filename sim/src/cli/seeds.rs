//! Which seeds a command runs: a range, or as many as a time allows; the part of them that is this machine's.

use clap::Args;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, Args)]
pub struct Seeds {
    /// The seeds to run, the second left out: 0..1000.
    #[arg(long, value_name = "A..B")]
    seeds: Option<Range>,
    /// Counts the seeds from a number that follows from this commit, so that each commit runs seeds of its own.
    #[arg(long, value_name = "HASH")]
    from_commit: Option<Commit>,
    /// Runs the i-th of n parts of the seeds (1/4 to 4/4).
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    shard: Shard,
}

#[derive(Debug, Clone, Args)]
pub struct Timed {
    /// Runs one seed after the other for so long, written 90s, 10m or 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = pgbaton_core::model::time::duration::parse, conflicts_with = "seeds")]
    time: Option<Duration>,
}

impl Timed {
    pub fn time(&self) -> Option<Duration> {
        self.time
    }
}

#[derive(Debug, Clone, Copy)]
struct Range {
    from: u64,
    to: u64,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let bad = || format!("\"{text}\" is no range of seeds; write 0..1000");
        let (from, to) = text.split_once("..").ok_or_else(bad)?;
        let (from, to) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
        if from >= to {
            return Err(format!("\"{text}\" holds no seed; the second number must be greater than the first"));
        }
        Ok(Range { from, to })
    }
}

/// A commit's hash, as the first number of seeds of its own: a million of them, far from another commit's.
#[derive(Debug, Clone, Copy)]
struct Commit(u64);

impl FromStr for Commit {
    type Err = String;

    fn from_str(text: &str) -> Result<Commit, String> {
        let bad = || format!("\"{text}\" is no commit; write at least 10 digits of its hash");
        let head = text.get(..10).ok_or_else(bad)?;
        u64::from_str_radix(head, 16).map(|n| Commit(n * 1_000_000)).map_err(|_| bad())
    }
}

#[derive(Debug, Clone, Copy)]
struct Shard {
    nth: u64,
    of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/').and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((nth, of)) if (1..=of).contains(&nth) => Ok(Shard { nth, of }),
            _ => Err(format!("\"{text}\" is no part; write 1/4, 2/4, 3/4 or 4/4 on four machines")),
        }
    }
}

/// The seeds of one command: those of a range that belong to one part.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    range: Range,
    shard: Shard,
}

impl Seeds {
    /// Where they come from, when that isn't the command line alone.
    pub fn origin(&self) -> String {
        self.from_commit.map_or(String::new(), |Commit(first)| format!(" (of commit {:010x})", first / 1_000_000))
    }

    /// `usual` is how many there are when the command line doesn't say; `None` stands for no end. The error is why
    /// there are none.
    pub fn choose(&self, usual: Option<u64>) -> Result<Chosen, String> {
        let base = self.from_commit.map_or(0, |commit| commit.0);
        let beyond = |n: u64| format!("{n} seeds from {base} on are more than there are numbers; ask for less");
        let end = |to: u64| base.checked_add(to).ok_or_else(|| beyond(to));
        let range = match (self.seeds, usual) {
            (Some(Range { from, to }), _) => Range { from: end(from)?, to: end(to)? },
            (None, Some(usual)) => Range { from: base, to: end(usual)? },
            (None, None) => Range { from: base, to: u64::MAX },
        };
        let chosen = Chosen { range, shard: self.shard };
        match chosen.count() {
            0 => Err(format!("part {}/{} of the seeds holds none of them", self.shard.nth, self.shard.of)),
            _ => Ok(chosen),
        }
    }
}

impl Chosen {
    /// In order.
    pub fn list(self) -> impl Iterator<Item = u64> {
        let Chosen { range, shard } = self;
        (range.from..range.to).filter(move |seed| seed % shard.of == shard.nth - 1)
    }

    pub fn count(self) -> u64 {
        let Chosen { range, shard } = self;
        let below = |end: u64| end / shard.of + u64::from(end % shard.of >= shard.nth);
        below(range.to) - below(range.from)
    }

    pub fn first(self) -> u64 {
        self.range.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        seeds: Seeds,
        #[command(flatten)]
        _timed: Timed,
    }

    fn read(line: &[&str]) -> Result<Seeds, String> {
        let line = Line::try_parse_from([&["x"], line].concat()).map_err(|e| e.to_string())?;
        Ok(line.seeds)
    }

    #[test]
    fn shards_are_all_the_seeds_and_share_none() {
        let mut all: Vec<u64> = Vec::new();
        for shard in ["1/3", "2/3", "3/3"] {
            let seeds = read(&["--seeds", "5..17", "--shard", shard]).unwrap();
            let chosen = seeds.choose(Some(9)).unwrap();
            let part: Vec<u64> = chosen.list().collect();
            assert_eq!(chosen.count(), part.len() as u64, "{shard}");
            all.extend(part);
        }
        all.sort_unstable();
        assert_eq!(all, (5..17).collect::<Vec<_>>());
    }

    #[test]
    fn a_commit_gives_seeds_of_its_own_and_nonsense_is_refused() {
        let seeds = read(&["--from-commit", "0af1b1c6bd39e2", "--seeds", "0..2"]).unwrap();
        let base = 0x0a_f1b1_c6bd * 1_000_000;
        assert_eq!(seeds.choose(Some(9)).unwrap().list().collect::<Vec<_>>(), [base, base + 1]);
        for (line, why) in [
            (["--seeds", "7..3"], "holds no seed"),
            (["--seeds", "7"], "write 0..1000"),
            (["--shard", "5/4"], "is no part"),
            (["--from-commit", "main"], "at least 10 digits"),
            (["--for", "ten"], "is not a duration"),
        ] {
            assert!(read(&line).unwrap_err().contains(why), "{line:?}");
        }
    }

    #[test]
    fn seeds_that_are_none_or_beyond_all_numbers_are_refused() {
        let last = &format!("0..{}", u64::MAX);
        let range = read(&["--seeds", last]).unwrap().choose(None).unwrap();
        assert_eq!((range.count(), range.list().nth(1)), (u64::MAX, Some(1)));
        for (line, why) in [
            (&["--from-commit", "ffffffffff", "--seeds", last][..], "more than there are numbers"),
            (&["--seeds", "0..1", "--shard", "2/2"], "part 2/2 of the seeds holds none"),
        ] {
            assert!(read(line).unwrap().choose(Some(9)).unwrap_err().contains(why), "{line:?}");
        }
    }
}
