//! Links between machines, one per direction. madsim's own network answers "refused" through a cut
//! and says EOF for a machine that can't be reached; the world says nothing in both cases, and that
//! difference is what failover is about. So connections are queues of our own with a time of arrival.

pub mod listen;
pub mod packet;
pub mod pipe;

pub use listen::{Listener, Refused};
pub use packet::{Follow, Packet, SourceInfo};
pub use pipe::End;

use crate::world::bell::Bell;
use crate::world::fate::Fate;
use pgbaton_core::model::Moment;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A lost segment is sent again after waits that double; this is the longest between heal and arrival.
const RETRANSMIT_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Net(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fate: Fate,
    latency: Range<Duration>,
    links: Mutex<Links>,
    healed: Bell,
    listening: listen::Registry,
}

type Direction = (String, String);

#[derive(Debug, Default)]
struct Links {
    cut_since: BTreeMap<Direction, Moment>,
    last_cut: BTreeMap<Direction, Duration>,
}

impl Net {
    pub fn new(fate: Fate) -> Net {
        Net(Arc::new(Inner {
            fate,
            latency: Duration::from_micros(200)..Duration::from_millis(1),
            links: Mutex::default(),
            healed: Bell::default(),
            listening: listen::Registry::default(),
        }))
    }

    pub fn fate(&self) -> &Fate {
        &self.0.fate
    }

    /// Packets from one to the other vanish from now on. A machine always reaches itself.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        if from != to {
            let since = self.0.fate.now();
            let mut links = self.0.links.lock().unwrap();
            links.cut_since.entry((from.into(), to.into())).or_insert(since);
        }
    }

    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    pub fn heal_all(&self) {
        let now = self.0.fate.now();
        {
            let mut links = self.0.links.lock().unwrap();
            for (direction, since) in std::mem::take(&mut links.cut_since) {
                links.last_cut.insert(direction, now.since(since));
            }
        }
        self.0.healed.ring();
    }

    pub fn is_cut(&self, from: &str, to: &str) -> bool {
        let links = self.0.links.lock().unwrap();
        // Without this a key would have to be built for every packet of a healthy world.
        !links.cut_since.is_empty() && links.cut_since.contains_key(&(from.to_string(), to.to_string()))
    }

    fn latency(&self) -> Duration {
        self.0.fate.draw(self.0.latency.clone())
    }

    async fn until_healed(&self, from: &str, to: &str) {
        self.0.healed.until(|| (!self.is_cut(from, to)).then_some(())).await;
    }

    /// How long after the heal a segment that was lost in the cut arrives: the longer the cut, the
    /// longer the sender's back-off has become.
    fn retransmit_delay(&self, from: &str, to: &str) -> Duration {
        let lasted = {
            let links = self.0.links.lock().unwrap();
            links.last_cut.get(&(from.into(), to.into())).copied()
        };
        self.0.fate.draw(Duration::ZERO..lasted.unwrap_or_default().min(RETRANSMIT_MAX))
    }

    /// One packet's way, retransmissions included.
    async fn cross(&self, from: &str, to: &str) {
        self.0.fate.sleep(self.latency()).await;
        while self.is_cut(from, to) {
            self.until_healed(from, to).await;
            self.0.fate.sleep(self.retransmit_delay(from, to)).await;
        }
    }
}
