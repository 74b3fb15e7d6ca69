//! Which seeds a command runs: a range, or as many as a time allows; the part of them that is this machine's.

use clap::Args;
use pgbaton_core::swarm::Manner;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, Args)]
pub struct Seeds {
    /// The seeds to run, the second left out: 0..1000.
    #[arg(long, value_name = "A..B")]
    seeds: Option<Range>,
    /// Runs one seed after the other for so long, written 90s, 10m or 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = pgbaton_core::model::time::duration::parse, conflicts_with = "seeds")]
    time: Option<Duration>,
    /// Counts the seeds from a number that follows from this commit, so that each commit runs seeds of its own.
    #[arg(long, value_name = "HASH")]
    from_commit: Option<Commit>,
    /// Runs the i-th of n parts of the seeds (1/4 to 4/4).
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    shard: Shard,
    /// Draws stories as `pgbaton-live chaos` does: such as live runs can play too.
    #[arg(long)]
    live: bool,
    /// How many to run at a time; as many as there are processors when left out.
    #[arg(long)]
    jobs: Option<usize>,
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

impl Seeds {
    pub fn jobs(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.unwrap_or_else(all).max(1)
    }

    pub fn manner(&self) -> Manner {
        if self.live { Manner::live(true) } else { Manner::SIMULATED }
    }

    pub fn time(&self) -> Option<Duration> {
        self.time
    }

    fn base(&self) -> u64 {
        self.from_commit.map_or(0, |commit| commit.0)
    }

    fn range(&self, usual: u64) -> Range {
        let endless = Range { from: 0, to: u64::MAX - self.base() };
        let range = self.seeds.unwrap_or(if self.time.is_some() { endless } else { Range { from: 0, to: usual } });
        Range { from: range.from + self.base(), to: range.to + self.base() }
    }

    /// Those of this shard, in order; `usual` is how many there are when the command line doesn't say.
    pub fn list(&self, usual: u64) -> impl Iterator<Item = u64> + use<> {
        let (range, shard) = (self.range(usual), self.shard);
        (range.from..range.to).filter(move |seed| seed % shard.of == shard.nth - 1)
    }

    /// How many there are, if that is known before.
    pub fn count(&self, usual: u64) -> Option<u64> {
        let range = self.range(usual);
        let below = |end: u64| (end + self.shard.of - self.shard.nth) / self.shard.of;
        self.time.is_none().then(|| below(range.to) - below(range.from))
    }

    pub fn first(&self, usual: u64) -> u64 {
        self.range(usual).from
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
            let part: Vec<u64> = seeds.list(0).collect();
            assert_eq!(seeds.count(0), Some(part.len() as u64), "{shard}");
            all.extend(part);
        }
        all.sort_unstable();
        assert_eq!(all, (5..17).collect::<Vec<_>>());
    }

    #[test]
    fn a_commit_gives_seeds_of_its_own_and_nonsense_is_refused() {
        let seeds = read(&["--from-commit", "0af1b1c6bd39e2", "--seeds", "0..2"]).unwrap();
        let base = 0x0a_f1b1_c6bd * 1_000_000;
        assert_eq!(seeds.list(9).collect::<Vec<_>>(), [base, base + 1]);
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
}
