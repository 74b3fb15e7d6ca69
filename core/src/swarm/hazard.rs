//! The kinds of things that go wrong, and orders that come at any moment: what each of them does and what ends it.

use super::dice::Dice;
use crate::model::Durability;
use crate::scenario::verb::*;
use crate::scenario::{Selector, Verb};
use crate::wire;
use std::time::Duration;

macro_rules! hazards {
    ($($name:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Hazard { $($name,)* }

        impl Hazard {
            pub const ALL: &'static [Hazard] = &[$(Hazard::$name,)*];
        }
    };
}

hazards! {
    KillKeeper, PauseKeeper, KillPostgres, KillNode, KillSeveral, PowerOff, StopService, Pause, Suspend, LoseDisk,
    KillMonitor, FreezeMonitor, PowerOffMonitor, RestoreMonitor, ReplaceMonitor,
    ExpireCertificate,
    Cut, CutOneWay, HalfOpen, Isolate, Slow, Lose, Reorder, Repeat, Swizzle, SpeakVersion,
    Switchover, Promote, Consent, Maintenance, Priority, Quorum, Formation, Secondary, Async, Together, AcceptTimeline,
    DropAndReturn, ReloadKeeper, UseArchive,
    FillDisk, StallDisk, ReadOnlyDisk, FillStore, StallStore, FillMonitor, StallMonitor, TearStore, ClockStep,
    RoguePromote, RogueStart, CrashBackend, StopBackend, HangArchiver, SlowCheckpoint, ApplyDelay, CancelWaiters,
    TerminateWaiters, LoseDirectory, SmartStop, StopByHand, RestartByHand, BreakConfig,
}

/// Things of one slot don't overlap: links are mended all at once, and there is one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    Links,
    Monitor,
    /// Takes data away: one at a time, and only from a group that has it twice.
    Data,
    Free,
}

/// Something that goes wrong: what begins it, and what ends it after a while.
#[derive(Debug, Clone)]
pub struct Incident {
    pub begin: Vec<Verb>,
    pub end: Vec<Verb>,
}

/// Who there is to be hit.
pub struct Scene<'a> {
    pub nodes: &'a [String],
    /// They are those of the second formation: roles are the first one's, so these are hit by their names.
    pub by_name: bool,
    /// The name that the first verb binds its node to.
    pub bound: Selector,
}

impl Hazard {
    pub fn slot(self) -> Slot {
        use Hazard::*;
        match self {
            Cut | CutOneWay | HalfOpen | Isolate | Slow | Lose | Reorder | Repeat | Swizzle => Slot::Links,
            KillMonitor | FreezeMonitor | PowerOffMonitor | RestoreMonitor | ReplaceMonitor | FillMonitor
            | StallMonitor | ExpireCertificate => Slot::Monitor,
            LoseDisk | LoseDirectory | DropAndReturn => Slot::Data,
            _ => Slot::Free,
        }
    }

    pub fn destroys(self) -> bool {
        self.slot() == Slot::Data
    }

    /// What is promoted by hand holds what it holds on a branch of its own: nobody may need it just then.
    pub fn leaves_the_lineage(self) -> bool {
        self == Hazard::RoguePromote
    }

    /// A node comes back with nothing, not even its number.
    pub fn makes_new_nodes(self) -> bool {
        matches!(self, Hazard::LoseDisk | Hazard::DropAndReturn)
    }

    /// Changes the course of a run so much that little else would be seen if it came often.
    pub fn is_rare(self) -> bool {
        use Hazard::*;
        matches!(
            self,
            Consent
                | AcceptTimeline
                | RestoreMonitor
                | ReplaceMonitor
                | LoseDisk
                | RoguePromote
                | DropAndReturn
                | Quorum
        )
    }

