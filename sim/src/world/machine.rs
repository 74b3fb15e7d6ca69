//! The machines of nodes, and the processes that can be killed and paused on them.

use super::{Bell, Chronicle, Fate, MONITOR, Points};
use crate::disk::Disk;
use crate::net::Net;
use crate::ports::clock::Skew;
use crate::ports::{SimClock, SimLink, SimPostgres, SimStore, Troubled, Watched};
use crate::postgres::{PgHost, Settings};
use madsim::runtime::Handle;
use madsim::task::NodeId as ProcessId;
use pgbaton_core::check::{Fault, Kind};
use pgbaton_core::model::{GroupKey, KeeperSettings};
use pgbaton_core::ports::StoreError;
use pgbaton_core::scenario::Scenario;
use pgbaton_core::shell::keeper::load;
use pgbaton_core::shell::{KeeperExit, KeeperPorts, StopRequest, ensure_registered, run_keeper};
use pgbaton_core::wire::Register;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const POSTGRES_PORT: u16 = 5432;

/// A process of madsim's that is killed and started again.
#[derive(Debug, Clone)]
pub(super) struct Process {
    handle: Handle,
    id: ProcessId,
    /// How often somebody has put an end to it.
    ends: Arc<AtomicU64>,
}

impl Process {
    pub(super) fn new(name: &str) -> Process {
        let handle = Handle::current();
        let id = handle.create_node().name(name).build().id();
        Process { handle, id, ends: Arc::default() }
    }

    /// Always both: a restart alone leaves the old tasks half alive, and nothing runs on a killed one.
    pub(super) fn kill(&self) {
        self.stays_dead();
        self.handle.kill(self.id);
        self.handle.restart(self.id);
    }

    fn ends(&self) -> u64 {
        self.ends.load(Ordering::Relaxed)
    }

    /// Nobody starts it again by himself.
    fn stays_dead(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }

    /// A service manager starts it again after seconds, unless somebody has put an end to it meanwhile.
    pub(super) async fn dies_for_a_while(&self, fate: &Fate, kill: impl FnOnce(), start: impl FnOnce()) {
        kill();
        let ends = self.ends();
        fate.sleep(fate.draw_ms(1000..10_000)).await;
        if self.ends() == ends {
            start();
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let node = self.handle.get_node(self.id);
        node.expect("processes are never removed").spawn(task);
    }

    pub(super) fn pause(&self) {
        self.handle.pause(self.id);
    }

    pub(super) fn resume(&self) {
        self.handle.resume(self.id);
    }
}

/// A machine with a keeper and its Postgres.
pub struct NodeMachine {
    pub name: String,
    pub pg: Arc<PgHost>,
    pub keeper: Arc<KeeperState>,
    process: Process,
    /// The keeper's; the one of the data directory is part of the Postgres.
    pub disk: Disk,
    pub clock: SimClock,
    /// The last word about its service was to start it.
    pub wanted: AtomicBool,
    /// Rings when the keeper is to die at a fault point.
    pub death: Bell,
    fate: Fate,
    net: Net,
    chronicle: Chronicle,
    points: Points,
    settings: KeeperSettings,
    ask: Register,
}

#[derive(Debug, Default)]
pub struct KeeperState {
    pub bell: Bell,
    stored: Bell,
    state: Mutex<Service>,
}

#[derive(Debug, Default)]
struct Service {
    running: bool,
    stop: Option<StopRequest>,
    exit: Option<KeeperExit>,
    /// What it has stored says that no step of its is under way.
    rests: bool,
    /// Why it isn't registered yet.
    trouble: Option<String>,
}

impl KeeperState {
    /// One line for a run that doesn't come to its end.
    pub fn describe(&self) -> String {
        let service = self.state.lock().unwrap();
        match (&service.trouble, &service.exit, service.running) {
            (Some(trouble), _, true) => format!("its keeper can't register: {trouble}"),
            (None, _, true) => "its keeper runs".to_string(),
            (_, Some(exit), false) => format!("its keeper has ended: {exit:?}"),
            (_, None, false) => "its keeper isn't running".to_string(),
        }
    }

