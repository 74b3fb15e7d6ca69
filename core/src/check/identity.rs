//! S10: every node speaks for one data directory, and all of a group for the same database.

use super::trace::{Kind, Trace};

pub fn check(trace: &Trace) -> Result<(), String> {
    let mut first: Option<(&str, u64)> = None;
    for event in &trace.events {
        let (node, system_id) = match &event.kind {
            Kind::Stored { node, system_id: Some(system_id), .. } | Kind::Configured { node, system_id, .. } => {
                (node, *system_id)
            }
            _ => continue,
        };
        let (known, expected) = *first.get_or_insert((node, system_id));
        if system_id != expected {
            return Err(format!(
                "{node} speaks for system {system_id} at {:.3} s, {known} for {expected}",
                event.at.seconds()
            ));
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
    fn a_foreign_directory_is_found() {
        let foreign = |name: &str| Kind::Configured {
            node: name.into(),
            id: id(name),
            system_id: 8,
            names: [].into(),
            slots: [].into(),
            follows: None,
        };
        let start = || (0, stored("a", 1, Primary, None));
        assert_eq!(check(&trace(vec![start(), (1, stored("b", 1, Secondary, None))])), Ok(()));
        for name in ["a", "b"] {
            assert!(check(&trace(vec![start(), (1, foreign(name))])).unwrap_err().contains("system 8"));
        }
    }
}
