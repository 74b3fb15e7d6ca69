//! The world of one run: a network, machines, and the processes on them.

pub mod bell;
pub mod chronicle;
pub mod fate;
pub mod machine;
pub mod monitor;
mod nap;
pub mod points;
pub mod run;

pub use bell::Bell;
pub use chronicle::Chronicle;
pub use fate::Fate;
pub use machine::NodeMachine;
pub use monitor::MonitorMachine;
pub use points::Points;
pub use run::on_fresh_thread;

use crate::net::Net;
use crate::ports::clock::Skew;
use crate::postgres::Archive;
use madsim::runtime::Handle;
use madsim::task::NodeId as ProcessId;
use pgbaton_core::scenario::{FaultPoint, Scenario};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The machine of the clients and of those who give orders.
pub const CLIENTS: &str = "clients";
pub const MONITOR: &str = "monitor";
/// Sees everything, is never cut off and is no part of the world it watches.
pub const OBSERVER: &str = "observer";

pub struct World {
    pub fate: Fate,
    pub net: Net,
    pub chronicle: Chronicle,
    /// One for all servers, on a disk that never fails.
    pub archive: Archive,
    pub points: Points,
    /// Who stops a service waits for it, as a script does. In a drawn story the world doesn't stand still for it.
    pub services_in_turn: bool,
    pub monitor: Arc<MonitorMachine>,
    /// In the order of the scenario; those of all formations.
    pub nodes: Vec<Arc<NodeMachine>>,
    handle: Handle,
    processes: BTreeMap<&'static str, ProcessId>,
}

impl World {
    /// Machines are on, and nothing runs yet.
    pub fn new(scenario: &Scenario, points: Points) -> World {
        let handle = Handle::current();
        let fate = Fate::current().with_points(scenario.fault_points.clone());
        let net = Net::new(fate.clone());
        if scenario.cluster.ssl {
            net.make_secure(MONITOR);
        }
        let chronicle = Chronicle::new(&fate);
        let helper = |name: &'static str| (name, handle.create_node().name(name).build().id());
        let skew = |name: &str| scenario.cluster.clock.get(name).map(Skew::of).unwrap_or_default();
        let world = World {
            monitor: Arc::new(MonitorMachine::new(&net, &chronicle, &points, scenario, skew(MONITOR))),
            nodes: scenario
                .nodes()
                .iter()
                .map(|name| NodeMachine::new(name, scenario, &net, &chronicle, &points, skew(name)).into())
                .collect(),
            processes: [helper(CLIENTS), helper(OBSERVER)].into(),
            handle,
            fate,
            net,
            chronicle,
            archive: Archive::default(),
            points,
            services_in_turn: !scenario.drawn,
        };
        world.keep_house();
        if scenario.fault_points.contains_key(&FaultPoint::DeathAfterCommit) {
            world.bury();
        }
        world
    }

    /// Processes die at fault points.
    fn bury(&self) {
        for node in self.nodes.iter().cloned() {
            self.spawn(OBSERVER, async move {
                for deaths in 0.. {
                    node.death.past(deaths).await;
                    // What follows from one death takes its time, and the next is of another life.
                    let node = node.clone();
                    madsim::task::spawn(async move { node.keeper_dies().await });
                }
            });
        }
        let monitor = self.monitor.clone();
        self.spawn(OBSERVER, async move {
            for deaths in 0.. {
                monitor.death.past(deaths).await;
                monitor.dies().await;
            }
        });
    }

    /// madsim keeps a note of every task that ever ran, until somebody counts them.
    fn keep_house(&self) {
        let (fate, handle) = (self.fate.clone(), self.handle.clone());
        self.spawn(OBSERVER, async move {
            loop {
                fate.sleep(Duration::from_secs(1)).await;
                handle.metrics().num_tasks();
            }
        });
    }

    /// Runs a task of the clients' or the observer's process.
    pub fn spawn(&self, process: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let process = self.handle.get_node(self.processes[process]);
        process.expect("helpers live as long as the world").spawn(task);
    }

    pub fn node(&self, name: &str) -> Result<&Arc<NodeMachine>, String> {
        let found = self.nodes.iter().find(|n| n.name == name);
        found.ok_or_else(|| format!("{name} is no node of the cluster"))
    }

    /// Cuts every link of a node but the one to the clients.
    pub fn isolate(&self, node: &str) {
        self.net.cut(node, MONITOR);
        for other in &self.nodes {
            self.net.cut(node, &other.name);
        }
    }

    /// A runtime that is dropped leaves its tasks where they are; killed ones are dropped properly.
    pub async fn end(&self) {
        for node in &self.nodes {
            node.kill_keeper();
            node.pg.kill_server();
        }
        self.monitor.kill();
        for process in self.processes.values() {
            self.handle.kill(*process);
        }
        self.fate.sleep(Duration::from_millis(1)).await;
    }
}
