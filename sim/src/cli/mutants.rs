//! `pgbaton-sim mutants`: plants one bug after the other in the failover logic and shows what finds it. A simulator
//! that lets one escape has a hole, in its judges, its plans or its models.

use clap::Args;
use pgbaton_sim::report::TimelineStyle;

#[derive(Debug, Args)]
pub struct Mutants {
    /// How many runs each bug is hunted for at most.
    #[arg(long, value_name = "SEEDS", default_value_t = 2000)]
    budget: u64,
    /// Hunts this bug alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Hunts so many bugs out of all, others with each first seed.
    #[arg(long, value_name = "N", conflicts_with = "only")]
    sample: Option<usize>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many to hunt at a time; as many as there are processors when left out.
    #[arg(long)]
    jobs: Option<usize>,
    /// Hunts in these stories, under one seed after the other, instead of in drawn ones.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    files: Vec<String>,
    /// Plays the first seed alone, with the bug that `--only` names, and prints what happens.
    #[arg(long, value_enum, requires = "only")]
    timeline: Option<TimelineStyle>,
    /// Lists the bugs.
    #[arg(long)]
    list: bool,
}

#[cfg(not(feature = "mutants"))]
impl Mutants {
    pub fn main(self) -> std::process::ExitCode {
        super::bad_input(
            "no bug can be planted in this build of pgbaton-sim; make one that takes them: \
             cargo build --profile sim --package pgbaton-sim --features mutants",
        )
    }
}

#[cfg(feature = "mutants")]
mod hunting {
    use super::super::{bad_input, now};
    use super::Mutants;
    use comfy_table::{ContentArrangement, Table, presets};
    use indicatif::{ProgressBar, ProgressStyle};
    use pgbaton_core::mutants::Mutant;
    use pgbaton_core::scenario::{Scenario, World, parse};
    use pgbaton_sim::hunt::{Ground, Hunted, hunt, hunt_all, play};
    use pgbaton_sim::report::TimelineStyle;
    use std::num::NonZero;
    use std::process::ExitCode;
    use std::time::Duration;

    type Timed = (Hunted, Duration);

    impl Mutants {
        pub fn main(self) -> ExitCode {
            let mutants = match self.chosen() {
                Ok(mutants) => mutants,
                Err(why) => return bad_input(&why),
            };
            if self.list {
                println!("{}", list(&mutants));
                return ExitCode::SUCCESS;
            }
            let stories = match self.stories() {
                Ok(stories) => stories,
                Err(why) => return bad_input(&why),
            };
            let ground = |number: u64| {
                let count = stories.len() as u64;
                let scenario = stories[(number % count) as usize].clone();
                let seed = scenario.seed + number / count;
                (scenario, seed)
            };
            if let Some(style) = self.timeline {
                return self.show(&ground, mutants[0], style);
            }
            let began = now();
            let hunted = self.hunt(&ground, &mutants);
            self.tell(&hunted, began.elapsed())
        }

        fn chosen(&self) -> Result<Vec<Mutant>, String> {
            if let Some(count) = self.sample {
                let from = (self.seed % Mutant::ALL.len() as u64) as usize;
                return Ok(Mutant::ALL.iter().cycle().skip(from).take(count.min(Mutant::ALL.len())).copied().collect());
            }
            if self.only.is_empty() {
                return Ok(Mutant::ALL.to_vec());
            }
            let find = |name: &String| Mutant::ALL.iter().copied().find(|m| m.name() == *name);
            let unknown = |name| format!("there is no planted bug named \"{name}\"; --list shows them");
            self.only.iter().map(|name| find(name).ok_or_else(|| unknown(name))).collect()
        }

        fn stories(&self) -> Result<Vec<Scenario>, String> {
            let mut stories = Vec::new();
            for file in &self.files {
                let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
                let scenario = parse(file, &text).map_err(|e| e.to_string())?;
                stories.extend(scenario.worlds.contains(&World::Sim).then_some(scenario));
            }
            if stories.is_empty() {
                return Err("none of these files is for the simulated world".into());
            }
            Ok(stories)
        }

