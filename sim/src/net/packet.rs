//! What travels over the links. Calls to the monitor are the encoded bytes of core's wire messages;
//! what Postgres servers say to each other and to clients needs no encoding.

use crate::postgres::wal::{Image, Record};
use pgbaton_core::model::{History, Lsn, NodeId};
use pgbaton_core::scenario::SynchronousCommit;

#[derive(Debug, Clone)]
pub enum Packet {
    /// A call to the monitor, or its answer.
    Bytes(Vec<u8>),
    /// Is a postmaster there?
    Ping,
    Pong,
    /// A client opens a session.
    Hello,
    Welcome {
        read_only: bool,
    },
    /// `SET synchronous_commit`, for the rest of the session.
    Set(SynchronousCommit),
    Insert {
        id: u64,
    },
    Committed {
        id: u64,
        /// The wait for a standby was cancelled: committed here, perhaps nowhere else.
        warning: bool,
    },
    /// The server's word that nothing was written, or that it won't serve.
    Refused {
        reason: String,
    },
    /// A WAL receiver opens a replication connection.
    Follow(Follow),
    /// The follower may stream; these are the history files it fetched first.
    Histories(Vec<History>),
    Wal {
        records: Vec<Record>,
        history: History,
    },
    Keepalive,
    /// The follower's word on what it has flushed.
    Flushed(Lsn),
    /// A rewind or a clone reads the source's directory; it takes this long.
    Copy {
        node: Option<NodeId>,
        takes: std::time::Duration,
    },
    Source(SourceInfo),
    Copied(Box<Image>),
}

#[derive(Debug, Clone)]
pub struct Follow {
    pub node: NodeId,
    pub system_id: u64,
    /// End of the WAL the follower holds, and the record that ends there.
    pub end: Lsn,
    pub last: u64,
}

/// What a rewind learns of its source before it copies anything.
#[derive(Debug, Clone)]
pub struct SourceInfo {
    pub system_id: u64,
    pub history: History,
    pub checkpoint_tli: pgbaton_core::model::Timeline,
}
