//! `pgbaton show timeline`: the lineage of a group, and who is on it.

use crate::cli::ask::unexpected;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::table::{Column, Table};
use clap::Args;
use pgbaton_core::wire::{Answer, NodeTimeline, Request, Timelines};

#[derive(Debug, Args)]
pub struct ShowTimeline {
    #[command(flatten)]
    via: ViaMonitor,
    /// Default: that of the local node, else 0.
    #[arg(long, short)]
    group: Option<u32>,
}

impl ShowTimeline {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let found = self.via.find()?;
        let timelines = match found.monitor.ask(&Request::Timelines { key: found.key(self.group) }).await? {
            Answer::Timelines(timelines) => timelines,
            other => return Err(unexpected(&other)),
        };
        match json {
            true => out::json(&timelines),
            false => out::text(&render(&timelines)),
        }
    }
}

fn render(timelines: &Timelines) -> String {
    let mut lineage =
        Table::new(vec![Column::new("TLI"), Column::new("Parent TLI"), Column::new("Switchpoint LSN").at_least(15)]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    if let Some(history) = &timelines.reference {
        let all = history.ancestors.iter().map(|s| s.tli).chain([history.tli]);
        let parents = std::iter::once(None).chain(history.ancestors.iter().map(Some));
        for (tli, parent) in all.zip(parents) {
            let (of, at) = (parent.map(|p| p.tli.to_string()), parent.map(|p| p.at.to_string()));
            lineage.push(vec![tli.to_string(), or_dash(of), or_dash(at)]);
        }
    }
    let mut nodes = Table::new(vec![
        Column::new("Name"),
        Column::new("NodeId"),
        Column::new("TLI"),
        Column::new("LSN"),
        Column::text("Status"),
    ]);
    for node in &timelines.nodes {
        nodes.push(vec![
            node.nodename.clone(),
            node.node_id.to_string(),
            or_dash(node.position.map(|p| p.tli.to_string())),
            or_dash(node.position.map(|p| p.lsn.to_string())),
            status(node).to_string(),
        ]);
    }
    lineage.render() + &nodes.render() + closing(timelines)
}

fn status(node: &NodeTimeline) -> &'static str {
    match node.on_lineage {
        Some(true) => "ok, on accepted lineage",
        Some(false) => "FORK: diverges from the reference timeline, pg_rewind required",
        None => "not known",
    }
}

fn closing(timelines: &Timelines) -> &'static str {
    match timelines.nodes.iter().any(|node| node.on_lineage == Some(false)) {
        true => {
            "A node marked FORK keeps its own WAL aside and is rewound when it rejoins the group.\n\
             If its history is the right one, choose it with pgbaton accept timeline while no primary is open.\n\n"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgbaton_core::model::{History, Lsn, Position, Timeline};

    #[test]
    fn the_lineage_and_a_fork_are_shown() {
        let node = |node_id, nodename: &str, on_lineage| NodeTimeline {
            node_id,
            nodename: nodename.into(),
            position: Some(Position::new(3, 0x451_B7A0)),
            history: None,
            on_lineage,
        };
        let reference = History::root(Timeline(1)).branch(Timeline(3), Lsn(0x300_0158));
        let mut timelines =
            Timelines { reference: Some(reference), nodes: vec![node(1, "mdw", Some(true)), node(2, "smdw", None)] };
        let expected = "\
TLI | Parent TLI | Switchpoint LSN
----+------------+----------------
  1 |          - |               -
  3 |          1 |       0/3000158

Name | NodeId | TLI |       LSN | Status
-----+--------+-----+-----------+------------------------
 mdw |      1 |   3 | 0/451B7A0 | ok, on accepted lineage
smdw |      2 |   3 | 0/451B7A0 | not known

";
        assert_eq!(render(&timelines), expected);
        timelines.nodes[1].on_lineage = Some(false);
        let text = render(&timelines);
        assert!(text.contains("FORK: diverges") && text.ends_with("while no primary is open.\n\n"), "{text}");
    }
}