    /// Drawn stories are played live with it. Power, clocks and the kernel are out of the reach of live runs; so is a store
    /// that finds no space: a small one overwrites the pages it has. A disk that stalls or is read-only, certificates, an
    /// archiver and slow checkpoints have to be prepared from the start and are left to the scenario files.
    pub fn is_live(self) -> bool {
        use Hazard::*;
        !matches!(
            self,
            PowerOff
                | Suspend
                | LoseDisk
                | PowerOffMonitor
                | ExpireCertificate
                | Repeat
                | Swizzle
                | SpeakVersion
                | DropAndReturn
                | StallDisk
                | ReadOnlyDisk
                | FillStore
                | StallStore
                | FillMonitor
                | StallMonitor
                | TearStore
                | ClockStep
                | HangArchiver
                | UseArchive
                | SlowCheckpoint
        )
    }

    /// How many nodes a group must have for it to mean anything.
    pub fn needs(self) -> usize {
        use Hazard::*;
        match self {
            LoseDisk | LoseDirectory | DropAndReturn | Switchover | Promote | Consent | RoguePromote
            | AcceptTimeline | Async | Together => 2,
            KillSeveral | Quorum => 3,
            _ => 1,
        }
    }

    pub fn draw(self, dice: &mut Dice, scene: &Scene) -> Incident {
        match self.slot() {
            Slot::Links => self.of_links(dice, scene),
            Slot::Monitor => self.of_monitor(),
            _ => self
                .order(dice, scene)
                .or_else(|| self.of_machine(dice, scene))
                .or_else(|| self.of_disk(dice, scene))
                .unwrap_or_else(|| self.of_postgres(dice, scene)),
        }
    }

    /// What makes a node as it was before any of this kind, for those that leave something behind.
    pub fn usual(self, node: Selector) -> Option<Verb> {
        let at_once = |node| Delay { node, by: Duration::ZERO };
        match self {
            Hazard::BreakConfig => Some(Verb::MendConfig(node)),
            Hazard::ApplyDelay => Some(Verb::ApplyDelay(at_once(node))),
            Hazard::SlowCheckpoint => Some(Verb::SlowCheckpoint(at_once(node))),
            Hazard::SpeakVersion => Some(Verb::SpeakVersion(SpeakVersion { node, version: wire::VERSION })),
            _ => None,
        }
    }

    fn of_links(self, dice: &mut Dice, scene: &Scene) -> Incident {
        let between = scene.link(dice);
        let verb = match self {
            Hazard::Cut => Verb::Cut(between),
            Hazard::CutOneWay => Verb::CutOneWay(between),
            Hazard::HalfOpen => Verb::HalfOpen(between),
            Hazard::Isolate => Verb::Isolate(scene.target(dice)),
            Hazard::Slow => Verb::Slow(Slow { between, by: dice.seconds(0.05, 3.0) }),
            Hazard::Lose => Verb::Lose(Lossy { between, rate: *dice.pick(&[0.05, 0.2, 0.5]) }),
            Hazard::Reorder => Verb::Reorder(Slow { between, by: dice.seconds(0.05, 5.0) }),
            Hazard::Repeat => Verb::Repeat(Lossy { between, rate: *dice.pick(&[0.1, 0.5]) }),
            // Mends what it has cut.
            _ => return once(Verb::Swizzle(Nothing {})),
        };
        Incident { begin: vec![verb], end: vec![Verb::Heal(Nothing {})] }
    }

    fn of_monitor(self) -> Incident {
        let disk = |make: fn(OnDisk) -> Verb| make(OnDisk { node: None, whose: Whose::Monitor });
        let monitor = || Selector::Name("monitor".into());
        let (begin, end) = match self {
            Hazard::FreezeMonitor => (Verb::Pause(monitor()), Verb::Resume(monitor())),
            Hazard::PowerOffMonitor => (Verb::PowerOff(monitor()), Verb::StartMonitor(Nothing {})),
            Hazard::RestoreMonitor => (Verb::SaveMonitor(Nothing {}), Verb::RestoreMonitor(Nothing {})),
            Hazard::FillMonitor => (disk(Verb::FillDisk), disk(Verb::FreeDisk)),
            Hazard::StallMonitor => (disk(Verb::StallDisk), disk(Verb::FreeDisk)),
            Hazard::ExpireCertificate => (Verb::ExpireCertificate(Nothing {}), Verb::RenewCertificate(Nothing {})),
            Hazard::ReplaceMonitor => return once(Verb::ReplaceMonitor(Nothing {})),
            _ => (Verb::KillMonitor(Nothing {}), Verb::StartMonitor(Nothing {})),
        };
        Incident { begin: vec![begin], end: vec![end] }
    }

