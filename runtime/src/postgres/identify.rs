//! The timeline of a server in recovery that receives nothing: SQL can't tell it (the control file is as
//! old as the last restart point), the replication command IDENTIFY_SYSTEM can. It answers with the timeline
//! of the record replayed last (GetStandbyFlushRecPtr in walsender.c).
//!
//! tokio-postgres speaks no replication protocol, so this one exchange is spelled out.

use super::PostgresConfig;
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use pgbaton_core::model::Timeline;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The answer comes from shared memory.
const PATIENCE: Duration = Duration::from_secs(1);

pub async fn replayed_timeline(config: &PostgresConfig) -> io::Result<Timeline> {
    match tokio::time::timeout(PATIENCE, ask(config)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "IDENTIFY_SYSTEM was not answered")),
    }
}

async fn ask(config: &PostgresConfig) -> io::Result<Timeline> {
    let mut stream = UnixStream::connect(config.socket_dir().join(format!(".s.PGSQL.{}", config.port))).await?;
    let mut out = BytesMut::new();
    let parameters = [("user", "postgres"), ("database", "postgres"), ("replication", "database")];
    frontend::startup_message(parameters, &mut out)?;
    frontend::query("IDENTIFY_SYSTEM", &mut out)?;
    stream.write_all(&out).await?;
    let mut received = BytesMut::new();
    loop {
        while let Some(message) = Message::parse(&mut received)? {
            match message {
                Message::DataRow(row) => return read_timeline(&row),
                Message::ErrorResponse(body) => {
                    let words: Vec<String> =
                        body.fields().map(|f| Ok(String::from_utf8_lossy(f.value_bytes()).into_owned())).collect()?;
                    return Err(io::Error::other(words.join(" ")));
                }
                _ => {}
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
}

/// Columns: system identifier, timeline, position, database.
fn read_timeline(row: &DataRowBody) -> io::Result<Timeline> {
    let unexpected = || io::Error::other("IDENTIFY_SYSTEM answered something unexpected");
    let range = row.ranges().nth(1)?.flatten().ok_or_else(unexpected)?;
    let text = std::str::from_utf8(&row.buffer()[range]).map_err(|_| unexpected())?;
    text.parse().map(Timeline).map_err(|_| unexpected())
}
