//! Nodes take WAL from each other only: an archive knows nothing of elections, and may hold the end of a history that
//! was given up.

use super::trace::{Kind, Trace};

pub fn check(trace: &Trace) -> Result<(), String> {
    for event in &trace.events {
        if let Kind::Received { node, from } = &event.kind
            && !trace.nodes.contains(from)
        {
            return Err(format!("{node} took WAL of {from}, which is no node, at {:.3} s", event.at.seconds()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn wal_of_an_archive_is_found() {
        let received = |from: &str| trace(vec![(1, Kind::Received { node: "b".into(), from: from.into() })]);
        assert_eq!(check(&received("a")), Ok(()));
        assert!(check(&received("archive")).unwrap_err().contains("b took WAL of archive"));
    }
}
