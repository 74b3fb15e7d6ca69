//! What stories are drawn for: the simulated world alone, with all that goes wrong there, or both worlds. The same seed
//! and the same manner are the same story, whoever plays it.

use super::hazard::Hazard;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Manner {
    /// Live runs can play it too: what they have no hand for is left out, and times are those of real servers.
    pub live: bool,
    /// Disks of nodes fill up. Live runs mount small ones for that, which not every user may.
    pub disks: bool,
    /// How long things go wrong.
    pub length: Duration,
    pub(super) sizes: [(u64, usize); 5],
    /// In percent: how often the group is a large one, of up to nine nodes or of up to as many as there may be. Each node
    /// costs its share of a run.
    pub(super) large: (u64, u64),
    /// In percent: how often another formation is on the same monitor.
    pub(super) beside: u64,
    /// Writes per second.
    pub(super) rates: [f64; 3],
    /// Bounds of what is drawn, in seconds: before the first thing goes wrong, the shortest calm after one, the
    /// shortest time for which one goes on, and when those go down that stay away.
    pub(super) first: (f64, f64),
    pub(super) calm: (f64, f64),
    pub(super) lasts: (f64, f64),
    pub(super) leaves: (f64, f64),
    /// How many times the shortest calm the longest is.
    pub(super) calm_most: u32,
    /// Nothing lasts longer, so that a run sees many things.
    pub(super) lasts_most: Duration,
}

impl Manner {
    pub const SIMULATED: Manner = Manner {
        live: false,
        disks: true,
        length: super::LENGTH,
        sizes: [(4, 1), (30, 2), (40, 3), (16, 4), (10, 5)],
        large: (3, 1),
        beside: 10,
        rates: [5.0, 10.0, 20.0],
        first: (1.0, 20.0),
        calm: (0.5, 40.0),
        lasts: (0.2, 15.0),
        leaves: (0.01, 20.0),
        calm_most: 4,
        lasts_most: Duration::from_secs(60),
    };

    /// A minute or so of each story. Calm is long enough for most faults to strike a group in order, so that they
    /// have a price; what lasts is at times longer than silence is borne.
    pub const fn live(disks: bool) -> Manner {
        Manner {
            live: true,
            disks,
            length: Duration::from_secs(50),
            sizes: [(2, 1), (35, 2), (45, 3), (18, 4), (0, 5)],
            // More servers than that are late on a small machine, and their prices say nothing.
            large: (0, 0),
            beside: 0,
            rates: [20.0, 50.0, 100.0],
            first: (5.5, 7.0),
            calm: (5.5, 6.5),
            lasts: (0.5, 6.0),
            leaves: (0.5, 5.0),
            calm_most: 2,
            lasts_most: Duration::from_secs(15),
        }
    }

    pub(super) fn has(&self, hazard: Hazard) -> bool {
        (!self.live || hazard.is_live()) && (self.disks || hazard != Hazard::FillDisk)
    }
}