        fn show(&self, ground: Ground, mutant: Mutant, style: TimelineStyle) -> ExitCode {
            let (scenario, seed) = ground(self.seed);
            let began = now();
            let report = play(ground, self.seed, Some(mutant));
            println!("with {}: {}\n", mutant.name(), mutant.breaks());
            print!("{}", report.text(&scenario, seed, style, began.elapsed()));
            if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }

        fn hunt(&self, ground: Ground, mutants: &[Mutant]) -> Vec<Timed> {
            let all = || std::thread::available_parallelism().map_or(1, NonZero::get);
            let bar = ProgressBar::new(mutants.len() as u64);
            let style = "{bar:30} {pos}/{len} bugs, {elapsed} {msg}";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is right"));
            let runs = std::sync::atomic::AtomicU64::new(0);
            let one = |mutant: Mutant| {
                let played = || {
                    let runs = runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                    bar.set_message(format!("{runs} runs, {}", mutant.name()));
                };
                let began = now();
                let hunted = hunt(ground, mutant, self.seed..self.seed + self.budget, played);
                bar.inc(1);
                (hunted, began.elapsed())
            };
            let hunted = hunt_all(self.jobs.unwrap_or_else(all), mutants, one);
            bar.finish_and_clear();
            hunted
        }

        fn tell(&self, hunted: &[Timed], took: Duration) -> ExitCode {
            println!("{}", table(hunted));
            let runs: u64 = hunted.iter().map(|(h, _)| h.runs).sum();
            let escaped: Vec<&str> =
                hunted.iter().filter(|(h, _)| h.caught.is_none()).map(|(h, _)| h.mutant.name()).collect();
            let caught = hunted.len() - escaped.len();
            println!(
                "{caught} of {} caught, median {} runs; {runs} runs in {:.0} s",
                hunted.len(),
                median(hunted).map_or("-".to_string(), |m| m.to_string()),
                took.as_secs_f64()
            );
            if let Some((mutant, number)) = hunted.iter().find_map(|(h, _)| Some((h.mutant, h.caught.as_ref()?.number)))
            {
                println!("replay one: {}", self.replay(mutant, number));
            }
            let mut sick: Vec<u64> = hunted.iter().flat_map(|(h, _)| h.sick.iter().copied()).collect();
            sick.sort_unstable();
            sick.dedup();
            if !sick.is_empty() {
                println!("these fail without any planted bug: {sick:?}");
            }
            if !escaped.is_empty() {
                println!("escaped: {}", escaped.join(", "));
            }
            if escaped.is_empty() && sick.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }

        fn replay(&self, mutant: Mutant, number: u64) -> String {
            let files =
                if self.files.is_empty() { String::new() } else { format!(" --files {}", self.files.join(" ")) };
            format!("pgbaton-sim mutants --only {} --seed {number} --timeline full{files}", mutant.name())
        }
    }

    fn new_table() -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
        table
    }

    fn list(mutants: &[Mutant]) -> Table {
        let mut table = new_table();
        table.set_header(["bug", "what it does", "who makes it"]);
        table.add_rows(mutants.iter().map(|m| [m.name(), m.breaks(), m.origin()]));
        table
    }

    fn table(hunted: &[Timed]) -> Table {
        let mut table = new_table();
        table.set_header(["bug", "caught by", "seed", "runs", "seconds"]);
        for (hunted, took) in hunted {
            let (by, seed) = match &hunted.caught {
                Some(caught) => (caught.invariant.clone(), caught.number.to_string()),
                None => ("ESCAPED".to_string(), "-".to_string()),
            };
            let seconds = format!("{:.1}", took.as_secs_f64());
            table.add_row([hunted.mutant.name().to_string(), by, seed, hunted.runs.to_string(), seconds]);
        }
        table
    }

    /// Of those that were caught.
    fn median(hunted: &[Timed]) -> Option<u64> {
        let mut runs: Vec<u64> = hunted.iter().filter(|(h, _)| h.caught.is_some()).map(|(h, _)| h.runs).collect();
        runs.sort_unstable();
        runs.get(runs.len() / 2).copied()
    }
}
