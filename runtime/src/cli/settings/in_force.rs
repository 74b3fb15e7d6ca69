//! A setting that changes what commits wait for is in force when the primary has confirmed that.

use crate::cli::ask::{Monitor, unexpected};
use crate::cli::failure::{Code, Failure};
use crate::cli::follow::{Follow, deadline};
use pgbaton_core::model::GroupKey;
use pgbaton_core::wire::{Answer, Command, Request, StateRow};
use std::collections::{BTreeMap, BTreeSet};

/// As pg_auto_failover's.
const PATIENCE: u64 = 60;
/// The rule that fires when the primary has confirmed.
const CONFIRMED: &str = "confirmed";

/// The `synchronous_standby_names` of each group.
pub type Names = BTreeMap<u32, String>;

async fn names(monitor: &Monitor, formation: &str) -> Result<Names, Failure> {
    let rows = monitor.state(Some(formation.to_string()), None).await?;
    let groups: BTreeSet<u32> = rows.iter().map(|row| row.group_id).collect();
    let mut names = Names::new();
    for group in groups {
        names.insert(group, names_of(monitor, formation, group).await?);
    }
    Ok(names)
}

async fn names_of(monitor: &Monitor, formation: &str, group: u32) -> Result<String, Failure> {
    let key = GroupKey { formation: formation.to_string(), group };
    match monitor.ask(&Request::StandbyNames { key }).await? {
        Answer::StandbyNames(names) => Ok(names),
        other => Err(unexpected(&other)),
    }
}

/// Has the monitor change a setting, and waits until no group's commits wait by the old one.
pub async fn set(monitor: &Monitor, formation: &str, command: Command) -> Result<Names, Failure> {
    let before = names(monitor, formation).await?;
    let accepted = monitor.command(command).await?;
    accepted.tell();
    let limit = deadline(PATIENCE);
    let mut after = Names::new();
    for (group, names_before) in before {
        let mut follow = Follow {
            monitor,
            formation: formation.to_string(),
            group: Some(group),
            after: accepted.event,
            deadline: limit,
            shown: None,
            of_a_move: false,
        };
        let not_yet = || {
            let text = format!(
                "the setting is stored, but the primary of group {group} has not confirmed it within {PATIENCE} seconds"
            );
            Failure::new(Code::Internal, text, "see pgbaton show state for what it waits for")
        };
        // Without one that takes part nothing can be put in force yet.
        let since = follow.after;
        follow.until(has_its_primary).await?.ok_or_else(not_yet)?;
        let names = names_of(monitor, formation, group).await?;
        if names != names_before {
            follow.after = since;
            while !confirmed(&mut follow).await?.ok_or_else(not_yet)? {}
        }
        after.insert(group, names);
    }
    Ok(after)
}

/// A node alone has nobody to wait for.
fn has_its_primary(nodes: &[StateRow]) -> Option<()> {
    let takes_part = |n: &StateRow| {
        n.current_group_state == n.assigned_group_state && n.current_group_state.is_writable() && n.health == 1
    };
    (nodes.len() < 2 || nodes.iter().any(takes_part)).then_some(())
}

/// Whether the next events tell of it; `None` when time is up.
async fn confirmed(follow: &mut Follow<'_>) -> Result<Option<bool>, Failure> {
    let events = follow.next().await?;
    Ok(events.map(|events| events.iter().any(|event| event.rule_section.as_deref() == Some(CONFIRMED))))
}
