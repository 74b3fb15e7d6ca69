//! Ways to make a story smaller. Each gives its candidates in a fixed order, the boldest first; a candidate may make
//! no sense, then the search passes over it. Every candidate is smaller by some measure, so that an end is reached.

mod expectations;
mod keys;
mod load;
mod nodes;
mod related;
mod steps;
mod times;
mod units;

use pgbaton_core::scenario::Scenario;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the story expects beside the failure.
    Expectations,
    /// Without the points in the code where something goes wrong by chance.
    FaultPoints,
    /// The story ends sooner.
    Cut,
    /// Incidents of a drawn story, as many at once as the story has divided by this.
    Units(usize),
    /// Steps, as many at once as the story has divided by this.
    Steps(usize),
    /// Steps that make sense only together.
    RelatedSteps,
    Nodes,
    Load,
    /// Whatever may be left out of a file.
    Keys,
    /// All times at once.
    Pace,
    Times,
}

/// In this order, over and over: what makes runs quick comes first.
pub const WAYS: [Way; 21] = [
    Way::Expectations,
    Way::Steps(1),
    Way::FaultPoints,
    Way::Cut,
    Way::Units(2),
    Way::Units(4),
    Way::Units(8),
    Way::Cut,
    Way::Units(16),
    Way::Units(usize::MAX),
    Way::Steps(2),
    Way::Steps(4),
    Way::Pace,
    Way::Steps(8),
    Way::Pace,
    Way::Steps(usize::MAX),
    Way::RelatedSteps,
    Way::Nodes,
    Way::Load,
    Way::Keys,
    Way::Times,
];

impl Way {
    pub fn candidates(self, scenario: &Scenario) -> Vec<Scenario> {
        match self {
            Way::FaultPoints if scenario.fault_points.is_empty() => Vec::new(),
            Way::FaultPoints => vec![with(scenario, |s| s.fault_points.clear())],
            Way::Cut => units::cuts(scenario),
            Way::Units(parts) => units::candidates(scenario, parts),
            Way::Expectations => expectations::candidates(scenario),
            Way::Steps(parts) => steps::candidates(scenario, parts),
            Way::RelatedSteps => related::candidates(scenario),
            Way::Nodes => nodes::candidates(scenario),
            Way::Load => load::candidates(scenario),
            Way::Keys => keys::candidates(scenario),
            Way::Pace => times::pace(scenario),
            Way::Times => times::candidates(scenario),
        }
    }
}

/// The scenario with a change.
fn with(scenario: &Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut changed = scenario.clone();
    change(&mut changed);
    changed
}

#[cfg(test)]
pub mod testing {
    use pgbaton_core::scenario::{Scenario, parse};

    /// A story with these steps, of nodes a to e.
    pub fn story(steps: &str) -> Scenario {
        let text = format!(
            "title = \"x\"\nworlds = [\"sim\"]\nwhy = \"y\"\n[cluster]\nnodes = [\"a\", \"b\", \"c\", \"d\", \"e\"]\nprimary = \"a\"\n\
             {steps}\n[finally]\nconverge = \"60s\"\ninvariants = \"all\"\n"
        );
        parse("story.toml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }
}
