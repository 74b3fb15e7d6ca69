//! `pgbaton show file`: where the files of a service lie and what they hold.

use crate::cli::failure::{Code, Failure};
use crate::cli::options::{Here, Local};
use crate::cli::out;
use crate::cli::table::{Column, Table};
use crate::config::{self, MonitorConfig, NodeConfig};
use crate::ports::RedbStore;
use crate::service::{Places, mirror, pidfile};
use clap::Args;
use pgbaton_core::ports::Store;
use serde_json::{Map, Value};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ShowFile {
    #[command(flatten)]
    here: Here,
    /// All files; what is shown without an option, too.
    #[arg(long, conflicts_with_all = ["config", "state", "pid"])]
    all: bool,
    #[arg(long, conflicts_with_all = ["state", "pid"])]
    config: bool,
    /// What the service stores: role, epoch, assignment.
    #[arg(long, conflicts_with = "pid")]
    state: bool,
    #[arg(long)]
    pid: bool,
    /// Prints what is in the file instead of where it lies.
    #[arg(long)]
    contents: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Config,
    State,
    Pid,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Config, Kind::State, Kind::Pid];

    fn name(self) -> &'static str {
        match self {
            Kind::Config => "Config",
            Kind::State => "State",
            Kind::Pid => "Pid",
        }
    }

    fn path(self, places: &Places) -> PathBuf {
        match self {
            Kind::Config => places.config(),
            Kind::State => places.store(),
            Kind::Pid => places.pid(),
        }
    }
}

impl ShowFile {
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let local = self.here.local()?;
        let one = match (self.config, self.state, self.pid) {
            (true, _, _) => Some(Kind::Config),
            (_, true, _) => Some(Kind::State),
            (_, _, true) => Some(Kind::Pid),
            _ => None,
        };
        match (one, self.contents) {
            (Some(kind), true) => contents(kind, &local, json).await,
            (Some(kind), false) if !json => out::line(kind.path(local.places()).display()),
            (None, true) => Err(Failure::arguments(
                "of which file the contents are wanted is not said",
                "add --config, --state or --pid",
            )),
            (one, false) => paths(one, &local, json),
        }
    }
}

fn paths(one: Option<Kind>, local: &Local, json: bool) -> Result<(), Failure> {
    let kinds = Kind::ALL.into_iter().filter(|kind| one.is_none_or(|one| one == *kind));
    if json {
        let entry = |kind: Kind| (kind.name().to_lowercase(), path_value(kind.path(local.places())));
        return out::json(&kinds.map(entry).collect::<Map<_, _>>());
    }
    let mut table = Table::new(vec![Column::new("File"), Column::text("Path")]);
    for kind in kinds {
        table.push(vec![kind.name().to_string(), kind.path(local.places()).display().to_string()]);
    }
    out::text(&table.render())
}

fn path_value(path: PathBuf) -> Value {
    Value::String(path.display().to_string())
}

async fn contents(kind: Kind, local: &Local, json: bool) -> Result<(), Failure> {
    let places = local.places();
    let path = kind.path(places);
    match kind {
        Kind::State => {
            let state = state(places).await?;
            // TOML reads better, but has no null: what a record leaves open would have no line.
            out::json(&state)
        }
        Kind::Config if json => {
            let parsed = match local {
                Local::Node(_) => config::read::<NodeConfig>(&path).map(serde_json::to_value),
                Local::Monitor(_) => config::read::<MonitorConfig>(&path).map(serde_json::to_value),
            };
            let value = parsed.map_err(|e| Failure::config(e, "correct the file"))?;
            out::json(&value.expect("a configuration is plain data"))
        }
        Kind::Config | Kind::Pid => {
            let text = std::fs::read_to_string(&path).map_err(|e| {
                Failure::config(format!("can't read \"{}\": {e}", path.display()), "see pgbaton show file --all")
            })?;
            out::text(&text)
        }
    }
}

/// From the store when nobody uses it, from its readable copy while the service does.
async fn state(places: &Places) -> Result<Value, Failure> {
    let unreadable = |path: PathBuf, e: &dyn std::fmt::Display| {
        Failure::new(
            Code::State,
            format!("can't read \"{}\": {e}", path.display()),
            "see pgbaton show file --all, and whether this user may read it",
        )
    };
    if pidfile::running(&places.pid()).is_some() {
        if !places.mirror().exists() {
            return Err(Failure::new(
                Code::State,
                format!("\"{}\" is in use by the monitor that runs here", places.store().display()),
                "ask the monitor with pgbaton show state, or stop it to look into its file",
            ));
        }
        let text = std::fs::read_to_string(places.mirror()).map_err(|e| unreadable(places.mirror(), &e))?;
        return serde_json::from_str(&text).map_err(|e| unreadable(places.mirror(), &e));
    }
    // Opening would make a store where there is none.
    std::fs::metadata(places.store()).map_err(|e| unreadable(places.store(), &e))?;
    let store = RedbStore::open(&places.store()).map_err(|e| unreadable(places.store(), &e))?;
    let snapshot = store.load().await.map_err(|e| unreadable(places.store(), &e))?;
    Ok(mirror::readable(&snapshot))
}
