//! The records that a keeper and the monitor keep. Their version is not that of messages: a release that speaks otherwise
//! still has to read what the one before has stored.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Raised when a record changes its meaning; `renew` then reads the older ones. A field that is new and has a default needs
/// no new version.
pub const VERSION: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    #[error(
        "it was written by a newer pgbaton (version {found} of records, this one knows {VERSION}): install that one again"
    )]
    Newer { found: u32 },
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    body: T,
}

pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope { version: VERSION, body }).expect("records are plain data")
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UnreadableRecord> {
    let Envelope { version, body } = serde_json::from_slice::<Envelope<Value>>(bytes)?;
    if version > VERSION {
        return Err(UnreadableRecord::Newer { found: version });
    }
    Ok(serde_json::from_value(renew(version, body)?)?)
}

/// What a record of that version is in this one. There has been no other yet.
fn renew(version: u32, body: Value) -> serde_json::Result<Value> {
    match version {
        VERSION => Ok(body),
        other => Err(Error::custom(format!("there never was a version {other} of records"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::plan::testing::*;
    use crate::model::{GroupRecord, KeeperRecord, NodeState};

    #[test]
    fn what_is_stored_is_read_again_and_what_is_newer_is_named() {
        let record = record(NodeState::Primary, Some(any(1)));
        let bytes = encode(&record);
        assert_eq!(decode::<KeeperRecord>(&bytes).unwrap(), record);
        let newer = String::from_utf8(bytes).unwrap().replacen("\"version\":1", "\"version\":2", 1);
        let told = decode::<KeeperRecord>(newer.as_bytes()).unwrap_err().to_string();
        assert!(told.contains("written by a newer pgbaton (version 2"), "{told}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in
            [&b""[..], b"{}", b"\0\0\0", br#"{"version":1,"body":{"node":"x"}}"#, br#"{"version":0,"body":{}}"#]
        {
            assert!(matches!(decode::<KeeperRecord>(bytes), Err(UnreadableRecord::Malformed(_))));
        }
    }

    /// Records as the first release wrote them: as long as these are read, an upgrade in place loses nothing.
    #[test]
    fn the_records_of_the_first_release_are_read() {
        let keeper: KeeperRecord = decode(include_bytes!("stored/keeper-1.json")).unwrap();
        assert!(keeper.node.0 == 1 && keeper.contract.is_some() && keeper.assignment.is_some());
        let group: GroupRecord = decode(include_bytes!("stored/group-1.json")).unwrap();
        assert!(group.nodes.len() == 3 && group.contract().is_some() && group.history.is_some());
    }
}
