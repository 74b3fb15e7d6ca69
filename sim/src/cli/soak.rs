//! `pgbaton-sim soak`: plays drawn stories until there are no seeds left, or no time.

use super::keep::Keep;
use super::many;
use super::seeds::Seeds;
use clap::Args;
use std::process::ExitCode;

const USUAL: u64 = 1000;

#[derive(Debug, Args)]
pub struct Soak {
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    keep: Keep,
    /// Fails as well when these stories never came to something that a search must have seen.
    #[arg(long)]
    all_marks: bool,
}

impl Soak {
    pub fn main(self) -> ExitCode {
        let outcome = many::play(&self.seeds, USUAL);
        println!("{}", outcome.summary());
        self.keep.small_stories(&outcome.failed, self.seeds.jobs());
        outcome.exit(self.all_marks)
    }
}
