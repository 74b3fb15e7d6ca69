//! Who holds the role, as the monitor's log tells it.

use super::trace::{Fault, Kind, Trace};
use crate::model::{Epoch, Moment};
use crate::monitor::doubt::REGISTERS_AGAIN;

/// Another node than before was told to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion<'a> {
    pub at: Moment,
    pub from: &'a str,
    pub to: &'a str,
    pub epoch: Epoch,
}

/// Follows the role through a trace.
#[derive(Debug, Default)]
pub struct Role<'a> {
    pub holder: Option<&'a str>,
}

impl<'a> Role<'a> {
    /// The move of the role that this event is, if it is one.
    pub fn follow(&mut self, at: Moment, kind: &'a Kind) -> Option<Promotion<'a>> {
        if is_reset(kind) {
            self.holder = None;
        }
        let Kind::Node { node, goal, epoch, description, .. } = kind else { return None };
        if description.contains(REGISTERS_AGAIN) || !goal.is_writable() || self.holder == Some(node.as_str()) {
            return None;
        }
        let from = self.holder.replace(node)?;
        Some(Promotion { at, from, to: node, epoch: *epoch })
    }
}

/// What the monitor tells from here on comes out of another store: it is no move of the role when that one names
/// another node than the one before did.
pub fn is_reset(kind: &Kind) -> bool {
    matches!(kind, Kind::Fault { fault: Fault::MonitorStore, .. })
}

pub fn promotions(trace: &Trace) -> Vec<Promotion<'_>> {
    let mut role = Role::default();
    trace.events.iter().filter_map(|e| role.follow(e.at, &e.kind)).collect()
}
