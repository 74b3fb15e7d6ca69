//! Connections over TLS. A caller that is slow to shake hands holds nobody up.

use crate::tls::Shown;
use axum::serve::Listener;
use rustls::{AlertDescription, Error};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// By then a caller has shaken hands, or it is none.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// So many at a time: more wait in the kernel's queue.
const MOST_HANDSHAKES: usize = 256;
/// Callers that refuse a certificate come again and again.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

type Made = (TlsStream<TcpStream>, SocketAddr);

pub struct SecureListener {
    address: io::Result<SocketAddr>,
    made: mpsc::Receiver<Made>,
    /// Ends with the listener.
    _accepting: JoinSet<()>,
}

impl SecureListener {
    pub fn new<L>(plain: L, shown: &Shown) -> SecureListener
    where
        L: Listener<Io = TcpStream, Addr = SocketAddr>,
    {
        let (sender, made) = mpsc::channel(MOST_HANDSHAKES);
        let address = plain.local_addr();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(plain, shown.clone(), sender));
        SecureListener { address, made, _accepting: accepting }
    }
}

impl Listener for SecureListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Made {
        match self.made.recv().await {
            Some(made) => made,
            // Its task has panicked, which is said elsewhere.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|e| io::Error::new(e.kind(), e.to_string()))
    }
}

async fn accept<L>(mut plain: L, shown: Shown, made: mpsc::Sender<Made>)
where
    L: Listener<Io = TcpStream, Addr = SocketAddr>,
{
    let acceptor = TlsAcceptor::from(shown.server_config());
    let mut handshakes = JoinSet::new();
    let mut complained: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            Some(ended) = handshakes.join_next() => {
                if let Ok(Some(why)) = ended
                    && complained.is_none_or(|since| since.elapsed() > COMPLAINT_PAUSE)
                {
                    complained = Some(Instant::now());
                    tracing::warn!("{why}");
                }
            }
            (stream, address) = plain.accept(), if handshakes.len() < MOST_HANDSHAKES => {
                let (acceptor, made, shown) = (acceptor.clone(), made.clone(), shown.clone());
                handshakes.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let _door_gone = made.send((stream, address)).await;
                            None
                        }
                        Ok(Err(e)) => complaint(&e, address, &shown),
                        Err(_) => None,
                    }
                });
            }
        }
    }
}

/// For an operator: what a caller says about the certificate, or that it comes without TLS. Scanners of ports say
/// anything, and get no word.
fn complaint(e: &io::Error, from: SocketAddr, shown: &Shown) -> Option<String> {
    match e.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            Some(format!("{from} hangs up: {}", shown.current().describe()))
        }
        // `DecryptError`: it trusts another of the same name.
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError),
        ) => Some(format!(
            "{from} doesn't trust the certificate it is shown ({alert:?}): {}; give the node the file with its issuer",
            shown.current().describe()
        )),
        Error::InvalidMessage(_) => Some(format!("{from} comes without TLS: its URL of the monitor is to be https://")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::ports::{HttpDoor, HttpLink};
    use crate::tls::{Certificate, Files, Shown, issue};
    use jiff::{SignedDuration, Timestamp};
    use pgbaton_core::ports::{Door, DoorEvent, Link, LinkError};
    use std::path::Path;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A certificate that ends in so many seconds, from now; negative is the past.
    fn certificate(dir: &Path, name: &str, ends_in: i64) -> (Certificate, Files) {
        let files = Files { cert: dir.join(name), key: dir.join("key") };
        let old = files.key.exists().then_some(files.key.as_path());
        let now = Timestamp::now();
        let (from, until) = (now - SignedDuration::from_hours(24), now + SignedDuration::from_secs(ends_in));
        issue(&["127.0.0.1".into()], from, until, old).unwrap().write(&files).unwrap();
        (Certificate::read(&files).unwrap(), files)
    }

    /// Answers everything.
    async fn answer(mut door: HttpDoor) {
        loop {
            if let DoorEvent::Call { id, message } = door.next().await {
                door.answer(id, message);
            }
        }
    }

    #[tokio::test]
    async fn an_expired_certificate_ends_no_connection_and_a_new_one_is_taken_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (good, files) = certificate(dir.path(), "good", 3600);
        let shown = Shown::new(good);
        let door = HttpDoor::open("127.0.0.1:0", Some(&shown)).await.unwrap();
        let url = format!("https://{}", door.address());
        tokio::spawn(answer(door));
        let open = HttpLink::trusting_file(&url, &files.cert);
        assert_eq!(open.call(b"one".to_vec(), PATIENCE).await, Ok(b"one".to_vec()));
        shown.replace(certificate(dir.path(), "expired", -10).0);
        assert_eq!(open.call(b"two".to_vec(), PATIENCE).await, Ok(b"two".to_vec()), "on the connection it has");
        let refused = HttpLink::trusting_file(&url, &files.cert).call(b"x".to_vec(), PATIENCE).await;
        let Err(LinkError::Untrusted(why)) = refused else { panic!("{refused:?}") };
        let date = shown.current().until().to_string();
        assert!(why.contains("has expired on") && why.contains(&date) && why.contains("pgbaton reload"), "{why}");
        shown.replace(certificate(dir.path(), "renewed", 3600).0);
        let again = HttpLink::trusting_file(&url, &files.cert);
        assert_eq!(again.call(b"three".to_vec(), PATIENCE).await, Ok(b"three".to_vec()));
    }

    #[tokio::test]
    async fn who_is_not_trusted_or_speaks_another_tongue_is_told_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let (good, files) = certificate(dir.path(), "good", 3600);
        let secure = HttpDoor::open("127.0.0.1:0", Some(&Shown::new(good))).await.unwrap();
        let plain = HttpDoor::bind("127.0.0.1:0").await.unwrap();
        let (to_secure, to_plain) = (secure.address(), plain.address());
        tokio::spawn(answer(secure));
        tokio::spawn(answer(plain));
        std::fs::create_dir(dir.path().join("else")).unwrap();
        let (_, others) = certificate(&dir.path().join("else"), "other", 3600);
        let here = to_secure.to_string().replace("127.0.0.1", "localhost");
        for (url, file, says) in [
            (format!("https://{to_secure}"), &others.cert, "--ssl-ca-file"),
            (format!("https://{to_secure}"), &dir.path().join("none"), "can't read"),
            (format!("https://{here}"), &files.cert, "for other names"),
            (format!("https://{to_plain}"), &files.cert, "speaks no TLS"),
            (format!("http://{to_secure}"), &files.cert, "speaks no HTTP"),
        ] {
            let refused = HttpLink::trusting_file(&url, file).call(b"x".to_vec(), PATIENCE).await;
            let Err(LinkError::Untrusted(why) | LinkError::Rejected(why)) = refused else {
                panic!("{url} {refused:?}")
            };
            assert!(why.contains(says), "{why}");
        }
    }
}
