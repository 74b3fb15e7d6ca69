//! `pgbaton show state`.

use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::table::{Column, Table};
use clap::Args;
use pgbaton_core::model::Position;
use pgbaton_core::wire::StateRow;
use std::collections::BTreeSet;

#[derive(Debug, Args)]
pub struct ShowState {
    #[command(flatten)]
    via: ViaMonitor,
    /// One group; default: all.
    #[arg(long, short)]
    group: Option<u32>,
}

impl ShowState {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let rows = found.monitor.state(found.asked_formation(), self.group).await?;
        match json {
            true => out::json(&rows),
            false => out::text(&render(&rows)),
        }
    }
}

/// State columns are always as wide as pg_auto_failover's, so that tables of two moments line up.
pub const STATE_WIDTH: usize = 19;

/// A table for each formation; with its name if there are several.
fn render(rows: &[StateRow]) -> String {
    let formations: BTreeSet<&str> = rows.iter().map(|row| row.formation.as_str()).collect();
    if formations.len() < 2 {
        return render_one(rows);
    }
    let of = |formation: &str| {
        let rows: Vec<StateRow> = rows.iter().filter(|row| row.formation == formation).cloned().collect();
        format!("Formation {formation}\n{}", render_one(&rows))
    };
    formations.into_iter().map(of).collect::<Vec<_>>().join("\n")
}

fn render_one(rows: &[StateRow]) -> String {
    let mut table = Table::new(vec![
        Column::new("Name"),
        Column::new("Node").at_least(5),
        Column::new("Host:Port"),
        Column::new("TLI: LSN"),
        Column::new("Connection").at_least(12),
        Column::new("Reported State").at_least(STATE_WIDTH),
        Column::new("Assigned State").at_least(STATE_WIDTH),
        Column::new("Report").at_least(7),
    ]);
    for row in rows {
        let position = Position { tli: row.reported_tli, lsn: row.reported_lsn };
        table.push(vec![
            row.nodename.clone(),
            row.node_id.to_string(),
            format!("{}:{}", row.nodehost, row.nodeport),
            position.to_string(),
            connection(row),
            row.current_group_state.to_string(),
            row.assigned_group_state.to_string(),
            row.report_age_ms.map_or_else(|| "-".to_string(), age),
        ]);
    }
    table.render() + &reasons(rows)
}

/// What the reported state allows, and a mark when the monitor has its doubts.
fn connection(row: &StateRow) -> String {
    let mark = match row.health {
        0 => " !",
        -1 => " ?",
        _ => "",
    };
    format!("{}{mark}", row.current_group_state.connection())
}

fn age(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{:.1}s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A line for each node that waits for something, and a blank one after them.
fn reasons(rows: &[StateRow]) -> String {
    let lines: String =
        rows.iter().filter_map(|row| row.pending.as_ref().map(|why| format!("{}: {why}\n", row.nodename))).collect();
    if lines.is_empty() { lines } else { lines + "\n" }
}

#[cfg(test)]
pub mod testing {
    use super::*;
    use pgbaton_core::model::{Lsn, NodeState, Timeline};

    pub fn row(name: &str, host: &str, node_id: u32, tli: u32, lsn: u64, states: [NodeState; 2]) -> StateRow {
        StateRow {
            formation_kind: "pgsql".into(),
            formation: "fotest".into(),
            nodename: name.into(),
            nodehost: host.into(),
            nodeport: 5432,
            group_id: 0,
            node_id,
            current_group_state: states[0],
            assigned_group_state: states[1],
            candidate_priority: 50,
            replication_quorum: true,
            reported_tli: Timeline(tli),
            reported_lsn: Lsn(lsn),
            health: 1,
            report_age_ms: Some(300),
            pending: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::row;
    use super::*;
    use pgbaton_core::model::NodeState;

    /// The tables of the operations note the project started from, with our column after them.
    #[test]
    fn the_tables_of_the_operations_note_are_printed_as_they_are_there() {
        use NodeState::{Primary, Secondary};
        let mut rows = [
            row("mdw", "failoverprimary", 1, 11, 0x451_B7A0, [Primary, Primary]),
            row("smdw", "failoversecondary", 10, 11, 0x400_0000, [Secondary, Secondary]),
        ];
        let expected = "\
Name |  Node |              Host:Port |       TLI: LSN |   Connection |      Reported State |      Assigned State
-----+-------+------------------------+----------------+--------------+---------------------+--------------------
 mdw |     1 |   failoverprimary:5432 |  11: 0/451B7A0 |   read-write |             primary |             primary
smdw |    10 | failoversecondary:5432 |  11: 0/4000000 |    read-only |           secondary |           secondary
";
        assert_eq!(without_report(&render(&rows)), expected);
        let swapped = "\
 mdw |     1 |   failoverprimary:5432 |  12: 0/451BBB0 |  read-only ! |           secondary |           secondary
smdw |    10 | failoversecondary:5432 |  12: 0/451BBB0 |   read-write |             primary |             primary
";
        rows[0] = row("mdw", "failoverprimary", 1, 12, 0x451_BBB0, [Secondary, Secondary]);
        rows[0].health = 0;
        rows[1] = row("smdw", "failoversecondary", 10, 12, 0x451_BBB0, [Primary, Primary]);
        assert!(without_report(&render(&rows)).ends_with(swapped));
    }

    fn without_report(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| format!("{}\n", &line[..line.len() - 10])).collect()
    }

    #[test]
    fn each_of_several_formations_has_a_table_of_its_own() {
        use NodeState::Primary;
        let of = |formation: &str| StateRow {
            formation: formation.into(),
            ..row("node1", "h", 1, 1, 0, [Primary, Primary])
        };
        let text = render(&[of("b"), of("a"), of("b")]);
        let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert!(text.starts_with("Formation a\n") && text.contains("\nFormation b\n"), "{text}");
        assert_eq!((lines("Formation"), lines("Host:Port"), lines("node1")), (2, 2, 3), "{text}");
        assert!(!render(&[of("a")]).contains("Formation"));
    }

    #[test]
    fn what_is_waited_for_is_said_below_the_table() {
        let mut waiting = row("mdw", "h", 1, 1, 0, [NodeState::Secondary, NodeState::Secondary]);
        waiting.health = -1;
        waiting.report_age_ms = None;
        waiting.pending = Some("waits for smdw: 1 of 2 sealed".into());
        let text = render(&[waiting]);
        assert!(text.contains("|  read-only ? |"), "{text}");
        assert!(text.contains("|       -\n"), "{text}");
        assert!(text.ends_with("\n\nmdw: waits for smdw: 1 of 2 sealed\n\n"), "{text}");
    }

    #[test]
    fn ages_are_short() {
        for (ms, text) in [(0, "0.0s"), (340, "0.3s"), (59_900, "59.9s"), (61_000, "1m01s"), (3_720_000, "1h02m")] {
            assert_eq!(age(ms), text);
        }
    }
}
