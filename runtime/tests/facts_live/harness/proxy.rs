//! A network between two servers: it can fall silent in either direction, let through so many bytes only, or break.

use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

const OPEN: u64 = u64::MAX;

/// How many bytes may still pass. Those read already wait for their turn: silence, no loss.
#[derive(Clone)]
struct Gate(Arc<watch::Sender<u64>>);

impl Gate {
    fn set(&self, bytes: u64) {
        self.0.send_replace(bytes);
    }

    async fn pass(&self, bytes: u64) {
        self.0.subscribe().wait_for(|left| *left > 0).await.unwrap();
        self.0.send_modify(|left| *left = if *left == OPEN { OPEN } else { left.saturating_sub(bytes) });
    }
}

pub struct Proxy {
    pub port: u16,
    /// From the upstream to its follower: WAL.
    down: Gate,
    /// From the follower to its upstream: acknowledgements.
    up: Gate,
    attempts: Arc<Mutex<Vec<Instant>>>,
    links: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn to(upstream: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = || Gate(Arc::new(watch::channel(OPEN).0));
        let (down, up) = (gate(), gate());
        let (attempts, links) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let accepting = tokio::spawn({
            let (down, up, attempts, links) = (down.clone(), up.clone(), attempts.clone(), links.clone());
            async move {
                while let Ok((follower, _)) = listener.accept().await {
                    attempts.lock().unwrap().push(Instant::now());
                    let link = tokio::spawn(link(follower, upstream, down.clone(), up.clone()));
                    links.lock().unwrap().push(link.abort_handle());
                }
            }
        });
        Proxy { port, down, up, attempts, links, accepting }
    }

    /// Silence in both directions. Connections stay.
    pub fn cut(&self) {
        self.down.set(0);
        self.up.set(0);
    }

    /// Only acknowledgements fail to come through.
    pub fn cut_acknowledgements(&self) {
        self.up.set(0);
    }

    pub fn heal(&self) {
        self.down.set(OPEN);
        self.up.set(OPEN);
    }

    /// So much WAL from here on, then silence; acknowledgements pass.
    pub fn let_down(&self, bytes: u64) {
        self.down.set(bytes);
        self.up.set(OPEN);
    }

    /// Whether all that was let down has passed.
    pub fn is_used_up(&self) -> bool {
        *self.down.0.borrow() == 0
    }

    /// Both ends of every connection see its end.
    pub fn break_connections(&self) {
        for link in self.links.lock().unwrap().drain(..) {
            link.abort();
        }
    }

    /// When somebody tried to connect.
    pub fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.break_connections();
    }
}

async fn link(follower: TcpStream, upstream: u16, down: Gate, up: Gate) {
    // A refusal upstream is passed on as the end of the connection.
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        return;
    };
    let (from_follower, to_follower) = follower.into_split();
    let (from_upstream, to_upstream) = upstream.into_split();
    tokio::select! {
        () = forward(from_upstream, to_follower, down) => {}
        () = forward(from_follower, to_upstream, up) => {}
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Gate) {
    let mut bytes = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        gate.pass(count as u64).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
