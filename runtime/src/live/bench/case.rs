//! What is done to a group, and for how long writes may be out because of it.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    Switchover,
    ServiceStop,
    PostmasterKilled,
    NodeKilled,
    NodeFrozen,
    StandbyKilled,
    MonitorKilled,
}

pub const HARMS: [Harm; 7] = [
    Harm::Switchover,
    Harm::ServiceStop,
    Harm::PostmasterKilled,
    Harm::NodeKilled,
    Harm::NodeFrozen,
    Harm::StandbyKilled,
    Harm::MonitorKilled,
];

pub const SIZES: [usize; 2] = [2, 3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub harm: Harm,
    pub nodes: usize,
}

/// What Postgres itself needs for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// A fast stop, a promotion, the first insert.
    Handover,
    /// The primary is dead already.
    Promotion,
    /// Nobody has to be promoted.
    None,
}

/// For the median of all runs, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    pub seconds: f64,
    pub times_the_floor: Option<f64>,
}

impl Harm {
    pub fn name(self) -> &'static str {
        match self {
            Harm::Switchover => "switchover",
            Harm::ServiceStop => "service-stop",
            Harm::PostmasterKilled => "postmaster-killed",
            Harm::NodeKilled => "node-killed",
            Harm::NodeFrozen => "node-frozen",
            Harm::StandbyKilled => "standby-killed",
            Harm::MonitorKilled => "monitor-killed",
        }
    }

    pub fn floor(self) -> Floor {
        match self {
            Harm::Switchover | Harm::ServiceStop => Floor::Handover,
            Harm::PostmasterKilled | Harm::NodeKilled | Harm::NodeFrozen => Floor::Promotion,
            Harm::StandbyKilled | Harm::MonitorKilled => Floor::None,
        }
    }

    /// The role goes to another node.
    pub fn moves_the_role(self) -> bool {
        self.floor() != Floor::None
    }
}

impl Case {
    pub fn name(self) -> String {
        format!("{}-{}", self.harm.name(), self.nodes)
    }

    pub fn all() -> Vec<Case> {
        SIZES.iter().flat_map(|nodes| HARMS.map(|harm| Case { harm, nodes: *nodes })).collect()
    }

    /// `detection` is how long a node may be silent before it is taken for lost.
    pub fn bound(self, detection: f64) -> Bound {
        let (seconds, times_the_floor) = match (self.harm, self.nodes) {
            (Harm::Switchover | Harm::ServiceStop, _) => (0.3, Some(3.0)),
            (Harm::PostmasterKilled, _) => (0.3, None),
            (Harm::NodeKilled, 2) => (0.5, None),
            (Harm::NodeKilled, _) => (0.6, None),
            (Harm::NodeFrozen, _) => (detection + 0.5, None),
            (Harm::StandbyKilled, 2) => (0.5, None),
            (Harm::StandbyKilled | Harm::MonitorKilled, _) => (0.1, None),
        };
        Bound { seconds, times_the_floor }
    }
}

impl Bound {
    /// In seconds, once the floor is known.
    pub fn limit(self, floor: Option<f64>) -> f64 {
        match (self.times_the_floor, floor) {
            (Some(times), Some(floor)) => self.seconds.min(times * floor),
            _ => self.seconds,
        }
    }
}

/// What `--only` names: one case, or the same harm to groups of every size.
#[derive(Debug, Clone)]
pub struct Only(pub Vec<Case>);

impl Only {
    pub fn parse(text: &str) -> Result<Only, String> {
        let named: Vec<Case> = Case::all().into_iter().filter(|c| c.name() == text || c.harm.name() == text).collect();
        if named.is_empty() {
            let harms = HARMS.map(Harm::name).join(", ");
            return Err(format!("there is no such case; name one of {harms}, or one with its nodes, as switchover-2"));
        }
        Ok(Only(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harm_names_its_cases_and_a_typo_gets_the_list() {
        assert_eq!(Only::parse("node-killed").unwrap().0.len(), SIZES.len());
        let one = Case { harm: Harm::StandbyKilled, nodes: 3 };
        assert_eq!(Only::parse("standby-killed-3").unwrap().0, [one]);
        assert!(Only::parse("node-kiled").unwrap_err().contains("node-frozen"));
    }

    #[test]
    fn the_tighter_of_two_bounds_counts() {
        let bound = Case { harm: Harm::Switchover, nodes: 2 }.bound(5.0);
        assert_eq!(bound.limit(Some(0.05)), 0.15000000000000002);
        assert_eq!(bound.limit(Some(0.2)), 0.3);
        assert_eq!(bound.limit(None), 0.3);
    }

    #[test]
    fn silence_is_bounded_by_the_time_it_is_given() {
        let frozen = Case { harm: Harm::NodeFrozen, nodes: 2 };
        assert_eq!(frozen.bound(5.0).limit(None), 5.5);
        assert_eq!(frozen.bound(1.0).limit(None), 1.5);
    }

    #[test]
    fn a_third_node_makes_the_loss_of_a_standby_unnoticeable() {
        let limit = |nodes| Case { harm: Harm::StandbyKilled, nodes }.bound(5.0).limit(None);
        assert_eq!((limit(2), limit(3)), (0.5, 0.1));
    }
}
