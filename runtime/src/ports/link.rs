use super::CALL_PATH;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pgbaton_core::ports::{Link, LinkError};
use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

/// A host that is off answers no SYN at all; this bounds the wait for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A monitor whose machine vanished without a word is noticed within about 6 s even in a long poll.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// An answer larger than this is no answer of a monitor.
const LARGEST_ANSWER: usize = 16 << 20;

/// Calls to the monitor over HTTP, on kept connections.
#[derive(Debug, Clone)]
pub struct HttpLink {
    /// Where to, or why the URL can't be used.
    target: Result<Uri, String>,
    shown: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpLink {
    /// `url` is `http://HOST:PORT`. One that can't be read is told by every call.
    pub fn new(url: &str) -> HttpLink {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(2));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        HttpLink { target: call_uri(url), shown: url.trim_end_matches('/').to_string(), client }
    }

    async fn exchange(&self, uri: Uri, message: Vec<u8>) -> Result<Vec<u8>, LinkError> {
        let request = Request::post(uri)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(message)))
            .expect("a request of checked parts");
        let answer = self.client.request(request).await.map_err(|e| self.failed(&e))?;
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), LARGEST_ANSWER);
        let body = body.collect().await.map_err(|_| LinkError::Lost(self.shown.clone()))?;
        let body = body.to_bytes().to_vec();
        if status == StatusCode::OK {
            return Ok(body);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // A door that shuts: its successor may well take the call.
            return Err(LinkError::Lost(self.shown.clone()));
        }
        let text = String::from_utf8_lossy(&body);
        Err(LinkError::Rejected(format!("{} answered {status}: {}", self.shown, text.trim())))
    }

    fn failed(&self, e: &Error) -> LinkError {
        if !e.is_connect() {
            return LinkError::Lost(self.shown.clone());
        }
        match io_kind(e) {
            Some(ErrorKind::ConnectionRefused) => LinkError::Refused(self.shown.clone()),
            Some(ErrorKind::TimedOut) => LinkError::Silent(self.shown.clone()),
            // A name that doesn't resolve or a network without a route: nobody has answered, and it may pass.
            _ => LinkError::Silent(format!("{} ({})", self.shown, root_cause(e))),
        }
    }
}

impl Link for HttpLink {
    async fn call(&self, message: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let uri = self.target.clone().map_err(LinkError::Rejected)?;
        match tokio::time::timeout(patience, self.exchange(uri, message)).await {
            Ok(result) => result,
            Err(_) => Err(LinkError::Silent(self.shown.clone())),
        }
    }
}

fn call_uri(url: &str) -> Result<Uri, String> {
    let bad = |why: &str| format!("\"{url}\" is no URL of a monitor: {why}; write http://HOST:PORT");
    let uri: Uri = url.parse().map_err(|_| bad("it can't be read"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some(_) => return Err(bad("only http is spoken")),
        None => return Err(bad("it doesn't start with http://")),
    }
    let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
    if authority.host().is_empty() {
        return Err(bad("the host is missing"));
    }
    if authority.port_u16().is_none() {
        return Err(bad("the port is missing"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad("it goes on after the port"));
    }
    format!("http://{authority}{CALL_PATH}").parse().map_err(|_| bad("it can't be read"))
}

fn io_kind(e: &Error) -> Option<ErrorKind> {
    let mut cause = e.source();
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = e.source();
    }
    None
}

fn root_cause(e: &Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text = e.to_string();
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_the_error_says_what_is_wrong() {
        for good in ["http://monitor:7432", "http://10.0.0.1:1/", "http://[::1]:7432"] {
            assert!(call_uri(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("monitor:7432", "http://"),
            ("https://monitor:7432", "only http"),
            ("http://monitor", "port is missing"),
            ("http://monitor:7432/x", "after the port"),
            ("http://:7432", "host is missing"),
            ("not a url", "can't be read"),
        ] {
            let text = call_uri(bad).unwrap_err();
            assert!(text.contains(why), "{bad}: {text}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_a_mute_one_is_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let link = HttpLink::new(&format!("http://{address}"));
        let mute = link.call(b"{}".to_vec(), Duration::from_millis(50)).await;
        assert!(matches!(mute, Err(LinkError::Silent(_))), "{mute:?}");
        drop(listener);
        let link = HttpLink::new(&format!("http://{address}"));
        let refused = link.call(b"{}".to_vec(), Duration::from_secs(1)).await;
        assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
        let unreadable = HttpLink::new("nowhere").call(Vec::new(), Duration::from_secs(1)).await;
        assert!(matches!(unreadable, Err(LinkError::Rejected(_))), "{unreadable:?}");
    }
}
