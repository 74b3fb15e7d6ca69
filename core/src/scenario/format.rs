//! What a scenario file says. Reading and checking it is `parse`'s work.

use crate::model::{FormationSettings, KeeperSettings, MonitorSettings, NodeState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use super::resolve::Selector;

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
    pub cluster: Cluster,
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
    #[serde(default)]
    pub settings: FormationSettings,
}

fn default_formation() -> String {
    "default".to_string()
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    pub kind: WorkloadKind,
    pub clients: u32,
    /// Writes per second of all clients together, written `50/s`.
    #[serde(with = "rate")]
    pub rate: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Each write inserts a row with an id of its own, through a client that seeks the writable node.
    UniqueInserts,
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
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// SIGTERM to the keeper, as `systemctl stop` sends it; ends when the keeper has exited.
    StopService(Selector),
    /// Starts the keeper of a node, whatever ended it.
    StartService(Selector),
    /// SIGKILL to the keeper alone; its Postgres goes on.
    KillKeeper(Selector),
    /// SIGKILL to the postmaster; the keeper goes on.
    KillPostgres(Selector),
    /// SIGKILL to everything on the node.
    KillNode(Selector),
    /// SIGSTOP to everything on the node.
    Pause(Selector),
    Resume(Selector),
    KillMonitor(Nothing),
    StartMonitor(Nothing),
    /// Cuts the link between two, both ways: packets vanish. `monitor` and `clients` are names too.
    Cut([Selector; 2]),
    /// Cuts every link of a node but the one to its clients.
    Isolate(Selector),
    /// Mends all links.
    Heal(Nothing),
    /// Asks the monitor to hand the role over.
    Switchover(Ask),
    Drop(DropNode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The request must be refused with a reason that contains this.
    #[serde(default)]
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropNode {
    pub node: Selector,
    #[serde(default)]
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ConditionFields")]
pub enum Condition {
    /// A node has reported a state and has no other goal.
    State { node: Selector, state: NodeState },
    /// A node is told to be something, whatever it is yet.
    Goal { node: Selector, goal: NodeState },
    /// The clients' latest writes are acknowledged, by a node that isn't `except`; or none are.
    Writable { writable: Writable, except: Option<Selector> },
    /// Every node has reached its goal, one is primary (or single), the rest are secondary.
    Settled,
}

/// What a condition may hold; one table instead of an untagged enum, so that errors name the key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionFields {
    node: Option<Selector>,
    state: Option<NodeState>,
    goal: Option<NodeState>,
    writable: Option<Writable>,
    except: Option<Selector>,
    settled: Option<bool>,
}

impl TryFrom<ConditionFields> for Condition {
    type Error = String;

    fn try_from(fields: ConditionFields) -> Result<Condition, String> {
        let ConditionFields { node, state, goal, writable, except, settled } = fields;
        match (node, state, goal, writable, except, settled) {
            (Some(node), Some(state), None, None, None, None) => Ok(Condition::State { node, state }),
            (Some(node), None, Some(goal), None, None, None) => Ok(Condition::Goal { node, goal }),
            (None, None, None, Some(writable), except, None) => Ok(Condition::Writable { writable, except }),
            (None, None, None, None, None, Some(true)) => Ok(Condition::Settled),
            _ => {
                Err("a condition is { node, state }, { node, goal }, { writable } with or without except, or { settled = true }".into())
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writable {
    One,
    None,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finally {
    /// With all faults gone, the group must be settled within this time.
    #[serde(with = "crate::model::time::duration")]
    pub converge: Duration,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariants {
    All,
}

/// Longest time without an acknowledged write, as the clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    #[serde(with = "crate::model::time::duration")]
    pub max: Duration,
}

mod optional_duration {
    use super::Duration;
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        crate::model::time::duration::parse(&String::deserialize(d)?).map(Some).map_err(D::Error::custom)
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
