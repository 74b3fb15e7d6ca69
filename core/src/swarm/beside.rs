//! A second formation on the monitor of a drawn story, or a second group of the first one, and what goes wrong there. It is
//! a small one with little to do: it is there to be left alone by what befalls the first, and the other way round.

use super::dice::Dice;
use super::hazard::Hazard;
use super::manner::Manner;
use super::options;
use crate::model::{Durability, FormationSettings};
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

/// `is_leased` is what the first formation may be at any time.
pub fn draw(dice: &mut Dice, first: &Cluster, is_leased: bool, manner: &Manner) -> Option<(Beside, Trouble)> {
    if !dice.chance(manner.beside) {
        return None;
    }
    let size = *dice.weighted(&[(10, 1), (50, 2), (40, 3)]);
    // Two groups of one formation have its settings; what is changed of them is changed for both.
    let is_group = dice.chance(35);
    let settings = if is_group { FormationSettings::default() } else { options::formation(dice, size) };
    let nodes: Vec<String> = NAMES[..size].iter().map(|name| name.to_string()).collect();
    let is_leased = if is_group { is_leased } else { settings.durability() == Durability::Async };
    let cluster = Cluster {
        primary: nodes[0].clone(),
        formation: if is_group { first.formation.clone() } else { FORMATION.into() },
        group: u32::from(is_group),
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
    let possible = possible.filter(|hazard| !is_leased || !matches!(hazard, Hazard::KillKeeper | Hazard::PauseKeeper));
    let hazards = dice.some(&possible.collect::<Vec<_>>(), 4);
    let incidents = *dice.pick(&[0, 2, 5, 10]);
    Some((Beside { cluster, workload, finally: BesideFinally::default() }, Trouble { hazards, incidents }))
}
