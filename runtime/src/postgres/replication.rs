//! The replication protocol, as far as questions go: which timeline a server is on, how that came about, and whether
//! it still has the WAL from some point on. tokio-postgres doesn't speak it, so the exchange is spelled out.

use super::PostgresConfig;
use super::conf::REPLICATION_ROLE;
use super::control::parse_history;
use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use pgbaton_core::model::{History, Lsn, Position, Timeline, Upstream};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
}

/// The timeline of a server in recovery that receives nothing: SQL can't tell it (the control file is as old as the
/// last restart point), IDENTIFY_SYSTEM can. It answers with the timeline of the record replayed last
/// (GetStandbyFlushRecPtr in walsender.c).
pub async fn replayed_timeline(config: &PostgresConfig) -> Result<Timeline, ReplicationError> {
    /// The answer comes from shared memory.
    const PATIENCE: Duration = Duration::from_secs(1);
    let ask = async { Ok(Replication::local(config).await?.identify().await?.tli) };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "IDENTIFY_SYSTEM was not answered").into()),
    }
}

/// One connection.
pub struct Replication<S> {
    stream: S,
    received: BytesMut,
}

impl Replication<UnixStream> {
    async fn local(config: &PostgresConfig) -> Result<Self, ReplicationError> {
        let stream = UnixStream::connect(config.socket_dir().join(format!(".s.PGSQL.{}", config.port))).await?;
        Self::begin(stream, &[("user", "postgres"), ("database", "postgres"), ("replication", "database")], "").await
    }
}

impl Replication<TcpStream> {
    /// As the WAL receiver does it, but under a name that no contract knows.
    pub async fn to(upstream: &Upstream, password: &str) -> Result<Self, ReplicationError> {
        let stream = TcpStream::connect((upstream.host.as_str(), upstream.port)).await?;
        let parameters = [("user", REPLICATION_ROLE), ("replication", "true"), ("application_name", "pgbaton_probe")];
        Self::begin(stream, &parameters, password).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Replication<S> {
    async fn begin(stream: S, parameters: &[(&str, &str)], password: &str) -> Result<Self, ReplicationError> {
        let mut this = Replication { stream, received: BytesMut::new() };
        let mut out = BytesMut::new();
        frontend::startup_message(parameters.iter().copied(), &mut out)?;
        this.stream.write_all(&out).await?;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            out.clear();
            match this.message().await? {
                Message::AuthenticationOk => {}
                Message::AuthenticationSasl(_) => {
                    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?;
                }
                Message::AuthenticationSaslContinue(body) => {
                    scram.update(body.data())?;
                    frontend::sasl_response(scram.message(), &mut out)?;
                }
                Message::AuthenticationSaslFinal(body) => scram.finish(body.data())?,
                Message::AuthenticationCleartextPassword | Message::AuthenticationMd5Password(_) => {
                    return Err(
                        io::Error::other("the server asks for a password in a way that isn't in use here").into()
                    );
                }
                Message::ReadyForQuery(_) => return Ok(this),
                _ => {}
            }
            this.stream.write_all(&out).await?;
        }
    }

    /// The end of the WAL the server has flushed, or of what it has replayed when it is in recovery.
    pub async fn identify(&mut self) -> Result<Position, ReplicationError> {
        let row = self.row("IDENTIFY_SYSTEM").await?;
        let (tli, lsn) = (column(&row, 1)?, column(&row, 2)?);
        let unread = |_| unexpected();
        Ok(Position { tli: Timeline(tli.parse().map_err(|_| unexpected())?), lsn: lsn.parse::<Lsn>().map_err(unread)? })
    }

    pub async fn history(&mut self, tli: Timeline) -> Result<History, ReplicationError> {
        if tli == Timeline(1) {
            return Ok(History::root(tli));
        }
        let row = self.row(&format!("TIMELINE_HISTORY {tli}")).await?;
        Ok(parse_history(tli, &column(&row, 1)?))
    }

    /// Whether WAL comes when it is asked for from here on. It must have been written, or no answer would come.
    pub async fn serves(&mut self, from: Position) -> Result<bool, ReplicationError> {
        const UNDEFINED_FILE: &str = "58P01";
        self.send(&format!("START_REPLICATION PHYSICAL {} TIMELINE {}", from.lsn, from.tli)).await?;
        loop {
            match self.message().await {
                Ok(Message::CopyData(body)) if body.data().first() == Some(&b'w') => return Ok(true),
                // Nothing is left on a timeline that has ended there.
                Ok(Message::CopyDone | Message::CommandComplete(_)) => return Ok(true),
                Ok(_) => {}
                Err(ReplicationError::Refused { code, message })
                    if code == UNDEFINED_FILE || message.contains("has already been removed") =>
                {
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The one row that a command answers with.
    async fn row(&mut self, command: &str) -> Result<DataRowBody, ReplicationError> {
        self.send(command).await?;
        let mut answer = None;
        loop {
            match self.message().await? {
                Message::DataRow(row) => answer = Some(row),
                Message::ReadyForQuery(_) => return Ok(answer.ok_or_else(unexpected)?),
                _ => {}
            }
        }
    }

    async fn send(&mut self, command: &str) -> io::Result<()> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out)?;
        self.stream.write_all(&out).await
    }

    async fn message(&mut self) -> Result<Message, ReplicationError> {
        /// The parser doesn't know this message, which says only that what follows is a copy in both directions.
        const COPY_BOTH_RESPONSE: u8 = b'W';
        loop {
            if let Some(header) = Header::parse(&self.received)?.filter(|h| h.tag() == COPY_BOTH_RESPONSE) {
                let length = usize::try_from(header.len()).unwrap_or_default() + 1;
                if self.received.len() >= length {
                    self.received.advance(length);
                    continue;
                }
            } else if let Some(message) = Message::parse(&mut self.received)? {
                return match message {
                    Message::ErrorResponse(body) => Err(refused(&body)?),
                    message => Ok(message),
                };
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn refused(body: &ErrorResponseBody) -> io::Result<ReplicationError> {
    let (mut code, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    while let Some(field) = fields.next()? {
        match field.type_() {
            b'C' => code = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            b'M' => message = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            _ => {}
        }
    }
    Ok(ReplicationError::Refused { code, message })
}

fn column(row: &DataRowBody, number: usize) -> io::Result<String> {
    let range = row.ranges().nth(number)?.flatten().ok_or_else(unexpected)?;
    Ok(String::from_utf8_lossy(&row.buffer()[range]).into_owned())
}

fn unexpected() -> io::Error {
    io::Error::other("a replication command was answered with something unexpected")
}
