//! What is wrong with the links at this moment. Everything is kept per direction.

use super::Net;
use crate::world::OBSERVER;
use pgbaton_core::model::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A lost segment is sent again after waits that double, from the first to the last of these.
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);
const RETRANSMIT_MAX: Duration = Duration::from_secs(3);

type Direction = (String, String);

#[derive(Debug, Default)]
pub(super) struct Links {
    cut_since: BTreeMap<Direction, Moment>,
    /// Connections are made, but what was said in this direction never arrives.
    mute_since: BTreeMap<Direction, Moment>,
    last_cut: BTreeMap<Direction, Duration>,
    slower: BTreeMap<Direction, Duration>,
    lossy: BTreeMap<Direction, f64>,
    /// Each packet is late by a part of this.
    uneven: BTreeMap<Direction, Duration>,
    repeating: BTreeMap<Direction, f64>,
    /// Machines without power.
    dark: BTreeSet<String>,
    /// Machines that sleep: packets to them are lost, and their connections live on.
    asleep: BTreeSet<String>,
    /// Machines whose messages are of another version.
    versions: BTreeMap<String, u32>,
    /// Machines that take connections over TLS only, and those of them whose certificate has come to its end.
    secure: BTreeSet<String>,
    expired: BTreeSet<String>,
    /// How often each machine has lost its power: connections of an earlier life are unknown to it.
    lives: BTreeMap<String, u64>,
}

fn direction(from: &str, to: &str) -> Direction {
    (from.to_string(), to.to_string())
}

impl Links {
    fn is_dark(&self, from: &str, to: &str) -> bool {
        [&self.dark, &self.asleep].iter().any(|off| !off.is_empty() && (off.contains(from) || off.contains(to)))
    }

    // A key is only built when some link has such a fault: this is asked for every packet.
    fn has<T: Copy>(faults: &BTreeMap<Direction, T>, from: &str, to: &str) -> Option<T> {
        (!faults.is_empty()).then(|| faults.get(&direction(from, to)).copied()).flatten()
    }
}

