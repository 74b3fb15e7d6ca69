//! What a scenario file says. Reading and checking it is `parse`'s work.

use super::beside::Beside;
use super::condition::Condition;
use super::point::FaultPoint;
use super::size::Size;
use super::verb::Verb;
use crate::model::{FormationSettings, GroupKey, KeeperSettings, MonitorSettings, NodeState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum World {
    Sim,
    Live,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub title: String,
    #[serde(default = "both_worlds")]
    pub worlds: Vec<World>,
    /// Needed when a world is left out: why it is.
    #[serde(default)]
    pub why: Option<String>,
    #[serde(default)]
    pub seed: u64,
    /// Nobody wrote it: a step that makes no sense at its moment is passed over, an order may be refused or lost, and
    /// the end may be a lawful wait.
    #[serde(default)]
    pub drawn: bool,
    /// Points in the code where something goes wrong now and then, until all faults are gone: how often, above 0 and
    /// below 1. Simulated runs only.
    #[serde(default)]
    pub fault_points: BTreeMap<FaultPoint, f64>,
    pub cluster: Cluster,
    /// Another formation on the same monitor.
    #[serde(default)]
    pub beside: Option<Beside>,
    #[serde(default)]
    pub monitor: MonitorSettings,
    #[serde(default)]
    pub keeper: KeeperSettings,
    #[serde(default)]
    pub workload: Vec<Workload>,
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    pub finally: Finally,
}

fn both_worlds() -> Vec<World> {
    vec![World::Sim, World::Live]
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// In the order in which they join.
    pub nodes: Vec<String>,
    /// The first of `nodes`, said aloud for the reader.
    pub primary: String,
    #[serde(default = "default_formation")]
    pub formation: String,
    /// The second one may be another group of the same formation.
    #[serde(default)]
    pub group: u32,
    /// The monitor is spoken to over TLS.
    #[serde(default)]
    pub ssl: bool,
    #[serde(default)]
    pub settings: FormationSettings,
    /// What is unusual about a node, by its name.
    #[serde(default)]
    pub node: BTreeMap<String, NodeOptions>,
    /// What is unusual about every Postgres. Simulated runs only: a keeper writes these settings of a real one
    /// itself, and gigabytes of WAL take a real disk too long.
    #[serde(default)]
    pub postgres: Option<PostgresOptions>,
    /// Clocks that aren't right, by the name of their node, or `monitor`. Simulated runs only.
    #[serde(default)]
    pub clock: BTreeMap<String, ClockOptions>,
}

/// How the clock that counts time differs from the true one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockOptions {
    #[serde(with = "crate::model::time::duration")]
    pub ahead: Duration,
    /// Parts per million that it runs too fast, or too slow when negative.
    pub drift_ppm: i32,
}

impl ClockOptions {
    /// Half a percent, ten times what a kernel corrects: beyond that a clock is broken, and no lease can go by it.
    pub const DRIFT_MAX_PPM: i32 = 5000;
}

impl Scenario {
    /// Whether any step does such a thing.
    pub fn does(&self, such: impl Fn(&Verb) -> bool) -> bool {
        self.steps.iter().filter_map(|step| step.verb.as_ref()).any(such)
    }
}

/// Each of them is as usual when it is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresOptions {
    /// What each write of a client adds to the log, unless its workload says it.
    pub row: Option<Size>,
    pub wal_keep_size: Option<Size>,
    pub max_slot_wal_keep_size: Option<Size>,
    #[serde(with = "optional_duration")]
    pub checkpoint_timeout: Option<Duration>,
    #[serde(with = "optional_duration")]
    pub base_backup_takes: Option<Duration>,
    /// Major version.
    pub version: Option<u32>,
}

impl Cluster {
    pub fn key(&self) -> GroupKey {
        GroupKey { formation: self.formation.clone(), group: self.group }
    }

