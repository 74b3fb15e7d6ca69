//! `pgbaton status`: 0 when everything runs, 3 when pgbaton doesn't, 5 when Postgres doesn't.

use super::failure::{Code, Failure};
use super::options::{Here, Local};
use super::out;
use crate::service::{Places, keeper, pidfile, postmaster};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    here: Here,
}

impl Status {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let local = self.here.local()?;
        let places = local.places();
        let service = pidfile::running(&places.pid());
        let postmaster = match &local {
            Local::Node(places) => {
                keeper::read_config(places)?;
                postmaster::find(&places.data)
            }
            Local::Monitor(_) => None,
        };
        if json {
            out::json(&as_json(&local, service, postmaster))?;
        } else {
            log_lines(places, service, postmaster);
        }
        let remedy = "start it with pgbaton run";
        match (&local, service, postmaster) {
            (_, None, _) => {
                Err(Failure::new(Code::State, format!("pgbaton isn't running for {}", places.data.display()), remedy))
            }
            (Local::Node(_), Some(_), None) => Err(Failure::new(
                Code::Postgres,
                format!("Postgres isn't running in {}", places.data.display()),
                "pgbaton starts it when the node's state asks for it; see pgbaton show state",
            )),
            _ => Ok(()),
        }
    }
}

fn log_lines(places: &Places, service: Option<u32>, postmaster: Option<postmaster::Postmaster>) {
    if let Some(pid) = service {
        tracing::info!("pgbaton is running with pid {pid}");
    }
    if let Some(server) = postmaster {
        let port = server.port.map_or_else(|| "?".to_string(), |p| p.to_string());
        let pgdata = places.data.display();
        tracing::info!("Postgres is serving PGDATA \"{pgdata}\" on port {port} with pid {}", server.pid);
    }
}

fn as_json(local: &Local, service: Option<u32>, postmaster: Option<postmaster::Postmaster>) -> Value {
    let word = |running: bool| if running { "running" } else { "stopped" };
    let places = local.places();
    let pgbaton = json!({
        "pid": service,
        "status": word(service.is_some()),
        "version": env!("CARGO_PKG_VERSION"),
    });
    match local {
        Local::Monitor(_) => json!({ "datadir": places.data, "pgbaton": pgbaton }),
        Local::Node(_) => json!({
            "postgres": {
                "pgdata": places.data,
                "port": postmaster.and_then(|p| p.port),
                "pid": postmaster.map(|p| p.pid),
                "status": word(postmaster.is_some()),
            },
            "pgbaton": pgbaton,
            "state": stored(places)["state"],
        }),
    }
}

/// What the keeper stored last of itself.
pub fn stored(places: &Places) -> Value {
    let copy = std::fs::read_to_string(places.mirror()).ok();
    let copy: Option<Value> = copy.and_then(|text| serde_json::from_str(&text).ok());
    copy.map_or(Value::Null, |mut v| v["records"]["keeper"].take())
}

/// The number its monitor gave it.
pub fn stored_id(places: &Places) -> Option<u32> {
    stored(places)["node"].as_u64().and_then(|id| u32::try_from(id).ok())
}
