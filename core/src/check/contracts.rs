//! Contracts as a trace shows them, and the one law about them, by its words rather than by the algebra
//! that the monitor uses.

use crate::model::NodeId;
use std::collections::BTreeSet;

/// `k` of these must have flushed a commit before it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub k: usize,
    pub members: BTreeSet<NodeId>,
}

impl Demand {
    /// Whether enough members are left to acknowledge a commit when these take part no more.
    pub fn can_acknowledge_without(&self, gone: &BTreeSet<NodeId>) -> bool {
        self.members.iter().filter(|m| !gone.contains(m)).count() >= self.k
    }
}

/// Reads what `Contract` prints, several of them with a semicolon between.
pub fn read(in_force: &str) -> Result<Vec<Demand>, String> {
    in_force.split("; ").filter(|text| !text.is_empty()).map(read_one).collect()
}

fn read_one(text: &str) -> Result<Demand, String> {
    if text == "none" {
        return Ok(Demand { k: 0, members: BTreeSet::new() });
    }
    let parts = text.strip_prefix("any ").and_then(|rest| rest.strip_suffix(')')?.split_once(" of ("));
    let terms = parts.and_then(|(k, members)| {
        let members = members.split(", ").map(|m| m.parse().ok().map(NodeId)).collect::<Option<_>>()?;
        Some(Demand { k: k.parse().ok()?, members })
    });
    terms.ok_or_else(|| format!("\"{text}\" is no contract"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Contract, ContractId};

    #[test]
    fn what_a_contract_prints_is_read_back() {
        let any = Contract::any(ContractId(1), 2, [NodeId(2), NodeId(3), NodeId(10)].into());
        let both = format!("{}; {}", Contract::none(ContractId(2)), any);
        let read = read(&both).unwrap();
        assert_eq!(read[0], Demand { k: 0, members: BTreeSet::new() });
        assert_eq!(read[1], Demand { k: 2, members: any.members.clone() });
        assert_eq!(super::read(""), Ok(vec![]));
        assert!(super::read("first 1 of (2)").is_err());
    }

    #[test]
    fn whoever_is_left_may_be_too_few() {
        let terms = &read("any 2 of (2, 3, 4)").unwrap()[0];
        assert!(terms.can_acknowledge_without(&[NodeId(2)].into()));
        assert!(!terms.can_acknowledge_without(&[NodeId(2), NodeId(4)].into()));
        assert!(read("none").unwrap()[0].can_acknowledge_without(&[NodeId(2)].into()));
    }
}
