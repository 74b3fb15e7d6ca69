//! `pgbaton get formation …` and `pgbaton set formation …`.

use super::in_force;
use crate::cli::create::formation::Durability;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::show::settings::ShowSettings;
use clap::{Args, Subcommand};
use pgbaton_core::wire::{Command, FormationChange};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub enum GetFormation {
    /// How many standbys acknowledge a commit.
    NumberSyncStandbys(Which),
    /// What is preferred when too few standbys are left: strict, degrade or async.
    Durability(Which),
    /// All replication settings; the same as show settings.
    Settings(ShowSettings),
}

#[derive(Debug, Subcommand)]
pub enum SetFormation {
    /// How many standbys acknowledge a commit; 0 means one while there is one.
    NumberSyncStandbys(NumberSyncStandbys),
    /// What is preferred when too few standbys are left.
    Durability(SetDurability),
}

#[derive(Debug, Args)]
pub struct Which {
    #[command(flatten)]
    via: ViaMonitor,
}

#[derive(Debug, Args)]
pub struct NumberSyncStandbys {
    #[command(flatten)]
    which: Which,
    value: u32,
}

#[derive(Debug, Args)]
pub struct SetDurability {
    #[command(flatten)]
    which: Which,
    value: Durability,
}

impl GetFormation {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let (via, number) = match self {
            GetFormation::NumberSyncStandbys(Which { via }) => (via, true),
            GetFormation::Durability(Which { via }) => (via, false),
            GetFormation::Settings(show) => return show.run(json).await,
        };
        let found = via.find()?;
        let settings = found.monitor.formation(&found.formation()).await?;
        match (number, json) {
            (true, true) => out::json(&json!({ "number-sync-standbys": settings.number_sync_standbys })),
            (true, false) => out::line(settings.number_sync_standbys),
            (false, true) => out::json(&json!({ "durability": settings.durability().name() })),
            (false, false) => out::line(settings.durability().name()),
        }
    }
}

impl SetFormation {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let (via, change) = match self {
            SetFormation::NumberSyncStandbys(NumberSyncStandbys { which, value }) => {
                (which.via, FormationChange { number_sync_standbys: Some(value), ..FormationChange::default() })
            }
            SetFormation::Durability(SetDurability { which, value }) => {
                (which.via, FormationChange { durability: Some(value.into()), ..FormationChange::default() })
            }
        };
        let found = via.find()?;
        let formation = found.formation();
        let is_number = change.number_sync_standbys.is_some();
        let command = Command::SetFormation { formation: formation.clone(), change };
        let names = in_force::set(&found.monitor, &formation, command).await?;
        let settings = found.monitor.formation(&formation).await?;
        let (name, value) = match is_number {
            true => ("number-sync-standbys", json!(settings.number_sync_standbys)),
            false => ("durability", json!(settings.durability().name())),
        };
        if !json {
            return out::line(value.as_str().map_or_else(|| value.to_string(), str::to_string));
        }
        let mut answer = json!({ name: value });
        if let Some(names) = names.values().find(|names| is_number && !names.is_empty()) {
            answer["synchronous_standby_names"] = json!(names);
        }
        out::json(&answer)
    }
}
