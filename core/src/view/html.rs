//! The page's text. Whatever comes out of a run is escaped: names and words of a story may hold anything.

use super::marks::Judged;
use super::words::{Part, Tone, Words};
use super::{Data, Run, kind_name};
use crate::check::Kind;
use std::fmt::Write;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One script: each file uses what those before it have.
const SCRIPT: &str = concat!(
    include_str!("page/scale.js"),
    include_str!("page/chart.js"),
    include_str!("page/now.js"),
    include_str!("page/log.js"),
    include_str!("page/main.js"),
);

pub fn page(run: &Run, words: &Words, data: &Data) -> String {
    let lines = lines(run, words);
    let story = run
        .story
        .map(|text| format!("<details class=story><summary>The story</summary><pre>{}</pre></details>", escape(text)));
    let parts: [(&str, String); 10] = [
        ("title", escape(run.title)),
        ("place", escape(run.place)),
        ("reproduce", escape(run.reproduce)),
        ("verdicts", verdicts(data)),
        ("figures", figures(run, data)),
        ("story", story.unwrap_or_default()),
        ("lines", lines),
        ("style", format!("{STYLE}{}", state_style(data))),
        ("script", SCRIPT.to_string()),
        ("data", json(data)),
    ];
    fill(TEMPLATE, &parts)
}

/// In one pass: what is put in is never looked at again.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, behind) = after.split_once("}}").expect("the template closes what it opens");
        let (_, text) = parts.iter().find(|(n, _)| *n == name).expect("the template asks for what there is");
        out += before;
        out += text;
        rest = behind;
    }
    out + rest
}

pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// JSON that ends no script element and opens no comment in one.
fn json(data: &Data) -> String {
    let text = serde_json::to_string(data).expect("plain data becomes JSON");
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn state_style(data: &Data) -> String {
    let mut out = String::new();
    for state in &data.states {
        let text = if state.dark_text { "#000" } else { "#fff" };
        let _infallible = writeln!(out, ".s-{} {{ background: {}; color: {text}; }}", state.name, state.colour);
    }
    out
}

/// A line for each event, numbered from 1.
fn lines(run: &Run, words: &Words) -> String {
    let mut out = String::new();
    for (i, event) in run.trace.events.iter().enumerate() {
        let text: String = words.line(event).iter().map(paint).collect();
        let kind = kind_name(&event.kind);
        let _infallible = writeln!(out, "<div id=L{} class=k-{kind}>{text}</div>", i + 1);
    }
    out
}

/// The spaces that put a state in its column stay outside of its colour.
fn paint(part: &Part) -> String {
    let text = escape(&part.text);
    let class = match part.tone {
        Tone::Plain => return text,
        Tone::Step => "step".to_string(),
        Tone::Opens => "opens".to_string(),
        Tone::Closes => "closes".to_string(),
        Tone::State(state) => format!("s-{}", state.name()),
    };
    let word = text.trim();
    let (before, after) = (text.len() - text.trim_start().len(), text.len() - text.trim_end().len());
    format!("{:before$}<b class={class}>{word}</b>{:after$}", "", "")
}

/// What broke, first; the rest can be unfolded.
fn verdicts(data: &Data) -> String {
    let of = |status: &str| data.judged.iter().filter(|j| j.status == status).collect::<Vec<_>>();
    let (broken, unjudged, held) = (of("broken"), of("unjudged"), of("holds"));
    let mut out = String::new();
    let word = match broken.len() {
        0 => format!("<p class=\"verdict good\"><b>Holds.</b> {} checks hold", held.len()),
        n => format!("<p class=\"verdict bad\"><b>Broken.</b> {n} of {} checks", data.judged.len()),
    };
    let left = if unjudged.is_empty() { String::new() } else { format!(", {} not judged", unjudged.len()) };
    let _infallible = writeln!(out, "{word}{left}.</p>");
    if !broken.is_empty() {
        out += &list("broken", &broken);
    }
    out += "<details class=verdicts><summary>All checks</summary>";
    out += &list("all", &[broken, unjudged, held].concat());
    out += "</details>";
    out
}

fn list(class: &str, judged: &[&Judged]) -> String {
    let item = |j: &&Judged| {
        let links: String = j.events.iter().map(|i| format!(" <a href=\"#L{0}\">line {0}</a>", i + 1)).collect();
        format!("<li class={}><b>{}</b>: {}{links}</li>\n", j.status, escape(&j.name), escape(&j.word))
    };
    format!("<ul class={class}>\n{}</ul>\n", judged.iter().map(item).collect::<String>())
}

/// A run in a few numbers.
fn figures(run: &Run, data: &Data) -> String {
    let count = |wanted: fn(&Kind) -> bool| run.trace.events.iter().filter(|e| wanted(&e.kind)).count();
    let acked = count(|k| matches!(k, Kind::Acked { .. }));
    let warned = count(|k| matches!(k, Kind::Acked { warning: true, .. }));
    let not = count(|k| matches!(k, Kind::NotAcked { .. }));
    let longest = data.outages.iter().map(|o| o.to.since(o.from)).max();
    let promotions: usize = run.trace.groups().iter().map(|group| crate::check::roles::promotions(group).len()).sum();
    let mut figures = vec![
        ("nodes", data.lanes.len().to_string()),
        ("length", format!("{:.1} s", data.end.seconds())),
        ("events", run.trace.events.len().to_string()),
        ("steps", count(|k| matches!(k, Kind::Step { .. })).to_string()),
        ("role moved", format!("{promotions}×")),
        ("writes acknowledged", acked.to_string()),
    ];
    if warned > 0 {
        figures.push(("with a warning", warned.to_string()));
    }
    figures.push(("not acknowledged", not.to_string()));
    let found = count(|k| matches!(k, Kind::Found { .. })) > 0;
    figures.push(("lost or given up", if found { data.lost.len().to_string() } else { "unknown".into() }));
    figures.push(("longest outage", longest.map_or("none".into(), |l| format!("{:.3} s", l.as_secs_f64()))));
    figures.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n")).collect()
}
