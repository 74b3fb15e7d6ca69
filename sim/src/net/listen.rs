//! Ports that processes listen on. The kernel accepts: a paused process takes connections, and says nothing.

use super::{End, Net};
use crate::world::bell::Bell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// The machine answered that nothing listens on that port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Why a connection over TLS did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insecure {
    Refused,
    /// The certificate that was shown has expired.
    Untrusted,
}

type Address = (String, u16);

#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<BTreeMap<Address, Arc<Backlog>>>);

#[derive(Debug, Default)]
struct Backlog {
    waiting: Mutex<VecDeque<End>>,
    bell: Bell,
}

/// Dropping it, as the death of its process does, closes the port.
#[derive(Debug)]
pub struct Listener {
    net: Net,
    address: Address,
    backlog: Arc<Backlog>,
}

impl Net {
    /// A process that was killed this instant may not have let go of its port yet; the newcomer gets it.
    pub fn listen(&self, host: &str, port: u16) -> Listener {
        let backlog = Arc::new(Backlog::default());
        let address = (host.to_string(), port);
        let mut listening = self.0.listening.0.lock().unwrap();
        listening.insert(address.clone(), backlog.clone());
        Listener { net: self.clone(), address, backlog }
    }

    /// Never ends while packets vanish: whoever calls this brings patience of a known length.
    pub async fn connect(&self, from: &str, to: &str, port: u16) -> Result<End, Refused> {
        self.cross(from, to).await;
        let made = self.offer(from, to, port);
        self.cross(to, from).await;
        made.ok_or(Refused)
    }

    /// As `connect`, and then both shake hands if the other side speaks TLS.
    pub async fn connect_securely(&self, from: &str, to: &str, port: u16) -> Result<End, Insecure> {
        let end = self.connect(from, to, port).await.map_err(|Refused| Insecure::Refused)?;
        if self.is_secure(to) {
            self.cross(from, to).await;
            let trusted = self.is_trusted(from, to);
            self.cross(to, from).await;
            if !trusted {
                return Err(Insecure::Untrusted);
            }
        }
        Ok(end)
    }

    fn offer(&self, from: &str, to: &str, port: u16) -> Option<End> {
        let backlog = {
            let listening = self.0.listening.0.lock().unwrap();
            listening.get(&(to.to_string(), port)).cloned()?
        };
        let (near, far) = End::pair(self, from, to);
        backlog.waiting.lock().unwrap().push_back(far);
        backlog.bell.ring();
        Some(near)
    }
}

impl Listener {
    pub async fn accept(&self) -> End {
        let next = || self.backlog.waiting.lock().unwrap().pop_front();
        self.backlog.bell.until(next).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listening = self.net.0.listening.0.lock().unwrap();
        let mine = listening.get(&self.address).is_some_and(|b| Arc::ptr_eq(b, &self.backlog));
        if mine {
            listening.remove(&self.address);
        }
        drop(listening);
        // Outside of the lock: each of these has news to send.
        let unanswered = std::mem::take(&mut *self.backlog.waiting.lock().unwrap());
        drop(unanswered);
    }
}
