use super::CALL_PATH;
use super::secure::SecureListener;
use crate::tls::Shown;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::{Listener, ListenerExt};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use pgbaton_core::ports::{CallId, Door, DoorEvent, Probe};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Far above the largest report; it keeps a stray client from filling the memory.
const LARGEST_CALL: usize = 1 << 20;

/// SSLRequest: length 8, code 80877103. A postmaster answers it with one byte before any login.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    #[error("{0} is in use by another process; stop it (ss -ltnp shows it) or listen on another port")]
    InUse(String),
    #[error("can't listen on {address}: {reason}; write HOST:PORT with an address of this machine, as 0.0.0.0:7432")]
    Unusable { address: String, reason: String },
}

/// Serves calls over HTTP. A call stays open until it is answered, or until its caller goes away. That a connection ends is
/// told as well when its last call was answered: the caller may have been about to call again.
pub struct HttpDoor {
    events: mpsc::UnboundedReceiver<DoorEvent>,
    desk: Arc<Desk>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

/// What the handlers and the door share.
struct Desk {
    events: mpsc::UnboundedSender<DoorEvent>,
    waiting: Mutex<BTreeMap<CallId, oneshot::Sender<Vec<u8>>>>,
    next: AtomicU64,
}

/// A connection: the last call that came over it.
#[derive(Default)]
struct Line(Mutex<Option<CallId>>);

impl Line {
    fn last(&self) -> MutexGuard<'_, Option<CallId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn take(&self, id: CallId) -> Option<oneshot::Sender<Vec<u8>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

impl HttpDoor {
    /// `listen` is `HOST:PORT`; port 0 takes a free one.
    pub async fn bind(listen: &str) -> Result<HttpDoor, DoorError> {
        HttpDoor::open(listen, None).await
    }

    /// With something to show it takes connections over TLS, and no others.
    pub async fn open(listen: &str, shown: Option<&Shown>) -> Result<HttpDoor, DoorError> {
        let unusable = |e: std::io::Error| match e.kind() {
            ErrorKind::AddrInUse => DoorError::InUse(listen.to_string()),
            _ => DoorError::Unusable { address: listen.to_string(), reason: e.to_string() },
        };
        let listener = TcpListener::bind(listen).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let (sender, events) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { events: sender, waiting: Mutex::new(BTreeMap::new()), next: AtomicU64::new(1) });
        let router = Router::new()
            .route("/v1/health", get(async || "ok"))
            .route(CALL_PATH, post(receive))
            .layer(DefaultBodyLimit::max(LARGEST_CALL))
            .with_state(desk.clone());
        let listener = listener.tap_io(|stream| {
            if let Err(e) = stream.set_nodelay(true) {
                tracing::debug!("TCP_NODELAY can't be set: {e}");
            }
        });
        let server = match shown {
            Some(shown) => tokio::spawn(serve(SecureListener::new(listener, shown), router, desk.clone())),
            None => tokio::spawn(serve(listener, router, desk.clone())),
        };
        Ok(HttpDoor { events, desk, address, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpDoor {
    fn drop(&mut self) {
        self.server.abort();
        // The connections outlive the listener; without their oneshots the handlers end and say so.
        self.desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Door for HttpDoor {
    async fn next(&mut self) -> DoorEvent {
        // `desk` holds a sender, so the channel never ends while the door lives.
        self.events.recv().await.expect("the door holds a sender itself")
    }

    fn answer(&mut self, id: CallId, message: Vec<u8>) {
        if let Some(caller) = self.desk.take(id) {
            let _gone_meanwhile = caller.send(message);
        }
    }

    fn probe(&self, host: &str, port: u16, patience: Duration) -> impl Future<Output = Probe> + Send + 'static {
        let host = host.to_string();
        async move {
            let asked = tokio::time::timeout(patience, ask_postmaster(&host, port));
            asked.await.unwrap_or(Probe::Silent)
        }
    }
}

async fn serve(mut listener: impl Listener, router: Router, desk: Arc<Desk>) {
    loop {
        let (stream, _) = listener.accept().await;
        let line = Arc::new(Line::default());
        let calls = TowerToHyperService::new(router.clone().layer(Extension(line.clone())));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), calls);
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("a connection ended: {e}");
            }
            if let Some(id) = line.last().take() {
                desk.take(id);
                let _door_gone = desk.events.send(DoorEvent::Hangup { id });
            }
        });
    }
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    Extension(line): Extension<Arc<Line>>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let message = match body {
        Ok(bytes) => bytes.to_vec(),
        Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let text = format!("the call is larger than {LARGEST_CALL} bytes\n");
            return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
        }
        Err(e) => return e.into_response(),
    };
    let id = CallId(desk.next.fetch_add(1, Ordering::Relaxed));
    let (sender, answer) = oneshot::channel();
    desk.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
    *line.last() = Some(id);
    if desk.events.send(DoorEvent::Call { id, message }).is_err() {
        return closing();
    }
    match answer.await {
        Ok(message) => ([("content-type", "application/json")], message).into_response(),
        Err(_) => closing(),
    }
}

