//! The operator's word in a doubt: nobody is open, and whoever could tell who led last is gone for good.

use super::{Order, Refusal, no};
use crate::model::*;
use crate::monitor::rules;
use crate::monitor::state::{Effects, Group};
use crate::monitor::view::View;
use std::collections::BTreeSet;

impl Order<'_> {
    pub fn end_doubt(&self, group: &Group, to: Option<&NodeRecord>, consent: bool) -> Result<Effects, Refusal> {
        let view = self.m.view(group, self.now);
        let open = group.record.nodes.values().find(|n| view.is_heard(n.id) && view.is_open(n.id));
        if let Some(open) = open.filter(|open| to.is_none_or(|to| to.id != open.id)) {
            let remedy = "see show state whether it is taken for the primary; if others may have elected another since, \
                          name it, or stop it first";
            return no(format!("{} is open", open.name), remedy);
        }
        let (Some(node), true) = (to, consent) else {
            let why = view.stall().unwrap_or_else(|| format!("group {} is in doubt", group.record.key));
            let remedy = "start the node that led last; if it is gone for good, give up what it alone held: perform \
                          promotion --name NODE --allow-data-loss";
            return no(why, remedy);
        };
        // One that led and is closed has nothing to seal.
        let fit = match node.reported == NodeState::DemoteTimeout || open.is_some() {
            true => view.is_heard(node.id).then_some(()).ok_or("its keeper says nothing".to_string()),
            false => view.may_lead(node, Some(node.id)),
        };
        if let Err(why) = fit {
            return no(format!("{} can't lead: {why}", node.name), "bring it back, or name another");
        }
        if node.doubted || view.report(node.id).is_none_or(|r| r.facts.control().is_none()) {
            return no(format!("{} has no data", node.name), "name another");
        }
        let edits = match node.reported {
            _ if open.is_some() => rules::adopt_open(&view, node),
            NodeState::DemoteTimeout => rules::open_again(&view, node, &BTreeSet::new()),
            _ => rules::elect_in_doubt(&view, node),
        };
        let text = format!(
            "promotion of {} was asked for, with consent to lose what others alone held, {}",
            node.name,
            given_up(&view, node)
        );
        Ok(self.carry_out(group, &edits, &text, None))
    }
}

/// The range of WAL that the consent is about, as far as anybody has told of it.
fn given_up(view: &View, node: &NodeRecord) -> String {
    let of = |n: &NodeRecord| view.report(n.id).and_then(|r| r.facts.position()).or(n.position).map(|p| p.lsn);
    let from = of(node).map_or("an unknown point".to_string(), |lsn| lsn.to_string());
    let others = view.record.nodes.values().filter(|n| n.id != node.id);
    match others.filter_map(of).max().filter(|lsn| of(node).is_none_or(|from| *lsn > from)) {
        Some(known) => format!("from {from} to {known} and beyond"),
        None => format!("from {from} on"),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::NodeState::*;
    use crate::model::{Contract, ContractId, ControlState, Epoch, NodeId};
    use crate::monitor::rules::testing::*;
    use crate::monitor::state::Input;
    use crate::ports::Probe;
    use crate::wire::{Answer, Command};

    #[test]
    fn without_consent_or_a_name_the_operator_is_told_what_would_end_the_doubt() {
        let mut p = Pair::in_doubt();
        for (to, consent) in [(None, false), (Some("c"), false), (None, true)] {
            let told = refusal(p.ordered_failover(to, consent));
            assert!(told.contains("perform promotion --name NODE --allow-data-loss"), "{told}");
        }
        p.tells(C, Secondary, no_directory(), |r| (r.epoch, r.serial) = (Epoch(5), 41));
        assert!(refusal(p.ordered_failover(Some("c"), true)).contains("c can't lead"));
        p.passes(p.monitor.settings.drain_timeout);
        p.tells(A, WaitPrimary, primary_with(None), |r| {
            (r.epoch, r.serial, r.contract) = (Epoch(5), 41, Some(Contract::none(ContractId(9))));
        });
        assert!(!p.record().in_doubt, "one that is open ends it");
    }

    #[test]
    fn a_standby_is_elected_by_consent_whether_or_not_the_old_primary_is_remembered() {
        for remembered in [true, false] {
            let mut p = Pair::in_doubt();
            if !remembered {
                p.record_mut().nodes.remove(&A);
            }
            assert!(matches!(p.ordered_failover(Some("c"), true), Answer::Accepted { .. }));
            assert_eq!((p.goal(B), p.goal(C), p.record().in_doubt), (ReportLsn, ReportLsn, false));
            assert!(p.stall().unwrap().contains("votes"), "{:?}", p.stall());
            p.votes(B, 1000);
            p.votes(C, 1000);
            assert_eq!(p.goal(C), StopReplication);
            p.vows(C, StopReplication, 1000);
            if remembered {
                assert_eq!(p.goal(C), StopReplication, "nobody knows whether a is open");
                p.probed(A, Probe::Refused);
                p.hangs_up(A);
                p.probed(A, Probe::Refused);
            }
            assert_eq!((p.goal(B), p.goal(C)), (Secondary, WaitPrimary));
            assert!(p.record().nodes.get(&A).is_none_or(|a| a.goal() == Demoted));
            p.says(C, WaitPrimary, primary_of(&[]));
            assert!(p.record().transfer.is_none());
        }
    }

    #[test]
    fn one_that_led_and_is_closed_opens_again_by_consent() {
        let mut p = Pair::settled();
        p.set_durability(crate::model::Durability::Async);
        p.monitor_restarts();
        p.tells(B, DemoteTimeout, stopped(ControlState::ShutDown), |r| (r.epoch, r.serial) = (Epoch(5), 40));
        assert!(p.record().in_doubt && p.record().nodes.contains_key(&NodeId(1)));
        p.says(A, Secondary, standby());
        let (to, from) = (Some("b".to_string()), None);
        let effects = p.feed(Input::Command(Command::Failover { key: key(), to, from, allow_data_loss: true }));
        assert!(matches!(effects.answer, Some(Answer::Accepted { .. })));
        let told = |text: &str| effects.events.iter().any(|e| e.description.contains(text));
        assert!(told("consent to lose what others alone held, from 0/"), "{:?}", effects.events);
        assert!(p.goal(B).is_writable() && !p.goal(A).is_writable(), "{:?}", p.goals());
    }
}
