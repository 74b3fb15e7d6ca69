//! A headless Chromium, driven over the pipe of its DevTools protocol: JSON objects with a zero byte behind each.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Nothing here takes longer, on a machine that is busy: after that the browser is ended.
const LIMIT_S: &str = "180";

/// The program that Debian's package installs; an error says what to do.
pub fn program() -> Result<&'static str, String> {
    let found = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok("chromium"),
        _ => Err("there is no chromium here; scripts/install-deps --for-tests installs it on Debian".into()),
    }
}

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last_id: u64,
    /// What the page said on its own since it was asked last.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// With one empty page.
    pub fn start(program: &str) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // It reads orders from descriptor 3 and answers on 4.
        let mut sh = Command::new("sh");
        sh.args(["-c", "exec timeout --kill-after=5 \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh", LIMIT_S, program]);
        sh.args("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync".split(' '));
        sh.args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]);
        sh.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut child = sh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser { child, to, from, session: None, last_id: 0, events: Vec::new(), _profile: profile };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].as_str().map(String::from);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut order = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = session.clone().into();
        }
        self.to.write_all(format!("{order}\0").as_bytes()).expect("the browser runs");
        loop {
            let message = self.message();
            if message["id"] == self.last_id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn message(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("the browser answers");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended, or took more than {LIMIT_S} s");
        let message: Value = serde_json::from_slice(&bytes).expect("the browser speaks JSON");
        if message.get("method").is_some() {
            self.events.push(message.clone());
        }
        message
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&mut self, page: &Path, hash: &str) {
        // Another hash alone would be no new page.
        self.load("about:blank");
        self.load(&format!("file://{}{hash}", page.display()));
    }

    fn load(&mut self, url: &str) {
        let seen = self.events.len();
        self.call("Page.navigate", json!({ "url": url }));
        let loaded = |events: &[Value]| events[seen..].iter().any(|e| e["method"] == "Page.loadEventFired");
        while !loaded(&self.events) {
            self.message();
        }
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub fn text(&mut self, expression: &str) -> String {
        self.value(expression).as_str().map(String::from).unwrap_or_else(|| panic!("{expression} is no text"))
    }

    pub fn number(&mut self, expression: &str) -> f64 {
        self.value(expression).as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
    }

    /// The middle of the first element that a selector finds.
    pub fn middle(&mut self, selector: &str) -> (f64, f64) {
        let place = format!(
            "(() => {{ const r = document.querySelector({}).getBoundingClientRect(); \
             return [r.x + r.width / 2, r.y + r.height / 2]; }})()",
            json!(selector)
        );
        let place = self.value(&place);
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64), more: Value) {
        let mut event = json!({ "type": kind, "x": x, "y": y, "button": "none" });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("Input.dispatchMouseEvent", event);
    }

    pub fn hover(&mut self, selector: &str) {
        let place = self.middle(selector);
        self.mouse("mouseMoved", place, json!({}));
    }

    pub fn click(&mut self, selector: &str) {
        let place = self.middle(selector);
        self.mouse("mouseMoved", place, json!({}));
        let left = json!({ "button": "left", "clickCount": 1 });
        self.mouse("mousePressed", place, left.clone());
        self.mouse("mouseReleased", place, left);
    }

    /// A key by its name, as `ArrowRight`, or a character.
    pub fn press(&mut self, key: &str) {
        let mut down = json!({ "type": "keyDown", "key": key });
        if key.chars().count() == 1 {
            down["text"] = key.into();
        }
        if key == "Tab" {
            down["windowsVirtualKeyCode"] = 9.into();
        }
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// Errors of the page, and whatever it asked for beside itself.
    pub fn complaints(&self) -> Vec<String> {
        let bad = |e: &&Value| match e["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Log.entryAdded" => true,
            "Network.requestWillBeSent" => e["params"]["type"] != "Document",
            _ => false,
        };
        self.events.iter().filter(bad).map(Value::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its pipe breaks, so it ends; the limit ends it otherwise.
        let _gone = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let _ended = self.child.wait();
    }
}
