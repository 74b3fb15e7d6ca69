//! `pgbaton-sim mutants`: plants one bug after the other in the failover logic and shows what finds it. A simulator
//! that lets one escape has a hole: in its judges, its plans or its models.

use super::args::Jobs;
use super::seeds::Seeds;
use clap::Args;
use pgbaton_sim::report::TimelineStyle;

#[derive(Debug, Args)]
pub struct Mutants {
    /// For how many seeds each bug is hunted at most.
    #[arg(long, value_name = "SEEDS", default_value_t = 2000, conflicts_with = "seeds")]
    budget: u64,
    /// Hunts this bug alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Hunts so many of all bugs: which, follows from the first seed.
    #[arg(long, value_name = "N", conflicts_with = "only")]
    sample: Option<usize>,
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    jobs: Jobs,
    /// Plays this seed alone.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "budget", "from_commit", "shard"])]
    seed: Option<u64>,
    /// Prints what happens under the seed, with the bug that `--only` names.
    #[arg(long, value_enum, requires = "seed", requires = "only")]
    timeline: Option<TimelineStyle>,
    /// Hunts in these stories, each under one seed after the other, instead of in drawn ones.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    files: Vec<String>,
    /// Lists the bugs.
    #[arg(long)]
    list: bool,
}

#[cfg(not(feature = "mutants"))]
impl Mutants {
    pub fn main(self) -> std::process::ExitCode {
        super::bad_input(
            "no bug can be planted in this build of pgbaton-sim; make one that takes them: \
             cargo build --release --package pgbaton-sim --features mutants",
        )
    }
}

#[cfg(feature = "mutants")]
pub use hunting::find;

#[cfg(feature = "mutants")]
mod hunting {
    use super::super::story::Story;
    use super::super::table::table;
    use super::super::{bad_input, now, quiet_runs};
    use super::Mutants;
    use comfy_table::Table;
    use indicatif::{ProgressBar, ProgressStyle};
    use pgbaton_core::mutants::Mutant;
    use pgbaton_core::swarm::Manner;
    use pgbaton_sim::hunt::{Ground, Hunted, hunt, hunt_all, play};
    use pgbaton_sim::ink::Ink;
    use pgbaton_sim::report::{TimelineStyle, reproduce};
    use pgbaton_sim::soak;
    use std::io::IsTerminal;
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    type Timed = (Hunted, Duration);

    impl Mutants {
        pub fn main(self) -> ExitCode {
            match self.run() {
                Ok(exit) => exit,
                Err(why) => bad_input(&why),
            }
        }

        fn run(&self) -> Result<ExitCode, String> {
            let mutants = self.chosen()?;
            if self.list {
                println!("{}", list(&mutants));
                return Ok(ExitCode::SUCCESS);
            }
            let stories = self.stories()?;
            let ground = |seed: u64| match played_under(&stories, seed) {
                None => (soak::plan(seed), seed),
                Some((story, of_run)) => (story.scenario.clone(), of_run),
            };
            if let (Some(seed), Some(style)) = (self.seed, self.timeline) {
                return Ok(show(&ground, seed, mutants[0], style));
            }
            let began = now();
            let hunted = self.hunt(&ground, &mutants)?;
            Ok(self.tell(&hunted, &stories, began.elapsed()))
        }

        fn chosen(&self) -> Result<Vec<Mutant>, String> {
            if let Some(count) = self.sample {
                return Ok(sample(count, self.seeds.choose(Some(self.budget))?.first()));
            }
            if self.only.is_empty() {
                return Ok(Mutant::ALL.to_vec());
            }
            self.only.iter().map(|name| find(name)).collect()
        }

        fn stories(&self) -> Result<Vec<Story>, String> {
            let stories = Story::read_all(&self.files)?;
            match stories.is_empty() && !self.files.is_empty() {
                true => Err("none of these files is for the simulated world".into()),
                false => Ok(stories),
            }
        }

        fn hunt(&self, ground: Ground, mutants: &[Mutant]) -> Result<Vec<Timed>, String> {
            let seeds: Vec<u64> = match self.seed {
                Some(seed) => vec![seed],
                None => self.seeds.choose(Some(self.budget))?.list().collect(),
            };
            quiet_runs();
            let bar = bar(mutants.len() as u64);
            let runs = AtomicU64::new(0);
            let one = |mutant: Mutant| {
                let played = || {
                    let runs = runs.fetch_add(1, Ordering::Relaxed) + 1;
                    bar.set_message(format!("{runs} runs, {}", mutant.name()));
                };
                let began = now();
                let hunted = hunt(ground, mutant, seeds.iter().copied(), played);
                bar.inc(1);
                (hunted, began.elapsed())
            };
            let hunted = hunt_all(self.jobs.get(), mutants, one);
            bar.finish_and_clear();
            Ok(hunted)
        }

