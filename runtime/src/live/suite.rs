//! Many files in one run: each gets its line, and the end tells how many there were.

use super::narrate::{Narrator, say};
use super::outcome::{StepOutage, Timeline};
use super::reaper::Reaper;
use super::{Place, page, play, read};
use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use pgbaton_core::scenario::{Scenario, World};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How files are played and told.
pub struct Manner {
    pub json: bool,
    pub timeline: Timeline,
    pub jobs: usize,
    pub html: Option<PathBuf>,
    pub place: Place,
}

enum Fate {
    /// How long it took, and the longest outage, if clients were out at all.
    Ok(Duration, Option<StepOutage>),
    Failed(Duration, String),
    Skipped(String),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Ok(took, None) => write!(f, "ok, {:.1} s", took.as_secs_f64()),
            Fate::Ok(took, Some(StepOutage { step, seconds, .. })) => {
                write!(f, "ok, {:.1} s; writes were out for {seconds:.3} s ({step})", took.as_secs_f64())
            }
            Fate::Failed(took, why) => write!(f, "failed, {:.1} s: {why}", took.as_secs_f64()),
            Fate::Skipped(why) => write!(f, "skipped, not for the live world: {why}"),
        }
    }
}

/// Whether every file that was played held.
pub async fn run(files: &[PathBuf], manner: &Manner, reaper: &Reaper) -> Result<bool> {
    manner.html.as_deref().map_or(Ok(()), |html| page::check(html, files))?;
    // A file that can't be read is found before an hour of others has been played.
    let mut scenarios = files.iter().map(|file| Ok((file, read(file)?))).collect::<Result<Vec<_>>>()?;
    scenarios.iter_mut().for_each(|(_, scenario)| give_time(scenario, manner.jobs));
    let alone = files.len() == 1;
    let played = scenarios.iter().map(|(file, scenario)| async move {
        let fate = run_file(file, scenario, manner, alone, reaper).await;
        tell(manner, &format!("{}: {fate}", file.display()));
        (*file, fate)
    });
    let began = Instant::now();
    let fates: Vec<_> = stream::iter(played).buffer_unordered(manner.jobs).collect().await;
    let failed: Vec<_> = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Failed(..))).map(|(f, _)| f).collect();
    if !alone {
        let skipped = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Skipped(_))).count();
        let ok = fates.len() - skipped - failed.len();
        let text = format!("\n{ok} ok, {} failed, {skipped} not for the live world", failed.len());
        let text = format!("{text}, in {:.0} s", began.elapsed().as_secs_f64());
        tell(manner, &format!("{text}; {}", count(scenarios.iter().map(|(_, scenario)| scenario))));
    }
    for file in &failed {
        tell(manner, &format!("reproduce: pgbaton-live run {}", file.display()));
    }
    Ok(failed.is_empty())
}

/// Stories that are played side by side wait for the same cores: what is out may be out for so many times as long.
fn give_time(scenario: &mut Scenario, jobs: usize) {
    let beside = scenario.beside.as_mut().and_then(|beside| beside.finally.write_outage.as_mut());
    for outage in scenario.finally.write_outage.iter_mut().chain(beside) {
        outage.max *= u32::try_from(jobs).unwrap_or(1);
    }
}

/// JSON has the standard output for itself.
fn tell(manner: &Manner, line: &str) {
    if manner.json {
        eprintln!("{line}");
    } else {
        say(line);
    }
}

async fn run_file(file: &Path, scenario: &Scenario, manner: &Manner, alone: bool, reaper: &Reaper) -> Fate {
    if let Some(why) = not_for_live(scenario) {
        return Fate::Skipped(why.to_string());
    }
    let place = if alone { manner.place.clone() } else { manner.place.within(file) };
    let began = Instant::now();
    let outcome = match play(scenario, &place, Narrator::quiet(), reaper).await {
        Ok(outcome) => outcome,
        Err(e) => return Fate::Failed(began.elapsed(), format!("{e:#}")),
    };
    let page = manner.html.as_deref().map_or(Ok(()), |html| page::write(html, file, scenario, &outcome));
    if manner.json {
        say(&outcome.json(&scenario.title).to_string());
    } else if alone || !outcome.holds() {
        say(&outcome.text(&scenario.title, manner.timeline));
    }
    if let Err(e) = page {
        return Fate::Failed(began.elapsed(), format!("{e:#}"));
    }
    match outcome.broken().into_iter().next() {
        None => {
            let longest = outcome.outages.into_iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
            Fate::Ok(began.elapsed(), longest)
        }
        Some(why) => Fate::Failed(began.elapsed(), why),
    }
}

pub fn not_for_live(scenario: &Scenario) -> Option<&str> {
    let is_live = scenario.worlds.contains(&World::Live);
    (!is_live).then(|| scenario.why.as_deref().unwrap_or("the file gives no reason"))
}

pub fn list(dir: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    let scenarios = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    say(&count(scenarios.iter()));
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn count<'a>(scenarios: impl Iterator<Item = &'a Scenario> + Clone) -> String {
    let of = |world: World| scenarios.clone().filter(|s| s.worlds.contains(&world)).count();
    let both = scenarios.clone().filter(|s| s.worlds.len() == 2).count();
    format!(
        "{} scenario files: {} for the simulation, {} for live runs, {both} for both",
        scenarios.clone().count(),
        of(World::Sim),
        of(World::Live)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "title = \"t\"\nWORLDS\n[cluster]\nnodes = [\"a\"]\nprimary = \"a\"\n\
                         [finally]\nconverge = \"1s\"\ninvariants = \"all\"\n";

    #[test]
    fn files_are_counted_by_world_and_those_left_out_say_why() {
        let story = |worlds: &str| pgbaton_core::scenario::parse("x", &STORY.replace("WORLDS", worlds)).unwrap();
        let both = story("");
        let sim = story("worlds = [\"sim\"]\nwhy = \"too long\"");
        assert_eq!(not_for_live(&both), None);
        assert_eq!(not_for_live(&sim), Some("too long"));
        let text = count([both, sim].iter());
        assert_eq!(text, "2 scenario files: 2 for the simulation, 1 for live runs, 1 for both");
    }
}
