//! One client of a server.

use super::{PATIENCE, Server};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

pub struct Session {
    client: Client,
    pub pid: i32,
    /// Warnings and the like, as they came.
    notices: Arc<Mutex<Vec<String>>>,
    connection: JoinHandle<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Session {
    pub async fn open(port: u16) -> Result<Session, tokio_postgres::Error> {
        let mut wanted = tokio_postgres::Config::new();
        wanted.host("127.0.0.1").port(port).user("postgres").dbname("postgres").application_name("client");
        let connecting = tokio::time::timeout(PATIENCE, wanted.connect(NoTls)).await.expect("connecting hangs");
        let (client, mut connection) = connecting?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let told = notices.clone();
        let connection = tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    told.lock().unwrap().push(format!("{}: {}", notice.severity(), notice.message()));
                }
            }
        });
        let mut session = Session { client, pid: 0, notices, connection };
        session.pid = session.ask("SELECT pg_backend_pid()").await?.parse().unwrap();
        Ok(session)
    }

    /// The first value as text; nothing for NULL.
    pub async fn ask(&self, sql: &str) -> Result<String, tokio_postgres::Error> {
        let rows = self.client.simple_query(sql).await?;
        let value = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_string()),
            _ => None,
        });
        Ok(value.unwrap_or_default())
    }

    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {}", refusal(&e)));
    }

    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap().clone()
    }

    /// Resolves when the server has ended the connection.
    pub async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.connection).await.expect("the session lives on").unwrap();
    }

    /// Goes on by itself from here.
    pub fn begin(self, sql: &str) -> Pending {
        let (pid, sql) = (self.pid, sql.to_string());
        let work = tokio::spawn(async move {
            let result = self.client.batch_execute(&sql).await.map_err(|e| refusal(&e));
            let notices = self.notices();
            result.map(|()| notices)
        });
        Pending { pid, work }
    }
}

/// A statement that hasn't been answered yet.
pub struct Pending {
    pub pid: i32,
    work: JoinHandle<Result<Vec<String>, String>>,
}

impl Pending {
    /// Success with the notices that came before it, or the text of the error.
    pub async fn answer(self) -> Result<Vec<String>, String> {
        tokio::time::timeout(PATIENCE, self.work).await.expect("there is no answer").unwrap()
    }

    /// The backend is seen waiting for standbys.
    pub async fn waits(&self, server: &Server) -> bool {
        let sql = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {}", self.pid);
        !self.work.is_finished() && server.ask(&sql).await == "SyncRep"
    }

    pub fn is_answered(&self) -> bool {
        self.work.is_finished()
    }
}

/// SQL state and message of the server, or what happened to the connection.
pub fn refusal(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => format!("no answer: {error}"),
    }
}
