//! A keeper's or a command's way to the monitor. It keeps its connections between calls, as an HTTP
//! client does, and drops one with a call that was given up.

use super::MONITOR_PORT;
use crate::net::{End, Insecure, Net, Packet};
use crate::world::points::{Effect, Gate, Harm};
use pgbaton_core::ports::{Link, LinkError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct SimLink {
    net: Net,
    from: String,
    to: String,
    /// The one that was used last is used next.
    idle: Arc<Mutex<Vec<End>>>,
    gate: Option<Gate>,
}

impl SimLink {
    pub fn new(net: &Net, from: &str, to: &str) -> SimLink {
        SimLink { net: net.clone(), from: from.to_string(), to: to.to_string(), idle: Arc::default(), gate: None }
    }

    /// Its calls are points of the run.
    pub fn through(mut self, gate: Gate) -> SimLink {
        self.gate = Some(gate);
        self
    }

    async fn cross(&self, effect: Effect) -> Option<Harm> {
        match &self.gate {
            Some(gate) => gate.cross(|| effect).await,
            None => None,
        }
    }

    /// As a node of another release writes and reads it: the same message under another number. Both sides take the
    /// other's for a stranger's.
    fn translate(&self, message: Vec<u8>) -> Vec<u8> {
        let Some(version) = self.net.version_of(&self.from) else { return message };
        let mut envelope: serde_json::Value = serde_json::from_slice(&message).expect("messages are JSON");
        envelope["version"] = version.into();
        serde_json::to_vec(&envelope).expect("it was JSON before")
    }

    async fn exchange(&self, message: Vec<u8>) -> Result<Vec<u8>, LinkError> {
        let kept = {
            let mut idle = self.idle.lock().unwrap();
            idle.retain(|end| !end.is_over());
            idle.pop()
        };
        let end = match kept {
            Some(end) => end,
            None => self.connect().await?,
        };
        self.cross(Effect::Calls).await;
        end.send(Packet::Bytes(message.clone()));
        let _copy = match self.net.repeats(&self.from, &self.to) {
            true => self.send_again(message).await,
            false => None,
        };
        match end.recv().await {
            Some(Packet::Bytes(answer)) => {
                if self.cross(Effect::IsAnswered).await == Some(Harm::LoseReply) {
                    // The connection stays as silent as if the packet had never come.
                    std::future::pending::<()>().await;
                }
                self.idle.lock().unwrap().push(end);
                Ok(answer)
            }
            Some(other) => panic!("the monitor answered a call with {other:?}"),
            None => Err(LinkError::Lost(self.to.clone())),
        }
    }

    async fn connect(&self) -> Result<End, LinkError> {
        let made = self.net.connect_securely(&self.from, &self.to, MONITOR_PORT).await;
        made.map_err(|why| match why {
            Insecure::Refused => LinkError::Refused(self.to.clone()),
            Insecure::Untrusted => LinkError::Untrusted(format!("the certificate of {} has expired", self.to)),
        })
    }

    /// The same call over a connection of its own, whose answer nobody reads.
    async fn send_again(&self, message: Vec<u8>) -> Option<End> {
        let copy = self.connect().await.ok()?;
        copy.send(Packet::Bytes(message));
        Some(copy)
    }
}

impl Link for SimLink {
    async fn call(&self, message: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let answer = self.net.fate().timeout(patience, self.exchange(self.translate(message))).await;
        answer.unwrap_or_else(|| Err(LinkError::Silent(self.to.clone()))).map(|answer| self.translate(answer))
    }
}
