//! `pgbaton-live bench`: how long writes are out, case by case, beside what Postgres itself needs.

mod case;
mod course;
mod floor;
mod monitor;
mod parts;
mod plot;
mod report;
mod stats;

use super::interrupted;
use super::narrate::say;
use super::reaper::Reaper;
use crate::postgres::find_installation;
use anyhow::{Context, Result, anyhow};
use case::{Case, Floor, Only, SIZES};
use indicatif::{ProgressBar, ProgressStyle};
use report::Report;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// How often each case is played.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Plays this case only; may be given several times. One harm (node-killed), or one with its nodes (node-killed-3).
    #[arg(long, value_name = "CASE", value_parser = Only::parse)]
    only: Vec<Only>,
    /// Writes every run as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws all runs.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Measures what one monitor can bear, with thousands of nodes that have no Postgres.
    Monitor(monitor::Options),
}

impl Options {
    fn cases(&self) -> Vec<Case> {
        let named = |case: &Case| self.only.iter().any(|only| only.0.contains(case));
        Case::all().into_iter().filter(|case| self.only.is_empty() || named(case)).collect()
    }
}

/// Whether all medians are within their bounds and no write was lost. What was measured until an interrupt or an error
/// is told as well.
pub async fn run(options: &Options, reaper: &Reaper) -> Result<bool> {
    if let Some(Other::Monitor(options)) = &options.other {
        return monitor::run(options, reaper).await;
    }
    // A place that can't be written is found before minutes of measuring.
    let json = create(options.json.as_deref())?;
    let svg = create(options.svg.as_deref())?;
    let mut report = Report::new(find_installation(None)?.major, course::detection().as_secs_f64());
    let ended = tokio::select! {
        biased;
        () = interrupted() => Err(anyhow!("interrupted")),
        ended = measure(options, reaper, &mut report) => ended,
    };
    say(&report.text());
    if let Some(mut file) = json {
        writeln!(file, "{:#}", report.json()).context("the JSON can't be written")?;
    }
    if let Some(mut file) = svg {
        file.write_all(plot::svg(&report).as_bytes()).context("the picture can't be written")?;
    }
    ended.map(|()| report.holds())
}

fn create(path: Option<&Path>) -> Result<Option<File>> {
    path.map(|path| File::create(path).with_context(|| format!("can't write {}", path.display()))).transpose()
}

async fn measure(options: &Options, reaper: &Reaper, report: &mut Report) -> Result<()> {
    let cases = options.cases();
    let of_size = |nodes| cases.iter().copied().filter(move |case| case.nodes == nodes);
    let needs_floor = |nodes: &usize| of_size(*nodes).any(|case| case.harm.floor() != Floor::None);
    let floors: Vec<usize> = SIZES.into_iter().filter(needs_floor).collect();
    let bar = bar(u64::from(options.runs) * u64::try_from(floors.len() + cases.len())?)?;
    let done = |what: &str| {
        bar.set_message(what.to_string());
        bar.inc(1);
    };
    bar.set_message("Postgres by hand");
    for nodes in floors {
        for _ in 0..options.runs {
            let run = floor::measure(nodes, reaper).await.context("Postgres by hand")?;
            report.floor.push(run);
            done("Postgres by hand");
        }
    }
    for nodes in SIZES {
        let of_size: Vec<Case> = of_size(nodes).collect();
        course::play(&of_size, options.runs, reaper, report, &done).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn bar(length: u64) -> Result<ProgressBar> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(length) } else { ProgressBar::hidden() };
    Ok(bar.with_style(ProgressStyle::with_template("{elapsed} [{wide_bar}] {pos}/{len} {msg}")?))
}
