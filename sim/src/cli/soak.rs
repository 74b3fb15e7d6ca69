//! `pgbaton-sim soak`: plays drawn stories until there are no seeds left, or no time.

use super::many;
use super::seeds::Seeds;
use clap::Args;
use std::process::ExitCode;

const USUAL: u64 = 1000;

#[derive(Debug, Args)]
pub struct Soak {
    #[command(flatten)]
    seeds: Seeds,
}

impl Soak {
    pub fn main(self) -> ExitCode {
        let outcome = many::play(&self.seeds, USUAL);
        println!("{}", outcome.summary());
        outcome.exit()
    }
}
