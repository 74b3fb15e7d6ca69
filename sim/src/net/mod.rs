//! Links between machines, one per direction. madsim's own network answers "refused" through a cut
//! and says EOF for a machine that can't be reached; the world says nothing in both cases, and that
//! difference is what failover is about. So connections are queues of our own with a time of arrival.

mod faults;
pub mod listen;
pub mod packet;
pub mod pipe;

pub use listen::{Insecure, Listener, Refused};
pub use packet::{Follow, Packet, SourceInfo};
pub use pipe::End;

use crate::world::bell::Bell;
use crate::world::fate::Fate;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Net(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fate: Fate,
    latency: Range<Duration>,
    links: Mutex<faults::Links>,
    healed: Bell,
    listening: listen::Registry,
    sent: AtomicU64,
}

impl Net {
    pub fn new(fate: Fate) -> Net {
        Net(Arc::new(Inner {
            fate,
            latency: Duration::from_micros(200)..Duration::from_millis(1),
            links: Mutex::default(),
            healed: Bell::default(),
            listening: listen::Registry::default(),
            sent: AtomicU64::new(0),
        }))
    }

    pub fn fate(&self) -> &Fate {
        &self.0.fate
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// One packet's way, retransmissions included.
    async fn cross(&self, from: &str, to: &str) {
        self.0.fate.sleep(self.latency(from, to)).await;
        while self.is_cut(from, to) {
            self.until_healed(from, to).await;
            self.0.fate.sleep(self.retransmit_delay(from, to)).await;
        }
    }
}
