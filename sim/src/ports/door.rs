//! The monitor's side of the link.

use super::MONITOR_PORT;
use crate::net::{End, Net, Packet};
use crate::world::points::{Effect, Gate, Harm};
use crate::world::{Bell, OBSERVER};
use pgbaton_core::ports::{CallId, Door, DoorEvent, Probe};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug)]
pub struct SimDoor {
    net: Net,
    host: String,
    hall: Arc<Hall>,
    gate: Gate,
}

#[derive(Debug, Default)]
struct Hall {
    bell: Bell,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    events: VecDeque<DoorEvent>,
    open: BTreeMap<CallId, Arc<End>>,
}

impl SimDoor {
    /// Must be called in a task of the monitor's process: its helpers live and die with it.
    pub fn open(net: &Net, host: &str, gate: Gate) -> SimDoor {
        let hall = Arc::new(Hall::default());
        let (listener, greeted, watched) = (net.listen(host, MONITOR_PORT), hall.clone(), gate.clone());
        madsim::task::spawn(async move {
            loop {
                let end = listener.accept().await;
                madsim::task::spawn(greeted.clone().serve(Arc::new(end), watched.clone()));
            }
        });
        SimDoor { net: net.clone(), host: host.to_string(), hall, gate }
    }
}

impl Hall {
    /// One connection: calls come one after the other.
    async fn serve(self: Arc<Hall>, end: Arc<End>, gate: Gate) {
        let mut last = None;
        while let Some(packet) = end.recv().await {
            let Packet::Bytes(message) = packet else { break };
            let harm = match end.peer() {
                OBSERVER => None,
                caller => gate.cross(|| Effect::IsCalled(caller.to_string())).await,
            };
            let mut state = self.state.lock().unwrap();
            state.calls += 1;
            let id = CallId(state.calls);
            last = Some(id);
            if harm != Some(Harm::LoseReply) {
                state.open.insert(id, end.clone());
            }
            state.events.push_back(DoorEvent::Call { id, message });
            drop(state);
            self.bell.ring();
        }
        let Some(id) = last else { return };
        let mut state = self.state.lock().unwrap();
        state.open.remove(&id);
        state.events.push_back(DoorEvent::Hangup { id });
        drop(state);
        self.bell.ring();
    }
}

impl Door for SimDoor {
    async fn next(&mut self) -> DoorEvent {
        let next = || self.hall.state.lock().unwrap().events.pop_front();
        self.hall.bell.until(next).await
    }

    fn answer(&mut self, id: CallId, message: Vec<u8>) {
        let open = self.hall.state.lock().unwrap().open.remove(&id);
        let Some(end) = open else { return };
        if end.peer() != OBSERVER {
            self.gate.pass(|| Effect::Answers(end.peer().to_string()));
        }
        if !self.gate.is_dead() {
            end.send(Packet::Bytes(message));
        }
    }

    fn probe(&self, host: &str, port: u16, patience: Duration) -> impl Future<Output = Probe> + Send + 'static {
        let (net, from, to) = (self.net.clone(), self.host.clone(), host.to_string());
        async move {
            let fate = net.fate().clone();
            let ask = async {
                let Ok(end) = net.connect(&from, &to, port).await else {
                    return Probe::Refused;
                };
                end.send(Packet::Ping);
                match end.recv().await {
                    Some(_) => Probe::Answers,
                    // It died while it was asked.
                    None => Probe::Refused,
                }
            };
            fate.timeout(patience, ask).await.unwrap_or(Probe::Silent)
        }
    }
}
