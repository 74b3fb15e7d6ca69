//! A second formation on the monitor of a drawn story, and what goes wrong there. It is a small one with little to do: it
//! is there to be left alone by what befalls the first, and the other way round.

use super::dice::Dice;
use super::hazard::Hazard;
use super::manner::Manner;
use super::options;
use crate::model::Durability;
use crate::scenario::beside::BesideFinally;
use crate::scenario::format::WorkloadKind;
use crate::scenario::{Beside, Cluster, SynchronousCommit, Workload};
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["x", "y", "z"];
const FORMATION: &str = "green";

/// What may befall a node that is hit by its name, and is over when its time is.
/// Links are mended all at once, so they break by what the first formation goes through.
const HAZARDS: [Hazard; 13] = {
    use Hazard::*;
    [
        KillKeeper,
        PauseKeeper,
        KillPostgres,
        KillNode,
        PowerOff,
        StopService,
        Pause,
        Promote,
        Priority,
        CrashBackend,
        StopByHand,
        RestartByHand,
        StallDisk,
    ]
};

/// What goes wrong in the second formation.
pub struct Trouble {
    pub hazards: Vec<Hazard>,
    pub incidents: u64,
}

pub fn draw(dice: &mut Dice, manner: &Manner) -> Option<(Beside, Trouble)> {
    if !dice.chance(manner.beside) {
        return None;
    }
    let size = *dice.weighted(&[(10, 1), (50, 2), (40, 3)]);
    let settings = options::formation(dice, size);
    let nodes: Vec<String> = NAMES[..size].iter().map(|name| name.to_string()).collect();
    let leased = settings.durability() == Durability::Async;
    let cluster = Cluster {
        primary: nodes[0].clone(),
        formation: FORMATION.into(),
        group: 0,
        ssl: false,
        settings,
        node: BTreeMap::new(),
        postgres: None,
        clock: BTreeMap::new(),
        nodes,
    };
    let workload = vec![Workload {
        kind: WorkloadKind::UniqueInserts,
        clients: 1 + dice.below(2) as u32,
        rate: 5.0,
        synchronous_commit: SynchronousCommit::On,
        sticky: dice.chance(25),
        row: None,
    }];
    let possible = HAZARDS.into_iter().filter(|hazard| hazard.needs() <= size);
    // See `Swarm::keep_leases_minded`; links may break by what the first formation goes through.
    let possible = possible.filter(|hazard| !leased || !matches!(hazard, Hazard::KillKeeper | Hazard::PauseKeeper));
    let hazards = dice.some(&possible.collect::<Vec<_>>(), 4);
    let incidents = *dice.pick(&[0, 2, 5, 10]);
    Some((Beside { cluster, workload, finally: BesideFinally::default() }, Trouble { hazards, incidents }))
}
