//! Runs the rule table to its fixpoint and tells what each rule did.

use crate::model::*;
use crate::monitor::edit::apply;
use crate::monitor::events::Log;
use crate::monitor::rules::{END_DOUBT, RULES, Rule};
use crate::monitor::state::{Effects, Group, Monitor};
use crate::monitor::view::View;

/// A rule that fired, and what came of it.
#[derive(Debug, Clone)]
pub struct Fired {
    pub rule: &'static Rule,
    pub why: String,
    /// The record after this rule.
    pub record: GroupRecord,
}

/// More than any lawful sequence; beyond it rules undo each other, which is a bug.
const MOST_RULES: usize = 32;

/// Fires the first matching rule, again and again, until none matches.
///
/// # Panics
/// When the rules don't come to rest: a programmer's error.
pub fn decide(view: &View) -> Vec<Fired> {
    let mut fired: Vec<Fired> = Vec::new();
    loop {
        let record = fired.last().map_or(view.record, |f| &f.record);
        let view = View { record, ..*view };
        let Some((rule, (edits, why))) = applicable(record).find_map(|r| (r.fire)(&view).map(|e| (r, e))) else {
            return fired;
        };
        let mut record = record.clone();
        apply(&mut record, &edits, &view);
        fired.push(Fired { rule, why, record });
        assert!(
            fired.len() <= MOST_RULES,
            "the rules don't come to rest: {:?}",
            fired.iter().map(|f| f.rule.number).collect::<Vec<_>>()
        );
    }
}

/// What may be decided about a group of which the monitor knows less than its nodes: who leads it, and nothing else.
fn applicable(record: &GroupRecord) -> impl Iterator<Item = &'static Rule> {
    let in_doubt = record.in_doubt;
    RULES.iter().filter(move |r| !in_doubt || END_DOUBT.contains(&r.number))
}

impl Monitor {
    /// The rules on top of a changed record, with everything that changed since the stored one.
    pub(super) fn run_rules(&self, now: Moment, group: &Group, record: GroupRecord, log: Log) -> Effects {
        self.run_rules_under(now, group, record, log, self.view(group, now).formation)
    }

    /// As `run_rules`, under settings that are about to be stored.
    pub(super) fn run_rules_under(
        &self,
        now: Moment,
        group: &Group,
        record: GroupRecord,
        mut log: Log,
        formation: &FormationSettings,
    ) -> Effects {
        let fired = decide(&View { record: &record, formation, ..self.view(group, now) });
        let mut before = &record;
        for Fired { rule, why, record: after } in &fired {
            let note = group.timing_note(rule, now);
            if !why.is_empty() {
                log.changes(before, after, group, Some(rule), &format!("{why}{note}"));
            }
            before = after;
        }
        let last = fired.last().map(|f| f.record.clone()).unwrap_or(record);
        let groups = if last == group.record { vec![] } else { vec![last] };
        Effects { groups, events: log.rows, ..Effects::default() }
    }
}
