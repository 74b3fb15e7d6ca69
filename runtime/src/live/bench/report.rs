//! What was measured, judged: a table to read, JSON for machines.

use super::case::{Case, Floor, SIZES};
use super::course::Run;
use super::floor::FloorRun;
use super::parts::Part;
use super::stats::Spread;
use crate::cli::table::{Column, Table};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug)]
pub struct Report {
    /// The major version of the servers.
    pub postgres: u32,
    /// How long a node may be silent, in seconds.
    pub detection: f64,
    pub floor: Vec<FloorRun>,
    cases: Vec<(Case, Vec<Run>)>,
}

/// All runs of a case.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub case: String,
    #[serde(flatten)]
    pub outage: Spread,
    pub lost: usize,
    pub floor: Option<f64>,
    pub times_the_floor: Option<f64>,
    pub bound: f64,
    pub within: bool,
    /// Of the run nearest to the median, so that they add up.
    pub parts: Vec<Part>,
    pub runs: Vec<Run>,
}

impl Report {
    pub fn new(postgres: u32, detection: f64) -> Report {
        Report { postgres, detection, floor: Vec::new(), cases: Vec::new() }
    }

    pub fn add(&mut self, case: Case, run: Run) {
        match self.cases.iter_mut().find(|(c, _)| *c == case) {
            Some((_, runs)) => runs.push(run),
            None => self.cases.push((case, vec![run])),
        }
    }

    fn floor_of(&self, case: Case) -> Option<f64> {
        let of: fn(&FloorRun) -> f64 = match case.harm.floor() {
            Floor::Handover => FloorRun::handover,
            Floor::Promotion => FloorRun::promotion,
            Floor::None => return None,
        };
        self.floor_median(case.nodes, of)
    }

    fn floor_median(&self, nodes: usize, of: fn(&FloorRun) -> f64) -> Option<f64> {
        Spread::of(self.floor.iter().filter(|run| run.nodes == nodes).map(of)).map(|s| s.median)
    }

    pub fn summaries(&self) -> Vec<Summary> {
        self.cases.iter().filter_map(|(case, runs)| self.summary(*case, runs)).collect()
    }

    fn summary(&self, case: Case, runs: &[Run]) -> Option<Summary> {
        let outage = Spread::of(runs.iter().map(|run| run.outage))?;
        let floor = self.floor_of(case);
        let bound = case.bound(self.detection).limit(floor);
        let far = |run: &Run| (run.outage - outage.median).abs();
        let typical = runs.iter().min_by(|a, b| far(a).total_cmp(&far(b)))?;
        Some(Summary {
            case: case.name(),
            outage,
            lost: runs.iter().map(|run| run.lost).sum(),
            floor,
            times_the_floor: floor.map(|floor| outage.median / floor),
            bound,
            within: outage.median <= bound,
            parts: typical.parts.clone(),
            runs: runs.to_vec(),
        })
    }

    /// Every median is within its bound, and no acknowledged write is lost.
    pub fn holds(&self) -> bool {
        self.summaries().iter().all(|s| s.within && s.lost == 0)
    }

