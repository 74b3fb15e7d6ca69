//! A story to which something more is done than its file says.

use super::beside::BesideFinally;
use super::format::{Finally, Outage, Scenario};
use std::time::Duration;

impl Scenario {
    /// What is expected of a run that is disturbed: all of safety, and that the group settles or waits for a lawful
    /// reason. What the file says of its undisturbed end doesn't bind: who has which role, how often it moved, how long
    /// writes were out, and that the group must wait.
    pub fn disturbed(&self) -> Scenario {
        let Finally { converge, invariants, .. } = self.finally;
        let finally = Finally {
            converge,
            while_it_moves: false,
            core: vec![],
            invariants,
            roles: [].into(),
            promotions: None,
            write_outage: Some(Outage { max: Duration::MAX }),
            stalled: None,
            max_warnings: None,
            long_fork: false,
            wal_held: None,
        };
        let mut scenario = Scenario { finally, ..self.clone() };
        if let Some(beside) = &mut scenario.beside {
            let write_outage = Some(Outage { max: Duration::MAX });
            beside.finally = BesideFinally { write_outage, ..BesideFinally::default() };
        }
        scenario
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Kind, Trace, judge};
    use crate::model::{Moment, NodeState};
    use crate::scenario::{expect, parse};

    const STORY: &str = r#"
        title = "A wait"
        [cluster]
        nodes = ["a", "b"]
        primary = "a"
        [[step]]
        at = "1s"
        do = { kill_node = "a" }
        [finally]
        converge = "5s"
        invariants = "all"
        roles = { a = "secondary" }
        promotions = 1
        write_outage = { max = "1s" }
        stalled = "waits for nodes"
        max_warnings = 0
    "#;

    fn run(ended: &[(&str, NodeState)], lost: bool) -> Trace {
        let mut trace = Trace { nodes: vec!["a".into(), "b".into()], ..Trace::default() };
        trace.sees = [crate::check::Sense::Ends, crate::check::Sense::Faults].into();
        let acked = |id, warning| Kind::Acked { client: 1, id, node: "a".into(), sent: Moment::ZERO, warning };
        trace.push(Moment(0), Kind::ClientsBegan);
        trace.push(Moment(1), acked(1, true));
        trace.push(Moment(1), acked(2, false));
        trace.push(Moment(90_000_000), Kind::ClientsStopped);
        let ids = if lost { [1].into() } else { [1, 2].into() };
        trace.push(Moment(90_000_001), Kind::Found { node: "a".into(), ids });
        for (node, state) in ended {
            let (node, reported, goal) = (node.to_string(), *state, *state);
            trace.push(Moment(90_000_002), Kind::Ended { node, reported, goal, pending: None, runs: true });
        }
        trace
    }

    fn broken(scenario: &Scenario, mut trace: Trace) -> Vec<String> {
        trace.terms = expect::terms(scenario);
        let verdicts = judge(&trace).into_iter().filter_map(|v| v.broken);
        verdicts.chain(expect::unmet(scenario, &trace)).collect()
    }

    #[test]
    fn the_end_of_the_file_does_not_bind_and_safety_and_settling_do() {
        let written = parse("a.toml", STORY).unwrap();
        let disturbed = written.disturbed();
        let settled = [("a", NodeState::Primary), ("b", NodeState::Secondary)];
        assert!(broken(&written, run(&settled, false)).len() >= 4);
        assert_eq!(broken(&disturbed, run(&settled, false)), Vec::<String>::new());
        assert!(broken(&disturbed, run(&settled, true))[0].contains("1 of 1 lost"));
        let stuck = [("a", NodeState::Demoted), ("b", NodeState::Secondary)];
        assert!(broken(&disturbed, run(&stuck, false)).iter().any(|b| b.contains("no reason is published")));
        assert_eq!(disturbed.finally.converge, written.finally.converge);
        assert_eq!(disturbed.steps, written.steps);
    }
}
