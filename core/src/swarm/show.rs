//! A plan in a few lines, to be read beside a timeline.

use crate::model::time::duration;
use crate::scenario::{Scenario, Step, Verb};
use std::fmt::Write;

pub fn show(plan: &Scenario) -> String {
    let mut out = String::new();
    let cluster = &plan.cluster;
    let settings = &cluster.settings;
    let _ = writeln!(
        out,
        "{}: nodes {}, number_sync_standbys {}, {}",
        plan.title,
        cluster.nodes.join(" "),
        settings.number_sync_standbys,
        settings.durability().name()
    );
    for (name, o) in &cluster.node {
        let _ = writeln!(out, "  {name}: {o:?}");
    }
    if let Some(postgres) = &cluster.postgres {
        let _ = writeln!(out, "  {postgres:?}");
    }
    for (name, clock) in &cluster.clock {
        let _ = writeln!(out, "  clock of {name}: {clock:?}");
    }
    for (point, rate) in &plan.fault_points {
        let _ = writeln!(out, "  {} {rate}", point.name());
    }
    let _ = writeln!(out, "  {:?}", plan.monitor);
    let _ = writeln!(out, "  {:?}", plan.keeper);
    for load in &plan.workload {
        let _ = writeln!(out, "  {load:?}");
    }
    for step in &plan.steps {
        let _ = writeln!(out, "{}", line(step));
    }
    let _ = writeln!(out, "  then {} settle", plan.finally.core.join(" "));
    out
}

fn line(step: &Step) -> String {
    let when = match (step.at, step.wait) {
        (Some(at), _) => format!("{:>9.3}", at.as_secs_f64()),
        (_, Some(wait)) => format!("+ {}", duration::format(wait)),
        _ => format!("{:>9}", ""),
    };
    let until = step.until.as_ref().map(|c| format!("once {c:?}: ")).unwrap_or_default();
    let verb = step.verb.as_ref().map(describe).unwrap_or_default();
    let bind = step.bind.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
    format!("{when}  {until}{verb}{bind}")
}

fn describe(verb: &Verb) -> String {
    format!("{verb:?}")
}
