//! What a step can do to the world, and what the rest of the program must know of each verb: whom it is
//! about, what it is called, and whether live runs have a hand for it.

use super::resolve::Selector;
use super::words;
use crate::model::Durability;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Not;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// SIGTERM to the keeper, as `systemctl stop` sends it; ends when the keeper has exited.
    StopService(Selector),
    /// Starts the keeper of a node, whatever ended it; a machine without power gets it back first.
    StartService(Selector),
    /// SIGKILL to the keeper alone; its Postgres goes on.
    KillKeeper(Selector),
    /// SIGSTOP to the keeper alone: it is silent, and the kernel keeps its connections.
    PauseKeeper(Selector),
    /// SIGHUP to the keeper: it reads its configuration again, once it is at rest.
    ReloadKeeper(Selector),
    /// SIGKILL to the postmaster; the keeper goes on.
    KillPostgres(Selector),
    /// SIGKILL to everything on the node.
    KillNode(Selector),
    /// SIGKILL to everything on several nodes at one instant.
    KillGroup(Vec<Selector>),
    /// The machine goes dark: what wasn't synced is lost, and nobody is told that its connections ended.
    PowerOff(Selector),
    /// SIGSTOP to everything on the node, or to the monitor.
    Pause(Selector),
    /// The machine sleeps, its kernel too. The clock that keepers go by counts the sleep.
    Suspend(Selector),
    /// Ends a pause or a sleep.
    Resume(Selector),

    KillMonitor(Nothing),
    StartMonitor(Nothing),
    /// Puts a copy of the monitor's store aside.
    SaveMonitor(Nothing),
    /// Ends the monitor and starts it again with the copy.
    RestoreMonitor(Nothing),
    /// Ends the monitor and starts another one, with an empty store, at the same address.
    ReplaceMonitor(Nothing),

    /// The monitor's certificate comes to its end: connections that are open go on, new ones fail.
    ExpireCertificate(Nothing),
    /// The monitor is given a new one, and told to read it.
    RenewCertificate(Nothing),

    /// Cuts the link between two, both ways: packets vanish. `monitor` and `clients` are names too.
    Cut([Selector; 2]),
    /// Packets from the first to the second vanish; the other way they arrive.
    CutOneWay([Selector; 2]),
    /// Connections from the first to the second are made and requests arrive, but no answer comes back.
    HalfOpen([Selector; 2]),
    /// Cuts every link of a node but the one to its clients.
    Isolate(Selector),
    /// Each packet between the two takes that much longer. Live, packets wait for each other as well.
    Slow(Slow),
    /// Part of the packets between the two are lost and sent again. Live, what is read at once is a packet, and all
    /// that comes after one that was lost waits for it, as in any TCP connection.
    Lose(Lossy),
    /// Each packet between the two takes a time of its own, up to that much longer: what one connection carries keeps its
    /// order, and what is said over another overtakes it.
    Reorder(Slow),
    /// Part of the calls between the two arrive twice, as behind a proxy that tries again.
    Repeat(Lossy),
    /// Cuts links one by one and mends them in another order, over a few seconds.
    Swizzle(Nothing),
    /// A node of another release: the monitor can't read what its keeper says, nor the keeper the answers.
    SpeakVersion(SpeakVersion),
    /// Mends all links.
    Heal(Nothing),

    /// Asks the monitor to hand the role over.
    Switchover(Ask),
    /// The same, perhaps with consent to lose data.
    Failover(Failover),
    Promote(Promote),
    Maintenance(Maintenance),
    SetNode(SetNode),
    SetFormation(SetFormation),
    Drop(DropNode),
    AcceptTimeline(AcceptTimeline),
    /// Several orders at the same instant, each from an operator of its own: none waits for the answer to another.
    AtOnce(Vec<Verb>),

    /// Writes find no space left. Live, a node's whole disk is full: what its keeper stores lies there as well.
    FillDisk(OnDisk),
    /// Writes don't end. Live, the keeper's store and the server's log lie elsewhere; the rest of what a keeper keeps
    /// beside the data directory is hit as well.
    StallDisk(OnDisk),
    /// The file system of the data directory takes no writes any more, as after an error. Live, the same is hit as when
    /// it stalls.
    ReadOnlyDisk(OnDisk),
    /// Live, a file system that takes no writes is mounted anew, for which nobody may use it: kill the node first.
    FreeDisk(OnDisk),
    /// The next death of the keeper takes what its store had not synced, as a loss of power does.
    TearStore(Selector),
    /// Moves the wall clock of a machine; its monotonic clock goes on as before.
    ClockStep(ClockStep),

    /// Somebody runs `pg_ctl promote` behind the keeper's back.
    RoguePromote(Selector),
    /// Somebody starts the server behind the keeper's back, or in its absence.
    RogueStart(Selector),
    /// A backend crashes; the postmaster starts all others anew.
    CrashBackend(Selector),
    /// SIGSTOP to one client backend.
    StopBackend(Selector),
    ContinueBackend(Selector),
    /// `archive_command` doesn't end. The servers of a story with this verb archive from their first start on.
    HangArchiver(Selector),
    FreeArchiver(Selector),
    /// An operator gives a server an archive that all nodes share, to keep its WAL in and to restore it from. It
    /// keeps WAL there from its next start on.
    UseArchive(Selector),
    /// Each checkpoint that begins from now on takes that much longer.
    SlowCheckpoint(Delay),
    /// `recovery_min_apply_delay`.
    ApplyDelay(Delay),
    /// Clients cancel commits that wait for a standby.
    CancelWaiters(Selector),
    /// Somebody terminates the backends of commits that wait for a standby.
    TerminateWaiters(Selector),
    /// The data directory vanishes under the server.
    LoseDirectory(Selector),
    /// The machine dies and comes back, when its service is started, with empty disks.
    LoseDisk(Selector),
    /// `pg_ctl stop -m smart` by hand: sessions that are open go on.
    SmartStop(Selector),
    /// `pg_ctl stop` by hand.
    StopPostgresByHand(Selector),
    /// `pg_ctl restart` by hand.
    RestartPostgresByHand(Selector),
    /// Somebody writes an unknown parameter into `postgresql.conf`: no server starts with it, and one that runs takes
    /// no changes.
    BreakConfig(Selector),
    MendConfig(Selector),
    /// The number that a dead postmaster has left in its lock file is now that of another program.
    ReusePid(Selector),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    pub between: [Selector; 2],
    #[serde(with = "crate::model::time::duration")]
    pub by: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lossy {
    pub between: [Selector; 2],
    /// The part of them, above 0 and below 1.
    #[serde(deserialize_with = "part")]
    pub rate: f64,
}