    pub fn options(&self, node: &str) -> NodeOptions {
        self.node.get(node).cloned().unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeOptions {
    pub candidate_priority: u8,
    pub replication_quorum: bool,
    /// False: the machine is there, and joins when `start_service` starts it.
    pub join: bool,
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions { candidate_priority: 50, replication_quorum: true, join: true }
    }
}

fn default_formation() -> String {
    "default".to_string()
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub kind: WorkloadKind,
    pub clients: u32,
    /// Writes, or looks, per second of all clients together, written `50/s`.
    #[serde(with = "rate")]
    pub rate: f64,
    #[serde(default)]
    pub synchronous_commit: SynchronousCommit,
    /// The clients keep their session as a pool does: they never give up a write, and only the end of the
    /// connection makes them look for another.
    #[serde(default)]
    pub sticky: bool,
    /// What each write adds to the log, when that is to be much. Live it is filled with what can't be compressed.
    #[serde(default)]
    pub row: Option<Size>,
}

/// What the sessions of a workload ask of each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SynchronousCommit {
    #[default]
    On,
    Off,
    Local,
    RemoteWrite,
    RemoteApply,
}

impl SynchronousCommit {
    /// The session forgoes the wait for standbys, and with it the promise that its writes are kept.
    pub fn forgoes_standbys(self) -> bool {
        matches!(self, SynchronousCommit::Off | SynchronousCommit::Local)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Each write inserts a row with an id of its own, through a client that seeks the writable node.
    UniqueInserts,
    /// Each look reads the latest rows on a node that takes no writes.
    StandbyReads,
}

/// One line of the story: when, then what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Time since the clients began.
    #[serde(default, with = "optional_duration")]
    pub at: Option<Duration>,
    /// Time since the step before.
    #[serde(default, with = "optional_duration")]
    pub wait: Option<Duration>,
    #[serde(default)]
    pub until: Option<Condition>,
    /// How long `until` may take.
    #[serde(default, with = "optional_duration")]
    pub within: Option<Duration>,
    #[serde(default, rename = "do")]
    pub verb: Option<Verb>,
    /// Binds the node the verb was about to a name, used as `$name` from then on.
    #[serde(default, rename = "as")]
    pub bind: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finally {
    /// With all faults gone, the group must be settled within this time.
    #[serde(with = "crate::model::time::duration")]
    pub converge: Duration,
    /// `converge` is the longest time in which nothing happens; as long as the group gets on it is waited for.
    #[serde(default)]
    pub while_it_moves: bool,
    /// Those that must settle, when the story leaves the others dead or frozen; all when nobody is named.
    #[serde(default)]
    pub core: Vec<String>,
    /// `"all"`: every checker judges the run.
    pub invariants: Invariants,
    /// Who must be what at the end.
    #[serde(default)]
    pub roles: BTreeMap<String, NodeState>,
    /// The exact number of times the role moved.
    #[serde(default)]
    pub promotions: Option<u32>,
    #[serde(default)]
    pub write_outage: Option<Outage>,
    /// The run must not settle: it must end waiting, for a reason that contains this.
    #[serde(default)]
    pub stalled: Option<String>,
    /// The most writes that may be acknowledged with a warning, or without the promise.
    #[serde(default)]
    pub max_warnings: Option<usize>,
    /// Clients on primary and standby must have seen two commits in opposite order.
    #[serde(default)]
    pub long_fork: bool,
    /// The most WAL that a node may ever have held. Simulated runs only.
    #[serde(default)]
    pub wal_held: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariants {
    All,
}

/// Longest time without an acknowledged write, as the clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    #[serde(with = "crate::model::time::duration")]
    pub max: Duration,
}

mod optional_duration {
    use super::Duration;
    use crate::model::time::duration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        duration::parse(&String::deserialize(d)?).map(Some).map_err(D::Error::custom)
    }

    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        d.map(duration::format).serialize(s)
    }
}

mod rate {
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        let text = String::deserialize(d)?;
        let per_second = text.strip_suffix("/s").and_then(|n| n.parse::<f64>().ok());
        per_second
            .filter(|n| n.is_finite() && *n > 0.0)
            .ok_or_else(|| D::Error::custom(format!("\"{text}\" is not a rate; write a number per second, as 50/s")))
    }
}
