//! The page as text; how it behaves in a browser is tested where there is one.

use super::*;
use crate::check::testing::{self, acked, branched, closed, fault, found, names, node, opened, stored, waiting};
use crate::check::{Answered, Beside, Fault, Terms, judge};
use crate::model::NodeState::*;
use crate::model::{GroupKey, Lsn, NodeId, Position};

fn one_of_each() -> Trace {
    let order = || "Failover".to_string();
    let told = Kind::Told { order: order(), answer: Answered::Refused { why: "nobody is left".into() } };
    let kinds = vec![
        Kind::Step { text: "kill everything on a".into() },
        fault(Fault::Machine, &["a"]),
        node("a", Primary, Draining, 2),
        opened("a", 1),
        closed("a"),
        names("a", 1, &["b"]),
        branched("b", 2, 1, 100),
        Kind::Received { node: "b".into(), from: "a".into() },
        Kind::KeptAside { node: "a".into(), ids: [7, 8].into() },
        Kind::Rebuilt { node: "a".into(), gone: [7, 8].into() },
        Kind::Failed { node: "a".into(), step: "start".into() },
        stored("b", 2, ReportLsn, Some(100)),
        Kind::Asked { order: order() },
        told,
        Kind::Healed,
        Kind::ClientsBegan,
        acked(1, "a", 0),
        Kind::NotAcked { client: 1, id: 2, known_failed: true, unpromised: false, sent: Moment(0) },
        Kind::Read { node: "a".into(), ids: [1].into() },
        Kind::ClientsStopped,
        Kind::StandbyRead { node: "b".into(), ids: [1].into() },
        found(&[1]),
        waiting("a", DemoteTimeout, Demoted, Some("waits for nodes: b")),
        Kind::Configured {
            node: "b".into(),
            id: NodeId(2),
            system_id: 7,
            names: [].into(),
            slots: [NodeId(1)].into(),
            follows: None,
            keeps_from: None,
            end: Lsn(100),
        },
        Kind::Shown { node: "b".into(), position: Position::new(1, 100), health: 0, pending: None },
    ];
    testing::trace(kinds.into_iter().enumerate().map(|(i, kind)| (1000 * i as u64, kind)).collect())
}

fn run<'a>(trace: &'a Trace, verdicts: &'a [Verdict]) -> Run<'a> {
    let (place, reproduce) = ("simulated, seed 7", "pgbaton-sim run x.toml --seed 7");
    Run { title: "A story", place, reproduce, story: None, trace, verdicts, unmet: &[] }
}