    fn note_trouble(&self, what: String) {
        self.state.lock().unwrap().trouble = Some(what);
    }

    pub fn is_running(&self) -> bool {
        self.state.lock().unwrap().running
    }

    pub fn is_stopping(&self) -> bool {
        let service = self.state.lock().unwrap();
        service.running && service.stop.is_some()
    }

    pub fn ask_to_stop(&self, how: StopRequest) {
        self.state.lock().unwrap().stop = Some(how);
        self.bell.ring();
    }

    /// What its record, which is on disk now, says of that.
    pub fn rests(&self, rests: bool) {
        self.state.lock().unwrap().rests = rests;
        self.stored.ring();
    }

    /// Ends when the process is gone.
    pub async fn until_gone(&self) {
        self.bell.until(|| (!self.is_running()).then_some(())).await;
    }

    fn set(&self, service: Service) {
        *self.state.lock().unwrap() = service;
        self.bell.ring();
    }
}

impl NodeMachine {
    pub fn new(
        name: &str,
        scenario: &Scenario,
        net: &Net,
        chronicle: &Chronicle,
        points: &Points,
        skew: Skew,
    ) -> NodeMachine {
        let (options, GroupKey { formation, group }) = (scenario.options(name), scenario.group_of(Some(name)));
        NodeMachine {
            name: name.to_string(),
            pg: postgres(name, scenario, net, chronicle),
            keeper: Arc::default(),
            process: Process::new(&format!("keeper:{name}")),
            disk: Disk::default(),
            clock: SimClock::new(net.fate().clone(), skew),
            wanted: AtomicBool::new(true),
            death: Bell::default(),
            fate: net.fate().clone(),
            net: net.clone(),
            chronicle: chronicle.clone(),
            points: points.clone(),
            settings: scenario.keeper.clone(),
            ask: Register {
                formation,
                group,
                name: name.to_string(),
                host: name.to_string(),
                port: POSTGRES_PORT,
                candidate_priority: options.candidate_priority,
                replication_quorum: options.replication_quorum,
                system_id: None,
                again: None,
            },
        }
    }

    /// Starts the keeper, unless it runs; a machine without power gets it back.
    pub fn start_keeper(&self) {
        self.net.power_on(&self.name);
        if self.keeper.is_running() {
            return;
        }
        self.keeper.set(Service { running: true, ..Service::default() });
        let gate = self.points.gate(&self.fate, &self.name);
        let store = SimStore::open(&self.fate, &self.disk).witnessed(&self.name, &self.chronicle, &self.keeper);
        let ports = KeeperPorts {
            clock: self.clock.clone(),
            link: Troubled::new(
                SimLink::new(&self.net, &self.name, MONITOR).through(gate.clone()),
                &self.fate,
                &self.death,
            ),
            store: Troubled::new(store.through(gate.clone()), &self.fate, &self.death),
            postgres: Watched::new(Troubled::new(SimPostgres::new(self.pg.clone()), &self.fate, &self.death), gate),
        };
        let keeper = Keeper {
            name: self.name.clone(),
            state: self.keeper.clone(),
            fate: self.fate.clone(),
            chronicle: self.chronicle.clone(),
            settings: self.settings.clone(),
            ask: self.ask.clone(),
        };
        self.process.spawn(keeper.run(ports));
    }

    /// It dies at a fault point.
    pub async fn keeper_dies(&self) {
        self.chronicle.note(Kind::Fault { fault: Fault::Keeper, nodes: vec![self.name.clone()] });
        self.process.dies_for_a_while(&self.fate, || self.kill_keeper(), || self.start_keeper()).await;
    }

    /// The service manager was told to stop it: also one that has just died isn't started again.
    pub fn stays_stopped(&self) {
        self.process.stays_dead();
    }

    pub fn kill_keeper(&self) {
        if self.disk.takes_tear() {
            self.disk.crash(|| self.fate.random());
        } else {
            self.disk.detach();
        }
        self.process.kill();
        self.keeper.set(Service::default());
    }

