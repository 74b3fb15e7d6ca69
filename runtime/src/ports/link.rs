use super::CALL_PATH;
use crate::tls::Trust;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pgbaton_core::ports::{Link, LinkError};
use std::error::Error as _;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// A host that is off answers no SYN at all; this bounds the wait for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A monitor whose machine vanished without a word is noticed within about 6 s even in a long poll.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// An answer larger than this is no answer of a monitor.
const LARGEST_ANSWER: usize = 16 << 20;

/// Calls to the monitor over HTTP or HTTPS, on kept connections.
#[derive(Debug, Clone)]
pub struct HttpLink {
    /// Where to, or why nothing can be called.
    target: Result<Uri, LinkError>,
    shown: String,
    trust: Trust,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpLink {
    /// `url` is `http://HOST:PORT`, or `https://HOST:PORT` where this system trusts the monitor. One that can't be
    /// read is told by every call.
    pub fn new(url: &str) -> HttpLink {
        HttpLink::trusting_file(url, Path::new(""))
    }

    /// A monitor at `https://` must show a certificate that somebody in this file has issued; without a file,
    /// somebody whom the system trusts. A file that can't be used is told by every call: a keeper goes on without
    /// its monitor then.
    pub fn trusting_file(url: &str, ca_file: &Path) -> HttpLink {
        let secure = url.starts_with("https://");
        let trust = match ca_file {
            _ if !secure => Ok(Trust::nobody()),
            file if file.as_os_str().is_empty() => Ok(Trust::of_this_system()),
            file => Trust::of(file),
        };
        match trust {
            Ok(trust) => HttpLink::trusting(url, trust),
            Err(e) => {
                let link = HttpLink::trusting(url, Trust::nobody());
                HttpLink { target: Err(LinkError::Untrusted(e.to_string())), ..link }
            }
        }
    }

    /// Why every call must fail, if it must.
    pub fn usable(&self) -> Result<(), LinkError> {
        self.target.as_ref().map(|_| ()).map_err(LinkError::clone)
    }

    pub fn trusting(url: &str, trust: Trust) -> HttpLink {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE));
        connector.set_keepalive_retries(Some(2));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client_config())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        let target = call_uri(url).map_err(LinkError::Rejected);
        HttpLink { target, shown: url.trim_end_matches('/').to_string(), trust, client }
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
            return match answers_in_tongues(e) && self.shown.starts_with("http://") {
                true => LinkError::Rejected(format!("{0} speaks no HTTP; is it https://? then write that", self.shown)),
                false => LinkError::Lost(self.shown.clone()),
            };
        }
        if let Some(insecure) = insecure(e) {
            return LinkError::Untrusted(self.trust.explain(&self.shown, &insecure).to_string());
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
        let uri = self.target.clone()?;
        match tokio::time::timeout(patience, self.exchange(uri, message)).await {
            Ok(result) => result,
            Err(_) => Err(LinkError::Silent(self.shown.clone())),
        }
    }
}

/// `http://host:port` or `https://host:port`; a scheme that is left out is http.
pub fn monitor_url(text: &str) -> Result<String, String> {
    let bad = |why: &str| format!("\"{text}\" is not the URL of a monitor: {why}");
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !matches!(scheme, "http" | "https") {
        return Err(bad("it doesn't start with http:// or https://"));
    }
    let (host, port) = split_address(rest.trim_end_matches('/')).ok_or_else(|| bad("host and port are needed"))?;
    Ok(format!("{scheme}://{host}:{port}"))
}

/// `host:port`, `[v6]:port`.
pub fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && !host.contains([':', '/', '@', ' ']);
    (bracketed || plain).then_some(())?;
    Some((host, port.parse().ok().filter(|p| *p > 0)?))
}

fn call_uri(url: &str) -> Result<Uri, String> {
    let address = monitor_url(url).map_err(|why| format!("{why}; write http://HOST:PORT or https://HOST:PORT"))?;
    format!("{address}{CALL_PATH}").parse().map_err(|e| format!("\"{url}\" is not the URL of a monitor: {e}"))
}

/// What TLS has found wrong. It comes wrapped into errors of the transport, which name as their source not what they
/// wrap but the source of that.
fn insecure(e: &Error) -> Option<rustls::Error> {
    let mut cause = e.source();
    while let Some(e) = cause {
        if let Some(found) = e.downcast_ref::<rustls::Error>() {
            return Some(found.clone());
        }
        let wrapped = e.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        cause = wrapped.map(|e| e as &dyn std::error::Error).or_else(|| e.source());
    }
    None
}

/// What came back is no HTTP.
fn answers_in_tongues(e: &Error) -> bool {
    e.source().and_then(|e| e.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_parse)
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
        for good in ["http://monitor:7432", "https://monitor:7432", "http://10.0.0.1:1/", "http://[::1]:7432", "m:1"] {
            assert!(call_uri(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("ftp://monitor:7432", "http:// or https://"),
            ("http://monitor", "port are needed"),
            ("http://monitor:7432/x", "port are needed"),
            ("http://:7432", "host and port"),
            ("not a url", "http://HOST:PORT"),
            ("http://a\"b:1", "invalid"),
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
