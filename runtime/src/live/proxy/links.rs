//! Which links are cut, and which are slow. Each direction is a switch of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

type Direction = (String, String);

#[derive(Debug, Default)]
struct Faults {
    cut: BTreeSet<Direction>,
    /// Connections are made, and then bytes stop.
    mute: BTreeSet<Direction>,
    slower: BTreeMap<Direction, Duration>,
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

    /// How much longer than usual bytes are under way.
    pub fn slower_by(&self) -> Duration {
        self.faults.borrow().slower.get(&self.direction).copied().unwrap_or_default()
    }
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
}
