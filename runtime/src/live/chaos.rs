//! One drawn story after the other on real servers, until the time is over, and what they came to.

use super::narrate::{Narrator, say};
use super::outcome::Outcome;
use super::reaper::Reaper;
use super::tally::Tally;
use super::{Place, agree, disks, interrupted, page, play};
use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::{StreamExt, stream};
use pgbaton_core::model::time::duration;
use pgbaton_core::scenario::ends::{Agreement, compare};
use pgbaton_core::scenario::{Scenario, write};
use pgbaton_core::swarm::{Manner, plan};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub struct Chaos {
    /// Begins one story after the other for so long, written 90s, 10m or 1h; one that has begun is played to its end.
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Duration,
    /// The seed of the first story; each of the others has the next number.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many stories are played at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    jobs: u8,
    /// The simulator: it plays each story too, and both worlds must end in the same roles.
    #[arg(long, value_name = "PATH_TO_pgbaton-sim")]
    sim: Option<PathBuf>,
    /// Fills no disks, for which small ones are mounted as root. Such stories are other ones.
    #[arg(long)]
    without_disks: bool,
    /// Where a story that broke something is written, as a scenario file and as a page to look at.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Keeps data directories and logs of stories that broke something in this directory.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What became of one story.
pub struct Played {
    pub plan: Scenario,
    pub took: Duration,
    pub outcome: Result<Outcome>,
    /// None where no simulator was asked.
    pub agreement: Option<Agreement>,
}

impl Played {
    /// What is wrong with it, a line each.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = match &self.outcome {
            Ok(outcome) => outcome.broken(),
            Err(e) => vec![format!("the story could not be played: {e:#}")],
        };
        if let Some(Agreement::Differ(how)) = &self.agreement {
            broken.push(format!("the worlds end in different roles: {how}"));
        }
        broken
    }
}

/// Whether nothing was broken. An interrupt ends the stories under way, and their servers with them.
pub async fn run(chaos: &Chaos, reaper: &Reaper) -> Result<bool> {
    chaos.check()?;
    let began = Instant::now();
    let mut tally = Tally::default();
    let due = (chaos.seed..).take_while(|_| began.elapsed() < chaos.time);
    {
        let mut all = stream::iter(due).map(|seed| chaos.play(seed, reaper)).buffer_unordered(usize::from(chaos.jobs));
        let mut interrupt = std::pin::pin!(interrupted());
        loop {
            tokio::select! {
                played = all.next() => match played {
                    Some(played) => chaos.judge(&played, &mut tally, began)?,
                    None => break,
                },
                () = &mut interrupt => {
                    say("\ninterrupted: the story under way is not judged");
                    break;
                }
            }
        }
    }
    say(&format!("\n{}", tally.text(began.elapsed())));
    Ok(tally.violations == 0)
}

impl Chaos {
    fn check(&self) -> Result<()> {
        if let Some(sim) = self.sim.as_ref().filter(|sim| !sim.exists()) {
            bail!("there is no simulator at \"{}\"; build it, with cargo build -p pgbaton-sim", sim.display());
        }
        if !self.out.is_dir() {
            bail!("--out \"{}\" is no directory; name one that exists", self.out.display());
        }
        if !self.without_disks {
            disks::can_mount().context("with --without-disks none is filled")?;
        }
        Ok(())
    }

    async fn play(&self, seed: u64, reaper: &Reaper) -> Played {
        let plan = plan(seed, &Manner::live(!self.without_disks));
        say(&format!("seed {seed} begins: {}", describe(&plan)));
        let began = Instant::now();
        let place = Place { keep: self.kept(seed), base_port: None };
        let outcome = play(&plan, &place, Narrator::quiet(), reaper).await;
        let took = began.elapsed();
        let mut played = Played { plan, took, outcome, agreement: None };
        if let (Some(sim), Ok(outcome)) = (&self.sim, &played.outcome) {
            match agree::simulated(sim, &played.plan, reaper).await {
                Ok(simulated) => played.agreement = Some(compare(&played.plan, &outcome.trace, &simulated)),
                Err(e) => played.outcome = Err(e),
            }
        }
        played
    }

    fn kept(&self, seed: u64) -> Option<PathBuf> {
        self.keep.as_ref().map(|dir| dir.join(format!("seed-{seed}")))
    }

