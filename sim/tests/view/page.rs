//! The page in a browser, from a file and without a network: what hover, clicks and keys do.

use super::browser::{Browser, program};
use super::{page_of, story};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Kept after the tests, to be looked at.
fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// None, with the reason printed, where there is no browser.
fn opened(name: &str, file: &Path, hash: &str) -> Option<Browser> {
    let program = match program() {
        Ok(program) => program,
        Err(why) => {
            println!("skipped: {why}");
            return None;
        }
    };
    let html = place(&format!("{name}.html"));
    page_of(file, &html);
    let mut browser = Browser::start(program);
    let size = json!({ "width": 1440, "height": 1100, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", size);
    browser.open(&html, hash);
    assert_eq!(browser.text("document.body.dataset.ready"), "yes", "{:?}", browser.complaints());
    Some(browser)
}

const CHOSEN: &str = "document.querySelector('#lines .chosen').id";
const SHOWN: &str = "[...document.querySelectorAll('#lines > div')].filter((l) => l.offsetParent).length";

fn note() -> PathBuf {
    story("failover/operations-note.toml")
}

#[test]
fn hover_tells_and_a_click_leads_to_the_line() {
    let Some(mut browser) = opened("note", &note(), "") else { return };
    browser.hover(".band[data-state=demoted]");
    let told = browser.text("document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText");
    assert!(
        told.contains("mdw is demoted")
            && told.contains("stopped since")
            && told.contains("another node holds the role"),
        "{told}"
    );
    let line = browser.text("'L' + (+document.querySelector('.band[data-state=demoted]').dataset.e + 1)");
    browser.click(".band[data-state=demoted]");
    assert_eq!((browser.text(CHOSEN), browser.text("location.hash")), (line.clone(), format!("#{line}")));
    let inside = "(() => { const [l, b] = ['.chosen', '#lines'].map((s) => document.querySelector(s)\
                  .getBoundingClientRect()); return l.top >= b.top && l.bottom <= b.bottom; })()";
    assert_eq!(browser.value(inside), true, "the line is scrolled to");
    let now = browser.text("document.getElementById('now').innerText");
    assert!(
        now.contains("stop the service of mdw") && now.contains("stopped since") && now.contains("epoch 2"),
        "{now}"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn every_line_has_an_address() {
    let Some(mut browser) = opened("address", &note(), "#L12") else { return };
    assert_eq!(browser.text(CHOSEN), "L12");
    let at = browser.text("document.querySelector('#now h2').innerText");
    let line = browser.text("document.getElementById('L12').textContent");
    let seconds = line.split_whitespace().next().unwrap().to_string();
    assert_eq!(at, format!("At {seconds} s"));
    // An event that is filtered out is shown when somebody asks for it by its address.
    let acked = browser.text("document.querySelector('#lines .k-acked').id");
    browser.value(&format!("location.hash = '#{acked}'; new Promise((done) => setTimeout(done, 50))"));
    assert_eq!(browser.text(CHOSEN), acked);
    assert_eq!(browser.value(&format!("document.getElementById('{acked}').offsetParent !== null")), true);
}

#[test]
fn keys_alone_go_everywhere() {
    let Some(mut browser) = opened("keys", &note(), "") else { return };
    let focused = "document.activeElement.id";
    let mut reached = Vec::new();
    for _ in 0..24 {
        browser.press("Tab");
        reached.push(browser.text(focused));
    }
    for id in ["fit", "in", "out", "stretch", "jump", "chart", "find", "lines"] {
        assert!(reached.iter().any(|r| r == id), "Tab doesn't reach {id}: {reached:?}");
    }
    browser.value("document.getElementById('chart').focus()");
    browser.press("Home");
    assert_eq!(browser.text(CHOSEN), "L1");
    browser.press("ArrowRight");
    let second = browser.text(CHOSEN);
    assert_ne!(second, "L1");
    browser.press("ArrowDown");
    browser.press("ArrowRight");
    let who = format!("run.who[+{CHOSEN}.slice(1) - 1]");
    assert_eq!(browser.number(&who), 0.0, "the arrows keep to the lane");
    browser.press("Escape");
    browser.press("]");
    assert!(browser.text("document.getElementById('jump').selectedOptions[0].text").contains(" s"));
    let width = "view.to - view.from";
    let before = browser.number(width);
    browser.press("+");
    assert!(browser.number(width) < before * 0.7);
    browser.press("0");
    assert!(browser.number(width) > before);
    browser.press("Enter");
    assert_eq!(browser.text(focused), "lines");
    let at = browser.text(CHOSEN);
    browser.press("ArrowDown");
    assert_ne!(browser.text(CHOSEN), at);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_mouse_zooms_moves_and_filters() {
    let Some(mut browser) = opened("mouse", &note(), "") else { return };
    let width = "view.to - view.from";
    let (whole, middle) = (browser.number(width), browser.middle("#chart"));
    browser.mouse("mouseWheel", middle, json!({ "deltaX": 0, "deltaY": -120, "modifiers": 2 }));
    let zoomed = browser.number(&format!("new Promise((done) => setTimeout(() => done({width}), 100))"));
    assert!(zoomed < whole, "{zoomed} of {whole}");
    let from = browser.number("view.from");
    let left = json!({ "button": "left", "clickCount": 1 });
    browser.mouse("mousePressed", middle, left.clone());
    browser.mouse("mouseMoved", (middle.0 - 150.0, middle.1), json!({ "button": "left", "buttons": 1 }));
    browser.mouse("mouseReleased", (middle.0 - 150.0, middle.1), left);
    assert!(browser.number("view.from") > from, "what is drawn follows the hand");
    let few = browser.number(SHOWN);
    browser.click("#show-writes");
    let more = browser.number(SHOWN);
    assert!(few > 50.0 && more > few + 500.0, "{few} lines, then {more}");
    browser.click("#find");
    browser.call("Input.insertText", json!({ "text": "timeline 2 leaves" }));
    let count = "new Promise((done) => setTimeout(() => done(document.getElementById('count').value), 300))";
    assert!(browser.text(count).starts_with("1 of "));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_broke_is_marked_and_shown_first() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(story("election/five-nodes-two-left.toml")).unwrap();
    let impossible = text.replace("write_outage = { max = \"40s\" }", "write_outage = { max = \"2s\" }");
    assert_ne!(impossible, text);
    let file = dir.path().join("impossible.toml");
    std::fs::write(&file, impossible).unwrap();
    let Some(mut browser) = opened("broken", &file, "") else { return };
    let head = browser.text("document.querySelector('header').innerText");
    assert!(head.contains("Broken. 1 of") && head.contains("writes were out for 11."), "{head}");
    assert!(browser.number("document.querySelectorAll('#chart [data-bad]').length") >= 1.0);
    let chosen = browser.text(CHOSEN);
    assert_eq!(browser.text("document.querySelector('ul.broken a').hash"), format!("#{chosen}"));
    let now = browser.text("document.getElementById('now').innerText");
    assert!(now.contains("expected otherwise"), "{now}");
    assert_eq!(browser.number("document.querySelectorAll('#chart .hatch').length"), 3.0, "three are dead");
    browser.click("ul.broken a");
    assert_eq!(browser.text(CHOSEN), chosen);
}

#[test]
fn it_is_dark_where_the_reader_wants_it_dark() {
    let Some(mut browser) = opened("dark", &note(), "") else { return };
    let back = "getComputedStyle(document.body).backgroundColor";
    let set = |value: &str| json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
    browser.call("Emulation.setEmulatedMedia", set("light"));
    assert_eq!(browser.text(back), "rgb(255, 255, 255)");
    browser.call("Emulation.setEmulatedMedia", set("dark"));
    assert_eq!(browser.text(back), "rgb(20, 23, 28)");
}

#[test]
fn a_run_that_panicked_before_its_first_event_has_a_page_too() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("panicked.json");
    let run = json!({ "title": "t", "seed": 1, "outcome": {
        "trace": { "nodes": [], "events": [] }, "unmet": ["the run panicked: no"] } });
    std::fs::write(&saved, run.to_string()).unwrap();
    let Some(mut browser) = opened("panicked", &saved, "") else { return };
    assert!(browser.text("document.body.innerText").contains("the run panicked: no"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