        fn tell(&self, hunted: &[Timed], stories: &[Story], took: Duration) -> ExitCode {
            println!("{}", caught(hunted));
            let runs: u64 = hunted.iter().map(|(h, _)| h.runs).sum();
            let escaped: Vec<&str> =
                hunted.iter().filter(|(h, _)| h.caught.is_none()).map(|(h, _)| h.mutant.name()).collect();
            let median = median(hunted).map_or("-".to_string(), |m| m.to_string());
            let (caught, took) = (hunted.len() - escaped.len(), took.as_secs_f64());
            println!("{caught} of {} caught, median {median} seeds; {runs} runs in {took:.0} s", hunted.len());
            let mut sick: Vec<u64> = hunted.iter().flat_map(|(h, _)| h.sick.iter().copied()).collect();
            sick.sort_unstable();
            sick.dedup();
            if !sick.is_empty() {
                println!("fail without any planted bug, and prove nothing: {sick:?}");
                println!("{}", undisturbed(stories, sick[0]));
            }
            if let Some((hunted, seed)) = hunted.iter().find_map(|(h, _)| Some((h, h.caught.as_ref()?.seed))) {
                println!("replay: {}", self.replay(hunted.mutant, seed));
            }
            if !escaped.is_empty() {
                println!("escaped: {}", escaped.join(", "));
            }
            verdict(&escaped, &sick)
        }

        fn replay(&self, mutant: Mutant, seed: u64) -> String {
            let files =
                if self.files.is_empty() { String::new() } else { format!(" --files {}", self.files.join(" ")) };
            format!("pgbaton-sim mutants --only {} --seed {seed} --timeline full{files}", mutant.name())
        }
    }

    /// The story that a seed means, when there are files, and the seed of its run.
    fn played_under(stories: &[Story], seed: u64) -> Option<(&Story, u64)> {
        let count = stories.len() as u64;
        let story = stories.get(seed.checked_rem(count)? as usize)?;
        Some((story, story.scenario.seed + seed / count))
    }

    /// The line that brings a run back that fails without any bug.
    fn undisturbed(stories: &[Story], seed: u64) -> String {
        match played_under(stories, seed) {
            None => soak::replay(seed, &Manner::SIMULATED),
            Some((story, of_run)) => reproduce(&story.file, of_run),
        }
    }

    /// So many of all bugs, others from another seed on: also seeds that follow from commits lie far apart.
    fn sample(count: usize, seed: u64) -> Vec<Mutant> {
        let all = Mutant::ALL;
        let first = (seed % 1_000_003) as usize;
        // A stride that shares no factor with their number goes through all of them.
        (0..count.min(all.len())).map(|i| all[(first + i * 17) % all.len()]).collect()
    }

    /// A bug that escapes is a hole of the simulator; a seed that fails without any is a failure of the product.
    fn verdict(escaped: &[&str], sick: &[u64]) -> ExitCode {
        if escaped.is_empty() && sick.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub fn find(name: &str) -> Result<Mutant, String> {
        let unknown = || format!("there is no planted bug named \"{name}\"; pgbaton-sim mutants --list shows them");
        Mutant::ALL.iter().copied().find(|m| m.name() == name).ok_or_else(unknown)
    }

    fn show(ground: Ground, seed: u64, mutant: Mutant, style: TimelineStyle) -> ExitCode {
        let (scenario, of_run) = ground(seed);
        let began = now();
        let report = play(ground, seed, Some(mutant));
        println!("with {}: {}\n", mutant.name(), mutant.breaks());
        print!("{}", report.text(&scenario, of_run, style, Ink::for_stdout(), began.elapsed()));
        if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn bar(length: u64) -> ProgressBar {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{elapsed} [{wide_bar}] {pos} of {len} bugs, {msg}");
        bar.set_style(style.expect("the template is right"));
        bar
    }

    fn list(mutants: &[Mutant]) -> Table {
        let mut table = table(&["bug", "what it does", "who makes it"], 3);
        table.add_rows(mutants.iter().map(|m| [m.name(), m.breaks(), m.origin()]));
        table
    }

    fn caught(hunted: &[Timed]) -> Table {
        let mut table = table(&["bug", "caught by", "seed", "seeds", "seconds"], 2);
        for (hunted, took) in hunted {
            let (by, seed) = match &hunted.caught {
                Some(caught) => (caught.invariant.clone(), caught.seed.to_string()),
                None => ("ESCAPED".to_string(), "-".to_string()),
            };
            let seconds = format!("{:.1}", took.as_secs_f64());
            table.add_row([hunted.mutant.name().to_string(), by, seed, hunted.runs.to_string(), seconds]);
        }
        table
    }

    /// How many seeds it took, of those that were caught.
    fn median(hunted: &[Timed]) -> Option<u64> {
        let mut runs: Vec<u64> = hunted.iter().filter(|(h, _)| h.caught.is_some()).map(|(h, _)| h.runs).collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).copied()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn another_seed_is_another_sample_and_all_are_in_the_greatest() {
            assert_ne!(sample(5, 0), sample(5, 1));
            assert_ne!(sample(5, 1_000_000), sample(5, 2_000_000));
            let names =
                |seed| sample(usize::MAX, seed).iter().map(|m| m.name()).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(names(7).len(), Mutant::ALL.len());
        }

        #[test]
        fn a_seed_that_fails_without_any_bug_is_a_failure() {
            let exit = |escaped: &[&str], sick: &[u64]| verdict(escaped, sick) == ExitCode::SUCCESS;
            assert!(exit(&[], &[]) && !exit(&["x"], &[]) && !exit(&[], &[3]));
        }
    }
}
