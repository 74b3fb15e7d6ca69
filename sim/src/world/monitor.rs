//! The machine of the monitor.

use super::machine::Process;
use super::{Bell, Chronicle, MONITOR, Points};
use crate::disk::Disk;
use crate::net::Net;
use crate::ports::clock::Skew;
use crate::ports::{SimClock, SimDoor, SimStore, Troubled};
use pgbaton_core::model::MonitorSettings;
use pgbaton_core::scenario::Scenario;
use pgbaton_core::shell::run_monitor;
use std::sync::Mutex;
use std::time::Duration;

pub struct MonitorMachine {
    pub disk: Disk,
    pub clock: SimClock,
    /// Rings when it is given another store: what it has told before counts no more.
    pub reborn: Bell,
    /// Rings when it is to die at a fault point.
    pub death: Bell,
    process: Process,
    net: Net,
    chronicle: Chronicle,
    points: Points,
    settings: MonitorSettings,
    state: Mutex<State>,
}

/// A monitor that ends sooner has not begun its work, and so long is it until it is started again.
const STARTS: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// A copy of the store that was put aside.
    saved: Option<Vec<u8>>,
}

impl MonitorMachine {
    pub fn new(net: &Net, chronicle: &Chronicle, points: &Points, scenario: &Scenario, skew: Skew) -> MonitorMachine {
        MonitorMachine {
            process: Process::new(MONITOR),
            disk: Disk::default(),
            clock: SimClock::new(net.fate().clone(), skew),
            reborn: Bell::default(),
            death: Bell::default(),
            net: net.clone(),
            chronicle: chronicle.clone(),
            points: points.clone(),
            settings: scenario.monitor.clone(),
            state: Mutex::default(),
        }
    }

    /// Starts the monitor, unless it runs; a machine without power gets it back.
    pub fn start(&self) {
        self.net.power_on(MONITOR);
        if std::mem::replace(&mut self.state.lock().unwrap().running, true) {
            return;
        }
        let gate = self.points.gate(self.net.fate(), MONITOR);
        let (clock, disk, death) = (self.clock.clone(), self.disk.clone(), self.death.clone());
        let (net, settings, chronicle) = (self.net.clone(), self.settings.clone(), self.chronicle.clone());
        self.process.spawn(async move {
            loop {
                let store = SimStore::open(net.fate(), &disk).through(gate.clone());
                let store = Troubled::new(store, net.fate(), &death);
                let door = SimDoor::open(&net, MONITOR, gate.clone());
                let began = net.fate().now();
                let exit = run_monitor(clock.clone(), door, store, settings.clone()).await;
                if net.fate().now().since(began) >= STARTS {
                    return chronicle.complain(format!("the monitor gave up: {exit}"));
                }
                // It could not begin; its service manager tries again.
                net.fate().sleep(STARTS).await;
            }
        });
    }

    /// It dies at a fault point.
    pub async fn dies(&self) {
        self.process.dies_for_a_while(self.net.fate(), || self.kill(), || self.start()).await;
    }

    pub fn kill(&self) {
        self.disk.detach();
        self.process.kill();
        self.state.lock().unwrap().running = false;
    }

    /// Everything is gone at one instant, with whatever wasn't synced, and nobody hears of it.
    pub fn power_off(&self) {
        self.net.power_off(MONITOR);
        self.disk.crash(|| self.net.fate().random());
        self.kill();
    }

    /// SIGSTOP: the kernel goes on accepting connections.
    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    /// A copy as a backup takes it while the monitor runs.
    pub fn save(&self) {
        self.state.lock().unwrap().saved = Some(self.disk.synced());
    }

    pub fn restore(&self) -> Result<(), String> {
        let saved = self.state.lock().unwrap().saved.clone();
        let saved = saved.ok_or("nothing was saved: write save_monitor before restore_monitor")?;
        self.start_with(saved);
        Ok(())
    }

    /// Another monitor, which knows nothing, where this one was.
    pub fn replace(&self) {
        self.start_with(Vec::new());
    }

    fn start_with(&self, store: Vec<u8>) {
        self.kill();
        self.disk.replace(store);
        self.reborn.ring();
        self.start();
    }
}
