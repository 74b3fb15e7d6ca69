//! What a run is made of: every choice that a deployment has, drawn. What is switched off in one run is on in another;
//! with everything on, each thing would keep the others from getting far.

use super::dice::Dice;
use super::hazard::{Hazard, Slot};
use super::manner::Manner;
use super::plot::Plot;
use crate::model::{Durability, FormationSettings, KeeperSettings, MOST_NODES, MonitorSettings};
use crate::scenario::format::WorkloadKind;
use crate::scenario::{
    ClockOptions, Cluster, FaultPoint, NodeOptions, PostgresOptions, Size, SynchronousCommit, Workload,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// What goes wrong in a run, and how.
#[derive(Debug, Clone)]
pub struct Swarm {
    pub hazards: Vec<Hazard>,
    /// Situations that come about, beside what goes wrong by itself; most runs have some.
    pub plots: Vec<Plot>,
    /// The shortest time in which nothing begins, so that the group gets somewhere.
    pub calm: Duration,
    /// The shortest time for which something that lasts goes on.
    pub lasts: Duration,
    pub most_at_once: usize,
}

/// As many as a group holds.
pub const NAMES: [&str; MOST_NODES] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

impl Swarm {
    pub fn draw(dice: &mut Dice, nodes: usize, manner: &Manner) -> Swarm {
        let mut hazards: Vec<Hazard> = Vec::new();
        // Few kinds meet often, many kinds meet seldom; both are wanted.
        let on = *dice.pick(&[8, 20, 40]);
        while hazards.is_empty() {
            let possible = Hazard::ALL.iter().filter(|h| h.needs() <= nodes && manner.has(**h));
            hazards = possible.filter(|h| dice.chance(if h.is_rare() { on / 3 } else { on })).copied().collect();
        }
        // Plots are written for the simulated world.
        let possible: Vec<Plot> = Plot::ALL.into_iter().filter(|p| !manner.live && p.needs() <= nodes).collect();
        let count = *dice.pick(&[0, 0, 1, 2, 3, 4]);
        let plots = dice.some(&possible, count);
        let mut swarm = Swarm { hazards, plots, calm: Duration::ZERO, lasts: Duration::ZERO, most_at_once: 1 };
        swarm.keep_survivable();
        let calm = dice.seconds(manner.calm.0, manner.calm.1);
        let lasts = dice.seconds(manner.lasts.0, manner.lasts.1);
        Swarm { calm, lasts, most_at_once: *dice.pick(&[1, 1, 2, 3]), ..swarm }
    }

    /// Leaves out what no group survives together.
    fn keep_survivable(&mut self) {
        if self.destroys() {
            // Who leaves the quorum holds nothing for the others.
            self.hazards.retain(|h| *h != Hazard::Quorum);
        }
        if self.plots.contains(&Plot::NodeLeaves) || self.hazards.contains(&Hazard::DropAndReturn) {
            // A group that has shrunk to one node has nobody else who holds its data.
            self.hazards.retain(|h| !matches!(h, Hazard::LoseDisk | Hazard::LoseDirectory));
            self.plots.retain(|p| *p != Plot::CopyIsCutShort);
        }
        if self.hazards.iter().any(|h| h.makes_new_nodes()) {
            // Nobody can tell a new node that registers first with an empty monitor from the first of a new group.
            self.hazards.retain(|h| *h != Hazard::ReplaceMonitor);
        }
        if !self.plots.is_empty() {
            // A monitor that forgets the last moves of the role can't prove what it has not been told again.
            self.hazards.retain(|h| !matches!(h, Hazard::RestoreMonitor | Hazard::ReplaceMonitor));
        }
    }

    /// A lease ends by the hand of a keeper. Of one that is cut off nobody hears that its keeper has gone.
    pub fn keep_leases_minded(&mut self) {
        if self.hazards.iter().any(|h| h.slot() == Slot::Links) {
            self.hazards.retain(|h| !matches!(h, Hazard::KillKeeper | Hazard::PauseKeeper));
        }
        if self.plots.contains(&Plot::StallingPrimary) {
            // Of the others many take keepers away.
            self.plots.retain(|p| *p == Plot::StallingPrimary);
            self.hazards.retain(|h| !matches!(h, Hazard::KillKeeper | Hazard::PauseKeeper));
        }
        if self.hazards.contains(&Hazard::StallDisk) {
            // What its postmaster leaves amid a flush is ended by the keeper, unless that has died as well.
            self.hazards.retain(|h| *h != Hazard::KillPostgres);
        }
    }

    /// Something here takes data away for good.
    pub fn destroys(&self) -> bool {
        self.hazards.iter().any(|h| h.destroys()) || self.plots.iter().any(|p| p.destroys())
    }

    /// The monitor's disk is full at times.
    pub fn fills_monitor(&self) -> bool {
        self.hazards.contains(&Hazard::FillMonitor) || self.plots.contains(&Plot::ForgetfulMonitor)
    }

    /// Something here may leave a node in maintenance.
    pub fn maintains(&self) -> bool {
        let maintains = |hazard: &Hazard| matches!(hazard, Hazard::Maintenance | Hazard::Together);
        self.hazards.iter().any(maintains) || self.plots.iter().any(|p| p.maintains())
    }
}

/// Whether it is a large group is drawn from `large`.
pub fn group_size(dice: &mut Dice, large: &mut Dice, manner: &Manner) -> usize {
    let usual = *dice.weighted(&manner.sizes);
    let (some, most) = manner.large;
    let percent = large.below(100);
    match percent {
        _ if percent < most => 10 + large.below(MOST_NODES as u64 - 9) as usize,
        _ if percent < most + some => 6 + large.below(4) as usize,
        _ => usual,
    }
}

pub fn cluster(dice: &mut Dice, size: usize, swarm: &Swarm, manner: &Manner) -> Cluster {
    let nodes: Vec<String> = NAMES[..size].iter().map(|n| n.to_string()).collect();
    let mut node = BTreeMap::new();
    // What a fault costs is known of groups whose nodes are as usual; most of those that are played live are.
    let unusual = !manner.live || dice.chance(30);
    for (i, name) in nodes.iter().enumerate().filter(|_| unusual) {
        let options = node_options(dice, i, size, swarm);
        if options != NodeOptions::default() {
            node.insert(name.clone(), options);
        }
    }
    Cluster {
        primary: nodes[0].clone(),
        formation: if manner.live { "default".into() } else { formation_name(dice) },
        settings: formation(dice, size),
        node,
        postgres: (!manner.live && dice.chance(60)).then(|| postgres(dice)),
        clock: if manner.live { BTreeMap::new() } else { clocks(dice, &nodes) },
        group: 0,
        ssl: swarm.hazards.contains(&Hazard::ExpireCertificate),
        nodes,
    }
}

fn node_options(dice: &mut Dice, i: usize, size: usize, swarm: &Swarm) -> NodeOptions {
    let usual = NodeOptions::default();
    NodeOptions {
        candidate_priority: *dice.weighted(&[(12, usual.candidate_priority), (2, 100), (1, 1), (1, 0)]),
        // Where data is taken away, each standby must be one that commits count on.
        replication_quorum: swarm.destroys() || i < 2 || !dice.chance(12),
        // Nor may a node that is alone for now lose what it has.
        join: swarm.hazards.contains(&Hazard::ReplaceMonitor)
            || swarm.destroys()
            || i == 0
            || i + 1 < size
            || !dice.chance(10),
    }
}

/// A monitor has a formation from its birth on; this one may stand beside that.
fn formation_name(dice: &mut Dice) -> String {
    if dice.chance(15) { "blue".into() } else { "default".into() }
}

pub(super) fn formation(dice: &mut Dice, size: usize) -> FormationSettings {
    let number = if size > 2 { dice.below(size as u64 - 1) as u32 } else { 0 };
    let durability = *dice.weighted(&[
        (35, None),
        (20, Some(Durability::Strict)),
        (25, Some(Durability::Degrade)),
        (20, Some(Durability::Async)),
    ]);
    FormationSettings { number_sync_standbys: number, durability, ..FormationSettings::default() }
}

fn postgres(dice: &mut Dice) -> PostgresOptions {
    let mut usually_not = |percent| dice.chance(percent);
    let (row, kept, slots, checkpoints, copies) =
        (usually_not(15), usually_not(20), usually_not(20), usually_not(30), usually_not(30));
    PostgresOptions {
        row: row.then(|| Size(*dice.pick(&[8 << 10, 64 << 10, 1 << 20]))),
        wal_keep_size: kept.then(|| Size(*dice.pick(&[0, 32 << 20, 128 << 20]))),
        max_slot_wal_keep_size: slots.then(|| Size(*dice.pick(&[64 << 20, 256 << 20]))),
        checkpoint_timeout: checkpoints.then(|| dice.seconds(30.0, 300.0)),
        base_backup_takes: copies.then(|| dice.seconds(0.5, 30.0)),
        version: Some(*dice.pick(&[15, 16, 17, 18])),
    }
}

fn clocks(dice: &mut Dice, nodes: &[String]) -> BTreeMap<String, ClockOptions> {
    if !dice.chance(40) {
        return BTreeMap::new();
    }
    let mut clocks = BTreeMap::new();
    for name in nodes.iter().map(String::as_str).chain(["monitor"]) {
        let most = ClockOptions::DRIFT_MAX_PPM as u64;
        let drift_ppm = dice.below(2 * most + 1) as i32 - ClockOptions::DRIFT_MAX_PPM;
        clocks.insert(name.to_string(), ClockOptions { ahead: dice.seconds(0.1, 100_000.0), drift_ppm });
    }
    clocks
}

/// Which points are live, and how often each strikes: many at times, or few of them often.
pub fn fault_points(dice: &mut Dice, manner: &Manner) -> BTreeMap<FaultPoint, f64> {
    if manner.live || !dice.chance(35) {
        return BTreeMap::new();
    }
    let all = FaultPoint::ALL;
    if dice.chance(50) {
        let count = 1 + dice.below(2) as usize;
        let live = dice.some(&all, count);
        return live.into_iter().map(|point| (point, *dice.pick(&[0.05, 0.1, 0.2]))).collect();
    }
    let live: Vec<FaultPoint> = all.into_iter().filter(|_| dice.chance(25)).collect();
    live.into_iter().map(|point| (point, *dice.pick(&[0.001, 0.005, 0.02, 0.1]))).collect()
}

/// Half of the runs have usual timings; the others stretch and shrink them, within what makes sense together. Real
/// servers always have usual ones: what they are late by on a busy machine is no part of the story.
pub fn timings(dice: &mut Dice, manner: &Manner) -> (MonitorSettings, KeeperSettings) {
    let (mut monitor, mut keeper) = (MonitorSettings::default(), KeeperSettings::default());
    if manner.live || dice.chance(50) {
        return (monitor, keeper);
    }
    monitor.node_considered_unhealthy_timeout = dice.seconds(2.0, 15.0);
    monitor.probe_period = dice.seconds(0.2, 2.0);
    monitor.probe_timeout = dice.seconds(0.2, 2.0);
    monitor.probe_period_after_hangup = dice.seconds(0.01, 0.2);
    monitor.standby_stall_timeout = dice.seconds(0.5, 8.0);
    monitor.drain_timeout = dice.seconds(5.0, 40.0);
    monitor.election_patience = dice.seconds(0.01, 2.0);
    monitor.fetch_timeout = dice.seconds(2.0, 15.0);
    monitor.async_lease = dice.seconds(4.0, 20.0);
    monitor.hold = dice.seconds(1.0, 15.0);
    monitor.events_kept = *dice.pick(&[100, 10_000]);
    keeper.heartbeat = dice.seconds(0.2, 1.5);
    keeper.look_period = dice.seconds(0.05, 0.5);
    keeper.network_partition_timeout = dice.seconds(5.0, 30.0);
    keeper.call_timeout = keeper.heartbeat + dice.seconds(1.0, 5.0);
    keeper.retry_pause = dice.seconds(0.05, 0.5);
    keeper.handover_timeout = dice.seconds(5.0, 60.0);
    keeper.step_retry_pause = dice.seconds(0.1, 1.0);
    (monitor, keeper)
}

pub fn workload(dice: &mut Dice, manner: &Manner) -> Vec<Workload> {
    let mut load = |synchronous_commit| Workload {
        kind: WorkloadKind::UniqueInserts,
        clients: 1 + dice.below(4) as u32,
        rate: *dice.pick(&manner.rates),
        synchronous_commit,
        sticky: dice.chance(25),
        row: None,
    };
    let mut all = vec![load(SynchronousCommit::On)];
    let another = [
        (70, None),
        (8, Some(SynchronousCommit::RemoteApply)),
        (8, Some(SynchronousCommit::RemoteWrite)),
        (8, Some(SynchronousCommit::Local)),
        (6, Some(SynchronousCommit::Off)),
    ];
    let kind = *dice.weighted(&another);
    all.extend(kind.map(|kind| Workload {
        kind: WorkloadKind::UniqueInserts,
        clients: 1,
        rate: 5.0,
        synchronous_commit: kind,
        sticky: false,
        row: None,
    }));
    all
}
