//! S8: whoever is promoted holds as much as anyone that was sealed in its epoch and had said so.

use super::quorums_meet::seals;
use super::trace::{Kind, Trace};
use crate::model::{Epoch, Position, Seal};
use std::collections::BTreeMap;

#[derive(Default)]
struct Voter {
    stored: Option<Seal>,
    /// The monitor has it from the node itself.
    said: Option<Seal>,
    epoch: Option<Epoch>,
}

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut voters: BTreeMap<&str, Voter> = BTreeMap::new();
    for event in &trace.events {
        match &event.kind {
            Kind::Stored { node, seal, epoch, .. } => {
                let voter = voters.entry(node).or_default();
                (voter.stored, voter.epoch) = (*seal, Some(*epoch));
            }
            Kind::Node { node, reported, .. } if seals(*reported) => {
                let voter = voters.entry(node).or_default();
                voter.said = voter.stored;
            }
            Kind::Branched { node, parent, fork, .. } => {
                let Some(epoch) = voters.get(node.as_str()).and_then(|v| v.epoch) else { continue };
                let mine = Position { tli: *parent, lsn: *fork };
                let more = |v: &Voter| {
                    let seal = v.said.filter(|s| s.epoch == epoch)?;
                    let ahead =
                        seal.position.tli > mine.tli || (seal.position.tli == mine.tli && seal.position.lsn > mine.lsn);
                    ahead.then_some(seal.position)
                };
                if let Some((other, position)) = voters.iter().find_map(|(name, v)| Some((name, more(v)?))) {
                    return Err(format!("{node} was promoted at {mine:?}, and {other} was sealed at {position:?}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::model::NodeState::*;

    #[test]
    fn a_candidate_behind_another_sealed_node_is_found() {
        let election = |said, end| {
            let mut events = vec![(0, stored("b", 2, ReportLsn, Some(100))), (1, stored("c", 2, ReportLsn, Some(120)))];
            if said {
                events.push((2, node("c", ReportLsn, ReportLsn, 2)));
            }
            events.push((3, branched("b", 2, 1, end)));
            check(&trace(events))
        };
        assert_eq!(election(true, 120), Ok(()));
        assert!(election(true, 100).unwrap_err().contains("c was sealed at 1:0/78"));
        assert_eq!(election(false, 100), Ok(()), "the monitor could not know of it");
    }
}
