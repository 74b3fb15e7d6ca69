//! `pgbaton-sim bench`: the speed of the simulator, beside that of the executor it stands on.

use super::bad_input;
use super::table::table;
use clap::Args;
use comfy_table::Table;
use pgbaton_core::model::time::duration;
use pgbaton_sim::bench::{Round, round};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Bench {
    /// Simulated time of a round.
    #[arg(long, value_parser = length, default_value = "10m")]
    simulated: Duration,
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), default_value_t = 5)]
    rounds: u64,
    /// Prints the rounds as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text)
}

impl Bench {
    pub fn main(self) -> ExitCode {
        let mut rounds = Vec::new();
        for seed in 0..self.rounds {
            match round(seed, self.simulated) {
                Ok(round) => rounds.push(round),
                Err(why) => {
                    eprintln!("{why}");
                    return ExitCode::FAILURE;
                }
            }
        }
        if self.json {
            match serde_json::to_string(&rounds) {
                Ok(line) => println!("{line}"),
                Err(why) => return bad_input(&why.to_string()),
            }
        } else {
            println!("{}", figures(&rounds));
            let growth = rounds[rounds.len() - 1].peak_kib - rounds[0].peak_kib;
            println!("memory grew by {growth} KiB from the first round to the last");
        }
        ExitCode::SUCCESS
    }
}

/// Its name, its value in a round, and the digits shown of that.
type Row = (&'static str, fn(&Round) -> f64, usize);

/// Seconds of a core are such as it spends on nothing else.
fn figures(rounds: &[Round]) -> Table {
    let mut table = table(&["", "min", "median", "max"], 1);
    let rows: [Row; 6] = [
        ("simulated seconds per second of one core", Round::speed, 0),
        ("messages and events per second of one core", Round::events_per_second, 0),
        ("the same on the bare executor, with as many messages", Round::bare_speed, 0),
        ("share of the bare executor's speed", Round::share, 2),
        ("messages per simulated second", |r| r.messages as f64 / r.simulated, 0),
        ("peak memory, MiB", |r| r.peak_kib as f64 / 1024.0, 1),
    ];
    for (name, of, digits) in rows {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let shown = [values[0], values[values.len() / 2], values[values.len() - 1]];
        table.add_row([&[name.to_string()], &shown.map(|v| format!("{v:.digits$}"))[..]].concat());
    }
    table
}
