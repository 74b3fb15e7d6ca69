//! Which links are cut. Each direction is a switch of its own.

use std::collections::BTreeSet;
use tokio::sync::watch;

type Direction = (String, String);

#[derive(Debug, Clone)]
pub struct Links(watch::Sender<BTreeSet<Direction>>);

impl Links {
    pub fn whole() -> Links {
        Links(watch::Sender::default())
    }

    /// Bytes from one to the other stop where they are from now on. Whoever it is reaches itself.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        if from != to {
            self.0.send_modify(|cut| _ = cut.insert((from.to_string(), to.to_string())));
        }
    }

    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    pub fn heal(&self) {
        self.0.send_modify(BTreeSet::clear);
    }

    /// Ends when neither direction between the two is cut.
    pub async fn until_whole(&self, a: &str, b: &str) {
        self.until(|cut| !either(cut, a, b)).await;
    }

    /// Ends when a direction between the two is cut.
    pub async fn until_cut(&self, a: &str, b: &str) {
        self.until(|cut| either(cut, a, b)).await;
    }

    async fn until(&self, holds: impl FnMut(&BTreeSet<Direction>) -> bool) {
        let mut cut = self.0.subscribe();
        // `self` holds the sender, so the channel stays open.
        let _held = cut.wait_for(holds).await;
    }

    pub fn way(&self, from: &str, to: &str) -> Way {
        Way { cut: self.0.subscribe(), direction: (from.to_string(), to.to_string()) }
    }
}

fn either(cut: &BTreeSet<Direction>, a: &str, b: &str) -> bool {
    !cut.is_empty() && cut.iter().any(|(from, to)| (from == a && to == b) || (from == b && to == a))
}

/// One direction between two.
#[derive(Debug)]
pub struct Way {
    cut: watch::Receiver<BTreeSet<Direction>>,
    direction: Direction,
}

impl Way {
    /// Ends at once while the direction isn't cut.
    pub async fn open(&mut self) {
        if self.cut.wait_for(|cut| !cut.contains(&self.direction)).await.is_err() {
            // The run is over; nothing is carried any more.
            std::future::pending::<()>().await;
        }
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
    }
}