impl Net {
    /// Packets from one to the other vanish from now on. A machine always reaches itself.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        if from != to {
            let since = self.0.fate.now();
            self.0.links.lock().unwrap().cut_since.entry(direction(from, to)).or_insert(since);
        }
    }

    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Connections are still made, as through a box in between that has forgotten one way of them.
    pub fn mute(&self, from: &str, to: &str) {
        let since = self.0.fate.now();
        self.0.links.lock().unwrap().mute_since.entry(direction(from, to)).or_insert(since);
    }

    pub fn slow(&self, a: &str, b: &str, by: Duration) {
        let mut links = self.0.links.lock().unwrap();
        links.slower.insert(direction(a, b), by);
        links.slower.insert(direction(b, a), by);
    }

    /// `rate` is the part of the packets that is lost, each time it is sent.
    pub fn lose(&self, a: &str, b: &str, rate: f64) {
        let mut links = self.0.links.lock().unwrap();
        links.lossy.insert(direction(a, b), rate);
        links.lossy.insert(direction(b, a), rate);
    }

    /// Packets are late by up to this, each by a time of its own.
    pub fn reorder(&self, a: &str, b: &str, by: Duration) {
        let mut links = self.0.links.lock().unwrap();
        links.uneven.insert(direction(a, b), by);
        links.uneven.insert(direction(b, a), by);
    }

    /// `rate` is the part of the calls that arrives twice.
    pub fn repeat(&self, a: &str, b: &str, rate: f64) {
        let mut links = self.0.links.lock().unwrap();
        links.repeating.insert(direction(a, b), rate);
        links.repeating.insert(direction(b, a), rate);
    }

    /// One link, both ways.
    pub fn mend(&self, a: &str, b: &str) {
        let now = self.0.fate.now();
        {
            let mut links = self.0.links.lock().unwrap();
            for direction in [direction(a, b), direction(b, a)] {
                if let Some(since) = links.cut_since.remove(&direction) {
                    links.last_cut.insert(direction, now.since(since));
                }
            }
        }
        self.0.healed.ring();
    }

    /// All links are as good as new. Power is another matter.
    pub fn heal_all(&self) {
        let now = self.0.fate.now();
        {
            let mut links = self.0.links.lock().unwrap();
            let muted = std::mem::take(&mut links.mute_since);
            for (direction, since) in std::mem::take(&mut links.cut_since).into_iter().chain(muted) {
                links.last_cut.insert(direction, now.since(since));
            }
            links.slower.clear();
            links.lossy.clear();
            links.uneven.clear();
            links.repeating.clear();
        }
        self.0.healed.ring();
    }

    /// Nothing comes from this machine any more, not even the news that its processes are dead.
    pub fn power_off(&self, host: &str) {
        let mut links = self.0.links.lock().unwrap();
        if links.dark.insert(host.to_string()) {
            *links.lives.entry(host.to_string()).or_default() += 1;
        }
    }

    /// Its kernel answers again, and knows of no connection.
    pub fn power_on(&self, host: &str) {
        let was_dark = self.0.links.lock().unwrap().dark.remove(host);
        if was_dark {
            self.0.healed.ring();
        }
    }

    /// Packets on their way wait with the machine.
    pub fn fall_asleep(&self, host: &str) {
        self.0.links.lock().unwrap().asleep.insert(host.to_string());
    }

    pub fn wake(&self, host: &str) {
        let slept = self.0.links.lock().unwrap().asleep.remove(host);
        if slept {
            self.0.healed.ring();
        }
    }

    /// `None` when the machine speaks what all others do.
    pub fn version_of(&self, host: &str) -> Option<u32> {
        self.0.links.lock().unwrap().versions.get(host).copied()
    }

    pub fn speak_version(&self, host: &str, version: u32) {
        self.0.links.lock().unwrap().versions.insert(host.to_string(), version);
    }

    pub fn make_secure(&self, host: &str) {
        self.0.links.lock().unwrap().secure.insert(host.to_string());
    }

    pub fn expire_certificate(&self, host: &str) {
        self.0.links.lock().unwrap().expired.insert(host.to_string());
    }

    pub fn renew_certificate(&self, host: &str) {
        self.0.links.lock().unwrap().expired.remove(host);
    }

    pub(super) fn is_secure(&self, host: &str) -> bool {
        self.0.links.lock().unwrap().secure.contains(host)
    }

    /// The observer has other ways to know whom it speaks to.
    pub(super) fn is_trusted(&self, by: &str, host: &str) -> bool {
        by == OBSERVER || !self.0.links.lock().unwrap().expired.contains(host)
    }

    pub(super) fn life(&self, host: &str) -> u64 {
        self.0.links.lock().unwrap().lives.get(host).copied().unwrap_or_default()
    }

    /// Whether new connections can't be made.
    pub(super) fn is_cut(&self, from: &str, to: &str) -> bool {
        let links = self.0.links.lock().unwrap();
        from != OBSERVER
            && to != OBSERVER
            && (links.is_dark(from, to) || Links::has(&links.cut_since, from, to).is_some())
    }

    /// Whether packets of a connection that was made don't arrive.
    pub(super) fn is_silent(&self, from: &str, to: &str) -> bool {
        self.is_cut(from, to) || Links::has(&self.0.links.lock().unwrap().mute_since, from, to).is_some()
    }

    /// How long a packet is under way, retransmissions included.
    pub(super) fn latency(&self, from: &str, to: &str) -> Duration {
        let (slower, rate, uneven) = {
            let links = self.0.links.lock().unwrap();
            let has = |late| Links::has(late, from, to);
            (has(&links.slower), Links::has(&links.lossy, from, to), has(&links.uneven))
        };
        let mut takes = self.0.fate.draw(self.0.latency.clone()) + slower.unwrap_or_default();
        if let Some(most) = uneven {
            takes += self.0.fate.draw(Duration::ZERO..most);
        }
        let mut wait = RETRANSMIT_FIRST;
        while rate.is_some_and(|rate| self.0.fate.happens(rate)) {
            takes += wait;
            wait = (wait * 2).min(RETRANSMIT_MAX);
        }
        takes
    }

    /// Whether the next call arrives twice.
    pub fn repeats(&self, from: &str, to: &str) -> bool {
        let rate = Links::has(&self.0.links.lock().unwrap().repeating, from, to);
        rate.is_some_and(|rate| self.0.fate.happens(rate))
    }

    pub(super) async fn until_heard(&self, from: &str, to: &str) {
        self.0.healed.until(|| (!self.is_silent(from, to)).then_some(())).await;
    }

    pub(super) async fn until_healed(&self, from: &str, to: &str) {
        self.0.healed.until(|| (!self.is_cut(from, to)).then_some(())).await;
    }

    /// How long after the heal a segment that was lost in the cut arrives: the longer the cut, the
    /// longer the sender's back-off has become.
    pub(super) fn retransmit_delay(&self, from: &str, to: &str) -> Duration {
        let lasted = self.0.links.lock().unwrap().last_cut.get(&direction(from, to)).copied();
        self.0.fate.draw(Duration::ZERO..lasted.unwrap_or_default().min(RETRANSMIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use crate::net::{Insecure, Net, Packet};
    use crate::world::{Fate, on_fresh_thread};
    use std::future::Future;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// On the machine `b`: answers one connection after the other.
    async fn echo(net: Net) {
        let listener = net.listen("b", 1);
        loop {
            let end = listener.accept().await;
            while let Some(packet) = end.recv().await {
                end.send(packet);
            }
        }
    }

    fn in_a_world<F: Future<Output = ()> + 'static>(test: impl FnOnce(Net, Fate) -> F + Send + 'static) {
        let run = on_fresh_thread(1, move || {
            let fate = Fate::current();
            test(Net::new(fate.clone()), fate)
        });
        assert_eq!(run, Ok(()));
    }

    #[test]
    fn a_mute_way_takes_connections_and_calls_and_brings_no_answer_until_it_is_mended() {
        in_a_world(|net, fate| async move {
            madsim::task::spawn(echo(net.clone()));
            net.mute("b", "a");
            let end = fate.timeout(PATIENCE, net.connect("a", "b", 1)).await.expect("it is made").unwrap();
            end.send(Packet::Ping);
            assert!(fate.timeout(PATIENCE, end.recv()).await.is_none());
            net.heal_all();
            assert!(matches!(end.recv().await, Some(Packet::Ping)), "it was carried out and comes late");
        });
    }

    #[test]
    fn a_certificate_that_has_expired_ends_no_connection_and_lets_no_new_one_come_about() {
        in_a_world(|net, _| async move {
            madsim::task::spawn(echo(net.clone()));
            net.make_secure("b");
            let end = net.connect_securely("a", "b", 1).await.unwrap();
            net.expire_certificate("b");
            end.send(Packet::Ping);
            assert!(matches!(end.recv().await, Some(Packet::Ping)), "what is open goes on");
            drop(end);
            assert_eq!(net.connect_securely("a", "b", 1).await.err(), Some(Insecure::Untrusted));
            net.renew_certificate("b");
            assert!(net.connect_securely("a", "b", 1).await.is_ok());
            assert_eq!(net.connect_securely("a", "c", 1).await.err(), Some(Insecure::Refused));
        });
    }

    #[test]
    fn a_machine_without_power_is_silent_and_knows_no_connection_afterwards() {
        in_a_world(|net, fate| async move {
            let server = madsim::task::spawn(echo(net.clone()));
            let end = net.connect("a", "b", 1).await.unwrap();
            net.power_off("b");
            server.abort();
            end.send(Packet::Ping);
            assert!(fate.timeout(PATIENCE, end.recv()).await.is_none(), "no reset comes from a dark machine");
            net.heal_all();
            assert!(fate.timeout(PATIENCE, net.connect("a", "b", 1)).await.is_none(), "mending links brings no power");
            net.power_on("b");
            assert!(end.recv().await.is_none(), "the connection is gone");
            assert!(net.connect("a", "b", 1).await.is_err(), "the kernel answers, and nobody listens");
        });
    }

    #[test]
    fn on_an_uneven_way_one_connection_overtakes_another_and_never_itself() {
        in_a_world(|net, fate| async move {
            let listener = net.listen("b", 1);
            let ends = [net.connect("a", "b", 1).await.unwrap(), net.connect("a", "b", 1).await.unwrap()];
            let there = [listener.accept().await, listener.accept().await];
            net.reorder("a", "b", Duration::from_secs(1));
            let mut overtaken = 0;
            for _ in 0..40 {
                ends[0].send(Packet::Ping);
                fate.sleep(Duration::from_millis(5)).await;
                ends[1].send(Packet::Bytes(vec![1]));
                ends[1].send(Packet::Bytes(vec![2]));
                let first = async {
                    there[0].recv().await;
                    fate.now()
                };
                let second = async {
                    assert!(matches!(there[1].recv().await, Some(Packet::Bytes(b)) if b == [1]));
                    let at = fate.now();
                    assert!(matches!(there[1].recv().await, Some(Packet::Bytes(b)) if b == [2]));
                    at
                };
                let (first, second) = futures_util::future::join(first, second).await;
                overtaken += u32::from(second < first);
            }
            assert!((10..30).contains(&overtaken), "{overtaken} of 40");
        });
    }

    #[test]
    fn slow_and_lossy_ways_bring_everything_later() {
        in_a_world(|net, fate| async move {
            madsim::task::spawn(echo(net.clone()));
            let end = net.connect("a", "b", 1).await.unwrap();
            let took = async |calls: u32| {
                let began = fate.now();
                for _ in 0..calls {
                    end.send(Packet::Ping);
                    assert!(matches!(end.recv().await, Some(Packet::Ping)));
                }
                fate.now().since(began)
            };
            let usual = took(20).await;
            net.lose("a", "b", 0.3);
            assert!(took(20).await > usual + Duration::from_secs(1));
            net.heal_all();
            net.slow("a", "b", Duration::from_secs(1));
            let slow = took(2).await;
            assert!(slow >= Duration::from_secs(4) && slow < Duration::from_secs(5), "{slow:?}");
            net.heal_all();
            assert!(took(20).await < usual * 2);
        });
    }
}
