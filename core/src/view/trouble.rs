//! What was broken from when to when, out of the steps of a story.

use crate::check::{Event, Kind, Trace};
use crate::model::Moment;
use crate::scenario::words;
use serde::Serialize;

/// A step that leaves something broken, in the words of `Verb::describe`, what that is called, and what ends it.
struct Lasting {
    begins: &'static str,
    called: &'static str,
    ends: &'static [&'static str],
    /// Nothing of the node goes on.
    all: bool,
}

const fn node(begins: &'static str, called: &'static str, ends: &'static [&'static str]) -> Lasting {
    Lasting { begins, called, ends, all: true }
}

const fn part(begins: &'static str, called: &'static str, ends: &'static [&'static str]) -> Lasting {
    Lasting { begins, called, ends, all: false }
}

const START: &[&str] = &["start the service of"];
const MONITOR: &[&str] = &[
    "start the monitor",
    "start the service of",
    "restore the monitor's store",
    "replace the monitor by an empty one",
];
const MEND: &[&str] = &["mend all links"];

const LASTING: &[Lasting] = &[
    node("stop the service of", "stopped", START),
    node("kill everything on", "dead", START),
    node("cut the power of", "without power", MONITOR),
    node("lose all disks of", "dead, disks lost", START),
    node("kill the monitor", "dead", MONITOR),
    node("pause", "frozen", &["resume"]),
    node("suspend", "asleep", &["resume"]),
    part("kill the keeper of", "keeper dead", START),
    part(words::PAUSE_KEEPER, "keeper frozen", &["resume"]),
    part("cut the link between", "link cut", MEND),
    part("cut one way the link from, to", "link cut one way", MEND),
    part("lose all answers on the link from, to", "answers lost", MEND),
    part("cut every link of", "isolated", MEND),
    part("slow the link between", "link slow", MEND),
    part("lose packets between", "packets lost", MEND),
    part("reorder what is said between", "order lost", MEND),
    part("repeat calls between", "calls repeated", MEND),
    part("fill a disk of", "disk full", &["free a disk of"]),
    part("make read-only a disk of", "disk read-only", &["free a disk of"]),
    part(words::FILL_MONITOR, "disk full", &[words::FREE_MONITOR]),
    part(words::STALL_MONITOR, "disk stalled", &[words::FREE_MONITOR]),
    part("stall a disk of", "disk stalled", &["free a disk of"]),
    part("freeze a backend of", "backend frozen", &["thaw the backend of"]),
    part("hang the archiver of", "archiver hangs", &["free the archiver of"]),
    part("break the configuration of", "configuration broken", &["mend the configuration of"]),
];

/// Something broken, until the end of the run when nothing mended it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    pub from: Moment,
    pub to: Moment,
    pub mended: bool,
    /// In a word or two.
    pub called: &'static str,
    /// Nothing of the node goes on.
    pub all: bool,
    /// Names, `monitor` and `clients` among them.
    pub whom: Vec<String>,
    /// The step that began it, counted among the events of the trace.
    pub event: usize,
    #[serde(skip)]
    ends: &'static [&'static str],
}

/// In the order in which they began.
pub fn of(trace: &Trace) -> Vec<Trouble> {
    let mut all: Vec<Trouble> = Vec::new();
    for (i, event) in trace.events.iter().enumerate() {
        match &event.kind {
            Kind::Step { text } => {
                let (verb, whom) = split(text, trace.events.get(i + 1));
                end(&mut all, event.at, |t| t.ends.contains(&verb), &whom);
                if let Some(lasting) = LASTING.iter().find(|l| l.begins == verb) {
                    all.extend(begin(lasting, i, event.at, trace.end(), whom));
                }
            }
            Kind::Healed => end(&mut all, event.at, |t| t.ends == MEND, &[]),
            _ => {}
        }
    }
    all
}

/// The words of a step without its names; the event behind it repeats these.
fn split<'a>(text: &'a str, next: Option<&Event>) -> (&'a str, Vec<String>) {
    let whom = match next.map(|e| &e.kind) {
        Some(Kind::Fault { nodes, .. }) => nodes.clone(),
        _ => vec![],
    };
    let names = format!(" {}", whom.join(" "));
    (text.strip_suffix(names.trim_end()).unwrap_or(text), whom)
}

/// Several that are killed at once come back one by one.
fn begin(lasting: &Lasting, event: usize, from: Moment, to: Moment, whom: Vec<String>) -> Vec<Trouble> {
    let (called, all, ends) = (lasting.called, lasting.all, lasting.ends);
    let one = |whom| Trouble { from, to, mended: false, called, all, whom, event, ends };
    match whom.is_empty() {
        true => vec![one(vec!["monitor".into()])],
        false if ends == MEND => vec![one(whom)],
        false => whom.into_iter().map(|name| one(vec![name])).collect(),
    }
}