fn closing() -> Response {
    let headers = [("connection", "close")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, "this monitor is stopping\n").into_response()
}

async fn ask_postmaster(host: &str, port: u16) -> Probe {
    let mut stream = match TcpStream::connect((host, port)).await {
        Ok(stream) => stream,
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Probe::Refused,
        Err(_) => return Probe::Silent,
    };
    // The eight bytes leave at once: nothing else is in flight that Nagle's algorithm could wait for.
    let _no_harm = stream.set_nodelay(true);
    if stream.write_all(&SSL_REQUEST).await.is_err() {
        return Probe::Silent;
    }
    match stream.read_u8().await {
        Ok(_) => Probe::Answers,
        Err(_) => Probe::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::HttpLink;
    use pgbaton_core::ports::{Link, LinkError};
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn door_and_link() -> (HttpDoor, HttpLink) {
        let door = HttpDoor::bind("127.0.0.1:0").await.unwrap();
        let link = HttpLink::new(&format!("http://{}", door.address()));
        (door, link)
    }

    fn call_of(event: DoorEvent) -> (CallId, Vec<u8>) {
        match event {
            DoorEvent::Call { id, message } => (id, message),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_call_waits_for_its_answer_and_calls_share_a_connection() {
        let (mut door, link) = door_and_link().await;
        for text in ["one", "two"] {
            let caller = link.clone();
            let caller = tokio::spawn(async move { caller.call(text.into(), PATIENCE).await });
            let (id, message) = call_of(door.next().await);
            assert_eq!(message, text.as_bytes());
            door.answer(id, b"yes".to_vec());
            assert_eq!(caller.await.unwrap(), Ok(b"yes".to_vec()));
        }
        door.answer(CallId(77), b"nobody asked".to_vec());
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_is_a_hangup_at_once() {
        let (mut door, link) = door_and_link().await;
        let caller = tokio::spawn(async move { link.call(b"{}".to_vec(), PATIENCE).await });
        let (id, _) = call_of(door.next().await);
        let since = Instant::now();
        caller.abort();
        assert_eq!(door.next().await, DoorEvent::Hangup { id });
        assert!(since.elapsed() < Duration::from_millis(200), "{:?}", since.elapsed());
    }

    #[tokio::test]
    async fn a_killed_client_process_is_a_hangup_at_once() {
        let (mut door, _) = door_and_link().await;
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'POST {CALL_PATH} HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 2\\r\\n\\r\\n{{}}' >&3; exec cat <&3",
            door.address().port()
        );
        for answered in [false, true] {
            let mut client = tokio::process::Command::new("bash").args(["-c", &script]).spawn().unwrap();
            let (id, _) = call_of(door.next().await);
            if answered {
                door.answer(id, b"yes".to_vec());
            }
            let since = Instant::now();
            client.kill().await.unwrap();
            assert_eq!(door.next().await, DoorEvent::Hangup { id }, "answered: {answered}");
            assert!(since.elapsed() < Duration::from_millis(200), "{:?}", since.elapsed());
        }
    }

    #[tokio::test]
    async fn too_large_a_call_is_refused_with_a_reason_and_a_door_can_be_shut() {
        let (door, link) = door_and_link().await;
        let refused = link.call(vec![b'x'; LARGEST_CALL + 1], PATIENCE).await;
        assert!(matches!(&refused, Err(LinkError::Rejected(t)) if t.contains("larger than 1048576")), "{refused:?}");
        let taken = HttpDoor::bind(&door.address().to_string()).await.map(drop).unwrap_err();
        assert!(taken.to_string().contains("in use"), "{taken}");
        assert!(HttpDoor::bind("nonsense").await.is_err());
    }

    #[tokio::test]
    async fn a_monitor_that_ends_is_lost_to_its_callers() {
        let (mut door, link) = door_and_link().await;
        let caller = tokio::spawn(async move { link.call(b"{}".to_vec(), PATIENCE).await });
        call_of(door.next().await);
        drop(door);
        let lost = caller.await.unwrap();
        assert!(matches!(lost, Err(LinkError::Lost(_))), "{lost:?}");
    }

    #[tokio::test]
    async fn a_probe_tells_a_closed_port_from_a_mute_one() {
        let (door, _) = door_and_link().await;
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = mute.local_addr().unwrap().port();
        let short = Duration::from_millis(50);
        assert_eq!(door.probe("127.0.0.1", port, short).await, Probe::Silent);
        drop(mute);
        assert_eq!(door.probe("127.0.0.1", port, PATIENCE).await, Probe::Refused);
    }
}
