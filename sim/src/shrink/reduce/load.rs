//! Fewer clients that write less. Whole workloads are left out as any other part of a file is.

use super::with;
use pgbaton_core::scenario::Scenario;

pub fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut out = Vec::new();
    for (i, workload) in scenario.workload.iter().enumerate() {
        for clients in [1, workload.clients / 2, workload.clients.saturating_sub(1)] {
            if clients >= 1 && clients < workload.clients {
                out.push(with(scenario, |s| s.workload[i].clients = clients));
            }
        }
        for rate in [1.0, (workload.rate / 10.0).floor(), (workload.rate / 2.0).floor(), workload.rate.floor()] {
            if rate >= 1.0 && rate < workload.rate {
                out.push(with(scenario, |s| s.workload[i].rate = rate));
            }
        }
    }
    out
}