/// What names nobody is about the monitor, or about all links.
fn end(all: &mut [Trouble], at: Moment, ends: impl Fn(&Trouble) -> bool, whom: &[String]) {
    let meant = |t: &Trouble| match whom.is_empty() {
        true => t.ends == MEND || t.whom == ["monitor"],
        false => t.whom.iter().any(|name| whom.contains(name)),
    };
    for trouble in all.iter_mut().filter(|t| !t.mended && ends(t) && meant(t)) {
        (trouble.to, trouble.mended) = (at, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Fault;
    use crate::scenario::Verb;

    fn story(steps: &[(u64, &str, &[&str])]) -> Vec<Trouble> {
        let mut trace = Trace { nodes: vec!["a".into(), "b".into()], ..Trace::default() };
        for (s, verb, names) in steps {
            let text = [&[*verb], *names].concat().join(" ");
            trace.push(Moment(s * 1_000_000), Kind::Step { text });
            let nodes = names.iter().map(|n| n.to_string()).collect();
            trace.push(Moment(s * 1_000_000), Kind::Fault { fault: Fault::Other, nodes });
        }
        trace.push(Moment(90_000_000), Kind::Healed);
        trace.push(Moment(99_000_000), Kind::ClientsStopped);
        of(&trace)
    }

    fn shown(all: &[Trouble]) -> Vec<String> {
        let seconds = |m: Moment| m.0 / 1_000_000;
        let one = |t: &Trouble| {
            format!(
                "{} {} {}..{}{}",
                t.whom.join("+"),
                t.called,
                seconds(t.from),
                seconds(t.to),
                if t.mended { "" } else { " open" }
            )
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn each_of_a_group_is_down_until_it_is_started() {
        let all = story(&[
            (1, "kill everything on", &["a", "b"]),
            (3, "start the service of", &["b"]),
            (4, "kill the monitor", &[]),
            (5, "start the monitor", &[]),
        ]);
        assert_eq!(shown(&all), ["a dead 1..99 open", "b dead 1..3", "monitor dead 4..5"]);
    }

    #[test]
    fn links_are_mended_together_and_at_the_end_of_the_story() {
        let cut = |s| (s, "cut the link between", ["a", "b"]);
        let all = story(&[
            (1, cut(1).1, &cut(1).2),
            (2, "pause", &["a"]),
            (3, "mend all links", &[]),
            (4, cut(4).1, &cut(4).2),
            (5, "resume", &["a"]),
        ]);
        assert_eq!(shown(&all), ["a+b link cut 1..3", "a frozen 2..5", "a+b link cut 4..90"]);
    }

    /// A verb that is called otherwise one day must be called so here too.
    #[test]
    fn every_phrase_is_one_of_a_verb() {
        let verbs = r#"
            a = { stop_service = "a" }
            b = { start_service = "a" }
            c = { kill_node = "a" }
            d = { power_off = "a" }
            e = { kill_monitor = {} }
            f = { start_monitor = {} }
            g = { restore_monitor = {} }
            h = { replace_monitor = {} }
            i = { pause = "a" }
            j = { suspend = "a" }
            k = { resume = "a" }
            l = { kill_keeper = "a" }
            m = { cut = ["a", "b"] }
            n = { cut_one_way = ["a", "b"] }
            o = { half_open = ["a", "b"] }
            p = { isolate = "a" }
            q = { slow = { between = ["a", "b"], by = "1s" } }
            r = { lose = { between = ["a", "b"], rate = 0.1 } }
            s = { repeat = { between = ["a", "b"], rate = 0.1 } }
            t = { heal = {} }
            u = { fill_disk = { node = "a", whose = "keeper" } }
            v = { stall_disk = { node = "a", whose = "keeper" } }
            w = { free_disk = { node = "a", whose = "keeper" } }
            x = { stop_backend = "a" }
            y = { continue_backend = "a" }
            z = { hang_archiver = "a" }
            aa = { free_archiver = "a" }
            ab = { break_config = "a" }
            ac = { mend_config = "a" }
            ad = { read_only_disk = { node = "a", whose = "postgres" } }
            ae = { lose_disk = "a" }
            af = { fill_disk = { whose = "monitor" } }
            ag = { stall_disk = { whose = "monitor" } }
            ah = { free_disk = { whose = "monitor" } }
            ai = { pause_keeper = "a" }
            aj = { reorder = { between = ["a", "b"], by = "1s" } }
        "#;
        let verbs: std::collections::BTreeMap<String, Verb> = toml::from_str(verbs).unwrap();
        let known: Vec<&str> = verbs.values().map(Verb::describe).collect();
        for phrase in LASTING.iter().flat_map(|l| l.ends.iter().chain([&l.begins])) {
            assert!(known.contains(phrase), "no verb is called \"{phrase}\"");
        }
    }
}
