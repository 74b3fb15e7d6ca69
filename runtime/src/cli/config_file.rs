//! `pgbaton config …`: the configuration file of a service on this machine.

use super::failure::{Code, Failure};
use super::options::{Here, Local};
use super::{ask, out, ssl};
use crate::config::{self, MonitorConfig, NodeConfig};
use crate::ports::split_address;
use crate::postgres::find_installation;
use crate::service::{keeper, monitor, pidfile};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Checks the file, and what it says about this machine.
    Check(Check),
    /// Prints the whole file, or one value of it.
    Get(Get),
    /// Changes one value. A running service takes it over with pgbaton reload.
    Set(Set),
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    here: Here,
}

#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    here: Here,
    /// Name of the value, as postgresql.port or settings.heartbeat.
    #[arg(value_name = "SECTION.OPTION")]
    option: Option<String>,
}

#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    here: Here,
    /// Name of the value, as postgresql.listen or settings.heartbeat.
    #[arg(value_name = "SECTION.OPTION")]
    option: String,
    value: String,
}

impl Config {
    pub fn run(self, json: bool) -> Result<(), Failure> {
        match self {
            Config::Check(check) => check.run(),
            Config::Get(get) => get.run(json),
            Config::Set(set) => set.run(json),
        }
    }
}

/// The file as it is in effect, with the defaults of what it leaves out.
fn whole(local: &Local) -> Result<Table, Failure> {
    let table = match local {
        Local::Node(places) => Table::try_from(keeper::read_config(places)?),
        Local::Monitor(places) => Table::try_from(monitor::read_config(places)?),
    };
    Ok(table.expect("a configuration is plain data"))
}

impl Get {
    fn run(self, json: bool) -> Result<(), Failure> {
        let table = whole(&self.here.local()?)?;
        let Some(option) = &self.option else {
            return match json {
                true => out::json(&table),
                false => out::text(&toml::to_string(&table).expect("a table is TOML")),
            };
        };
        let value = find(&table, option).ok_or_else(|| unknown(option, &table))?;
        match (json, value) {
            (true, value) => out::json(value),
            (false, Value::Table(section)) => out::text(&toml::to_string(section).expect("a table is TOML")),
            (false, value) => out::line(bare(value)),
        }
    }
}

impl Set {
    fn run(self, json: bool) -> Result<(), Failure> {
        let local = self.here.local()?;
        refuse_fixed(&local, &self.option)?;
        let mut table = whole(&local)?;
        let before = find(&table, &self.option).ok_or_else(|| unknown(&self.option, &table))?.clone();
        let value = parse(&before, &self.value).ok_or_else(|| {
            Failure::config(
                format!("\"{}\" can't be the value of {}", self.value, self.option),
                format!("it is to be like the one it has: {}", bare(&before)),
            )
        })?;
        put(&mut table, &self.option, value.clone());
        match &local {
            Local::Node(_) => self.write::<NodeConfig>(&local, table, check_node)?,
            Local::Monitor(_) => self.write::<MonitorConfig>(&local, table, check_monitor)?,
        }
        match json {
            true => out::json(&value),
            false => out::line(bare(&value)),
        }
    }

    /// Nothing is written that a service would refuse to read.
    fn write<T: DeserializeOwned + serde::Serialize>(
        &self,
        local: &Local,
        table: Table,
        check: fn(&T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let config: T = table.try_into().map_err(|e: toml::de::Error| {
            Failure::config(format!("{} can't be set to \"{}\": {}", self.option, self.value, e.message()), "")
        })?;
        check(&config).map_err(|failure| Failure { code: Code::Config, ..failure })?;
        config::write(&local.places().config(), &config)
            .map_err(|e| Failure::config(e, "check the permissions of its directory"))
    }
}

/// Sections are tables, options what is in them; what stands above all sections has no dot.
fn find<'a>(table: &'a Table, option: &str) -> Option<&'a Value> {
    match option.split_once('.') {
        None => table.get(option),
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
    }
}

