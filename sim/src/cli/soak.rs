//! `pgbaton-sim soak`: plays drawn stories until there are no seeds left, or no time.

use super::bad_input;
use super::keep::Keep;
use super::many::Many;
use clap::Args;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Soak {
    #[command(flatten)]
    many: Many,
    #[command(flatten)]
    keep: Keep,
    /// Fails as well when these stories never came to something that a search must have seen.
    #[arg(long)]
    all_marks: bool,
}

impl Soak {
    pub fn main(self) -> ExitCode {
        let outcome = match self.many.play() {
            Ok(outcome) => outcome,
            Err(why) => return bad_input(&why),
        };
        println!("{}", outcome.summary());
        self.keep.small_stories(&outcome, self.many.jobs.get());
        outcome.exit(self.all_marks)
    }
}
