//! The end of a keeper: in order when it is asked politely, at once when it is not.

use super::{Keeper, KeeperExit, StopRequest};
use crate::model::*;
use crate::ports::{Clock, Link, Postgres, Store};

impl<C: Clock, L: Link, S: Store, P: Postgres> Keeper<'_, C, L, S, P> {
    pub(super) async fn asked_to_stop(&mut self, request: StopRequest) {
        match request {
            StopRequest::Fast => self.stop_now(KeeperExit::Stopped).await,
            StopRequest::HandOver => {
                tracing::info!("asked to stop: handing over first");
                self.leaving = Some(self.ports.clock.now() + self.settings.handover_timeout);
                self.outbox.news = true;
            }
        }
    }

    /// Nothing new is begun when only the stop is left.
    pub(super) fn stopping(&self) -> bool {
        self.leaving.is_some() && self.nothing_to_hand_over()
    }

    /// Nobody waits for this node any more, or nobody could take over from it.
    fn nothing_to_hand_over(&self) -> bool {
        let goal = self.record.goal();
        match self.record.state {
            NodeState::Init | NodeState::WaitStandby | NodeState::Single | NodeState::Dropped => true,
            NodeState::Maintenance => true,
            NodeState::WaitPrimary | NodeState::Catchingup | NodeState::Demoted => goal == Some(self.record.state),
            NodeState::Primary | NodeState::Secondary => false,
            NodeState::Draining | NodeState::DemoteTimeout | NodeState::PrepareMaintenance => false,
            NodeState::PreparePromotion | NodeState::StopReplication => false,
            NodeState::ReportLsn | NodeState::FastForward | NodeState::WaitMaintenance => false,
        }
    }

    pub(super) async fn leave(&mut self, now: Moment) {
        let told = self.memory.confirmed == Some(self.record.state);
        if self.record.state == NodeState::Dropped && told {
            return self.stop_now(KeeperExit::Dropped).await;
        }
        let Some(deadline) = self.leaving else { return };
        let unheard = now.since(self.heard) > self.settings.call_timeout;
        if self.step.is_none() && self.nothing_to_hand_over() && (told || unheard) {
            return self.stop_now(KeeperExit::Stopped).await;
        }
        if now >= deadline || unheard {
            tracing::warn!(
                "stopping without having handed over: {} while told to be {:?}",
                self.record.state,
                self.record.goal()
            );
            self.stop_now(KeeperExit::Stopped).await;
        }
    }
}
