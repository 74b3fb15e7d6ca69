//! A second formation on the same monitor, or a second group of the first one, with nodes, clients and expectations of its
//! own. Steps name its nodes, roles as `@primary` are those of the first. What befalls one must not touch the other: each
//! is judged by all checkers, over its own nodes and over what befell them or the monitor, so that a move of its role or an
//! outage finds no excuse next door.

use super::format::{Cluster, Finally, NodeOptions, Outage, Scenario, Workload};
use crate::model::{FormationSettings, GroupKey, NodeState};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    pub cluster: Cluster,
    #[serde(default)]
    pub workload: Vec<Workload>,
    #[serde(default)]
    pub finally: BesideFinally,
}

/// What is expected of its end; it has as long to settle as the first.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BesideFinally {
    pub roles: BTreeMap<String, NodeState>,
    pub promotions: Option<u32>,
    pub write_outage: Option<Outage>,
}

impl Scenario {
    /// One for each group.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        [&self.cluster].into_iter().chain(self.beside.as_ref().map(|beside| &beside.cluster))
    }

    /// Those of its formation, which are said with the first group.
    pub fn settings(&self, cluster: &Cluster) -> &FormationSettings {
        &self.clusters().find(|first| first.formation == cluster.formation).unwrap_or(&self.cluster).settings
    }

    /// Those of all groups.
    pub fn nodes(&self) -> Vec<String> {
        self.clusters().flat_map(|cluster| cluster.nodes.iter().cloned()).collect()
    }

    /// Of a node of whichever group.
    pub fn options(&self, node: &str) -> NodeOptions {
        self.clusters().find_map(|cluster| cluster.node.get(node)).cloned().unwrap_or_default()
    }

    /// That of the node; the first one for what is about no node.
    pub fn group_of(&self, node: Option<&str>) -> GroupKey {
        let has = |cluster: &&Cluster| cluster.nodes.iter().any(|name| Some(name.as_str()) == node);
        self.clusters().find(has).unwrap_or(&self.cluster).key()
    }

    /// Whether the story leaves this node in order, so that it must settle.
    pub fn must_settle(&self, node: &str) -> bool {
        let core = &self.finally.core;
        let is_first = self.cluster.nodes.iter().any(|name| name == node);
        !is_first || core.is_empty() || core.iter().any(|name| name == node)
    }

    /// Clients are numbered from 1 on, those of the second group after those of the first.
    pub fn first_client_beside(&self) -> u32 {
        1 + self.workload.iter().map(|workload| workload.clients).sum::<u32>()
    }

    /// The story as the second group has it: what it is made of, and how it is to end.
    pub fn of_beside(&self) -> Option<Scenario> {
        let Beside { mut cluster, workload, finally } = self.beside.clone()?;
        cluster.settings = self.settings(&cluster).clone();
        let BesideFinally { roles, promotions, write_outage } = finally;
        let Finally { converge, while_it_moves, invariants, .. } = self.finally;
        let finally = Finally {
            converge,
            while_it_moves,
            core: vec![],
            invariants,
            roles,
            promotions,
            write_outage,
            stalled: None,
            max_warnings: None,
            long_fork: false,
            wal_held: None,
        };
        Some(Scenario { cluster, workload, finally, beside: None, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{expect, parse, write};

    const STORY: &str = r#"title = "Two formations"

[cluster]
nodes = ["a", "b"]
primary = "a"

[beside.cluster]
nodes = ["x", "y", "z"]
primary = "x"
formation = "other"

[beside.cluster.settings]
durability = "strict"

[beside.cluster.node.z]
candidate_priority = 0

[[beside.workload]]
kind = "unique_inserts"
clients = 1
rate = "5/s"

[beside.finally]
roles = { x = "secondary" }
promotions = 1
write_outage = { max = "500ms" }

[[step]]
at = "5s"
do = { kill_node = "x" }

[finally]
converge = "60s"
invariants = "all"
promotions = 0
"#;

    #[test]
    fn the_second_formation_is_written_as_it_was_read_and_has_a_story_of_its_own() {
        let story = parse("two.toml", STORY).unwrap();
        assert_eq!(write(&story, ""), STORY);
        assert_eq!(story.nodes(), ["a", "b", "x", "y", "z"]);
        let group = |node| story.group_of(node).to_string();
        assert_eq!([group(Some("y")), group(Some("b")), group(None)], ["other/0", "default/0", "default/0"]);
        let other = story.of_beside().unwrap();
        assert_eq!((other.cluster.nodes.len(), other.workload[0].rate, other.beside.as_ref()), (3, 5.0, None));
        assert_eq!((other.finally.promotions, story.finally.promotions), (Some(1), Some(0)));
        assert_eq!(expect::terms(&other).never_lead, ["z".to_string()].into());
    }

    #[test]
    fn a_second_group_of_the_first_formation_has_its_settings() {
        let group = STORY
            .replace("primary = \"a\"\n", "primary = \"a\"\n\n[cluster.settings]\ndurability = \"async\"\n")
            .replace("formation = \"other\"\n\n[beside.cluster.settings]\ndurability = \"strict\"\n", "group = 1\n");
        let story = parse("groups.toml", &group).unwrap();
        assert_eq!(write(&story, ""), group);
        assert_eq!([story.group_of(Some("y")), story.group_of(None)].map(|key| key.group), [1, 0]);
        assert_eq!(story.clusters().count(), 2);
        assert!(expect::terms(&story.of_beside().unwrap()).may_lose);
        let own = group.replace("group = 1\n", "group = 1\n\n[beside.cluster.settings]\ndurability = \"strict\"\n");
        for (text, complaint) in [
            (own, "the settings of a formation belong below [cluster.settings]"),
            (group.replace("group = 1", "formation = \"other\"\ngroup = 1"), "another formation has group 0 alone"),
            (group.replace("primary = \"a\"\n", "primary = \"a\"\ngroup = 1\n"), "the first is group 0"),
        ] {
            let error = parse("bad.toml", &text).unwrap_err();
            assert!(error.what.contains(complaint), "{error}");
        }
    }

    #[test]
    fn what_the_two_may_not_share_is_refused() {
        let table = [
            ("\"x\", \"y\", \"z\"]", "\"x\", \"b\", \"z\"]", "node \"b\" is listed twice"),
            ("formation = \"other\"", "formation = \"default\"", "give it another name"),
            ("formation = \"other\"", "formation = \"other\"\nssl = true", "belongs below [cluster]"),
            ("primary = \"x\"", "primary = \"y\"", "write primary = \"x\""),
            ("roles = { x", "roles = { a", "is no node of this cluster; its nodes are x, y, z"),
            ("node.z]", "node.b]", "is no node of this cluster; its nodes are x, y, z"),
            ("kill_node = \"x\"", "kill_node = \"w\"", "its nodes are a, b, x, y, z"),
        ];
        for (from, to, expected) in table {
            assert!(STORY.contains(from), "{from}");
            let error = parse("bad.toml", &STORY.replacen(from, to, 1)).unwrap_err();
            assert!(error.what.contains(expected), "{from} -> {to}: {error}");
        }
    }
}
