//! A setting that changes what commits wait for is in force when the primary has confirmed that.

use crate::cli::ask::{Monitor, unexpected};
use crate::cli::failure::{Code, Failure};
use crate::cli::follow::{Follow, deadline};
use pgbaton_core::model::GroupKey;
use pgbaton_core::wire::{Answer, Command, Request};
use std::collections::{BTreeMap, BTreeSet};

/// As pg_auto_failover's.
const PATIENCE: u64 = 60;
/// The rule that fires when the primary has confirmed.
const CONFIRMED: &str = "confirmed";

/// The `synchronous_standby_names` of each group.
pub type Names = BTreeMap<u32, String>;

pub async fn names(monitor: &Monitor, formation: &str) -> Result<Names, Failure> {
    let rows = monitor.state(Some(formation.to_string()), None).await?;
    let groups: BTreeSet<u32> = rows.iter().map(|row| row.group_id).collect();
    let mut names = Names::new();
    for group in groups {
        let key = GroupKey { formation: formation.to_string(), group };
        match monitor.ask(&Request::StandbyNames { key }).await? {
            Answer::StandbyNames(value) => names.insert(group, value),
            other => return Err(unexpected(&other)),
        };
    }
    Ok(names)
}

/// Has the monitor change a setting, and waits until no group's commits wait by the old one.
pub async fn set(monitor: &Monitor, formation: &str, command: Command) -> Result<Names, Failure> {
    let before = names(monitor, formation).await?;
    let accepted = monitor.command(command).await?;
    accepted.tell();
    let after = names(monitor, formation).await?;
    let limit = deadline(PATIENCE);
    for (group, _) in after.iter().filter(|(group, value)| before.get(group) != Some(value)) {
        let mut follow = Follow {
            monitor,
            formation: formation.to_string(),
            group: Some(*group),
            after: accepted.event,
            deadline: limit,
            shown: None,
        };
        loop {
            let Some(events) = follow.next().await? else {
                return Err(Failure::new(
                    Code::Internal,
                    format!(
                        "the setting is stored, but the primary of group {group} has not confirmed it within {PATIENCE} seconds"
                    ),
                    "see pgbaton show state for what it waits for",
                ));
            };
            if events.iter().any(|event| event.rule_section.as_deref() == Some(CONFIRMED)) {
                break;
            }
        }
    }
    Ok(after)
}
