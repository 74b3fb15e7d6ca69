//! The monitor's loop.

use crate::model::MonitorSettings;
use crate::ports::{Clock, Door, Store, StoreError};

/// The monitor's loop ends only when its store can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MonitorExit {
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub async fn run_monitor<C: Clock, D: Door, S: Store>(
    _clock: C,
    _door: D,
    _store: S,
    _settings: MonitorSettings,
) -> MonitorExit {
    unreachable!("being written")
}
