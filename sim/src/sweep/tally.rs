//! What became of the runs of a sweep: by kind of point and by harm.

use crate::report::Report;
use crate::world::MONITOR;
use crate::world::points::{Harm, Trap};
use pgbaton_core::scenario::expect::promotions;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Tally {
    cells: BTreeMap<(Row, Harm), Cell>,
    pub failovers: u64,
    pub simulated: Duration,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub runs: u64,
    pub violations: u64,
}

impl Cell {
    fn add(&mut self, other: Cell) {
        self.runs += other.runs;
        self.violations += other.violations;
    }
}

/// Whose points, and of what kind.
type Row = (&'static str, &'static str);

impl Tally {
    pub fn count(&mut self, trap: &Trap, report: &Report) {
        let whose = if trap.point.host == MONITOR { "monitor" } else { "keeper" };
        let cell = self.cells.entry(((whose, trap.point.effect.kind()), trap.harm)).or_default();
        cell.add(Cell { runs: 1, violations: u64::from(!report.holds()) });
        let groups = report.outcome.trace.groups();
        self.failovers += groups.iter().map(|trace| u64::from(promotions(trace))).sum::<u64>();
        self.simulated += report.outcome.simulated;
    }

    pub fn merge(&mut self, other: Tally) {
        for (at, cell) in other.cells {
            self.cells.entry(at).or_default().add(cell);
        }
        self.failovers += other.failovers;
        self.simulated += other.simulated;
    }

    pub fn total(&self) -> Cell {
        self.sum(|_| true)
    }

    fn sum(&self, counts: impl Fn(&(Row, Harm)) -> bool) -> Cell {
        let mut sum = Cell::default();
        self.cells.iter().filter(|(at, _)| counts(at)).for_each(|(_, cell)| sum.add(*cell));
        sum
    }

    /// A row for each kind of point, a column for each harm, in each cell the runs and how many of them were wrong; and
    /// the head of all.
    pub fn rows(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let harms = Harm::ALL.map(|harm| harm.name().to_string());
        let head = [vec!["point".to_string()], harms.to_vec(), vec!["runs".to_string()]].concat();
        let mut table = Vec::new();
        let mut rows: Vec<Row> = self.cells.keys().map(|(row, _)| *row).collect();
        rows.dedup();
        for row in rows {
            let cells = Harm::ALL.map(|harm| shown(self.sum(|at| *at == (row, harm))));
            let name = format!("{} {}", row.0, row.1);
            table.push([vec![name], cells.to_vec(), vec![shown(self.sum(|at| at.0 == row))]].concat());
        }
        let harms = Harm::ALL.map(|harm| shown(self.sum(|at| at.1 == harm)));
        table.push([vec!["all".to_string()], harms.to_vec(), vec![shown(self.total())]].concat());
        (head, table)
    }

    pub fn summary(&self, real: Duration) -> String {
        let Cell { runs, violations } = self.total();
        let seconds = real.as_secs_f64();
        format!(
            "{runs} runs, {violations} violations, {} failovers, {:.1} simulated hours in {seconds:.0} s",
            self.failovers,
            self.simulated.as_secs_f64() / 3600.0,
        )
    }
}

fn shown(cell: Cell) -> String {
    match cell {
        Cell { runs: 0, .. } => String::new(),
        Cell { runs, violations: 0 } => runs.to_string(),
        Cell { runs, violations } => format!("{runs}, {violations} wrong"),
    }
}
