//! What went wrong in a run, by a name that stays the same while the story around it shrinks.

use crate::report::Report;
use std::collections::BTreeSet;

/// Before an expectation that wasn't met.
const OTHERWISE: &str = "expected otherwise: ";

/// One thing that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of the checker; or for an expectation of the story, its sentence without what differs between runs.
    pub name: String,
    /// This time: how, and who.
    pub how: String,
    /// A checker said so, not the story itself.
    pub invariant: bool,
}

impl Failure {
    /// Whether somebody means this one, who has its name or a line of a report.
    pub fn is(&self, given: &str, nodes: &[String]) -> bool {
        let given = given.trim().trim_start_matches(OTHERWISE);
        given == self.name || essence(given, nodes) == self.name
    }

    /// In a report.
    pub fn describe(&self) -> String {
        if self.invariant { format!("{}: {}", self.name, self.how) } else { format!("{OTHERWISE}{}", self.how) }
    }
}

/// A checker of writes says so when there were none. That is not the failure it is there for: a story without clients
/// would do.
const NOTHING_WRITTEN: &str = "no write was ever acknowledged";

/// Everything that failed, the invariants first. `nodes` are those of the story as it was: an expectation is the
/// same whichever of them it is about.
pub fn failures(report: &Report, nodes: &[String]) -> Vec<Failure> {
    let broken = |verdict: &pgbaton_core::check::Verdict| {
        let how = verdict.broken.clone()?;
        let name = if how.ends_with(NOTHING_WRITTEN) { NOTHING_WRITTEN } else { verdict.name };
        Some(Failure { name: name.to_string(), how, invariant: true })
    };
    let unmet = |text: &String| Failure { name: essence(text, nodes), how: text.clone(), invariant: false };
    let mut all: Vec<Failure> = report.verdicts.iter().filter_map(broken).collect();
    all.extend(report.outcome.unmet.iter().map(unmet));
    all
}

pub fn names(failures: &[Failure]) -> BTreeSet<&str> {
    failures.iter().map(|f| f.name.as_str()).collect()
}

/// A sentence up to its details, with every number, quotation and node of the group alike: "step 3: kill everything
/// on b: no answer; a: single -> single" becomes "step #: kill everything on node: no answer".
fn essence(text: &str, nodes: &[String]) -> String {
    let main = text.split(';').next().unwrap_or(text);
    // To move too often is one thing, not to move at all is another.
    if main.starts_with("the role was to move") {
        return main.to_string();
    }
    let unquoted: String = main.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let mut out = String::new();
    let mut word = String::new();
    for c in unquoted.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' || c == '-' || c == '.' {
            word.push(c);
            continue;
        }
        out.push_str(&alike(&std::mem::take(&mut word), nodes));
        out.push(c);
    }
    out.trim().to_string()
}

fn alike(word: &str, nodes: &[String]) -> String {
    if nodes.iter().any(|node| node == word) {
        return "node".to_string();
    }
    match word.find(|c: char| !(c.is_ascii_digit() || c == '.')) {
        // "12.5ms" keeps its unit, and a word with digits behind letters is a name.
        Some(unit) if unit > 0 => format!("#{}", &word[unit..]),
        None if !word.is_empty() && word != "." => "#".to_string(),
        _ => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_the_same_whatever_its_numbers_and_nodes_are() {
        let nodes = ["mdw".to_string(), "b".to_string()];
        let table = [
            ("the role was to move 2 times and moved 13 times", "the role was to move 2 times and moved 13 times"),
            ("mdw was to end as primary and is demoted", "node was to end as primary and is demoted"),
            (
                "step 12: not reached in time: State { node: Name(\"b\"), state: Single }; mdw: x -> y, \"z\"",
                "step #: not reached in time: State { node: Name(\"\"), state: Single }",
            ),
            (
                "writes were out for 12.345 s from 3.1 s on (\"kill b\"), allowed are 250ms",
                "writes were out for # s from # s on (\"\"), allowed are #ms",
            ),
            ("step 3: kill everything on b: no answer", "step #: kill everything on node: no answer"),
            (
                "the run panicked: index out of bounds: the len is 3 but the index is 4",
                "the run panicked: index out of bounds: the len is # but the index is #",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(essence(text, &nodes), expected);
        }
    }

    #[test]
    fn a_failure_is_meant_by_its_name_and_by_what_a_report_says_of_it() {
        let nodes = ["mdw".to_string()];
        let how = "mdw was to end as primary and is demoted";
        let failure = Failure { name: essence(how, &nodes), how: how.into(), invariant: false };
        for given in
            [&failure.name, how, &failure.describe(), "  expected otherwise: mdw was to end as primary and is demoted"]
        {
            assert!(failure.is(given, &nodes), "{given}");
        }
        assert!(!failure.is("mdw was to end as secondary and is demoted", &nodes));
    }
}
