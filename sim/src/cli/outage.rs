//! `pgbaton-sim outage`: how long writes are out after each kind of fault that strikes alone.

use super::bad_input;
use super::many::Many;
use super::table::table;
use clap::Args;
use pgbaton_sim::soak::{Prices, replay};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Outage {
    #[command(flatten)]
    many: Many,
}

impl Outage {
    pub fn main(self) -> ExitCode {
        let mut outcome = match self.many.play() {
            Ok(outcome) => outcome,
            Err(why) => return bad_input(&why),
        };
        let mut table = table(&["alone, in a group in order", "times", "median", "p99", "max", "budget", "kept"], 1);
        let mut broken = Vec::new();
        for (what, prices) in &mut outcome.tally.prices {
            prices.out.sort_unstable();
            let kept = if prices.broken.is_some() { "no" } else { "yes" };
            let at = |part: f64| seconds(percentile(prices, part));
            let row = [what.clone(), prices.out.len().to_string(), at(0.5), at(0.99), at(1.0)];
            table.add_row(row.into_iter().chain([seconds(prices.allowed), kept.to_string()]));
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
            ExitCode::SUCCESS if !broken.is_empty() => ExitCode::FAILURE,
            exit => exit,
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