    fn of_machine(self, dice: &mut Dice, scene: &Scene) -> Option<Incident> {
        let node = scene.target(dice);
        let bound = || scene.bound.clone();
        let (begin, end) = match self {
            Hazard::KillKeeper => (Verb::KillKeeper(node), Verb::StartService(bound())),
            Hazard::PauseKeeper => (Verb::PauseKeeper(node), Verb::Resume(bound())),
            Hazard::KillNode => (Verb::KillNode(node), Verb::StartService(bound())),
            Hazard::PowerOff => (Verb::PowerOff(node), Verb::StartService(bound())),
            Hazard::StopService => (Verb::StopService(node), Verb::StartService(bound())),
            Hazard::Pause => (Verb::Pause(node), Verb::Resume(bound())),
            Hazard::Suspend => (Verb::Suspend(node), Verb::Resume(bound())),
            Hazard::LoseDisk => (Verb::LoseDisk(node), Verb::StartService(bound())),
            Hazard::ReloadKeeper => return Some(once(Verb::ReloadKeeper(node))),
            Hazard::KillSeveral => {
                let count = 2 + dice.below(scene.nodes.len() as u64 - 1) as usize;
                let hit: Vec<Selector> = dice.some(scene.nodes, count).into_iter().map(Selector::Name).collect();
                let end = hit.iter().cloned().map(Verb::StartService).collect();
                return Some(Incident { begin: vec![Verb::KillGroup(hit)], end });
            }
            Hazard::SpeakVersion => {
                let speak = |node, version| Verb::SpeakVersion(SpeakVersion { node, version });
                (speak(node, wire::VERSION + 1), speak(bound(), wire::VERSION))
            }
            _ => return None,
        };
        Some(Incident { begin: vec![begin], end: vec![end] })
    }

    fn of_disk(self, dice: &mut Dice, scene: &Scene) -> Option<Incident> {
        let (make, whose): (fn(OnDisk) -> Verb, Whose) = match self {
            Hazard::FillDisk => (Verb::FillDisk, Whose::Postgres),
            Hazard::StallDisk => (Verb::StallDisk, Whose::Postgres),
            Hazard::ReadOnlyDisk => (Verb::ReadOnlyDisk, Whose::Postgres),
            Hazard::FillStore => (Verb::FillDisk, Whose::Keeper),
            Hazard::StallStore => (Verb::StallDisk, Whose::Keeper),
            _ => return None,
        };
        let begin = make(OnDisk { node: Some(scene.target(dice)), whose });
        let end = Verb::FreeDisk(OnDisk { node: Some(scene.bound.clone()), whose });
        Some(Incident { begin: vec![begin], end: vec![end] })
    }

