//! Versioned messages between keepers, commands and the monitor. JSON, one envelope for all.

pub mod command;
pub mod rows;

use crate::model::{Assignment, Epoch, FormationSettings, GroupKey, NodeId, NodeState, Report};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use command::{Command, FormationChange, NodeChange};
pub use rows::{EventRow, NodeTimeline, SettingRow, StateRow, Timelines, UriRow};

/// Raised when a message changes its meaning. Additions with a default need no new version.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A keeper joins, or asks again after its first answer was lost.
    Register(Register),
    /// A keeper's report; answered when its assignment is newer than the one it knows, or after the hold.
    Report(Box<Report>),
    /// An operator's call.
    Command(Command),
    /// What a formation asks for.
    Formation {
        formation: String,
    },
    Timelines {
        key: GroupKey,
    },
    State {
        formation: Option<String>,
        group: Option<u32>,
    },
    /// Events with an id above `after`. With `wait` the answer is held until there is one.
    Events {
        formation: Option<String>,
        group: Option<u32>,
        after: Option<u64>,
        count: u64,
        wait: bool,
    },
    Settings {
        formation: String,
    },
    Uri {
        formation: Option<String>,
    },
    StandbyNames {
        key: GroupKey,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    pub formation: String,
    pub group: u32,
    /// Empty: the monitor names it `node_<id>`.
    pub name: String,
    pub host: String,
    pub port: u16,
    pub candidate_priority: u8,
    pub replication_quorum: bool,
    /// Of an existing data directory; must be the group's.
    pub system_id: Option<u64>,
    /// The node was registered before, with a monitor that is gone.
    #[serde(default)]
    pub again: Option<Again>,
}

/// What a node brings to a monitor that has never heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// Its number, which names its slots; it keeps it.
    pub node: NodeId,
    pub state: NodeState,
    pub epoch: Epoch,
    /// What the nodes of the group know each other by.
    pub replication_password: String,
    pub formation: FormationSettings,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Registered {
        node: NodeId,
        key: GroupKey,
        name: String,
        /// Identity of this monitor.
        monitor: u64,
        /// The last session known of this node; a keeper that starts from nothing counts on from it.
        session: u64,
        /// Password of the replication role, the same on every node of the formation.
        replication_password: String,
        settings: FormationSettings,
    },
    Assignment(Box<Assignment>),
    /// The node is not known here. It was dropped if this is the monitor it registered with, by its identity, and that
    /// has given its number away; a monitor restored from an older copy has not.
    Unknown {
        node: NodeId,
        monitor: u64,
        /// The first number that no node has had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_node: Option<u32>,
    },
    /// The request was taken; events above this id tell how it goes on.
    Accepted {
        event: u64,
        /// What the operator should know: that nothing is left to do, or what will follow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    Formation(FormationSettings),
    Timelines(Timelines),
    State(Vec<StateRow>),
    Events(Vec<EventRow>),
    Settings(Vec<SettingRow>),
    Uri(Vec<UriRow>),
    StandbyNames(String),
    /// The request makes sense but not now; `remedy` says what would make it possible.
    Refused {
        reason: String,
        remedy: String,
    },
    /// The monitor could not do its work (its disk is full, say); asking again later is right.
    Unavailable {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a message of version {found} arrived, this pgbaton speaks version {VERSION}: {remedy}",
        remedy = if *found > VERSION { "upgrade this side" } else { "upgrade the other side" })]
    Version { found: u32 },
    #[error("not a message of pgbaton: {0}")]
    Malformed(String),
}

#[derive(Serialize)]
struct Out<'a, T> {
    version: u32,
    body: &'a T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct In<T> {
    version: u32,
    body: T,
}

pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(&Out { version: VERSION, body }).expect("messages are plain data")
}

/// One of another version is named as such, whatever its body is.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let malformed = |e: serde_json::Error| WireError::Malformed(e.to_string());
    let read = serde_json::from_slice::<In<T>>(bytes);
    let version = match &read {
        Ok(whole) => whole.version,
        Err(_) => serde_json::from_slice::<Version>(bytes).map_err(malformed)?.version,
    };
    if version != VERSION {
        return Err(WireError::Version { found: version });
    }
    Ok(read.map_err(malformed)?.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        let request = Request::Formation { formation: "fotest".into() };
        assert_eq!(decode::<Request>(&encode(&request)), Ok(request));
    }

    #[test]
    fn another_version_is_named_even_when_its_body_makes_no_sense_here() {
        let error = decode::<Request>(br#"{"version":7,"body":{"from":"the future"}}"#).unwrap_err();
        assert_eq!(error, WireError::Version { found: 7 });
        assert!(error.to_string().contains("upgrade this side"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b""[..], b"{}", b"GET / HTTP/1.1", br#"{"version":1,"body":{"nonsense":1}}"#] {
            assert!(matches!(decode::<Request>(bytes), Err(WireError::Malformed(_))));
        }
    }
}
