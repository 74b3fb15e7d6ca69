//! A run with two formations on one monitor, or two groups of one formation, is judged as two: each over its own nodes and
//! clients, and over what befell them, the monitor, or nobody in particular. What was done to one is no excuse for the other.

use super::orders;
use super::trace::{Fault, Kind, Terms, Trace};
use crate::model::GroupKey;
use crate::view::words::who;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The second group of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub group: GroupKey,
    pub nodes: Vec<String>,
    /// The number of its first client. Those of the first group come before it.
    pub first_client: u32,
    pub terms: Terms,
}

impl Beside {
    /// Its formation, and its number where that has several groups.
    pub fn name(group: &GroupKey) -> String {
        match group.group {
            0 => group.formation.clone(),
            _ => group.to_string(),
        }
    }

    /// Where something is that is told of it.
    pub fn place(group: &GroupKey) -> String {
        let kind = if group.group == 0 { "formation" } else { "group" };
        format!("in {kind} {}", Beside::name(group))
    }
}

impl Trace {
    /// What each group has of it, the first one first.
    pub fn groups(&self) -> Vec<Cow<'_, Trace>> {
        match &self.beside {
            None => vec![Cow::Borrowed(self)],
            Some(beside) => [false, true].map(|second| Cow::Owned(self.part(beside, second))).into(),
        }
    }

    /// Whether a node is one of the second group.
    pub fn is_beside(&self, node: &str) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.nodes.iter().any(|name| name == node))
    }

    /// What the first group has of it.
    pub fn of_first(&self) -> Cow<'_, Trace> {
        self.groups().swap_remove(0)
    }

    fn part(&self, beside: &Beside, second: bool) -> Trace {
        let is_own = |name: &String| self.is_beside(name) == second;
        let share = Share { trace: self, beside, second };
        let mut part = Trace {
            nodes: self.nodes.iter().filter(|name| is_own(name)).cloned().collect(),
            sees: self.sees.clone(),
            terms: if second { beside.terms.clone() } else { self.terms.clone() },
            beside: None,
            events: Vec::new(),
        };
        for event in &self.events {
            if let Some(kind) = share.of(&event.kind) {
                part.push(event.at, kind);
            }
        }
        part
    }
}

struct Share<'a> {
    trace: &'a Trace,
    beside: &'a Beside,
    second: bool,
}