    fn of_postgres(self, dice: &mut Dice, scene: &Scene) -> Incident {
        let node = scene.target(dice);
        let bound = || scene.bound.clone();
        let lasting = |begin, end| Incident { begin: vec![begin], end: vec![end] };
        match self {
            Hazard::StopBackend => lasting(Verb::StopBackend(node), Verb::ContinueBackend(bound())),
            Hazard::HangArchiver => lasting(Verb::HangArchiver(node), Verb::FreeArchiver(bound())),
            Hazard::BreakConfig => lasting(Verb::BreakConfig(node), Verb::MendConfig(bound())),
            Hazard::SlowCheckpoint => {
                let by = dice.seconds(0.5, 20.0);
                let usual = Delay { node: bound(), by: Duration::ZERO };
                lasting(Verb::SlowCheckpoint(Delay { node, by }), Verb::SlowCheckpoint(usual))
            }
            Hazard::ApplyDelay => {
                let usual = Delay { node: bound(), by: Duration::ZERO };
                lasting(Verb::ApplyDelay(Delay { node, by: dice.seconds(0.5, 20.0) }), Verb::ApplyDelay(usual))
            }
            Hazard::ClockStep => {
                let by_ms = dice.seconds(1.0, 3600.0).as_millis() as i64 * if dice.chance(50) { 1 } else { -1 };
                let node = if dice.chance(30) { Selector::Name("monitor".into()) } else { node };
                once(Verb::ClockStep(ClockStep { node, by_ms }))
            }
            Hazard::KillPostgres => once(Verb::KillPostgres(node)),
            Hazard::TearStore => once(Verb::TearStore(node)),
            Hazard::RoguePromote => once(Verb::RoguePromote(scene.standby(dice))),
            Hazard::RogueStart => once(Verb::RogueStart(node)),
            Hazard::CrashBackend => once(Verb::CrashBackend(node)),
            Hazard::CancelWaiters => once(Verb::CancelWaiters(Selector::Primary)),
            Hazard::TerminateWaiters => once(Verb::TerminateWaiters(Selector::Primary)),
            Hazard::LoseDirectory => once(Verb::LoseDirectory(node)),
            Hazard::UseArchive => once(Verb::UseArchive(node)),
            Hazard::SmartStop => once(Verb::SmartStop(node)),
            Hazard::StopByHand => once(Verb::StopPostgresByHand(node)),
            _ => once(Verb::RestartPostgresByHand(node)),
        }
    }

    fn order(self, dice: &mut Dice, scene: &Scene) -> Option<Incident> {
        let (refused, may_be_refused) = (None, true);
        let node = scene.target(dice);
        let verb = match self {
            Hazard::Switchover => Verb::Switchover(Ask { refused, may_be_refused }),
            Hazard::Promote => Verb::Promote(Promote { node, allow_data_loss: false, refused, may_be_refused }),
            Hazard::Consent => Verb::Failover(Failover { allow_data_loss: true, refused, may_be_refused }),
            Hazard::Maintenance => {
                let allow_failover = dice.chance(50);
                let end = Maintenance { node: scene.bound.clone(), on: false, allow_failover: false, refused: None };
                let begin = Maintenance { node, on: true, allow_failover, refused };
                return Some(Incident { begin: vec![Verb::Maintenance(begin)], end: vec![Verb::Maintenance(end)] });
            }
            Hazard::Priority | Hazard::Quorum => {
                let set = |node, changed| match self {
                    Hazard::Priority => {
                        let priority = if changed { *dice.pick(&[0, 0, 1, 100]) } else { 50 };
                        SetNode { node, candidate_priority: Some(priority), replication_quorum: None, refused: None }
                    }
                    _ => SetNode { node, candidate_priority: None, replication_quorum: Some(!changed), refused: None },
                };
                let mut set = set;
                let (begin, end) = (set(node, true), set(scene.bound.clone(), false));
                return Some(Incident { begin: vec![Verb::SetNode(begin)], end: vec![Verb::SetNode(end)] });
            }
            Hazard::Formation => {
                let durability = *dice.pick(&[None, Some(Durability::Strict), Some(Durability::Degrade)]);
                let number = dice.below(scene.nodes.len() as u64) as u32;
                let number_sync_standbys = (durability.is_none() || dice.chance(50)).then_some(number);
                Verb::SetFormation(SetFormation { number_sync_standbys, durability, secondary: None, refused })
            }
            Hazard::Secondary => {
                let set = |on| Verb::SetFormation(SetFormation { secondary: Some(on), ..SetFormation::default() });
                return Some(Incident { begin: vec![set(false)], end: vec![set(true)] });
            }
            Hazard::Async => {
                let durable = *dice.pick(&[Durability::Strict, Durability::Degrade]);
                let set = |to| Verb::SetFormation(SetFormation { durability: Some(to), ..SetFormation::default() });
                return Some(Incident { begin: vec![set(Durability::Async)], end: vec![set(durable)] });
            }
            Hazard::Together => return Some(together(dice, scene)),
            Hazard::AcceptTimeline => {
                let tli = 1 + dice.below(6) as u32;
                Verb::AcceptTimeline(AcceptTimeline { tli, reason: "it is said to be whole".into(), refused })
            }
            Hazard::DropAndReturn => {
                let force = dice.chance(50);
                let begin = Verb::Drop(DropNode { node, force, refused, may_be_refused });
                // What it had as a member is nothing it may come back with.
                let end = vec![Verb::LoseDisk(scene.bound.clone()), Verb::StartService(scene.bound.clone())];
                return Some(Incident { begin: vec![begin], end });
            }
            _ => return None,
        };
        Some(once(verb))
    }
}

