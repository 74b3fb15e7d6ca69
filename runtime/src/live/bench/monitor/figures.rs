//! What the monitor costs, judged.

use super::super::stats::Tail;
use crate::cli::table::{Column, Table};
use serde::Serialize;
use serde_json::{Value, json};

/// Unchanged reports, in a second of one core.
const LEAST_REPORTS: f64 = 20_000.0;
/// Of a core, for so many nodes that report once a second.
const MOST_SHARE: f64 = 0.5;
const SHARE_FOR: usize = 2000;
/// From a reported death to the assignment at the candidate, in seconds, for 99 of 100.
const MOST_TAKEOVER: f64 = 0.020;
/// A report may cost so much more in the largest fleet than in the smallest: a small one fits into the caches.
const MOST_GROWTH: f64 = 2.0;

/// One fleet.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    pub nodes: usize,
    pub groups: usize,
    /// Until all groups had settled, in seconds.
    pub assembled: f64,
    /// Of a core, with a report a second from each node.
    pub share: f64,
    /// Reports in a second, as fast as this machine could send them.
    pub sent: f64,
    /// Reports in a second of the monitor's core.
    pub reports: f64,
    /// Of its CPU time, for one report.
    pub micros: f64,
    pub takeover: Tail,
}

#[derive(Debug, Default)]
pub struct Figures {
    pub sizes: Vec<Size>,
}

impl Figures {
    /// What is wrong, a line each.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for s in &self.sizes {
            let nodes = s.nodes;
            if s.reports < LEAST_REPORTS {
                missed.push(format!("{nodes} nodes: {:.0} reports/s on one core, not {LEAST_REPORTS:.0}", s.reports));
            }
            if nodes <= SHARE_FOR && s.share > MOST_SHARE {
                missed.push(format!("{nodes} nodes: {:.2} of a core, not {MOST_SHARE}", s.share));
            }
            if s.takeover.p99 > MOST_TAKEOVER {
                let (found, limit) = (s.takeover.p99 * 1e3, MOST_TAKEOVER * 1e3);
                missed.push(format!("{nodes} nodes: {found:.1} ms from a death to the assignment, not {limit:.0}"));
            }
        }
        let growth = self.growth().filter(|growth| *growth > MOST_GROWTH);
        missed.extend(growth.map(|g| format!("a report costs {g:.1} times as much in the largest fleet")));
        missed
    }

    /// Of the cost of one report, from the smallest fleet to the largest.
    fn growth(&self) -> Option<f64> {
        let (first, last) = (self.sizes.iter().min_by_key(|s| s.nodes)?, self.sizes.iter().max_by_key(|s| s.nodes)?);
        Some(last.micros / first.micros)
    }

    pub fn text(&self) -> String {
        let headers = [
            "Nodes",
            "Groups",
            "Assembled",
            "Core at 1 Hz",
            "Reports/s sent",
            "Reports/s of a core",
            "CPU/report",
            "Deaths",
            "To candidate p50",
            "p99",
            "Max",
        ];
        let mut table = Table::new(headers.map(Column::new).to_vec());
        let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
        for s in &self.sizes {
            table.push(vec![
                s.nodes.to_string(),
                s.groups.to_string(),
                format!("{:.1} s", s.assembled),
                format!("{:.1} %", s.share * 1e2),
                format!("{:.0}", s.sent),
                format!("{:.0}", s.reports),
                format!("{:.1} us", s.micros),
                s.takeover.count.to_string(),
                ms(s.takeover.median),
                ms(s.takeover.p99),
                ms(s.takeover.max),
            ]);
        }
        let missed: String = self.missed().iter().map(|line| format!("missed: {line}\n")).collect();
        format!("{}{missed}", table.render())
    }

    pub fn json(&self) -> Value {
        json!({ "version": env!("CARGO_PKG_VERSION"), "holds": self.missed().is_empty(), "sizes": self.sizes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(nodes: usize) -> Size {
        let takeover = Tail { count: 100, median: 0.008, p99: 0.015, max: 0.03 };
        let (share, sent, reports, micros) = (0.2, 9_000.0, 25_000.0, 40.0);
        Size { nodes, groups: nodes * 7 / 20, assembled: 1.0, share, sent, reports, micros, takeover }
    }

    fn missed(change: impl Fn(&mut Size)) -> usize {
        let mut sizes = vec![size(100), size(2000)];
        change(&mut sizes[1]);
        Figures { sizes }.missed().len()
    }

    #[test]
    fn each_bound_is_missed_by_itself() {
        assert_eq!(missed(|_| {}), 0);
        assert_eq!(missed(|s| s.reports = 19_000.0), 1);
        assert_eq!(missed(|s| s.share = 0.51), 1);
        assert_eq!(missed(|s| s.takeover.p99 = 0.021), 1);
        assert_eq!(missed(|s| s.micros = 81.0), 1);
        assert_eq!(missed(|s| (s.nodes, s.share) = (5000, 0.6)), 0, "the share is promised for 2,000 nodes");
    }

    #[test]
    fn the_table_says_what_was_missed() {
        let figures = Figures { sizes: vec![Size { share: 0.6, ..size(2000) }] };
        let text = figures.text();
        assert!(text.contains("2000 |    700 |") && text.contains("missed: 2000 nodes: 0.60 of a core"), "{text}");
        assert_eq!(
            (&figures.json()["holds"], &figures.json()["sizes"][0]["takeover"]["p99"]),
            (&json!(false), &json!(0.015))
        );
    }
}
