//! Commands' calls to the monitor.

use super::failure::{Code, Failure};
use crate::ports::{self, HttpLink};
use pgbaton_core::model::FormationSettings;
use pgbaton_core::ports::{Link, LinkError};
use pgbaton_core::wire::{self, Answer, Command, Request, StateRow};
use std::path::Path;
use std::time::Duration;

/// How long a command waits for an answer that needs no waiting.
pub const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Monitor {
    link: HttpLink,
    url: String,
}

/// A command that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Events above this id tell how it goes on.
    pub event: u64,
    pub note: Option<String>,
}

impl Accepted {
    pub fn tell(&self) {
        if let Some(note) = &self.note {
            tracing::info!("{note}");
        }
    }
}

impl Monitor {
    /// `ca_file` is empty for those whom this system trusts.
    pub fn trusting(url: &str, ca_file: &Path) -> Result<Monitor, Failure> {
        let url = monitor_url(url)?;
        let link = HttpLink::trusting_file(&url, ca_file);
        link.usable().map_err(|e| Failure::config(e, "name another file with --ssl-ca-file, or correct this one"))?;
        Ok(Monitor { link, url })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn link(&self) -> &HttpLink {
        &self.link
    }

    /// A refusal is a failure, any other answer is given back.
    pub async fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.asked(request).await?
    }

    /// The outer failure is that of the way, the inner one the monitor's own.
    async fn asked(&self, request: &Request) -> Result<Result<Answer, Failure>, Failure> {
        let mut answer = self.exchange(request, PATIENCE).await;
        // It may have been taken; asking twice does nothing twice. Without an answer to that nothing more is known.
        if let Err(LinkError::Lost(_)) = answer
            && let Ok(second) = self.exchange(request, PATIENCE).await
        {
            answer = Ok(second);
        }
        let answer = answer.map_err(|e| {
            let remedy = match e {
                // It says itself what to do.
                LinkError::Untrusted(_) | LinkError::Rejected(_) => "",
                _ => "check that it runs (pgbaton status --datadir DIR on its machine) and that the URL is right",
            };
            Failure::monitor(format!("the monitor at {} can't be asked: {e}", self.url), remedy)
        })?;
        match answer {
            Ok(Answer::Unavailable { reason }) => Err(unavailable(&reason)),
            answer => Ok(answer.and_then(granted)),
        }
    }

    pub async fn command(&self, command: Command) -> Result<Accepted, Failure> {
        self.try_command(command).await?
    }

    /// As `command`, with a refusal told apart from a monitor that can't be reached.
    pub async fn try_command(&self, command: Command) -> Result<Result<Accepted, Failure>, Failure> {
        match self.asked(&Request::Command(command)).await? {
            Ok(Answer::Accepted { event, note }) => Ok(Ok(Accepted { event, note })),
            Ok(other) => Err(unexpected(&other)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The outer error is one of the way, worth another try.
    pub async fn call(&self, request: &Request, patience: Duration) -> Result<Result<Answer, Failure>, LinkError> {
        Ok(self.exchange(request, patience).await?.and_then(granted))
    }

    async fn exchange(&self, request: &Request, patience: Duration) -> Result<Result<Answer, Failure>, LinkError> {
        let bytes = self.link.call(wire::encode(request), patience).await?;
        let answer = wire::decode::<Answer>(&bytes);
        Ok(answer.map_err(|e| Failure::monitor(format!("the answer of {} makes no sense: {e}", self.url), "")))
    }

    pub async fn state(&self, formation: Option<String>, group: Option<u32>) -> Result<Vec<StateRow>, Failure> {
        match self.ask(&Request::State { formation, group }).await? {
            Answer::State(rows) => Ok(rows),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn formation(&self, formation: &str) -> Result<FormationSettings, Failure> {
        match self.ask(&Request::Formation { formation: formation.to_string() }).await? {
            Answer::Formation(settings) => Ok(settings),
            other => Err(unexpected(&other)),
        }
    }
}

fn granted(answer: Answer) -> Result<Answer, Failure> {
    match answer {
        Answer::Refused { reason, remedy } => Err(Failure::monitor(reason, remedy)),
        Answer::Unavailable { reason } => Err(unavailable(&reason)),
        answer => Ok(answer),
    }
}

/// Such as a store that takes no more.
fn unavailable(reason: &str) -> Failure {
    Failure::monitor(format!("the monitor can't do it at the moment: {reason}"), "try again later")
}

pub fn unexpected(answer: &Answer) -> Failure {
    let text = format!("{answer:?}");
    let start: String = text.chars().take(60).collect();
    Failure::new(
        Code::Monitor,
        format!("the monitor answered something else than was asked for: {start}"),
        "see that monitor and command are of the same version",
    )
}

pub fn monitor_url(text: &str) -> Result<String, Failure> {
    ports::monitor_url(text).map_err(|why| {
        Failure::arguments(why, "write http://HOST:PORT or https://HOST:PORT, as http://monitor.example:7432")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::HttpDoor;
    use pgbaton_core::ports::{Door, DoorEvent};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_monitor_that_can_store_nothing_is_no_refusal() {
        let mut door = HttpDoor::bind("127.0.0.1:0").await.unwrap();
        let monitor = Monitor::trusting(&door.address().to_string(), Path::new("")).unwrap();
        let answers = [
            Answer::Unavailable { reason: "the disk is full".into() },
            Answer::Refused { reason: "no".into(), remedy: String::new() },
        ];
        tokio::spawn(async move {
            for answer in &answers {
                if let DoorEvent::Call { id, .. } = door.next().await {
                    door.answer(id, wire::encode(answer));
                }
            }
            std::future::pending::<()>().await
        });
        let command = || Command::DropFormation { formation: "f".into() };
        let full = monitor.try_command(command()).await.unwrap_err();
        assert!(full.code == Code::Monitor && full.what.contains("the disk is full"), "{full}");
        assert_eq!(monitor.try_command(command()).await.unwrap().unwrap_err().what, "no");
    }

    #[tokio::test]
    async fn a_command_whose_answer_was_lost_is_asked_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let monitor = Monitor::trusting(&listener.local_addr().unwrap().to_string(), Path::new("")).unwrap();
        let server = tokio::spawn(async move {
            let body = wire::encode(&Answer::Accepted { event: 7, note: None });
            for answer in [None, Some(body)] {
                let (mut caller, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4096];
                assert!(caller.read(&mut asked).await.unwrap() > 0);
                if let Some(body) = answer {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    caller.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                }
            }
        });
        let taken = monitor.command(Command::DropFormation { formation: "f".into() }).await.unwrap();
        assert_eq!(taken, Accepted { event: 7, note: None });
        server.await.unwrap();
    }

    #[test]
    fn the_url_of_a_monitor_needs_a_host_and_a_port() {
        for good in ["http://monitor:7432", "monitor:7432", "http://monitor:7432/"] {
            assert_eq!(monitor_url(good).unwrap(), "http://monitor:7432");
        }
        assert_eq!(monitor_url("https://monitor:7432/").unwrap(), "https://monitor:7432");
        assert_eq!(monitor_url("[::1]:7432").unwrap(), "http://[::1]:7432");
        for bad in ["", "monitor", "postgres://monitor:7432", "http://monitor:0", "http://:7432", "a b:1", "::1:7432"] {
            let failure = monitor_url(bad).unwrap_err();
            assert_eq!(failure.code, Code::Arguments);
            assert!(failure.to_string().contains("http://HOST:PORT"), "{bad}");
        }
    }
}
