//! `pgbaton-sim outage`: how long writes are out after each kind of fault that strikes alone.

use super::many;
use super::seeds::Seeds;
use clap::Args;
use comfy_table::Table;
use pgbaton_sim::soak::{Prices, replay};
use std::process::ExitCode;
use std::time::Duration;

const USUAL: u64 = 1000;

#[derive(Debug, Args)]
pub struct Outage {
    #[command(flatten)]
    seeds: Seeds,
}

impl Outage {
    pub fn main(self) -> ExitCode {
        let mut outcome = many::play(&self.seeds, USUAL);
        let mut table = Table::new();
        table.set_header(["alone, in a group in order", "times", "median", "p99", "max", "budget", ""]);
        let mut broken = Vec::new();
        for (what, prices) in &mut outcome.tally.prices {
            prices.out.sort_unstable();
            let keeps = if prices.broken.is_some() { "broken" } else { "" };
            let at = |part: f64| seconds(percentile(prices, part));
            let row = [what.clone(), prices.out.len().to_string(), at(0.5), at(0.99), at(1.0)];
            table.add_row(row.into_iter().chain([seconds(prices.allowed), keeps.to_string()]));
            broken.extend(prices.broken.clone());
        }
        println!("{table}\n{}", outcome.summary());
        for (seed, price) in &broken {
            let (what, at, out) = (&price.what, price.at.seconds(), seconds(price.out));
            println!(
                "{what} at {at:.3} s cost {out}, allowed are {}; {}",
                seconds(price.allowed),
                replay(*seed, &outcome.manner)
            );
        }
        match outcome.exit(false) {
            ExitCode::SUCCESS if broken.is_empty() => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Of sorted times, the one below which this part of them is.
fn percentile(prices: &Prices, part: f64) -> Duration {
    let last = prices.out.len() - 1;
    prices.out[(part * last as f64).round() as usize]
}

fn seconds(d: Duration) -> String {
    format!("{:.2} s", d.as_secs_f64())
}