    fn judge(&self, played: &Played, tally: &mut Tally, began: Instant) -> Result<()> {
        let seed = played.plan.seed;
        let broken = played.broken();
        tally.add(played, broken.len());
        say(&format!("seed {seed}: {}", tell(played)));
        if broken.is_empty() {
            if let Some(kept) = self.kept(seed) {
                std::fs::remove_dir_all(&kept).with_context(|| format!("can't remove {}", kept.display()))?;
            }
        } else {
            say(&self.report(played, &broken)?);
        }
        say(&format!("  so far {}, {:.0} s", tally.in_short(), began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Writes the story down, and tells how to play it again.
    fn report(&self, played: &Played, broken: &[String]) -> Result<String> {
        let file = self.out.join(format!("chaos-{}.toml", played.plan.seed));
        let again = again(&file);
        let head = format!("Drawn for live runs from seed {}.\n{}\n{again}", played.plan.seed, broken.join("\n"));
        std::fs::write(&file, write(&played.plan, &head)).with_context(|| format!("can't write {}", file.display()))?;
        if let Ok(outcome) = &played.outcome {
            page::write(&file.with_extension("html"), &file, &played.plan, outcome)?;
        }
        Ok(format!("  VIOLATED: {}\n  {}", broken.join("\n  VIOLATED: "), again.replace('\n', "\n  ")))
    }
}

fn again(file: &Path) -> String {
    let file = file.display();
    format!("reproduce live: pgbaton-live run {file}\nreproduce simulated: pgbaton-sim run {file}")
}

fn describe(plan: &Scenario) -> String {
    let cluster = &plan.cluster;
    let durability = format!("{:?}", cluster.settings.durability()).to_lowercase();
    let nodes = cluster.nodes.len();
    let clients: u32 = plan.workload.iter().map(|workload| workload.clients).sum();
    format!("{nodes} nodes, {durability}, {} steps, {clients} clients", plan.steps.len())
}

fn tell(played: &Played) -> String {
    let took = played.took.as_secs_f64();
    let Ok(outcome) = &played.outcome else { return format!("failed after {took:.0} s") };
    let longest = outcome.outages.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let outage = longest.map_or("no outage".into(), |o| format!("longest outage {:.2} s ({})", o.seconds, o.step));
    let agreement = match &played.agreement {
        None => String::new(),
        Some(Agreement::Same) => "; the same roles in simulation".into(),
        Some(Agreement::Lawful(why)) => format!("; other roles in simulation, lawfully: {why}"),
        Some(Agreement::Differ(_)) => "; OTHER ROLES IN SIMULATION".into(),
    };
    format!("{took:.0} s, {} writes acknowledged, {outage}{agreement}", outcome.counts.acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::check::Trace;
    use pgbaton_core::scenario::parse;

    fn chaos(out: &Path) -> Chaos {
        Chaos {
            time: Duration::ZERO,
            seed: 0,
            jobs: 1,
            sim: None,
            without_disks: true,
            out: out.to_path_buf(),
            keep: None,
        }
    }

    #[test]
    fn a_story_that_broke_something_is_written_with_the_lines_that_play_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let story = plan(7, &Manner::live(true));
        let outcome = Outcome::of(Trace::default(), vec!["b was to follow".into()]);
        let played = Played { plan: story.clone(), took: Duration::ZERO, outcome: Ok(outcome), agreement: None };
        let broken = played.broken();
        assert!(broken.contains(&"b was to follow".to_string()), "{broken:?}");
        let told = chaos(dir.path()).report(&played, &broken).unwrap();
        let file = dir.path().join("chaos-7.toml");
        for line in ["reproduce live: pgbaton-live run", "reproduce simulated: pgbaton-sim run"] {
            assert!(told.contains(&format!("{line} {}", file.display())), "{told}");
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# Drawn for live runs from seed 7.\n# "), "{text}");
        assert_eq!(parse("chaos-7.toml", &text).unwrap(), story);
        assert!(file.with_extension("html").exists());
    }

    #[test]
    fn roles_that_differ_lawfully_break_nothing() {
        let of = |agreement| {
            let outcome = Err(anyhow::anyhow!("no servers"));
            Played { plan: plan(1, &Manner::live(true)), took: Duration::ZERO, outcome, agreement: Some(agreement) }
        };
        assert_eq!(of(Agreement::Lawful("orders".into())).broken().len(), 1);
        assert!(of(Agreement::Differ("a, b".into())).broken()[1].contains("different roles: a, b"));
    }
}
