//! What a scenario expects of its end, beyond the invariants.

use super::format::{NodeOptions, Scenario};
use crate::check::{Beside, Kind, Terms, Trace, long_fork, longest_gap, roles};
use crate::model::{Durability, NodeState, time::duration};
use std::time::Duration;

/// What a harm leads to begins within this time after it is undone.
pub const AFTERMATH: Duration = Duration::from_secs(10);

/// Every expectation that the run didn't meet, of each group.
pub fn unmet(scenario: &Scenario, trace: &Trace) -> Vec<String> {
    let groups = trace.groups();
    let mut unmet = unmet_by(scenario, &groups[0]);
    if let Some((story, part)) = scenario.of_beside().zip(groups.get(1)) {
        let place = Beside::place(&story.cluster.key());
        unmet.extend(unmet_by(&story, part).into_iter().map(|what| format!("{place}: {what}")));
    }
    unmet
}

fn unmet_by(scenario: &Scenario, trace: &Trace) -> Vec<String> {
    let mut unmet = Vec::new();
    for (node, expected) in &scenario.finally.roles {
        let ended = trace.events.iter().rev().find_map(|e| match &e.kind {
            Kind::Ended { node: n, reported, .. } if n == node => Some(*reported),
            _ => None,
        });
        if ended != Some(*expected) {
            let ended = ended.map_or("unknown", NodeState::name);
            unmet.push(format!("{node} was to end as {expected} and is {ended}"));
        }
    }
    if let Some(expected) = scenario.finally.promotions {
        let counted = promotions(trace);
        if counted != expected {
            unmet.push(format!("the role was to move {expected} times and moved {counted} times"));
        }
    }
    if let Some(outage) = &scenario.finally.write_outage {
        let longest = longest_gap(trace);
        match longest {
            Some(gap) if gap.length() <= outage.max => {}
            Some(gap) => unmet.push(format!(
                "writes were out for {:.3} s from {:.3} s on (\"{}\"), allowed are {}",
                gap.length().as_secs_f64(),
                gap.from.seconds(),
                gap.step.map(|(_, text)| text).unwrap_or_default(),
                duration::format(outage.max)
            )),
            None => unmet.push("fewer than two writes were acknowledged".into()),
        }
    }
    if scenario.finally.long_fork && long_fork::seen(trace).is_none() {
        unmet.push("no two commits were seen in opposite order on primary and standby".into());
    }
    let warned = trace.events.iter().filter(|e| matches!(e.kind, Kind::Acked { warning: true, .. })).count();
    if let Some(most) = scenario.finally.max_warnings
        && warned > most
    {
        unmet.push(format!("{warned} writes were acknowledged with a warning, allowed are {most}"));
    }
    unmet
}

/// How often another node than before was told to open.
pub fn promotions(trace: &Trace) -> u32 {
    u32::try_from(roles::promotions(trace).len()).expect("a run ends before the role has moved that often")
}

/// What the checkers need to know of the second group, if there is one.
pub fn beside(scenario: &Scenario) -> Option<Beside> {
    let story = scenario.of_beside()?;
    let (group, nodes) = (story.cluster.key(), story.cluster.nodes.clone());
    Some(Beside { group, nodes, first_client: scenario.first_client_beside(), terms: terms(&story) })
}

/// What the checkers need to know of the scenario, as to its first group.
pub fn terms(scenario: &Scenario) -> Terms {
    let (cluster, core) = (&scenario.cluster, &scenario.finally.core);
    let names = |is_such: fn(&NodeOptions) -> bool| {
        cluster.nodes.iter().filter(|name| is_such(&cluster.options(name))).cloned().collect()
    };
    Terms {
        may_lose: scenario.cluster.settings.durability() == Durability::Async,
        async_loss_bytes: scenario.monitor.async_loss_bytes,
        stalled: scenario.finally.stalled.clone(),
        outage: scenario.finally.write_outage.as_ref().map(|o| o.max),
        drawn: scenario.drawn,
        priced: false,
        core: core.iter().cloned().collect(),
        alone: core.iter().filter(|name| scenario.cluster.options(name).replication_quorum).count() < 2
            && core.len() < scenario.cluster.nodes.len(),
        closes_alone: scenario.keeper.network_partition_timeout,
        step_pause: scenario.keeper.step_retry_pause,
        fault_points: !scenario.fault_points.is_empty(),
        never_lead: names(|options| options.candidate_priority == 0),
        acknowledgements: cluster.settings.acknowledgements(),
        not_asked: names(|options| !options.replication_quorum),
        sticky: scenario.workload.iter().any(|w| w.sticky),
    }
}
