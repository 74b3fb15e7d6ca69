//! What travels over the links. Calls to the monitor are the encoded bytes of core's wire messages;
//! what Postgres servers say to each other and to clients needs no encoding.

use crate::postgres::SyncCommit;
use crate::postgres::start::Pace;
use crate::postgres::wal::{Image, Record};
use pgbaton_core::model::{History, Lsn, Stranded, Timeline};
use std::collections::BTreeSet;

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
        backend: u64,
    },
    /// The client changes a setting of its session.
    Set(Setting),
    Done,
    /// The client reads what it can see, at most so many of the latest rows; all of it is cached.
    Select {
        most: usize,
    },
    Rows(BTreeSet<u64>),
    /// On a connection of its own: `pg_cancel_backend` or `pg_terminate_backend`.
    Interrupt {
        backend: u64,
        terminate: bool,
    },
    Insert {
        id: u64,
        /// What the row, with its commit, adds to the log; `None` when it is as all others.
        bytes: Option<u64>,
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
    /// To a WAL receiver: it can't be served, however often it asks.
    Stranded {
        how: Stranded,
        reason: String,
    },
    /// To a WAL receiver that is past where its timeline ends here, within the segment of that: it has been sent all
    /// there is of it, and may ask again.
    TimelineEnds {
        reason: String,
    },
    /// A WAL receiver opens a replication connection, or asks again on the one it has.
    Follow(Follow),
    /// The history files that the follower fetches before it asks to stream.
    Histories(Vec<History>),
    Wal {
        records: Vec<Record>,
        history: History,
    },
    Keepalive,
    /// The follower's word on how far it is.
    Reply {
        written: Lsn,
        flushed: Lsn,
        applied: Lsn,
    },
    /// A rewind or a clone asks for the source's directory; a clone brings the slot of its node.
    Copy {
        slot: Option<String>,
    },
    Source(SourceInfo),
    /// The reader wants it all: that takes so long once a clone's checkpoint is done.
    Fetch {
        takes: std::time::Duration,
        pace: Pace,
    },
    Copied(Box<Image>),
}

#[derive(Debug, Clone)]
pub struct Follow {
    pub application: String,
    pub slot: Option<String>,
    pub system_id: u64,
    pub tli: Timeline,
    /// Start of the segment with the end of its WAL: from there on it wants to be sent everything anew.
    pub start: Lsn,
    /// End of the WAL the follower holds, and the record that ends there.
    pub end: Lsn,
    pub last: u64,
}

/// What a rewind or a clone learns of its source before it copies anything.
#[derive(Debug, Clone)]
pub struct SourceInfo {
    pub system_id: u64,
    pub history: History,
    pub checkpoint_tli: Timeline,
    pub recovery_ended_on: Option<Timeline>,
    pub full_page_writes: bool,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub enum Setting {
    SynchronousCommit(SyncCommit),
    /// `default_transaction_read_only`
    ReadOnly(bool),
}
