//! One door of the proxy: the address by which somebody reaches a server. It is open while the server listens, so
//! that a dead server refuses connections here as it would at home. While the link is cut it is open as well, and
//! mute: nobody must learn through a cut whether the server lives.

use super::links::Links;
use super::{MONITOR, guest, pipe};
use crate::postgres::ProcessWatch;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// That a server begins to listen raises no event that could be waited for from outside.
const POLL: Duration = Duration::from_millis(5);

/// A server's process, if there is one.
pub type Find = Box<dyn Fn() -> Option<u32> + Send + Sync>;

/// Who comes through a gate.
pub enum Guests {
    /// Nobody else knows the address.
    One(String),
    /// The nodes reach each other at one address, which the monitor knows as well: each guest is traced to its home
    /// below this directory, strangers count as clients. The gate opens and shuts as the monitor must see it, the
    /// only one to whom a refusal is evidence.
    AtHomeIn(PathBuf),
}

pub struct Gate {
    pub listen: SocketAddrV4,
    pub server: SocketAddrV4,
    /// Who the server belongs to.
    pub host: String,
    pub guests: Guests,
    pub find: Find,
    /// Servers admit each other by address, so a node's connections go on from its own.
    pub homes: Arc<BTreeMap<String, Ipv4Addr>>,
}

