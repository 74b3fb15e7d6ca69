//! Who a step is about: a node by name, by its role at that moment, or by a name bound earlier.

use crate::model::{MOST_NODES, NodeState};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::collections::BTreeMap;
use std::fmt;

const MOST_STANDBYS: usize = MOST_NODES - 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A node, `monitor` or `clients`.
    Name(String),
    /// `@primary`: the node whose goal is writable.
    Primary,
    /// `@standby`, `@standby2`, ...: the n-th node, in the order of the cluster, that isn't the primary.
    Standby(usize),
    /// `@candidate`: the node that is being promoted.
    Candidate,
    /// `$name`, bound by `as`.
    Bound(String),
}

impl Selector {
    pub fn read(text: &str) -> Result<Selector, String> {
        match text {
            "@primary" => Ok(Selector::Primary),
            "@standby" => Ok(Selector::Standby(1)),
            "@candidate" => Ok(Selector::Candidate),
            _ if text.starts_with('@') => {
                let nth = (2..=MOST_STANDBYS).find(|nth| text == format!("@standby{nth}"));
                let known = format!("known are @primary, @standby to @standby{MOST_STANDBYS}, and @candidate");
                nth.map(Selector::Standby).ok_or_else(|| format!("\"{text}\" is not a role; {known}"))
            }
            "" => Err("a node is needed here: its name, a role as @primary, or $name".to_string()),
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
            Selector::Standby(1) => f.write_str("@standby"),
            Selector::Standby(nth) => write!(f, "@standby{nth}"),
            Selector::Candidate => f.write_str("@candidate"),
            Selector::Bound(name) => write!(f, "${name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Selector, D::Error> {
        Selector::read(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
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
            Selector::Standby(nth) => {
                let primary = primary();
                let mut others = goals.iter().filter(|(name, _)| Some(name) != primary.as_ref());
                let other = others.nth(nth - 1).map(|(name, _)| name.clone());
                other.ok_or_else(|| missing("there are not so many other nodes"))
            }
            Selector::Candidate => {
                let chosen = goals.iter().find(|(_, goal)| goal.is_being_promoted());
                chosen.map(|(name, _)| name.clone()).ok_or_else(|| missing("no node is being promoted"))
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
        assert_eq!(cast.resolve(&Selector::Standby(1), &goals), Ok("mdw".into()));
        assert!(cast.resolve(&Selector::Standby(2), &goals).is_err());
        assert!(cast.resolve(&Selector::Candidate, &goals).is_err());
        let election = vec![("mdw".to_string(), NodeState::ReportLsn), ("smdw".to_string(), NodeState::FastForward)];
        assert_eq!(cast.resolve(&Selector::Candidate, &election), Ok("smdw".into()));
        assert_eq!(cast.resolve(&Selector::Standby(2), &election), Ok("smdw".into()));
        assert_eq!(cast.resolve(&Selector::Bound("old".into()), &goals), Ok("mdw".into()));
        assert!(cast.resolve(&Selector::Bound("new".into()), &goals).is_err());
        assert!(cast.resolve(&Selector::Primary, &goals[..1]).is_err());
    }
}
