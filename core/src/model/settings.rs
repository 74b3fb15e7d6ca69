//! Every wait of the system has a name, a default and a reason; they are all here.

use crate::model::time::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the monitor judges and waits. Durations are written `5s`, `250ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// A node that says nothing for this long and whose Postgres doesn't answer either is lost. It is
    /// the price of silence only: a death that leaves evidence is acted on at once.
    #[serde(with = "duration")]
    pub node_considered_unhealthy_timeout: Duration,
    /// How often the port of a silent node is tried, and how long one try may take.
    #[serde(with = "duration")]
    pub probe_period: Duration,
    #[serde(with = "duration")]
    pub probe_timeout: Duration,
    /// The same when its keeper's connection has just broken: the rest of the machine may be dying at this moment, and
    /// a try that came too early must not cost a whole period. After `node_considered_unhealthy_timeout` the keeper
    /// alone is gone, and `probe_period` does.
    #[serde(with = "duration")]
    pub probe_period_after_hangup: Duration,
    /// A standby that lives but doesn't stream is given this long to come back before the primary
    /// goes on without it; a reconnecting WAL receiver needs a moment.
    #[serde(with = "duration")]
    pub standby_stall_timeout: Duration,
    /// A planned handover whose old primary hasn't stopped by then is called off.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// An election that is proven already waits this long for a node of higher priority to be sealed as well.
    #[serde(with = "duration")]
    pub election_patience: Duration,
    /// A candidate that fetches WAL from another node without getting on for this long is passed over.
    #[serde(with = "duration")]
    pub fetch_timeout: Duration,
    /// How long a primary of an `async` formation may go on without the monitor, by its own clock; nobody is promoted
    /// in its place before.
    #[serde(with = "duration")]
    pub async_lease: Duration,
    /// An `async` formation's standby further behind than this, in bytes, is not promoted without consent.
    pub async_loss_bytes: u64,
    /// A standby this close behind the primary, in bytes, has caught up; the rest takes moments.
    pub catchup_bytes: u64,
    /// The longest a keeper's call is kept waiting for news.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// Number of events kept per monitor: the log is bounded.
    pub events_kept: u64,
}

impl MonitorSettings {
    /// By how much the position on record of a node that writes may be behind what it has reported, in bytes: a monitor
    /// that starts anew knows so well how much might be lost.
    pub fn stale_bytes(&self) -> u64 {
        (self.async_loss_bytes / 8).max(1 << 16)
    }
}

impl Default for MonitorSettings {
    fn default() -> Self {
        MonitorSettings {
            node_considered_unhealthy_timeout: Duration::from_secs(5),
            probe_period: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            probe_period_after_hangup: Duration::from_millis(20),
            standby_stall_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
            election_patience: Duration::from_millis(500),
            fetch_timeout: Duration::from_secs(10),
            async_lease: Duration::from_secs(10),
            async_loss_bytes: 16 << 20,
            catchup_bytes: 1 << 20,
            hold: Duration::from_secs(10),
            events_kept: 10_000,
        }
    }
}

/// How a keeper looks and waits. Durations are written `5s`, `250ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeeperSettings {
    /// The longest a keeper stays silent towards the monitor.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// How often local Postgres is looked at for what it can't announce: receivers and senders.
    #[serde(with = "duration")]
    pub look_period: Duration,
    /// A primary under a contract that sees neither the monitor nor enough members for this long closes.
    #[serde(with = "duration")]
    pub network_partition_timeout: Duration,
    /// A monitor that hasn't answered for this long is out of reach, and nothing waits for it. More than `heartbeat`, at
    /// which it lets the call that waits go.
    #[serde(with = "duration")]
    pub call_timeout: Duration,
    /// Pause before the monitor is called again after a failure.
    #[serde(with = "duration")]
    pub retry_pause: Duration,
    /// A keeper asked to stop waits this long for its role to be taken over; then it stops all the same.
    #[serde(with = "duration")]
    pub handover_timeout: Duration,
    /// Pause before a failed step is tried again.
    #[serde(with = "duration")]
    pub step_retry_pause: Duration,
}

impl Default for KeeperSettings {
    fn default() -> Self {
        KeeperSettings {
            heartbeat: Duration::from_secs(1),
            look_period: Duration::from_millis(200),
            network_partition_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(5),
            retry_pause: Duration::from_millis(200),
            handover_timeout: Duration::from_secs(60),
            step_retry_pause: Duration::from_millis(500),
        }
    }
}

/// What a formation prefers when too few standbys are left to keep the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Commits wait. Nothing is ever acknowledged by the primary alone.
    Strict,
    /// The primary goes on with the standbys it has left, in the end alone. That is recorded first, and no
    /// standby can be promoted until it has caught up.
    Degrade,
    /// Commits never wait. A lost primary is replaced once its lease has ended, at the cost of a bounded, recorded loss.
    Async,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Durability::Strict => "strict",
            Durability::Degrade => "degrade",
            Durability::Async => "async",
        }
    }
}

/// What a formation asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FormationSettings {
    /// Standbys that must acknowledge a commit; 0 means one.
    pub number_sync_standbys: u32,
    /// Unset, it follows from the number as in pg_auto_failover: 0 degrades, above 0 commits wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Whether nodes beyond the first may join a group.
    pub secondary: bool,
    pub dbname: String,
}

impl Default for FormationSettings {
    fn default() -> Self {
        let dbname = "postgres".to_string();
        FormationSettings { number_sync_standbys: 0, durability: None, secondary: true, dbname }
    }
}

impl FormationSettings {
    pub fn durability(&self) -> Durability {
        let by_number = if self.number_sync_standbys == 0 { Durability::Degrade } else { Durability::Strict };
        self.durability.unwrap_or(by_number)
    }

    /// How many standbys acknowledge a commit when all is well.
    pub fn acknowledgements(&self) -> u32 {
        self.number_sync_standbys.max(1)
    }
}
