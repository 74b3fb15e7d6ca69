//! Which links are cut, slow or lossy. Each direction is a switch of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// As TCP does it: a segment that was lost is sent again after waits that double, from the first to the last of these.
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);
const RETRANSMIT_MAX: Duration = Duration::from_secs(3);

type Direction = (String, String);

#[derive(Debug, Default)]
struct Faults {
    cut: BTreeSet<Direction>,
    /// Connections are made, and then bytes stop.
    mute: BTreeSet<Direction>,
    slower: BTreeMap<Direction, Duration>,
    /// The part of the packets that is lost each time it is sent.
    lossy: BTreeMap<Direction, f64>,
    /// What is read at once is late by a part of this.
    uneven: BTreeMap<Direction, Duration>,
}

#[derive(Debug, Clone)]
pub struct Links(watch::Sender<Faults>);

impl Links {
    pub fn whole() -> Links {
        Links(watch::Sender::default())
    }

    /// Bytes from one to the other stop where they are from now on. Whoever it is reaches itself.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        if from != to {
            self.0.send_modify(|faults| _ = faults.cut.insert((from.to_string(), to.to_string())));
        }
    }

    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Whoever it is, they still find each other, but nothing that the first says arrives.
    pub fn mute(&self, from: &str, to: &str) {
        self.0.send_modify(|faults| _ = faults.mute.insert((from.to_string(), to.to_string())));
    }

    /// What is read at once takes that much longer, and what comes after waits for it: the way gets narrow, too.
    pub fn slow(&self, a: &str, b: &str, by: Duration) {
        self.0.send_modify(|faults| {
            faults.slower.insert((a.to_string(), b.to_string()), by);
            faults.slower.insert((b.to_string(), a.to_string()), by);
        });
    }

    /// Kernels send again what was lost, so a loss shows as a delay, and a link that loses much as a connection that
    /// hardly moves: what comes after a lost packet waits for it, and there is always one under way.
    pub fn lose(&self, a: &str, b: &str, rate: f64) {
        self.0.send_modify(|faults| {
            faults.lossy.insert((a.to_string(), b.to_string()), rate);
            faults.lossy.insert((b.to_string(), a.to_string()), rate);
        });
    }

    /// What is read at once is late by up to this, each time by another part of it: of two connections either may be first.
    pub fn reorder(&self, a: &str, b: &str, by: Duration) {
        self.0.send_modify(|faults| {
            faults.uneven.insert((a.to_string(), b.to_string()), by);
            faults.uneven.insert((b.to_string(), a.to_string()), by);
        });
    }

    pub fn heal(&self) {
        self.0.send_replace(Faults::default());
    }

    /// Ends when neither direction between the two is cut.
    pub async fn until_whole(&self, a: &str, b: &str) {
        self.until(|faults| !faults.cuts(a, b)).await;
    }

    /// Ends when a direction between the two is cut.
    pub async fn until_cut(&self, a: &str, b: &str) {
        self.until(|faults| faults.cuts(a, b)).await;
    }

    async fn until(&self, holds: impl FnMut(&Faults) -> bool) {
        let mut faults = self.0.subscribe();
        // `self` holds the sender, so the channel stays open.
        let _held = faults.wait_for(holds).await;
    }

    pub fn way(&self, from: &str, to: &str) -> Way {
        Way { faults: self.0.subscribe(), direction: (from.to_string(), to.to_string()) }
    }
}

impl Faults {
    fn cuts(&self, a: &str, b: &str) -> bool {
        self.cut.iter().any(|(from, to)| (from == a && to == b) || (from == b && to == a))
    }

    fn stops(&self, direction: &Direction) -> bool {
        self.cut.contains(direction) || self.mute.contains(direction)
    }
}

/// One direction between two.
#[derive(Debug)]
pub struct Way {
    faults: watch::Receiver<Faults>,
    direction: Direction,
}

impl Way {
    /// Ends at once while the direction isn't cut.
    pub async fn open(&mut self) {
        if self.faults.wait_for(|faults| !faults.stops(&self.direction)).await.is_err() {
            // The run is over; nothing is carried any more.
            std::future::pending::<()>().await;
        }
    }