/// Answers an order may get beyond being taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// The request must be refused with a reason that contains this.
    pub refused: Option<String>,
    /// The story is a race: taken and refused are both right, what follows is judged.
    #[serde(skip_serializing_if = "Not::not")]
    pub may_be_refused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failover {
    #[serde(skip_serializing_if = "Not::not")]
    pub allow_data_loss: bool,
    pub refused: Option<String>,
    #[serde(skip_serializing_if = "Not::not")]
    pub may_be_refused: bool,
}

/// `"node"`, or a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promote {
    pub node: Selector,
    pub allow_data_loss: bool,
    pub refused: Option<String>,
    pub may_be_refused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    pub node: Selector,
    pub on: bool,
    #[serde(default, skip_serializing_if = "Not::not")]
    pub allow_failover: bool,
    #[serde(default)]
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetNode {
    pub node: Selector,
    #[serde(default)]
    pub candidate_priority: Option<u8>,
    #[serde(default)]
    pub replication_quorum: Option<bool>,
    #[serde(default)]
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetFormation {
    pub number_sync_standbys: Option<u32>,
    pub durability: Option<Durability>,
    pub secondary: Option<bool>,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DropNode {
    pub node: Selector,
    #[serde(default, skip_serializing_if = "Not::not")]
    pub force: bool,
    #[serde(default)]
    pub refused: Option<String>,
    #[serde(default, skip_serializing_if = "Not::not")]
    pub may_be_refused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptTimeline {
    pub tli: u32,
    pub reason: String,
    #[serde(default)]
    pub refused: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The data directory of a node.
    Postgres,
    /// The store of a node's keeper.
    Keeper,
    Monitor,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OnDisk {
    /// The monitor's disk needs none.
    #[serde(default)]
    pub node: Option<Selector>,
    pub whose: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    pub node: Selector,
    #[serde(with = "crate::model::time::duration")]
    pub by: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClockStep {
    /// `monitor` has a clock too.
    pub node: Selector,
    /// `-5m` is backwards.
    #[serde(rename = "by", with = "signed_ms")]
    pub by_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SpeakVersion {
    pub node: Selector,
    /// Of the messages; `wire::VERSION` is this release's.
    pub version: u32,
}

fn part<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let part = f64::deserialize(d)?;
    let complaint = || D::Error::custom(format!("{part} is not a part; write a number above 0 and below 1, as 0.3"));
    (part > 0.0 && part < 1.0).then_some(part).ok_or_else(complaint)
}

mod signed_ms {
    use crate::model::time::duration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
        let text = String::deserialize(d)?;
        let (sign, length) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
        let length = duration::parse(length).map_err(D::Error::custom)?;
        Ok(sign * i64::try_from(length.as_millis()).map_err(D::Error::custom)?)
    }

    pub fn serialize<S: Serializer>(ms: &i64, s: S) -> Result<S::Ok, S::Error> {
        let length = duration::format(Duration::from_millis(ms.unsigned_abs()));
        s.serialize_str(&if *ms < 0 { format!("-{length}") } else { length })
    }
}

/// A promotion without conditions is the name of the node alone.
impl Serialize for Promote {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Table<'a> {
            node: &'a Selector,
            #[serde(skip_serializing_if = "Not::not")]
            allow_data_loss: bool,
            refused: &'a Option<String>,
            #[serde(skip_serializing_if = "Not::not")]
            may_be_refused: bool,
        }
        let Promote { node, allow_data_loss, refused, may_be_refused } = self;
        let (allow_data_loss, may_be_refused) = (*allow_data_loss, *may_be_refused);
        if !allow_data_loss && !may_be_refused && refused.is_none() {
            return node.serialize(s);
        }
        Table { node, allow_data_loss, refused, may_be_refused }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Promote {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Promote, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            node: Selector,
            #[serde(default)]
            allow_data_loss: bool,
            #[serde(default)]
            refused: Option<String>,
            #[serde(default)]
            may_be_refused: bool,
        }
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Promote;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node, or a table { node, allow_data_loss, refused }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Promote, E> {
                let node = Selector::read(text).map_err(E::custom)?;
                Ok(Promote { node, allow_data_loss: false, refused: None, may_be_refused: false })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Promote, A::Error> {
                let Table { node, allow_data_loss, refused, may_be_refused } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Promote { node, allow_data_loss, refused, may_be_refused })
            }
        }
        d.deserialize_any(Both)
    }
}

impl Verb {
    /// All nodes a verb names; the first is the one that `as` binds.
    pub fn selectors(&self) -> Vec<&Selector> {
        match self {
            Verb::Cut([a, b]) | Verb::CutOneWay([a, b]) | Verb::HalfOpen([a, b]) => vec![a, b],
            Verb::Slow(Slow { between: [a, b], .. })
            | Verb::Reorder(Slow { between: [a, b], .. })
            | Verb::Lose(Lossy { between: [a, b], .. })
            | Verb::Repeat(Lossy { between: [a, b], .. }) => vec![a, b],
            Verb::KillGroup(nodes) => nodes.iter().collect(),
            Verb::AtOnce(orders) => orders.iter().flat_map(Verb::selectors).collect(),
            other => other.subject().into_iter().collect(),
        }
    }

    /// The one node a verb is about.
    pub fn subject(&self) -> Option<&Selector> {
        match self {
            Verb::StopService(n)
            | Verb::StartService(n)
            | Verb::KillKeeper(n)
            | Verb::PauseKeeper(n)
            | Verb::ReloadKeeper(n)
            | Verb::KillPostgres(n)
            | Verb::KillNode(n)
            | Verb::PowerOff(n)
            | Verb::Pause(n)
            | Verb::Suspend(n)
            | Verb::Resume(n)
            | Verb::Isolate(n)
            | Verb::TearStore(n)
            | Verb::RoguePromote(n)
            | Verb::RogueStart(n)
            | Verb::CrashBackend(n)
            | Verb::StopBackend(n)
            | Verb::ContinueBackend(n)
            | Verb::HangArchiver(n)
            | Verb::FreeArchiver(n)
            | Verb::UseArchive(n)
            | Verb::CancelWaiters(n)
            | Verb::TerminateWaiters(n)
            | Verb::LoseDirectory(n)
            | Verb::LoseDisk(n)
            | Verb::SmartStop(n)
            | Verb::StopPostgresByHand(n)
            | Verb::RestartPostgresByHand(n)
            | Verb::BreakConfig(n)
            | Verb::MendConfig(n)
            | Verb::ReusePid(n) => Some(n),
            Verb::SpeakVersion(s) => Some(&s.node),
            Verb::SlowCheckpoint(d) | Verb::ApplyDelay(d) => Some(&d.node),
            Verb::FillDisk(d) | Verb::StallDisk(d) | Verb::ReadOnlyDisk(d) | Verb::FreeDisk(d) => d.node.as_ref(),
            Verb::ClockStep(c) => Some(&c.node),
            Verb::Promote(p) => Some(&p.node),
            Verb::Maintenance(m) => Some(&m.node),
            Verb::SetNode(s) => Some(&s.node),
            Verb::Drop(d) => Some(&d.node),
            Verb::KillGroup(_)
            | Verb::KillMonitor(_)
            | Verb::StartMonitor(_)
            | Verb::SaveMonitor(_)
            | Verb::RestoreMonitor(_)
            | Verb::ReplaceMonitor(_)
            | Verb::ExpireCertificate(_)
            | Verb::RenewCertificate(_)
            | Verb::Cut(_)
            | Verb::CutOneWay(_)
            | Verb::HalfOpen(_)
            | Verb::Slow(_)
            | Verb::Lose(_)
            | Verb::Reorder(_)
            | Verb::Repeat(_)
            | Verb::Swizzle(_)
            | Verb::Heal(_)
            | Verb::Switchover(_)
            | Verb::Failover(_)
            | Verb::SetFormation(_)
            | Verb::AcceptTimeline(_)
            | Verb::AtOnce(_) => None,
        }
    }

    pub fn is_order(&self) -> bool {
        matches!(
            self,
            Verb::Switchover(_)
                | Verb::Failover(_)
                | Verb::Promote(_)
                | Verb::Maintenance(_)
                | Verb::SetNode(_)
                | Verb::SetFormation(_)
                | Verb::Drop(_)
                | Verb::AcceptTimeline(_)
        )
    }

    /// In the simulation processes have no numbers.
    pub fn exists_simulated(&self) -> bool {
        !matches!(self, Verb::ReusePid(_))
    }

    /// Live runs have a hand on processes, on the network and on Postgres, and can give orders. They give nodes disks that
    /// can be filled, stalled and made read-only. The stores of a keeper and of the monitor are left alone: one on a full
    /// disk overwrites the pages it has, so that proves nothing, and none has a disk to itself that could stall. Power, the
    /// kernel and clocks are out of their reach, and so are calls that arrive twice, and another release.
    pub fn exists_live(&self) -> bool {
        if let Verb::FillDisk(disk) | Verb::StallDisk(disk) | Verb::ReadOnlyDisk(disk) | Verb::FreeDisk(disk) = self {
            return disk.whose == Whose::Postgres;
        }
        !matches!(
            self,
            Verb::PowerOff(_)
                | Verb::Suspend(_)
                | Verb::SpeakVersion(_)
                | Verb::Repeat(_)
                | Verb::Swizzle(_)
                | Verb::LoseDisk(_)
                | Verb::TearStore(_)
                | Verb::ClockStep(_)
        )
    }

    pub fn describe(&self) -> &'static str {
        match self {
            Verb::StopService(_) => "stop the service of",
            Verb::StartService(_) => "start the service of",
            Verb::KillKeeper(_) => "kill the keeper of",
            Verb::PauseKeeper(_) => words::PAUSE_KEEPER,
            Verb::ReloadKeeper(_) => "reload the keeper of",
            Verb::KillPostgres(_) => words::KILL_POSTGRES,
            Verb::KillNode(_) | Verb::KillGroup(_) => "kill everything on",
            Verb::PowerOff(_) => words::CUT_POWER,
            Verb::Pause(_) => "pause",
            Verb::Suspend(_) => words::SUSPEND,
            Verb::Resume(_) => words::RESUME,
            Verb::KillMonitor(_) => words::KILL_MONITOR,
            Verb::StartMonitor(_) => words::START_MONITOR,
            Verb::SaveMonitor(_) => words::SAVE_MONITOR,
            Verb::RestoreMonitor(_) => words::RESTORE_MONITOR,
            Verb::ReplaceMonitor(_) => words::REPLACE_MONITOR,
            Verb::ExpireCertificate(_) => "let the monitor's certificate expire",
            Verb::RenewCertificate(_) => "renew the monitor's certificate",
            Verb::Cut(_) => "cut the link between",
            Verb::CutOneWay(_) => "cut one way the link from, to",
            Verb::HalfOpen(_) => "lose all answers on the link from, to",
            Verb::Isolate(_) => "cut every link of",
            Verb::Slow(_) => "slow the link between",
            Verb::Lose(_) => "lose packets between",
            Verb::Reorder(_) => "reorder what is said between",
            Verb::Repeat(_) => "repeat calls between",
            Verb::Swizzle(_) => words::SWIZZLE,
            Verb::SpeakVersion(_) => "change the version of the messages of",
            Verb::Heal(_) => "mend all links",
            Verb::Switchover(_) => "switch over",
            Verb::Failover(Failover { allow_data_loss: true, .. }) => "fail over, data loss allowed",
            Verb::Failover(_) => "fail over",
            Verb::Promote(_) => "promote",
            Verb::Maintenance(Maintenance { on: true, .. }) => "begin the maintenance of",
            Verb::Maintenance(_) => "end the maintenance of",
            Verb::SetNode(_) => words::SETTINGS,
            Verb::SetFormation(_) => "change the settings of the formation",
            Verb::Drop(_) => "drop",
            Verb::AcceptTimeline(_) => "accept another timeline",
            Verb::AtOnce(_) => "give several orders at once, about",
            Verb::FillDisk(OnDisk { node: None, .. }) => words::FILL_MONITOR,
            Verb::FillDisk(_) => "fill a disk of",
            Verb::StallDisk(OnDisk { node: None, .. }) => words::STALL_MONITOR,
            Verb::StallDisk(_) => words::STALL_DISK,
            Verb::ReadOnlyDisk(_) => "make read-only a disk of",
            Verb::FreeDisk(OnDisk { node: None, .. }) => words::FREE_MONITOR,
            Verb::FreeDisk(_) => words::FREE_DISK,
            Verb::TearStore(_) => words::TEAR_STORE,
            Verb::ClockStep(_) => words::CLOCK_STEP,
            Verb::RoguePromote(_) => words::ROGUE_PROMOTE,
            Verb::RogueStart(_) => words::ROGUE_START,
            Verb::CrashBackend(_) => words::CRASH_BACKEND,
            Verb::StopBackend(_) => "freeze a backend of",
            Verb::ContinueBackend(_) => words::CONTINUE_BACKEND,
            Verb::HangArchiver(_) => "hang the archiver of",
            Verb::FreeArchiver(_) => words::FREE_ARCHIVER,
            Verb::UseArchive(_) => "switch on the archive of",
            Verb::SlowCheckpoint(_) => "slow the checkpoints of",
            Verb::ApplyDelay(_) => "delay the replay of",
            Verb::CancelWaiters(_) => words::CANCEL_WAITERS,
            Verb::TerminateWaiters(_) => words::TERMINATE_WAITERS,
            Verb::LoseDirectory(_) => words::LOSE_DIRECTORY,
            Verb::LoseDisk(_) => "lose all disks of",
            Verb::SmartStop(_) => words::SMART_STOP,
            Verb::StopPostgresByHand(_) => words::STOP_BY_HAND,
            Verb::RestartPostgresByHand(_) => words::RESTART_BY_HAND,
            Verb::BreakConfig(_) => "break the configuration of",
            Verb::MendConfig(_) => words::MEND_CONFIG,
            Verb::ReusePid(_) => "give to another program the process number of the postmaster of",
        }
    }
}
