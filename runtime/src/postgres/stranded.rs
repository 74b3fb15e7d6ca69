//! Why a standby gets no WAL. Its receiver tries again and again, and Postgres says why only in its log; so the
//! upstream is asked as the receiver asks it. That may take long, hence it is done apart from the looks, which show
//! the last answer.

use super::replication::{Replication, ReplicationError};
use pgbaton_core::keeper::lineage;
use pgbaton_core::model::{History, Lsn, Position, Stranded, Upstream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A receiver that finds its way needs less.
const GRACE: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(2);

/// What a standby would ask for next, and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub upstream: Upstream,
    pub history: History,
    /// End of what it has replayed: on that Postgres decides whether it can follow to another timeline.
    pub replayed: Lsn,
    pub segment_bytes: u64,
}

#[derive(Default)]
pub struct Questions {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The receiver was first and last seen not streaming.
    cut_off: Option<(Instant, Instant)>,
    asked: Option<Instant>,
    answer: Option<(Need, Stranded)>,
}

impl Questions {
    pub fn nothing_needed(&self) {
        *lock(&self.state) = State::default();
    }

    /// The last answer to this need. Asks anew when it is time.
    pub fn answer(&self, need: Need, streaming: bool, password: &str) -> Option<Stranded> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        match (streaming, state.cut_off) {
            (true, None) => return None,
            // One that is refused is seen streaming as well, for the moment until it is refused again.
            (true, Some((_, last))) if now - last > GRACE => *state = State::default(),
            (true, Some(_)) => {}
            (false, before) => {
                let since = before.map_or(now, |(since, _)| since);
                state.cut_off = Some((since, now));
                if now - since > GRACE && state.asked.is_none_or(|asked| now - asked > PERIOD) {
                    state.asked = Some(now);
                    tokio::spawn(ask(self.state.clone(), need.clone(), password.to_string()));
                }
            }
        }
        state.answer.as_ref().filter(|(answered, _)| *answered == need).map(|(_, stranded)| *stranded)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask(state: Arc<Mutex<State>>, need: Need, password: String) {
    let answer = tokio::time::timeout(PATIENCE, judge(&need, &password)).await;
    match answer {
        Ok(Ok(stranded)) => lock(&state).answer = stranded.map(|stranded| (need, stranded)),
        // An upstream that can't be asked says nothing; what it said before stands.
        Ok(Err(e)) => tracing::debug!("the upstream can't be asked for WAL: {e}"),
        Err(_) => tracing::debug!("the upstream doesn't say whether it has WAL"),
    }
}

async fn judge(need: &Need, password: &str) -> Result<Option<Stranded>, ReplicationError> {
    let mut upstream = Replication::to(&need.upstream, password).await?;
    let end = upstream.identify().await?;
    let theirs = upstream.history(end.tli).await?;
    if lineage::is_forked(&need.history, need.replayed, &theirs) {
        return Ok(Some(Stranded::Forked));
    }
    // A receiver asks for whole segments.
    let from = Lsn(need.replayed.0 - need.replayed.0 % need.segment_bytes);
    if theirs.end_of(need.history.tli).is_none() || end.lsn <= from {
        return Ok(None);
    }
    let served = upstream.serves(Position { tli: need.history.tli, lsn: from }).await?;
    Ok((!served).then_some(Stranded::WalRemoved))
}