impl Gate {
    /// Serves until it is dropped.
    pub async fn keep(self: Arc<Gate>, links: Links) {
        // Connections outlive the listener, as they do when a server stops listening.
        let mut connections = JoinSet::new();
        loop {
            let up = tokio::select! {
                process = self.until_up() => Some(process),
                () = links.until_cut(self.guest(), &self.host) => None,
            };
            let listener = match TcpListener::bind(self.listen).await {
                Ok(listener) => listener,
                Err(e) => {
                    tracing::error!("the way to {} is lost, its proxy can't listen on {}: {e}", self.host, self.listen);
                    return;
                }
            };
            let mut down = pin!(self.until_down(up, &links));
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, SocketAddr::V4(peer))) = accepted {
                            connections.spawn(self.clone().lead(stream, peer, links.clone()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                    () = &mut down => break,
                }
            }
        }
    }

    fn guest(&self) -> &str {
        match &self.guests {
            Guests::One(name) => name,
            Guests::AtHomeIn(_) => MONITOR,
        }
    }

    async fn until_up(&self) -> ProcessWatch {
        loop {
            if let Some(process) = self.server().await {
                return process;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The server's process, if it listens.
    async fn server(&self) -> Option<ProcessWatch> {
        TcpStream::connect(self.server).await.ok()?;
        ProcessWatch::new(i32::try_from((self.find)()?).ok()?).ok()
    }

    async fn until_down(&self, mut up: Option<ProcessWatch>, links: &Links) {
        loop {
            if let Some(process) = up.take()
                && let Err(e) = process.ended().await
            {
                tracing::error!("the server of {} can't be watched: {e}", self.host);
            }
            links.until_whole(self.guest(), &self.host).await;
            up = self.server().await;
            if up.is_none() {
                return;
            }
        }
    }

    /// Leads a guest to the server, as soon as the link lets it.
    async fn lead(self: Arc<Gate>, stream: TcpStream, peer: SocketAddrV4, links: Links) {
        let guest = self.name(peer).await;
        tokio::select! {
            () = links.until_whole(&guest, &self.host) => {}
            // What it said was never on the way: no connection stood.
            () = left(&stream) => return,
        }
        // The first packet of a connection may be lost as any other.
        tokio::time::sleep(links.way(&guest, &self.host).slower_by()).await;
        let server = match self.connect(&guest).await {
            Ok(server) => server,
            Err(_) => {
                // As close to a refusal as it gets once a connection was accepted.
                let _gone_already = stream.set_zero_linger();
                return;
            }
        };
        // Small messages are what failovers are made of; they must not wait for each other.
        if stream.set_nodelay(true).and(server.set_nodelay(true)).is_ok() {
            let (there, back) = (links.way(&guest, &self.host), links.way(&self.host, &guest));
            pipe::join(stream, server, there, back).await;
        }
    }

    async fn name(&self, peer: SocketAddrV4) -> String {
        let (base, here) = match &self.guests {
            Guests::One(name) => return name.clone(),
            Guests::AtHomeIn(base) => (base.clone(), self.listen),
        };
        let home = tokio::task::spawn_blocking(move || guest::at_home_in(&base, peer, here)).await;
        home.ok().flatten().unwrap_or_else(|| super::CLIENTS.to_string())
    }

    async fn connect(&self, guest: &str) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(home) = self.homes.get(guest) {
            socket.bind(SocketAddrV4::new(*home, 0).into())?;
        }
        socket.connect(self.server.into()).await
    }
}

/// Ends when the guest has closed its side, which what it has sent before doesn't hide.
async fn left(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(tokio::io::Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        // Bytes nobody reads make it ready again at once.
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::CLIENTS;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(5);
    const NEVER: Duration = Duration::from_millis(60);

    /// A server that answers each byte with itself, and the gate before it.
    async fn echo() -> (SocketAddrV4, Links, tokio::task::JoinHandle<()>) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = server.local_addr().unwrap() else { unreachable!() };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(listen) = free.local_addr().unwrap() else { unreachable!() };
        drop(free);
        let echo = tokio::spawn(async move {
            // Ends with the server.
            let mut streams = JoinSet::new();
            while let Ok((mut stream, _)) = server.accept().await {
                streams.spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        let links = Links::whole();
        let gate = Gate {
            listen,
            server: address,
            host: "a".into(),
            guests: Guests::One(CLIENTS.into()),
            find: Box::new(|| Some(std::process::id())),
            homes: Arc::default(),
        };
        tokio::spawn(Arc::new(gate).keep(links.clone()));
        (listen, links, echo)
    }

    async fn reached(at: SocketAddrV4) -> TcpStream {
        let connected = async {
            loop {
                match TcpStream::connect(at).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            }
        };
        timeout(SOON, connected).await.unwrap()
    }

    async fn answers(stream: &mut TcpStream, patience: Duration) -> bool {
        stream.write_all(b"x").await.unwrap();
        timeout(patience, stream.read_u8()).await.is_ok_and(|read| read.unwrap() == b'x')
    }

    #[tokio::test]
    async fn a_cut_is_silence_and_what_was_said_in_it_arrives_after_the_heal() {
        let (at, links, _echo) = echo().await;
        let mut before = reached(at).await;
        assert!(answers(&mut before, SOON).await);
        links.cut_one_way("a", CLIENTS);
        assert!(!answers(&mut before, NEVER).await);
        let mut during = reached(at).await;
        assert!(!answers(&mut during, NEVER).await);
        links.heal();
        for mut stream in [before, during] {
            assert_eq!(timeout(SOON, stream.read_u8()).await.unwrap().unwrap(), b'x');
            assert!(answers(&mut stream, SOON).await);
        }
    }

    #[tokio::test]
    async fn the_end_of_a_server_is_not_seen_through_a_cut() {
        let (at, links, echo) = echo().await;
        let mut before = reached(at).await;
        assert!(answers(&mut before, SOON).await);
        links.cut("a", CLIENTS);
        echo.abort();
        assert!(echo.await.unwrap_err().is_cancelled());
        assert!(timeout(NEVER, before.read_u8()).await.is_err(), "silent");
        let mut during = reached(at).await;
        assert!(!answers(&mut during, NEVER).await);
    }

    #[tokio::test]
    async fn a_guest_that_leaves_before_the_heal_was_never_there() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(here) = server.local_addr().unwrap() else { unreachable!() };
        let mut guest = TcpStream::connect(here).await.unwrap();
        let (stream, _) = server.accept().await.unwrap();
        guest.write_all(b"unread").await.unwrap();
        assert!(timeout(NEVER, left(&stream)).await.is_err());
        drop(guest);
        timeout(SOON, left(&stream)).await.unwrap();
    }
}
