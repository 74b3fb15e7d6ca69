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
    /// A standby this close behind the primary, in bytes, has caught up; the rest takes moments.
    pub catchup_bytes: u64,
    /// The longest a keeper's call is kept waiting for news.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// Number of events kept per monitor (W27: the log is bounded).
    pub events_kept: u64,
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
    /// A call that gets no answer for this long is given up and sent anew. More than `heartbeat`, at which the
    /// monitor lets the call that waits go.
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

/// What a formation asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FormationSettings {
    /// Standbys that must acknowledge a commit. 0: one, and the primary goes on alone (recorded as
    /// degraded) when none is left. Above 0: commits wait.
    pub number_sync_standbys: u32,
    pub dbname: String,
}

impl Default for FormationSettings {
    fn default() -> Self {
        FormationSettings { number_sync_standbys: 0, dbname: "postgres".to_string() }
    }
}