impl Share<'_> {
    fn of(&self, kind: &Kind) -> Option<Kind> {
        match kind {
            Kind::Fault { fault, nodes } => self.fault(*fault, nodes),
            Kind::Asked { order } | Kind::Told { order, .. } => {
                (self.is_for_second(order) == self.second).then(|| kind.clone())
            }
            Kind::NotAcked { client, .. } => {
                ((*client >= self.beside.first_client) == self.second).then(|| kind.clone())
            }
            Kind::Step { text } if self.is_about_others(text) => None,
            _ if who(kind).is_some_and(|node| self.is_foreign(node)) => None,
            _ => Some(kind.clone()),
        }
    }

    /// An order that names neither a group nor a node is about a formation as a whole, and so its first group's.
    fn is_for_second(&self, order: &str) -> bool {
        let Beside { group, nodes, .. } = self.beside;
        let names =
            || orders::group_in(order) == Some(group.group) || nodes.iter().any(|node| orders::names(order, node));
        orders::is_about(order, &group.formation) && (group.group == 0 || names())
    }

    /// A node of the other group.
    fn is_foreign(&self, name: &str) -> bool {
        self.trace.is_beside(name) != self.second && self.trace.nodes.iter().any(|node| node == name)
    }

    /// A step ends with the names of those it is about.
    fn is_about_others(&self, text: &str) -> bool {
        let is_node = |word: &&str| self.trace.nodes.iter().any(|node| node == word);
        let mut names = text.rsplit(' ').take_while(is_node).peekable();
        names.peek().is_some() && names.all(|name| self.is_foreign(name))
    }

    /// What befell the other group alone is dropped, along with orders that name nobody: those are the first one's.
    fn fault(&self, fault: Fault, nodes: &[String]) -> Option<Kind> {
        let own: Vec<String> = nodes.iter().filter(|name| !self.is_foreign(name)).cloned().collect();
        let is_node = |name: &String| self.trace.nodes.contains(name);
        let elsewhere = own.len() < nodes.len() && !own.iter().any(is_node);
        let first_alone = fault == Fault::Order && nodes.is_empty() && self.second;
        (!elsewhere && !first_alone).then_some(Kind::Fault { fault, nodes: own })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Answered, Sense, judge};
    use super::*;
    use crate::model::NodeState::*;
    use crate::model::{FormationSettings, GroupKey, Moment, NodeId, Timeline};
    use crate::wire::{Command, FormationChange, NodeChange, Request};

    /// Of a and b, and beside them of x and y; the clients from number 3 on are theirs.
    fn two(events: Vec<(u64, Kind)>) -> Trace {
        let mut run = trace(events);
        run.nodes = ["a", "b", "x", "y"].map(String::from).into();
        run.sees = Sense::ALL.into();
        let nodes = ["x", "y"].map(String::from).into();
        let group = GroupKey { formation: "other".into(), group: 0 };
        run.beside = Some(Beside { group, nodes, first_client: 3, terms: Terms::default() });
        run
    }

    fn failover(formation: &str) -> String {
        let key = GroupKey { formation: formation.into(), group: 0 };
        orders::describe(&Request::Command(Command::Failover { key, to: None, from: None, allow_data_loss: true }))
    }

    #[test]
    fn each_formation_has_its_own_and_both_have_what_befell_the_monitor() {
        let step = |text: &str| Kind::Step { text: text.into() };
        let failed = |client| Kind::NotAcked { client, id: 1, known_failed: true, unpromised: false, sent: Moment(0) };
        let told = |formation| Kind::Told { order: failover(formation), answer: Answered::Accepted };
        let of_both = two(vec![
            (1, opened("a", 1)),
            (1, opened("x", 1)),
            (2, failed(2)),
            (2, failed(3)),
            (3, told("default")),
            (3, told("other")),
            (4, fault(Fault::Machine, &["a", "y"])),
            (5, fault(Fault::Link, &["x", "monitor"])),
            (6, fault(Fault::Monitor, &["monitor"])),
            (7, fault(Fault::Mend, &[])),
            (8, fault(Fault::Order, &[])),
            (9, Kind::Healed),
            (10, step("pause x")),
            (10, step("kill everything on b y")),
            (10, step("kill the monitor")),
        ]);
        let told = |part: &Trace| part.events.iter().map(|e| format!("{:?}", e.kind)).collect::<Vec<_>>().join("\n");
        let [first, second] = &of_both.groups()[..] else { panic!("there are two") };
        assert_eq!((first.nodes.join(" "), second.nodes.join(" ")), ("a b".into(), "x y".into()));
        assert_eq!((first.events.len(), second.events.len()), (10, 11));
        for (part, own, foreign) in [
            (first, ["\"a\"", "client: 2", "default"], ["\"x\"", "pause", "other"]),
            (second, ["\"y\"", "client: 3", "other"], ["\"a\"", "client: 2", "default"]),
        ] {
            let text = told(part);
            assert!(own.iter().all(|word| text.contains(word)), "{text}");
            assert!(!foreign.iter().any(|word| text.contains(word)), "{text}");
        }
        assert!(told(first).contains("Order") && !told(second).contains("Order"));
    }

    #[test]
    fn what_befell_one_formation_is_no_excuse_for_the_other() {
        let moves = |killed: &str| {
            two(vec![
                (0, node("a", Primary, Primary, 1)),
                (0, node("x", Primary, Primary, 1)),
                (1000, fault(Fault::Machine, &[killed])),
                (2000, node("y", StopReplication, WaitPrimary, 2)),
            ])
        };
        let broken = |run: &Trace, name: &str| judge(run).into_iter().find(|v| v.name == name).unwrap().broken;
        let reason = "the role moves for a reason";
        assert_eq!(broken(&moves("x"), reason), None);
        let how = broken(&moves("a"), reason).unwrap();
        assert!(how.starts_with("in formation other: the role moved from x to y"), "{how}");
        let out = |killed: &str| {
            let ack = |at, id, client, node: &str| {
                (at, Kind::Acked { client, id, node: node.into(), sent: Moment(at * 1000 - 1), warning: false })
            };
            let beside = [ack(1000, 1, 3, "x"), ack(6000, 2, 3, "x")];
            let first = (1..60u64).map(|i| ack(i * 100, 10 + i, 1, "a"));
            let mut run =
                two(beside.into_iter().chain(first).chain([(1500, fault(Fault::Machine, &[killed]))]).collect());
            run.sort();
            broken(&run, "an outage keeps to its budget")
        };
        assert_eq!(out("x"), None);
        assert!(out("a").unwrap().contains("in formation other: writes were out for 5.000 s"));
    }

    #[test]
    fn what_breaks_in_both_formations_is_told_of_both() {
        let epochs_fall = |name: &str| [(0, node(name, Primary, Primary, 2)), (1, node(name, Primary, Primary, 1))];
        let broken = |runs: &[&str]| {
            let mut run = two(runs.iter().flat_map(|name| epochs_fall(name)).collect());
            run.sort();
            judge(&run).into_iter().find(|v| v.name == "epochs only rise").unwrap().broken
        };
        let (first, second) = (broken(&["a"]).unwrap(), broken(&["x"]).unwrap());
        assert!(first.starts_with("in the first group: ") && second.starts_with("in formation other: "));
        assert_eq!(broken(&["a", "x"]), Some(format!("{first}; {second}")));
        assert_eq!(broken(&[]), None);
    }

    /// Whatever an operator can order.
    fn orders_to(formation: &str) -> Vec<Command> {
        let (formation, name) = (formation.to_string(), "a".to_string());
        let key = || GroupKey { formation: formation.clone(), group: 0 };
        let (from, to, allow_data_loss) = (Some(NodeId(1)), Some(name.clone()), false);
        // One without its order here doesn't compile: it goes in below as well.
        let _all = |command: &Command| match command {
            Command::Failover { .. } | Command::Promote { .. } | Command::Maintenance { .. } | Command::Drop { .. } => {
            }
            Command::SetNode { .. } | Command::SetFormation { .. } | Command::AcceptTimeline { .. } => {}
            Command::CreateFormation { .. } | Command::DropFormation { .. } => {}
        };
        vec![
            Command::Failover { key: key(), to: None, from: None, allow_data_loss },
            Command::Failover { key: key(), to, from, allow_data_loss: true },
            Command::Promote { formation: formation.clone(), name: name.clone(), allow_data_loss },
            Command::Maintenance { formation: formation.clone(), name: name.clone(), on: true, allow_failover: true },
            Command::Drop { formation: formation.clone(), name: name.clone(), node: None, force: false },
            Command::SetNode {
                formation: formation.clone(),
                name: name.clone(),
                node: None,
                change: NodeChange::default(),
            },
            Command::SetFormation { formation: formation.clone(), change: FormationChange::default() },
            Command::CreateFormation { formation: formation.clone(), settings: FormationSettings::default() },
            Command::DropFormation { formation: formation.clone() },
            Command::AcceptTimeline { key: key(), tli: Timeline(2), reason: "formation: \"default\"".into() },
        ]
    }

    #[test]
    fn of_two_groups_of_a_formation_each_has_its_own_orders() {
        let mut run = two(vec![]);
        run.beside.as_mut().unwrap().group = GroupKey { formation: "default".into(), group: 1 };
        let of_group = |group| {
            let key = GroupKey { formation: "default".into(), group };
            orders::describe(&Request::Command(Command::Failover { key, to: None, from: None, allow_data_loss: false }))
        };
        let of_node = |name: &str| {
            let (formation, name) = ("default".to_string(), name.to_string());
            orders::describe(&Request::Command(Command::Promote { formation, name, allow_data_loss: false }))
        };
        for (order, second) in [(of_group(0), 0), (of_group(1), 1), (of_node("a"), 0), (of_node("y"), 1)] {
            run.events = trace(vec![(1, Kind::Asked { order: order.clone() })]).events;
            let counts = run.groups().iter().map(|part| part.events.len()).collect::<Vec<_>>();
            assert_eq!(counts, [1 - second, second], "{order}");
        }
    }

    #[test]
    fn every_order_says_which_formation_it_is_about() {
        for (to_it, to_another) in orders_to("other").into_iter().zip(orders_to("others")) {
            let [to_it, to_another] = [to_it, to_another].map(|command| orders::describe(&Request::Command(command)));
            assert!(orders::is_about(&to_it, "other") && !orders::is_about(&to_it, "default"), "{to_it}");
            assert!(!orders::is_about(&to_another, "other"), "{to_another}");
        }
    }
}
