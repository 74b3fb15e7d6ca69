//! An operator decides which of two histories is the group's.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::edit::Edit;
use crate::monitor::state::Effects;

impl Order<'_> {
    pub fn accept_timeline(&self, key: &GroupKey, tli: Timeline, reason: &str) -> Result<Effects, Refusal> {
        let group = self.group(key)?;
        self.refuse_in_doubt(group)?;
        let view = self.m.view(group, self.now);
        let controls = group.record.nodes.keys().filter_map(|id| view.report(*id)?.facts.control());
        let histories: Vec<&History> = controls.map(|c| &c.history).collect();
        let Some(history) = histories.iter().find(|h| h.tli == tli) else {
            let known: Vec<String> = histories.iter().map(|h| h.tli.to_string()).collect();
            return no(
                format!("no node of group {key} is on timeline {tli}"),
                format!("known are: {}", known.join(", ")),
            );
        };
        if group.record.history.as_ref() == Some(history) {
            return Ok(self.nothing(format!("timeline {tli} is the reference already")));
        }
        if histories.iter().any(|h| h.tli == tli && h != history) {
            let reason = format!("two nodes of group {key} have different histories of timeline {tli}");
            return no(reason, "stop the one that is wrong first; show timeline tells which is which");
        }
        if let Some(primary) = group.record.primary().filter(|p| view.is_open(p.id) && view.is_heard(p.id)) {
            let reason = format!("{} is open, so its timeline is the one all follow", primary.name);
            return no(reason, "a timeline can be chosen only while no primary is open");
        }
        let text = format!("timeline {tli} is accepted as the reference: {reason}");
        Ok(self.carry_out(group, &[Edit::Lineage((*history).clone())], &text, None))
    }
}
