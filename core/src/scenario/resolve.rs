//! Who a step is about: a node by name, by its role at that moment, or by a name bound earlier.

use crate::model::NodeState;
use serde::{Deserialize, Deserializer, de::Error};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A node, `monitor` or `clients`.
    Name(String),
    /// `@primary`: the node whose goal is writable.
    Primary,
    /// `@standby`: the first node, in the order of the cluster, that isn't the primary.
    Standby,
    /// `$name`, bound by `as`.
    Bound(String),
}

impl Selector {
    pub fn read(text: &str) -> Result<Selector, String> {
        match text {
            "@primary" => Ok(Selector::Primary),
            "@standby" => Ok(Selector::Standby),
            _ if text.starts_with('@') => Err(format!("\"{text}\" is not a role; known are @primary and @standby")),
            "" => Err("a node is needed here: its name, @primary, @standby or $name".to_string()),
            _ => Ok(match text.strip_prefix('$') {
                Some(bound) => Selector::Bound(bound.to_string()),
                None => Selector::Name(text.to_string()),
            }),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Name(name) => f.write_str(name),
            Selector::Primary => f.write_str("@primary"),
            Selector::Standby => f.write_str("@standby"),
            Selector::Bound(name) => write!(f, "${name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Selector, D::Error> {
        Selector::read(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{selector} names no node at this moment: {why}")]
pub struct Unresolved {
    pub selector: String,
    pub why: String,
}

/// Names bound so far, and what is needed to resolve roles.
#[derive(Debug, Clone, Default)]
pub struct Cast {
    bound: BTreeMap<String, String>,
}

impl Cast {
    pub fn bind(&mut self, name: &str, node: &str) {
        self.bound.insert(name.to_string(), node.to_string());
    }

    /// `goals` lists every node with its assigned state, in the order of the cluster.
    pub fn resolve(&self, selector: &Selector, goals: &[(String, NodeState)]) -> Result<String, Unresolved> {
        let missing = |why: &str| Unresolved { selector: selector.to_string(), why: why.to_string() };
        let primary = || goals.iter().find(|(_, goal)| goal.is_writable()).map(|(name, _)| name.clone());
        match selector {
            Selector::Name(name) => Ok(name.clone()),
            Selector::Bound(name) => self.bound.get(name).cloned().ok_or_else(|| missing("nothing is bound to it")),
            Selector::Primary => primary().ok_or_else(|| missing("no node is told to be writable")),
            Selector::Standby => {
                let primary = primary();
                let other = goals.iter().find(|(name, _)| Some(name) != primary.as_ref());
                other.map(|(name, _)| name.clone()).ok_or_else(|| missing("there is no other node"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_follow_the_goals_of_the_moment() {
        let goals = vec![("mdw".to_string(), NodeState::Demoted), ("smdw".to_string(), NodeState::WaitPrimary)];
        let mut cast = Cast::default();
        cast.bind("old", "mdw");
        assert_eq!(cast.resolve(&Selector::Primary, &goals), Ok("smdw".into()));
        assert_eq!(cast.resolve(&Selector::Standby, &goals), Ok("mdw".into()));
        assert_eq!(cast.resolve(&Selector::Bound("old".into()), &goals), Ok("mdw".into()));
        assert!(cast.resolve(&Selector::Bound("new".into()), &goals).is_err());
        assert!(cast.resolve(&Selector::Primary, &goals[..1]).is_err());
    }
}
