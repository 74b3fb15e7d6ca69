//! SQL over the server's private socket, on a connection that is kept and made anew when it breaks.

use super::PostgresConfig;
use pgbaton_core::ports::PgError;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The server is on its way up or down.
    #[error("the server takes no connections yet")]
    NotYet,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server's own words.
    #[error("{0}")]
    Refused(String),
}

impl SqlError {
    pub fn during(self, what: &str) -> PgError {
        PgError::Retry(format!("{what}: {self}"))
    }
}

/// One connection; statements on it run one after the other.
pub struct Session {
    config: Arc<PostgresConfig>,
    client: tokio::sync::Mutex<Option<Client>>,
}

impl Session {
    pub fn new(config: Arc<PostgresConfig>) -> Session {
        Session { config, client: tokio::sync::Mutex::new(None) }
    }

    /// Runs a statement within `patience`, over a new connection if the old one turns out to be broken.
    pub async fn query(&self, sql: &str, patience: Duration) -> Result<Vec<SimpleQueryRow>, SqlError> {
        match tokio::time::timeout(patience, self.run(sql)).await {
            Ok(result) => result,
            Err(_) => Err(SqlError::Silent(patience)),
        }
    }

    /// Runs a statement that may take as long as it needs; the caller watches over the server.
    pub async fn run(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, SqlError> {
        let mut kept = self.client.lock().await;
        // Taken out while in use: when the caller gives up, a connection in the midst of a statement goes with it.
        if let Some(client) = kept.take().filter(|c| !c.is_closed()) {
            match run_on(&client, sql).await {
                Err(SqlError::Broken(_)) => {}
                other => {
                    *kept = Some(client);
                    return other;
                }
            }
        }
        let client = connect(&self.config).await?;
        let result = run_on(&client, sql).await;
        if !client.is_closed() {
            *kept = Some(client);
        }
        result
    }
}

/// One statement on a connection of its own.
pub async fn on_fresh_connection(config: &PostgresConfig, sql: &str) -> Result<Vec<SimpleQueryRow>, SqlError> {
    run_on(&connect(config).await?, sql).await
}

async fn run_on(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>, SqlError> {
    let messages = client.simple_query(sql).await.map_err(|e| classify(&e))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}

async fn connect(config: &PostgresConfig) -> Result<Client, SqlError> {
    let mut wanted = tokio_postgres::Config::new();
    wanted
        .host_path(config.socket_dir())
        .port(config.port)
        .user("postgres")
        .dbname("postgres")
        .application_name("pgbaton")
        // Its own statements must not wait for the standbys they are there to look after.
        .options("-c synchronous_commit=local -c statement_timeout=0 -c lock_timeout=0 -c client_min_messages=error");
    let (client, connection) = wanted.connect(NoTls).await.map_err(|e| match classify(&e) {
        // No socket, or nobody behind it: the postmaster opens it late and closes it early.
        SqlError::Broken(_) => SqlError::NotYet,
        other => other,
    })?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!("a connection to the local server ended: {e}");
        }
    });
    Ok(client)
}

fn classify(e: &tokio_postgres::Error) -> SqlError {
    let Some(db) = e.as_db_error() else {
        return SqlError::Broken(e.to_string());
    };
    let code = db.code();
    if *code == SqlState::CANNOT_CONNECT_NOW {
        return SqlError::NotYet;
    }
    if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code) {
        return SqlError::Broken(db.message().to_string());
    }
    SqlError::Refused(format!("{} ({})", db.message(), code.code()))
}

/// A text literal.
pub fn quoted(text: &str) -> String {
    if text.contains('\\') {
        return format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_can_hold_anything() {
        assert_eq!(quoted("it's"), "'it''s'");
        assert_eq!(quoted("a\\'b"), "E'a\\\\''b'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