    pub fn text(&self) -> String {
        let headers = ["Case", "Runs", "Median", "Min", "Max", "Lost", "Floor", "x Floor", "Bound", "Within"];
        let columns = headers.map(Column::new).into_iter().chain([Column::text("Where the time went, ms")]);
        let mut table = Table::new(columns.collect());
        for s in self.summaries() {
            let seconds = |value: f64| format!("{value:.3}");
            let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_string());
            let times = s.times_the_floor.map(|t| format!("{t:.1}"));
            table.push(vec![
                s.case,
                s.runs.len().to_string(),
                seconds(s.outage.median),
                seconds(s.outage.min),
                seconds(s.outage.max),
                s.lost.to_string(),
                or_none(s.floor.map(seconds)),
                or_none(times),
                seconds(s.bound),
                if s.within { "yes" } else { "NO" }.to_string(),
                shares(&s.parts),
            ]);
        }
        format!("{}{}", table.render(), self.floor_text())
    }

    fn floor_text(&self) -> String {
        SIZES.iter().filter_map(|nodes| self.floor_text_of(*nodes)).collect()
    }

    fn floor_text_of(&self, nodes: usize) -> Option<String> {
        let median = |of| self.floor_median(nodes, of);
        let (stop, promote, insert) = (median(|f| f.stop)?, median(|f| f.promote)?, median(|f| f.insert)?);
        let runs = self.floor.iter().filter(|run| run.nodes == nodes).count();
        let awaited = if nodes > 2 { ", with the standby that it waits for," } else { "" };
        Some(format!(
            "PostgreSQL {} by hand, {nodes} servers, medians of {runs} runs: fast stop {stop:.3} s, signal to promote until \
             the client sends {promote:.3} s, its insert{awaited} {insert:.3} s\n",
            self.postgres
        ))
    }

    pub fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "postgres": self.postgres,
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "node_considered_unhealthy_timeout": self.detection,
            "holds": self.holds(),
            "floor": self.floor,
            "cases": self.summaries(),
        })
    }
}

fn shares(parts: &[Part]) -> String {
    let shown = parts.iter().filter(|part| part.seconds >= 0.0005);
    shown.map(|part| format!("{} {:.0}", part.name, part.seconds * 1e3)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub mod tests {
    use super::super::case::Harm;
    use super::*;

    pub fn sample() -> Report {
        let mut report = Report::new(15, 5.0);
        report.floor.push(FloorRun { nodes: 2, stop: 0.02, promote: 0.02, insert: 0.01 });
        report.floor.push(FloorRun { nodes: 3, stop: 0.02, promote: 0.02, insert: 0.06 });
        for outage in [0.12, 0.1, 0.4] {
            let parts = vec![Part { name: "seal", seconds: outage }];
            let run = Run { outage, outage_at_return: 0.012, lost: 0, parts };
            report.add(Case { harm: Harm::Switchover, nodes: 2 }, run.clone());
            report.add(Case { harm: Harm::StandbyKilled, nodes: 2 }, run);
        }
        report
    }

    #[test]
    fn the_median_is_judged_and_not_the_worst() {
        let report = sample();
        assert!(report.holds());
        let all = report.summaries();
        assert_eq!((all[0].outage.median, all[0].outage.max, all[0].runs.len()), (0.12, 0.4, 3));
        assert!((all[0].times_the_floor.unwrap() - 2.4).abs() < 1e-9);
        assert_eq!((all[1].floor, all[1].bound), (None, 0.5));
    }

    #[test]
    fn a_slow_median_or_one_lost_write_fails() {
        let case = Case { harm: Harm::MonitorKilled, nodes: 2 };
        let run = |outage, lost| Run { outage, outage_at_return: 0.0, lost, parts: vec![] };
        let of = |run| {
            let mut report = Report::new(15, 5.0);
            report.add(case, run);
            report.holds()
        };
        assert!(of(run(0.09, 0)));
        assert!(!of(run(0.11, 0)));
        assert!(!of(run(0.09, 1)));
    }

    #[test]
    fn json_has_every_run_and_what_it_was_judged_by() {
        let json = sample().json();
        let case = &json["cases"][0];
        assert_eq!((&case["case"], &case["lost"], &case["within"]), (&json!("switchover-2"), &json!(0), &json!(true)));
        assert_eq!(case["median"], json!(0.12));
        assert_eq!(case["runs"].as_array().unwrap().len(), 3);
        assert_eq!(case["runs"][1]["parts"][0], json!({ "name": "seal", "seconds": 0.1 }));
        assert_eq!(json["floor"][0]["stop"], json!(0.02));
    }

    #[test]
    fn the_table_tells_each_case_with_its_bound() {
        let text = sample().text();
        assert!(text.contains("switchover-2 |    3 |  0.120 | 0.100 | 0.400"), "{text}");
        assert!(text.contains("| seal 120\n"), "{text}");
    }
}