    /// Everything is gone at one instant, with whatever wasn't synced, and nobody hears of it.
    pub fn power_off(&self) {
        self.net.power_off(&self.name);
        self.disk.tear_at_death();
        self.kill_keeper();
        self.pg.lose_power();
    }

    /// It dies, and whatever was on it is gone.
    pub fn lose_disks(&self) {
        self.power_off();
        self.disk.replace(Vec::new());
        self.pg.lose_directory();
    }

    /// Ends when it has read its configuration again: its loop ends once it is at rest, and another begins over the same
    /// store.
    pub async fn reload_keeper(&self) {
        let state = self.keeper.clone();
        let ends = self.process.ends();
        state.stored.until(|| state.state.lock().unwrap().rests.then_some(())).await;
        // Whoever has ended it meanwhile has the last word.
        if state.is_running() && self.process.ends() == ends {
            self.kill_keeper();
            self.start_keeper();
        }
    }

    pub fn pause_keeper(&self) {
        self.process.pause();
    }

    /// SIGSTOP to everything: the kernel goes on accepting connections.
    pub fn pause(&self) {
        self.pause_keeper();
        self.process.handle.pause(self.pg.process());
    }

    /// Its kernel sleeps too: nothing answers. The keeper's clock goes on, as one that counts the sleep does.
    pub fn suspend(&self) {
        self.clock.sleeps(true);
        self.net.fall_asleep(&self.name);
        self.pause();
    }

    pub fn resume(&self) {
        self.clock.sleeps(false);
        self.net.wake(&self.name);
        self.process.resume();
        self.process.handle.resume(self.pg.process());
    }
}

fn postgres(name: &str, scenario: &Scenario, net: &Net, chronicle: &Chronicle) -> Arc<PgHost> {
    let pg = PgHost::new(name, POSTGRES_PORT, net, chronicle);
    if let Some(options) = &scenario.cluster.postgres {
        pg.configure(|settings| *settings = Settings::of_story(options));
    }
    pg
}

struct Keeper {
    name: String,
    state: Arc<KeeperState>,
    fate: Fate,
    chronicle: Chronicle,
    settings: KeeperSettings,
    ask: Register,
}

type Ports = KeeperPorts<SimClock, Troubled<SimLink>, Troubled<SimStore>, Watched>;

impl Keeper {
    async fn run(self, ports: Ports) {
        // A node that was created once needs no monitor to start.
        loop {
            let registered = match load(&ports.store).await {
                Ok(_) => break,
                // There may be a node in it.
                Err(StoreError::Io(why)) => Err(why),
                Err(_) => {
                    ensure_registered(&ports.link, &ports.store, self.ask.clone()).await.map_err(|e| e.to_string())
                }
            };
            if let Err(trouble) = registered {
                self.state.note_trouble(trouble);
                self.fate.sleep(self.settings.retry_pause).await;
            }
        }
        self.state.state.lock().unwrap().trouble = None;
        let state = self.state.clone();
        let stop = async move { state.bell.until(|| state.state.lock().unwrap().stop).await };
        let exit = run_keeper(ports, self.settings, stop).await;
        if let KeeperExit::Fatal(why) = &exit {
            self.chronicle.complain(format!("the keeper of {} gave up: {why}", self.name));
        }
        self.state.set(Service { exit: Some(exit), ..Service::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::on_fresh_thread;
    use futures_util::future::join;
    use std::cell::Cell;
    use std::time::Duration;

    #[test]
    fn a_service_that_was_stopped_after_its_death_stays_down() {
        let run = on_fresh_thread(1, || async {
            let (fate, process) = (Fate::current(), Process::new("service"));
            for stopped in [false, true] {
                let started = Cell::new(false);
                let dies = process.dies_for_a_while(&fate, || process.kill(), || started.set(true));
                let stop = async {
                    fate.sleep(Duration::from_millis(500)).await;
                    if stopped {
                        process.stays_dead();
                    }
                };
                join(dies, stop).await;
                assert_eq!(started.get(), !stopped);
            }
        });
        assert_eq!(run, Ok(()));
    }
}
