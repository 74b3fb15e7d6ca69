//! `pgbaton-sim meta`: the same seed must give the same bytes, on every thread and in every process.

use super::seeds::{Seeds, Timed};
use super::{bad_input, now};
use clap::Args;
use pgbaton_core::check::Event;
use pgbaton_sim::{soak, story};
use std::process::{Command, ExitCode, Stdio};

const USUAL: u64 = 20;

#[derive(Debug, Args)]
pub struct Meta {
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    timed: Timed,
    /// Prints a line of JSON for each event of one seed: what a second process is asked for.
    #[arg(long, hide = true, value_name = "SEED")]
    trace: Option<u64>,
}

impl Meta {
    pub fn main(self) -> ExitCode {
        if let Some(seed) = self.trace {
            print!("{}", lines(seed).join("\n"));
            return ExitCode::SUCCESS;
        }
        self.compare().unwrap_or_else(|why| bad_input(&why))
    }

    fn compare(&self) -> Result<ExitCode, String> {
        let (started, time) = (now(), self.timed.time());
        let (mut compared, mut events) = (0, 0);
        for seed in self.seeds.choose(time.is_none().then_some(USUAL))?.list() {
            if time.is_some_and(|time| started.elapsed() >= time) {
                break;
            }
            // The other process works while this one does.
            let other = another_process(seed)?;
            let (first, second) = (lines(seed), lines(seed));
            let third = other.wait_with_output().map_err(|e| format!("the second process: {e}"))?;
            let third: Vec<String> = String::from_utf8_lossy(&third.stdout).split('\n').map(String::from).collect();
            for (where_, again) in [("on another thread", &second), ("in another process", &third)] {
                if let Some(difference) = difference(&first, again) {
                    println!(
                        "seed {seed} differs {where_}:\n{difference}\nreproduce: pgbaton-sim meta --seeds {seed}..{}",
                        seed + 1
                    );
                    return Ok(ExitCode::FAILURE);
                }
            }
            (compared, events) = (compared + 1, events + first.len());
        }
        if compared == 0 {
            return Err("the time was over before anything was compared".into());
        }
        println!("{compared} seeds, {events} events: the same bytes on two threads and in two processes");
        Ok(ExitCode::SUCCESS)
    }
}

fn another_process(seed: u64) -> Result<std::process::Child, String> {
    let program = std::env::current_exe().map_err(|e| format!("this program can't be found again: {e}"))?;
    let mut command = Command::new(program);
    command.args(["meta", "--trace", &seed.to_string()]).stdout(Stdio::piped());
    command.spawn().map_err(|e| format!("a second process can't be started: {e}"))
}

/// The plan, each event, and the end of a run, a line each.
fn lines(seed: u64) -> Vec<String> {
    let plan = soak::plan(seed);
    let outcome = story::run(&plan, seed);
    let json = |event: &Event| serde_json::to_string(event).expect("a trace can be written");
    let plan = format!("{plan:?}");
    let end = format!("{:?} {:?} {}", outcome.unmet, outcome.simulated, outcome.unseed);
    std::iter::once(plan).chain(outcome.trace.events.iter().map(json)).chain([end]).collect()
}

/// The first line in which two runs differ, with the one before it.
fn difference(one: &[String], other: &[String]) -> Option<String> {
    let at = (0..one.len().max(other.len())).find(|i| one.get(*i) != other.get(*i))?;
    let line = |of: &[String]| of.get(at).cloned().unwrap_or_else(|| "(it has ended)".into());
    let before = at.checked_sub(1).and_then(|i| one.get(i)).cloned().unwrap_or_default();
    Some(format!("  after event {at}: {before}\n  one run:   {}\n  the other: {}", line(one), line(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_also_when_one_run_ends_early() {
        let lines = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        assert_eq!(difference(&lines("a b c"), &lines("a b c")), None);
        let told = difference(&lines("a b c"), &lines("a x c")).unwrap();
        assert!(told.contains("after event 1: a") && told.contains("one run:   b"), "{told}");
        assert!(difference(&lines("a b"), &lines("a b c")).unwrap().contains("(it has ended)"));
    }
}