/// Several operators, none of whom knows of the others. What they begin for longer is told by name: a step of several
/// orders binds nobody.
fn together(dice: &mut Dice, scene: &Scene) -> Incident {
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    let maintenance = |node, on| Verb::Maintenance(Maintenance { node, on, allow_failover: on, refused: None });
    let priority = |node, to| {
        Verb::SetNode(SetNode { node, candidate_priority: Some(to), replication_quorum: None, refused: None })
    };
    for _ in 0..2 + dice.below(2) {
        let node = scene.named(dice);
        let (refused, may_be_refused) = (None, true);
        match dice.below(5) {
            0 => begin.push(Verb::Switchover(Ask { refused, may_be_refused })),
            1 | 2 => begin.push(Verb::Promote(Promote { node, allow_data_loss: false, refused, may_be_refused })),
            3 => {
                begin.push(maintenance(node.clone(), true));
                end.push(maintenance(node, false));
            }
            _ => {
                begin.push(priority(node.clone(), *dice.pick(&[0, 1, 100])));
                end.push(priority(node, 50));
            }
        }
    }
    Incident { begin: vec![Verb::AtOnce(begin)], end }
}

fn once(verb: Verb) -> Incident {
    Incident { begin: vec![verb], end: vec![] }
}

impl Scene<'_> {
    /// The primary more often than others: that is where it hurts.
    fn target(&self, dice: &mut Dice) -> Selector {
        match dice.below(100) {
            _ if self.by_name => self.named(dice),
            0..40 => Selector::Primary,
            40..65 => self.standby(dice),
            _ => self.named(dice),
        }
    }

    fn standby(&self, dice: &mut Dice) -> Selector {
        match self.nodes.len() {
            _ if self.by_name => self.named(dice),
            1 => self.named(dice),
            count => Selector::Standby(1 + dice.below(count as u64 - 1) as usize),
        }
    }

    fn named(&self, dice: &mut Dice) -> Selector {
        Selector::Name(dice.pick(self.nodes).clone())
    }

    /// Told as this one is, by role or by name: who has a role may have any name.
    fn another(&self, dice: &mut Dice, than: &Selector) -> Selector {
        let all: Vec<Selector> = match than {
            Selector::Name(_) => self.nodes.iter().cloned().map(Selector::Name).collect(),
            _ => [Selector::Primary].into_iter().chain((1..self.nodes.len()).map(Selector::Standby)).collect(),
        };
        let others: Vec<Selector> = all.into_iter().filter(|one| one != than).collect();
        match others.is_empty() {
            true => Selector::Name("monitor".into()),
            false => dice.pick(&others).clone(),
        }
    }

    fn link(&self, dice: &mut Dice) -> [Selector; 2] {
        let one = self.target(dice);
        let other = match dice.below(100) {
            0..45 => Selector::Name("monitor".into()),
            45..55 => Selector::Name("clients".into()),
            _ => self.another(dice, &one),
        };
        if dice.chance(50) { [one, other] } else { [other, one] }
    }
}
