//! Somebody who looks at what the monitor shows all the time, as the player doesn't, who waits for other things too.

use super::ledger::Ledger;
use super::watch::Watch;
use pgbaton_core::check::{self, Kind};
use pgbaton_core::model::Moment;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// What is shown for a shorter time is read by nobody.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// Looks until it is dropped.
pub struct Screen {
    shown: Arc<Mutex<Vec<(Moment, Kind)>>>,
    _looks: JoinSet<()>,
}

impl Screen {
    pub fn watched(watch: Watch, ledger: Arc<Ledger>) -> Screen {
        let shown = Arc::default();
        let mut looks = JoinSet::new();
        looks.spawn(look(watch, ledger, Arc::clone(&shown)));
        Screen { shown, _looks: looks }
    }

    /// What was on show, each time it was another.
    pub fn shown(self) -> Vec<(Moment, Kind)> {
        std::mem::take(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn look(mut watch: Watch, ledger: Arc<Ledger>, shown: Arc<Mutex<Vec<(Moment, Kind)>>>) {
    let mut screen = check::Screen::default();
    loop {
        if watch.look().await {
            let at = ledger.now();
            let news = screen.note(at, watch.rows()).into_iter().map(|kind| (at, kind));
            shown.lock().unwrap_or_else(PoisonError::into_inner).extend(news);
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