fn put(table: &mut Table, option: &str, value: Value) {
    match option.split_once('.') {
        None => {
            table.insert(option.to_string(), value);
        }
        Some((section, rest)) => {
            if let Some(Value::Table(section)) = table.get_mut(section) {
                put(section, rest, value);
            }
        }
    }
}

fn parse(like: &Value, text: &str) -> Option<Value> {
    match like {
        Value::String(_) => Some(Value::String(text.to_string())),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        _ => None,
    }
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn unknown(option: &str, table: &Table) -> Failure {
    let mut known = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => known.extend(section.keys().map(|key| format!("{name}.{key}"))),
            _ => known.push(name.clone()),
        }
    }
    Failure::config(format!("there is no option {option}"), format!("known are: {}", known.join(", ")))
}

/// What others know as well can't be changed in the file alone.
fn refuse_fixed(local: &Local, option: &str) -> Result<(), Failure> {
    let Local::Node(places) = local else { return Ok(()) };
    let remedy = match option {
        "name" | "hostname" => "change it with pgbaton set node metadata, which tells the monitor",
        "candidate_priority" => "change it with pgbaton set node candidate-priority",
        "replication_quorum" => "change it with pgbaton set node replication-quorum",
        "formation" | "group" | "postgresql.pgdata" | "postgresql.dbname" => {
            "it was fixed when the node was created; drop the node and create it anew"
        }
        "postgresql.replication_password" => "the monitor gives it, the same to every node of the formation",
        "postgresql.port" if pidfile::running(&places.pid()).is_some() => {
            "stop the node first, and tell the monitor as well: pgbaton set node metadata --pgport"
        }
        _ => return Ok(()),
    };
    Err(Failure::config(format!("{option} can't be changed here"), remedy))
}

fn check_node(config: &NodeConfig) -> Result<(), Failure> {
    ask::Monitor::trusting(&config.monitor, &config.ssl.ca_file)?;
    config.postgresql.run_as.as_deref().map(keeper::find_user).transpose()?;
    match config.postgresql.auth.as_str() {
        "trust" | "scram-sha-256" => Ok(()),
        other => Err(Failure::config(
            format!("\"{other}\" is no method of authentication that nodes use"),
            "say trust or scram-sha-256",
        )),
    }
}

fn check_monitor(config: &MonitorConfig) -> Result<(), Failure> {
    match split_address(&config.listen) {
        Some(_) => ssl::check(&config.ssl),
        None => Err(Failure::config(format!("\"{}\" is no address to listen on", config.listen), "write HOST:PORT")),
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        let local = self.here.local()?;
        match &local {
            Local::Node(places) => {
                let config = keeper::read_config(places)?;
                check_node(&config)?;
                let pg_ctl = config.postgresql.bin_dir.join("pg_ctl");
                find_installation(Some(&pg_ctl)).map_err(|e| Failure::new(Code::Postgres, e, ""))?;
                if config.postgresql.pgdata != places.data {
                    return Err(Failure::config(
                        format!(
                            "the file is that of {}, not of {}",
                            config.postgresql.pgdata.display(),
                            places.data.display()
                        ),
                        "move the data directory back, or correct postgresql.pgdata",
                    ));
                }
            }
            Local::Monitor(places) => check_monitor(&monitor::read_config(places)?)?,
        }
        tracing::info!("{} is well", local.places().config().display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_and_keep_their_kind() {
        let mut table: Table =
            toml::from_str("listen = \"h:1\"\n[settings]\nhold = \"3s\"\nevents_kept = 5\n").unwrap();
        assert_eq!(find(&table, "settings.hold").map(bare), Some("3s".to_string()));
        assert_eq!(find(&table, "settings.none"), None);
        assert_eq!(find(&table, "listen.none"), None);
        assert_eq!(parse(&Value::Integer(5), "6"), Some(Value::Integer(6)));
        assert_eq!(parse(&Value::Integer(5), "six"), None);
        put(&mut table, "settings.events_kept", Value::Integer(6));
        assert_eq!(find(&table, "settings.events_kept"), Some(&Value::Integer(6)));
        assert!(unknown("x", &table).to_string().contains("settings.hold"));
    }
}
