//! `pgbaton get formation …` and `pgbaton set formation …`.

use super::in_force;
use crate::cli::create::formation::Durability;
use crate::cli::failure::Failure;
use crate::cli::options::ViaMonitor;
use crate::cli::out;
use crate::cli::show::settings::ShowSettings;
use clap::{Args, Subcommand};
use pgbaton_core::model::FormationSettings;
use pgbaton_core::wire::{Command, FormationChange};
use serde_json::{Value, json};

const NUMBER: &str = "number-sync-standbys";
const DURABILITY: &str = "durability";
const SECONDARY: &str = "secondary";
const DBNAME: &str = "dbname";

#[derive(Debug, Subcommand)]
pub enum GetFormation {
    /// How many standbys acknowledge a commit.
    NumberSyncStandbys(Which),
    /// What is preferred when too few standbys are left: strict, degrade or async.
    Durability(Which),
    /// Whether groups may have standbys.
    Secondary(Which),
    /// The database clients are told of.
    Dbname(Which),
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
        let (via, setting) = match self {
            GetFormation::NumberSyncStandbys(Which { via }) => (via, NUMBER),
            GetFormation::Durability(Which { via }) => (via, DURABILITY),
            GetFormation::Secondary(Which { via }) => (via, SECONDARY),
            GetFormation::Dbname(Which { via }) => (via, DBNAME),
            GetFormation::Settings(show) => return show.run(json).await,
        };
        let found = via.find()?;
        let value = value_of(&found.monitor.formation(&found.formation()).await?, setting);
        match json {
            true => out::json(&json!({ setting: value })),
            false => out::line(bare(&value)),
        }
    }
}

fn value_of(settings: &FormationSettings, setting: &str) -> Value {
    match setting {
        NUMBER => json!(settings.number_sync_standbys),
        DURABILITY => json!(settings.durability().name()),
        SECONDARY => json!(settings.secondary),
        _ => json!(settings.dbname),
    }
}

/// A word without its quotes.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

impl SetFormation {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let (setting, via, change) = match self {
            SetFormation::NumberSyncStandbys(NumberSyncStandbys { which, value }) => {
                (NUMBER, which.via, FormationChange { number_sync_standbys: Some(value), ..FormationChange::default() })
            }
            SetFormation::Durability(SetDurability { which, value }) => (
                DURABILITY,
                which.via,
                FormationChange { durability: Some(value.into()), ..FormationChange::default() },
            ),
        };
        let found = via.find()?;
        let formation = found.formation();
        let command = Command::SetFormation { formation: formation.clone(), change };
        let names = in_force::set(&found.monitor, &formation, command).await?;
        let value = value_of(&found.monitor.formation(&formation).await?, setting);
        if !json {
            return out::line(bare(&value));
        }
        let mut answer = json!({ setting: value });
        if let Some(names) = names.values().find(|names| setting == NUMBER && !names.is_empty()) {
            answer["synchronous_standby_names"] = json!(names);
        }
        out::json(&answer)
    }
}