    /// How much longer than usual the next packet is under way, retransmissions included.
    pub fn slower_by(&self) -> Duration {
        let faults = self.faults.borrow();
        let slower = faults.slower.get(&self.direction).copied().unwrap_or_default();
        let rate = faults.lossy.get(&self.direction).copied();
        let uneven = faults.uneven.get(&self.direction).map(|most| most.mul_f64(rand::random::<f64>()));
        slower
            + uneven.unwrap_or_default()
            + rate.map_or(Duration::ZERO, |rate| retransmitted(|| rand::random::<f64>() < rate))
    }
}

/// How long it takes until a packet arrives that is sent again for as long as it is lost.
fn retransmitted(mut is_lost: impl FnMut() -> bool) -> Duration {
    let (mut takes, mut wait) = (Duration::ZERO, RETRANSMIT_FIRST);
    while is_lost() {
        takes += wait;
        wait = (wait * 2).min(RETRANSMIT_MAX);
    }
    takes
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn directions_are_cut_one_by_one_and_healed_together() {
        let links = Links::whole();
        let (mut there, mut back) = (links.way("a", "b"), links.way("b", "a"));
        links.cut_one_way("a", "b");
        assert!(there.open().now_or_never().is_none());
        assert!(back.open().now_or_never().is_some());
        assert!(links.until_whole("b", "a").now_or_never().is_none());
        assert!(links.until_cut("b", "a").now_or_never().is_some());
        links.cut("a", "a");
        assert!(links.way("a", "a").open().now_or_never().is_some());
        links.heal();
        assert!(there.open().now_or_never().is_some());
        assert!(links.until_cut("a", "b").now_or_never().is_none());
        links.slow("b", "a", Duration::from_secs(2));
        assert_eq!((there.slower_by(), links.way("a", "c").slower_by()), (Duration::from_secs(2), Duration::ZERO));
        links.heal();
        assert_eq!(there.slower_by(), Duration::ZERO);
        links.mute("a", "b");
        assert!(links.until_whole("a", "b").now_or_never().is_some(), "connections are made");
        assert!(there.open().now_or_never().is_none());
    }

    #[test]
    fn a_packet_that_is_lost_again_and_again_waits_longer_each_time() {
        let after = |losses: usize| {
            let mut left = losses;
            retransmitted(|| left.checked_sub(1).map(|rest| left = rest).is_some()).as_millis()
        };
        assert_eq!([0, 1, 2, 4, 5, 6].map(after), [0, 200, 600, 3000, 6000, 9000]);
    }

    #[tokio::test]
    async fn each_packet_is_late_by_a_time_of_its_own_on_an_uneven_link() {
        let links = Links::whole();
        let most = Duration::from_secs(1);
        links.reorder("a", "b", most);
        let way = links.way("b", "a");
        let late: BTreeSet<Duration> = (0..100).map(|_| way.slower_by()).collect();
        assert!(late.len() > 90 && *late.last().unwrap() < most, "{late:?}");
        assert!(late.first().unwrap() < &(most / 4) && late.last().unwrap() > &(most / 4 * 3), "{late:?}");
        links.heal();
        assert_eq!(way.slower_by(), Duration::ZERO);
    }

    #[tokio::test]
    async fn part_of_the_packets_is_late_on_a_lossy_link_until_it_is_mended() {
        let links = Links::whole();
        links.lose("a", "b", 0.5);
        for way in [links.way("a", "b"), links.way("b", "a")] {
            let late = (0..1000).filter(|_| way.slower_by() >= RETRANSMIT_FIRST).count();
            assert!((350..650).contains(&late), "{late} of 1000 are late");
        }
        let elsewhere = links.way("a", "c");
        assert!((0..100).all(|_| elsewhere.slower_by() == Duration::ZERO));
        links.heal();
        let way = links.way("a", "b");
        assert!((0..100).all(|_| way.slower_by() == Duration::ZERO));
    }
}
