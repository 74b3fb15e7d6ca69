//! The network of a live run. All processes are on one machine and meet on loopback addresses, and every
//! connection between two of them goes through here, so that links can be cut. A cut link carries no bytes and says
//! nothing about it: what was sent arrives after the heal. A link that loses packets delays what was read at once, as kernels send
//! again what was lost (see `links`). What it can't imitate is that the kernels of two machines
//! notice the silence by themselves (unanswered SYNs and keepalives); the timeouts of Postgres and pgbaton do.

mod gate;
mod guest;
mod links;
mod pipe;

pub use links::Links;

use crate::service::{Places, pidfile, postmaster};
use anyhow::{Context, Result, ensure};
use gate::{Find, Gate, Guests};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Names of links' ends beside the nodes.
pub const MONITOR: &str = "monitor";
pub const CLIENTS: &str = "clients";

/// Where everything of a run listens: all of 127.0.0.0/8 is loopback, so runs differ in the second byte, and the
/// third tells who comes to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    run: u8,
    port: u16,
    nodes: u8,
}

/// In the place of a node's number: somebody who isn't one.
const NO_NODE: u8 = 254;

impl Addresses {
    /// Addresses and ports that nobody uses. The monitor's port comes first, the nodes take the next ones.
    pub fn find(nodes: usize, first_port: Option<u16>) -> Result<Addresses> {
        let nodes = u8::try_from(nodes).ok().filter(|n| *n < NO_NODE).context("too many nodes for one machine")?;
        let free = |a: &Addresses| a.all().into_iter().all(|address| TcpListener::bind(address).is_ok());
        for _ in 0..100 {
            // Below the range from which the kernel takes the ports of outgoing connections.
            let port = first_port.unwrap_or_else(|| 15_000 + rand::random::<u16>() % 10_000);
            let room = port.checked_add(u16::from(nodes)).is_some();
            ensure!(port > 0 && room, "--base-port {port} leaves no room for {nodes} nodes");
            let addresses = Addresses { run: 1 + rand::random::<u8>() % 250, port, nodes };
            if free(&addresses) {
                return Ok(addresses);
            }
        }
        anyhow::bail!("there are no free ports; are they taken on all addresses (ss -ltn shows it)?")
    }

    fn at(&self, role: u8, number: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, self.run, role, number), port)
    }

    fn of_node(&self, role: u8, index: usize) -> SocketAddrV4 {
        let number = u8::try_from(index + 1).expect("as many nodes as were counted");
        self.at(role, number, self.port + u16::from(number))
    }

    /// The monitor itself.
    pub fn monitor(&self) -> SocketAddrV4 {
        self.at(0, NO_NODE, self.port)
    }

    /// The monitor, for one node.
    pub fn monitor_for(&self, index: usize) -> SocketAddrV4 {
        SocketAddrV4::new(*self.of_node(4, index).ip(), self.port)
    }

    /// The monitor, for the commands of an operator.
    pub fn monitor_for_clients(&self) -> SocketAddrV4 {
        self.at(4, NO_NODE, self.port)
    }

    /// For a certificate that is good for all who come.
    pub fn names_of_monitor(&self) -> Vec<String> {
        let ways = (0..usize::from(self.nodes)).map(|i| self.monitor_for(i));
        let all = ways.chain([self.monitor(), self.monitor_for_clients()]);
        all.map(|address| address.ip().to_string()).collect()
    }

    /// The node's Postgres itself.
    pub fn server(&self, index: usize) -> SocketAddrV4 {
        self.of_node(1, index)
    }

    /// The node, for the other nodes and the monitor: as it registers.
    pub fn node(&self, index: usize) -> SocketAddrV4 {
        self.of_node(2, index)
    }

    /// The node, for its clients.
    pub fn node_for_clients(&self, index: usize) -> SocketAddrV4 {
        self.of_node(3, index)
    }

    fn all(&self) -> Vec<SocketAddrV4> {
        let of_nodes = (0..usize::from(self.nodes))
            .flat_map(|i| [self.server(i), self.node(i), self.node_for_clients(i), self.monitor_for(i)]);
        of_nodes.chain([self.monitor(), self.monitor_for_clients()]).collect()
    }
}

/// The gates of a run, all open for as long as this lives.
#[derive(Debug)]
pub struct Network {
    pub links: Links,
    _gates: JoinSet<()>,
}

impl Network {
    /// `nodes` are their names and data directories.
    pub fn open(base: &Path, addresses: &Addresses, nodes: &[(&str, &Path)], monitor: &Path) -> Network {
        let homes: BTreeMap<String, Ipv4Addr> =
            nodes.iter().enumerate().map(|(i, (name, _))| (name.to_string(), *addresses.node(i).ip())).collect();
        let homes = Arc::new(homes);
        let links = Links::whole();
        let mut gates = JoinSet::new();
        let mut open = |listen, server, host: &str, guests, find| {
            let gate = Gate { listen, server, host: host.to_string(), guests, find, homes: homes.clone() };
            gates.spawn(Arc::new(gate).keep(links.clone()));
        };
        let monitors = |i: usize| (addresses.monitor_for(i), nodes[i].0);
        let to_monitor = (0..nodes.len()).map(monitors).chain([(addresses.monitor_for_clients(), CLIENTS)]);
        for (listen, guest) in to_monitor {
            open(listen, addresses.monitor(), MONITOR, Guests::One(guest.to_string()), monitor_in(monitor));
        }
        for (i, (name, pgdata)) in nodes.iter().enumerate() {
            let server = addresses.server(i);
            let clients = Guests::One(CLIENTS.to_string());
            open(addresses.node_for_clients(i), server, name, clients, postmaster_of(pgdata));
            open(addresses.node(i), server, name, Guests::AtHomeIn(base.to_path_buf()), postmaster_of(pgdata));
        }
        Network { links, _gates: gates }
    }
}

fn monitor_in(dir: &Path) -> Find {
    let pid_file = Places::monitor(dir).pid();
    Box::new(move || pidfile::running(&pid_file))
}

fn postmaster_of(pgdata: &Path) -> Find {
    let pgdata = pgdata.to_path_buf();
    Box::new(move || postmaster::find(&pgdata).map(|found| found.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_address_serves_two_purposes() {
        let addresses = Addresses::find(5, None).unwrap();
        let all = addresses.all();
        assert_eq!(all.len(), 22);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 22);
        assert!(Addresses::find(5, Some(65_533)).is_err());
        assert!(Addresses::find(300, None).is_err());
    }
}
