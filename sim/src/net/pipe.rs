//! A connection: two pipes, each with packets on their way and, at last, the news of its end.

use super::{Net, Packet};
use crate::world::bell::Bell;
use pgbaton_core::model::Moment;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Debug)]
struct Pipe {
    from: String,
    to: String,
    /// Of the sending machine; after a loss of power it knows nothing of this connection.
    life: u64,
    queue: Mutex<VecDeque<(Moment, Option<Packet>)>>,
    bell: Bell,
}

/// One side of a connection. Dropping it, as the death of its process does, closes it; the other
/// side learns of that when the news arrives, which through a cut it doesn't.
#[derive(Debug)]
pub struct End {
    net: Net,
    tx: Arc<Pipe>,
    rx: Arc<Pipe>,
    closed: AtomicBool,
}

enum Look {
    Closed,
    Empty,
    Later(Moment),
    Cut,
    Here(Packet),
}

impl End {
    /// Both sides of a new connection.
    pub(super) fn pair(net: &Net, a: &str, b: &str) -> (End, End) {
        let pipe = |from: &str, to: &str| {
            Arc::new(Pipe {
                from: from.to_string(),
                to: to.to_string(),
                life: net.life(from),
                queue: Mutex::default(),
                bell: Bell::default(),
            })
        };
        let (there, back) = (pipe(a, b), pipe(b, a));
        let end = |tx: &Arc<Pipe>, rx: &Arc<Pipe>| End {
            net: net.clone(),
            tx: tx.clone(),
            rx: rx.clone(),
            closed: AtomicBool::new(false),
        };
        (end(&there, &back), end(&back, &there))
    }

    /// Where the other side is.
    pub fn peer(&self) -> &str {
        &self.tx.to
    }

    pub fn send(&self, packet: Packet) {
        if !self.closed.load(Ordering::Relaxed) {
            self.push(Some(packet));
        }
    }

    fn push(&self, item: Option<Packet>) {
        self.net.0.sent.fetch_add(1, Ordering::Relaxed);
        let arrival = self.net.fate().now() + self.net.latency(&self.tx.from, &self.tx.to);
        {
            let mut queue = self.tx.queue.lock().unwrap();
            let in_order = queue.back().map_or(arrival, |(last, _)| arrival.max(*last));
            queue.push_back((in_order, item));
        }
        self.tx.bell.ring();
    }

    /// The next packet; `None` once the connection has ended.
    pub async fn recv(&self) -> Option<Packet> {
        loop {
            let seen = self.rx.bell.rings();
            match self.look() {
                Look::Here(packet) => return Some(packet),
                Look::Closed => return None,
                Look::Empty => self.rx.bell.past(seen).await,
                Look::Later(at) => self.net.fate().sleep_until(at).await,
                Look::Cut => {
                    self.net.until_heard(&self.rx.from, &self.rx.to).await;
                    self.delay_front();
                }
            }
        }
    }

    fn look(&self) -> Look {
        if self.closed.load(Ordering::Relaxed) {
            return Look::Closed;
        }
        let mut queue = self.rx.queue.lock().unwrap();
        let Some((at, item)) = queue.front() else {
            return Look::Empty;
        };
        if *at > self.net.fate().now() {
            return Look::Later(*at);
        }
        if self.net.is_silent(&self.rx.from, &self.rx.to) {
            return Look::Cut;
        }
        if self.net.life(&self.rx.from) != self.rx.life {
            return Look::Closed;
        }
        match item {
            None => Look::Closed,
            Some(_) => {
                let (_, packet) = queue.pop_front().expect("it was there a line above");
                Look::Here(packet.expect("it was a packet a line above"))
            }
        }
    }

    fn delay_front(&self) {
        let arrival = self.net.fate().now() + self.net.retransmit_delay(&self.rx.from, &self.rx.to);
        if let Some((at, _)) = self.rx.queue.lock().unwrap().front_mut() {
            *at = arrival.max(*at);
        }
    }

    /// Whether the end of the connection has arrived already, without waiting.
    pub fn is_over(&self) -> bool {
        matches!(self.look_at_front(), Some(None)) || self.closed.load(Ordering::Relaxed)
    }

    fn look_at_front(&self) -> Option<Option<()>> {
        let queue = self.rx.queue.lock().unwrap();
        let (at, item) = queue.front()?;
        let arrived = *at <= self.net.fate().now() && !self.net.is_silent(&self.rx.from, &self.rx.to);
        arrived.then(|| item.as_ref().map(|_| ()))
    }

    pub fn close(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.push(None);
            self.rx.bell.ring();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}
