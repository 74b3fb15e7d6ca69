//! `pgbaton-live bench monitor`: what one monitor can bear. A real one, on a core of its own, with its embedded store;
//! thousands of nodes report to it over real connections, as keepers do.

mod figures;
mod fleet;
mod node;
mod process;

use super::super::interrupted;
use super::super::narrate::say;
use super::super::reaper::{KillAtTheEnd, Reaper};
use super::stats::Tail;
use super::{bar, course, create};
use anyhow::{Context, Result, anyhow};
use figures::{Figures, Size};
use fleet::{Fleet, Pace};
use process::{Cores, Process};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DEFAULT_SIZES: [u32; 3] = [100, 500, 2000];
/// How long CPU time is taken; the kernel counts it in hundredths of a second.
const WINDOW: Duration = Duration::from_secs(8);
/// A change of pace has reached every node by then.
const CHANGE: Duration = Duration::from_secs(2);
/// Between two deaths: the group that was hit is through with most of its failover.
const BETWEEN_DEATHS: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many nodes report; may be given several times. Default: 100, 500 and 2000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=20_000))]
    nodes: Vec<u32>,
    /// How many primaries die in each fleet, one after the other.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    deaths: u32,
    /// Writes all figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Whether every bound was kept. What was measured until an interrupt or an error is told as well.
pub async fn run(options: &Options, reaper: &Reaper) -> Result<bool> {
    let json = create(options.json.as_deref())?;
    let mut figures = Figures::default();
    let ended = tokio::select! {
        biased;
        () = interrupted() => Err(anyhow!("interrupted")),
        ended = measure_all(options, reaper, &mut figures) => ended,
    };
    say(&figures.text());
    if let Some(mut file) = json {
        writeln!(file, "{:#}", figures.json()).context("the JSON can't be written")?;
    }
    ended.map(|()| figures.missed().is_empty())
}

async fn measure_all(options: &Options, reaper: &Reaper, figures: &mut Figures) -> Result<()> {
    let sizes = if options.nodes.is_empty() { DEFAULT_SIZES.to_vec() } else { options.nodes.clone() };
    let cores = Cores::split()?;
    for nodes in sizes {
        let nodes = usize::try_from(nodes)?;
        let size = measure(nodes, options.deaths, &cores, reaper).await.with_context(|| format!("{nodes} nodes"))?;
        figures.sizes.push(size);
    }
    Ok(())
}

async fn measure(nodes: usize, deaths: u32, cores: &Cores, reaper: &Reaper) -> Result<Size> {
    process::allow_connections(nodes)?;
    let (_temporary, base) = course::home()?;
    let _nothing_lives_on = KillAtTheEnd::AtHome(base.clone());
    let monitor = Process::start(&base, cores, reaper).await?;
    let mut fleet = Fleet::new(&monitor.url);
    let bar = bar(u64::try_from(fleet::sizes(nodes).len())? + u64::from(deaths))?;
    bar.set_message(format!("{nodes} nodes"));
    let began = Instant::now();
    fleet.assemble(nodes, || bar.inc(1)).await?;
    let assembled = began.elapsed().as_secs_f64();
    let beating = Window::of(&monitor, &mut fleet).await?;
    fleet.set_pace(Pace::FlatOut);
    let flat_out = Window::of(&monitor, &mut fleet).await?;
    fleet.set_pace(Pace::Heartbeat);
    tokio::time::sleep(CHANGE).await;
    let mut takeovers = Vec::new();
    for i in 0..usize::try_from(deaths)? {
        takeovers.push(fleet.kill_primary(i).await?.as_secs_f64());
        tokio::time::sleep(BETWEEN_DEATHS).await;
        fleet.check()?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let groups = fleet.groups();
    drop(fleet);
    monitor.stop().await?;
    Ok(Size {
        nodes,
        groups,
        assembled,
        share: beating.cpu / beating.elapsed,
        sent: flat_out.reports / flat_out.elapsed,
        reports: flat_out.reports / flat_out.cpu,
        micros: flat_out.cpu / flat_out.reports * 1e6,
        takeover: Tail::of(takeovers).context("nobody died")?,
    })
}

/// What happened in a while at one pace, in seconds.
struct Window {
    elapsed: f64,
    cpu: f64,
    reports: f64,
}

impl Window {
    async fn of(monitor: &Process, fleet: &mut Fleet) -> Result<Window> {
        tokio::time::sleep(CHANGE).await;
        let (since, cpu, reports) = (Instant::now(), monitor.cpu()?, fleet.answered());
        tokio::time::sleep(WINDOW).await;
        fleet.check()?;
        let (cpu, reports) = (monitor.cpu()? - cpu, fleet.answered() - reports);
        Ok(Window { elapsed: since.elapsed().as_secs_f64(), cpu: cpu.as_secs_f64(), reports: reports as f64 })
    }
}
