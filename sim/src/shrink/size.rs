//! How big a story is, in the numbers a reader cares about.

use pgbaton_core::model::{FormationSettings, KeeperSettings, MonitorSettings};
use pgbaton_core::scenario::Scenario;
use std::fmt;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub steps: usize,
    pub nodes: usize,
    pub clients: u32,
    /// Writes per second, all workloads together.
    pub rate: f64,
    /// What the steps wait for the clock.
    pub waits: Duration,
    /// Groups of settings that aren't as usual.
    pub settings: usize,
    /// In the code.
    pub fault_points: usize,
}

impl Size {
    pub fn of(scenario: &Scenario) -> Size {
        let Scenario { cluster, beside, fault_points, monitor, keeper, workload, steps, .. } = scenario;
        let workload = || workload.iter().chain(beside.iter().flat_map(|beside| &beside.workload));
        let mut waits = Duration::ZERO;
        for step in steps {
            waits = step.at.map_or(waits, |at| waits.max(at)) + step.wait.unwrap_or_default();
        }
        let unusual = [
            cluster.settings != FormationSettings::default(),
            beside.as_ref().is_some_and(|beside| beside.cluster.settings != FormationSettings::default()),
            cluster.postgres.is_some(),
            *monitor != MonitorSettings::default(),
            *keeper != KeeperSettings::default(),
        ];
        Size {
            steps: steps.len(),
            nodes: scenario.nodes().len(),
            clients: workload().map(|w| w.clients).sum(),
            // The sum of no numbers is a negative zero.
            rate: workload().map(|w| w.rate).sum::<f64>().abs(),
            waits,
            settings: unusual.iter().filter(|u| **u).count() + cluster.node.len() + cluster.clock.len(),
            fault_points: fault_points.len(),
        }
    }
}

/// From one size to another: "steps 41 -> 4, nodes 5 -> 2"; what stayed is given once.
pub struct Way(pub Size, pub Size);

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |s: &Size| {
            let seconds = |d: Duration| format!("{} s", (d.as_secs_f64() * 10.0).round() / 10.0);
            let (steps, nodes, points) = (s.steps.to_string(), s.nodes.to_string(), s.fault_points.to_string());
            [steps, nodes, s.clients.to_string(), s.rate.to_string(), seconds(s.waits), s.settings.to_string(), points]
        };
        let names = ["steps", "nodes", "clients", "writes/s", "waits", "settings", "fault points"];
        let line = |((name, from), to): ((&str, String), String)| match from == to {
            true => format!("{name} {to}"),
            false => format!("{name} {from} -> {to}"),
        };
        let lines: Vec<String> = names.into_iter().zip(numbers(&self.0)).zip(numbers(&self.1)).map(line).collect();
        f.write_str(&lines.join(", "))
    }
}