fn data_of(page: &str) -> serde_json::Value {
    let (_, after) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(after.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn every_event_is_a_line_with_its_number_and_a_place_in_the_columns() {
    let trace = one_of_each();
    let seen: std::collections::BTreeSet<&str> = trace.events.iter().map(|e| kind_name(&e.kind)).collect();
    assert_eq!(seen.len(), KINDS.len(), "the trace has one of each kind");
    let page = page(&run(&trace, &judge(&trace)));
    let words = Words::of(&trace);
    let data = data_of(&page);
    for (i, event) in trace.events.iter().enumerate() {
        let start = format!("<div id=L{} class=k-{}>", i + 1, kind_name(&event.kind));
        let (_, line) = page.split_once(&start).unwrap_or_else(|| panic!("no {start}"));
        let said = line.split_once("</div>\n").unwrap().0;
        for part in words.line(event) {
            assert!(said.contains(&html::escape(part.text.trim())), "{said} lacks {part:?}");
        }
        assert_eq!(data["at"][i], event.at.0);
        assert_eq!(data["kinds"][data["kind"][i].as_u64().unwrap() as usize], kind_name(&event.kind));
    }
    assert_eq!(data["at"].as_array().unwrap().len(), trace.events.len());
    assert_eq!((&data["who"][0], &data["who"][3], &data["who"][6]), (&(-1).into(), &0.into(), &1.into()));
    assert_eq!(data["sees_servers"], false, "a trace that sees nothing says nothing of servers");
    assert_eq!(data["lanes"][1]["shown"][0]["lsn"], "0/64");
}

#[test]
fn every_verdict_is_at_the_head_and_what_broke_comes_first() {
    let mut trace = one_of_each();
    trace.push(Moment(30_000_000), found(&[]));
    let verdicts = judge(&trace);
    let unmet = ["writes were out for 1.000 s from 14.000 s on".to_string()];
    let page = page(&Run { unmet: &unmet, ..run(&trace, &verdicts) });
    let (head, _) = page.split_once("</header>").unwrap();
    for verdict in &verdicts {
        let item = format!("<b>{}</b>: {}", html::escape(verdict.name), html::escape(&verdict.word()));
        assert!(head.contains(&item), "{item}");
    }
    let broken = head.split_once("<ul class=broken>").unwrap().1.split_once("</ul>").unwrap().0;
    assert!(broken.contains("expected otherwise") && broken.contains("href=\"#L15\""), "{broken}");
    assert!(broken.contains("no acknowledged write is lost") && !broken.contains("<li class=holds>"), "{broken}");
    assert!(head.contains("<dt>lost or given up</dt><dd>1</dd>"), "{head}");
}

#[test]
fn nothing_of_a_run_becomes_markup() {
    let evil = "</script><script>alert('1')</script><!-- {{data}} & \"x\"";
    let mut trace = one_of_each();
    trace.nodes[0] = evil.into();
    trace.push(Moment(40_000_000), Kind::Step { text: evil.into() });
    trace.push(Moment(41_000_000), opened(evil, 1));
    let unmet = [evil.to_string()];
    let of = Run { title: evil, place: evil, reproduce: evil, story: Some(evil), unmet: &unmet, ..run(&trace, &[]) };
    let page = page(&of);
    assert!(!page.contains("<script>alert") && !page.contains("<!--"));
    assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
    let data = data_of(&page);
    assert_eq!(data["lanes"][0]["name"], evil);
    assert_eq!(data["judged"][0]["word"], evil);
    assert!(page.contains(&format!("<title>{}</title>", html::escape(evil))));
    assert!(page.matches("{{data}}").count() > 5, "what a story says is not filled in");
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let trace = one_of_each();
    let page = page(&run(&trace, &judge(&trace)));
    for outside in ["://", "src=", "@import", "fetch(", "XMLHttpRequest", "import(", "WebSocket", "<link", "<iframe"] {
        assert!(!page.contains(outside), "the page holds {outside}");
    }
    let other = |found: &str, usual: &str| page.match_indices(found).find(|(at, _)| !page[*at..].starts_with(usual));
    assert_eq!(other("href=", "href=\"#"), None, "links stay within the page");
    assert_eq!(other("url(", "url(#"), None, "pictures are drawn in the page");
    assert!(page.contains("default-src 'none'"), "and the browser is told so");
}

#[test]
fn the_same_run_is_the_same_page() {
    let trace = one_of_each();
    let verdicts = judge(&trace);
    assert!(page(&run(&trace, &verdicts)) == page(&run(&trace, &verdicts)));
    let back: Trace = serde_json::from_str(&serde_json::to_string(&trace).unwrap()).unwrap();
    assert!(page(&run(&back, &verdicts)) == page(&run(&trace, &verdicts)), "a trace read back gives another page");
}

#[test]
fn a_run_without_events_is_a_page_that_says_why() {
    let trace = Trace::default();
    let unmet = ["the run panicked: no".to_string()];
    let page = page(&Run { unmet: &unmet, ..run(&trace, &[]) });
    assert!(page.contains("<b>expected otherwise</b>: the run panicked: no"));
    assert_eq!(data_of(&page)["end"], 0);
}

#[test]
fn writes_that_are_rare_make_no_outage_of_every_pause() {
    let every = |ms: u64, long: u64| {
        let at = |i: u64| ms * i + if i > 10 { long } else { 0 };
        let acks = (0..20).map(|i| (at(i), acked(i, "a", at(i)))).collect();
        outages(&testing::trace(acks)).len()
    };
    assert_eq!((every(500, 0), every(500, 4000), every(20, 300), every(20, 30)), (0, 1, 1, 0));
}

/// Nothing is lost, each role moves once; only the second formation's writes are out.
#[test]
fn two_formations_are_looked_at_each_by_itself() {
    let of = |node: &str, ids: &[u64]| Kind::Found { node: node.into(), ids: ids.iter().copied().collect() };
    let primary = |name: &str, epoch| node(name, Primary, Primary, epoch);
    let mut events = vec![
        (0, primary("a", 1)),
        (1, primary("x", 7)),
        (2, Kind::ClientsBegan),
        (4500, primary("b", 2)),
        (5000, primary("y", 8)),
        (5900, acked(1020, "y", 5900)),
        (6000, Kind::ClientsStopped),
        (6001, of("b", &(1..59).collect::<Vec<u64>>())),
        (6001, of("y", &(1000..1021).collect::<Vec<u64>>())),
    ];
    events.extend((1..59).map(|i| (i * 100, acked(i, if i < 45 { "a" } else { "b" }, i * 100))));
    events.extend((0..20).map(|i| (i * 100 + 3, acked(1000 + i, "x", i * 100 + 3))));
    events.sort_by_key(|(at, _)| *at);
    let mut trace = testing::trace(events);
    trace.nodes = ["a", "b", "x", "y"].map(String::from).into();
    let nodes = ["x", "y"].map(String::from).into();
    let group = GroupKey { formation: "other".into(), group: 0 };
    trace.beside = Some(Beside { group, nodes, first_client: 3, terms: Terms::default() });
    let page = page(&run(&trace, &[]));
    let data = data_of(&page);
    assert_eq!(data["lost"], serde_json::json!([]));
    assert!(page.contains("<dt>role moved</dt><dd>2×</dd>"), "{page}");
    let outages = data["outages"].as_array().unwrap();
    assert_eq!((outages.len(), &outages[0]["beside"]), (1, &true.into()), "{outages:?}");
    let epochs = |group: usize| {
        let all = data["groups"][group]["epochs"].as_array().unwrap();
        all.iter().map(|stretch| stretch["epoch"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((epochs(0), epochs(1)), (vec![1, 2], vec![7, 8]));
    assert_eq!((&data["groups"][1]["formation"], &data["lanes"][3]["group"]), (&"other".into(), &1.into()));
}
