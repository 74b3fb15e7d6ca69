//! The monitor's certificate: read from its files, replaced while connections go on, and told of before it ends.

use super::{TlsError, provider};
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use x509_parser::parse_x509_certificate;

/// From then on its end is told with every start and reload, and once when it comes so near.
const NEAR_END: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Wall clocks are moved, and machines sleep: the end is looked for at least this often.
const LOOK: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A certificate with its key, and when it is valid.
#[derive(Debug, Clone)]
pub struct Certificate {
    path: PathBuf,
    shown: Arc<CertifiedKey>,
    from: Timestamp,
    until: Timestamp,
}

impl Certificate {
    /// Whatever the time is.
    pub fn read(files: &Files) -> Result<Certificate, TlsError> {
        let certs = certificates(&files.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?)
            .map_err(|_| TlsError::Lacks { path: files.key.clone(), what: "private key" })?;
        let (from, until) = validity(&files.cert, &certs[0])?;
        let shown = CertifiedKey::from_der(certs, key, &provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::OtherKey { cert: files.cert.clone(), key: files.key.clone() }
            }
            e => TlsError::Unusable { path: files.key.clone(), reason: e.to_string() },
        })?;
        Ok(Certificate { path: files.cert.clone(), shown: Arc::new(shown), from, until })
    }

    /// As `read`, and valid now.
    pub fn read_valid(files: &Files) -> Result<Certificate, TlsError> {
        let certificate = Certificate::read(files)?;
        certificate.check(Timestamp::now()).map(|()| certificate)
    }

    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// The last second counts in full.
    fn left(&self, now: Timestamp) -> SignedDuration {
        self.until.duration_since(now) + SignedDuration::from_secs(1)
    }

    fn check(&self, now: Timestamp) -> Result<(), TlsError> {
        let path = self.path.clone();
        match now {
            now if self.left(now) <= SignedDuration::ZERO => Err(TlsError::Expired { path, since: self.until }),
            now if now < self.from => Err(TlsError::Early { path, from: self.from }),
            _ => Ok(()),
        }
    }

    /// Whether a caller with this file takes it.
    pub fn check_issuer(&self, ca: &Path) -> Result<(), TlsError> {
        let roots = super::trust::roots(ca)?;
        let other = || TlsError::OtherIssuer { cert: self.path.clone(), ca: ca.to_path_buf() };
        let parsed = ParsedCertificate::try_from(&self.shown.cert[0]).map_err(|_| other())?;
        let algorithms = provider().signature_verification_algorithms.all;
        let between = &self.shown.cert[1..];
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.from.as_second()).unwrap_or(0)));
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, between, now, algorithms).map_err(|_| other())
    }

    pub fn describe(&self) -> String {
        let (path, until) = (self.path.display(), self.until);
        let has = if self.left(Timestamp::now()) <= SignedDuration::ZERO { "expired on" } else { "is valid until" };
        format!("the certificate in \"{path}\" {has} {until}")
    }

    pub fn tell(&self) {
        let (path, until) = (self.path.display(), self.until);
        if self.left(Timestamp::now()) < NEAR_END {
            tracing::warn!("the certificate in \"{path}\" ends on {until}: have another one by then");
        } else {
            tracing::info!("shows the certificate in \"{path}\", valid until {until}");
        }
    }

    /// Says so when it comes near its end, and when it has come to it; never ends itself.
    pub async fn tell_of_its_end(self) {
        let mut before = self.left(Timestamp::now());
        while let Ok(left) = Duration::try_from(before)
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(LOOK)).await;
            let now = self.left(Timestamp::now());
            if comes_near(before, now) {
                self.tell();
            }
            before = now;
        }
        let expired = TlsError::Expired { path: self.path.clone(), since: self.until };
        tracing::error!(
            "{expired}: connections that are open go on, new ones fail; {}, with --datadir of this monitor",
            expired.remedy()
        );
        std::future::pending().await
    }
}

/// What is left has become short between two looks.
fn comes_near(before: SignedDuration, now: SignedDuration) -> bool {
    before >= NEAR_END && now < NEAR_END && now > SignedDuration::ZERO
}

/// What new connections are shown. Its clones change together.
#[derive(Debug, Clone)]
pub struct Shown(Arc<Mutex<Certificate>>);

impl Shown {
    pub fn new(certificate: Certificate) -> Shown {
        Shown(Arc::new(Mutex::new(certificate)))
    }

    pub fn replace(&self, certificate: Certificate) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    pub fn current(&self) -> Certificate {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn server_config(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Callers look at the certificate each time.
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().shown)
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|e| TlsError::Unreadable { path: path.to_path_buf(), reason: e.to_string() })
}

/// At least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let lacks = || TlsError::Lacks { path: path.to_path_buf(), what: "certificate" };
    let found = CertificateDer::pem_slice_iter(&bytes(path)?).collect::<Result<Vec<_>, _>>().map_err(|_| lacks())?;
    if found.is_empty() { Err(lacks()) } else { Ok(found) }
}

fn validity(path: &Path, der: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), TlsError> {
    let unusable = |reason: String| TlsError::Unusable { path: path.to_path_buf(), reason };
    let (_, parsed) = parse_x509_certificate(der).map_err(|e| unusable(e.to_string()))?;
    let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|e| unusable(e.to_string()));
    let valid = parsed.validity();
    Ok((moment(valid.not_before.timestamp())?, moment(valid.not_after.timestamp())?))
}

#[cfg(test)]
mod tests {
    use super::super::issue;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn that_the_end_comes_near_is_told_once() {
        let minute = SignedDuration::from_mins(1);
        assert!(comes_near(NEAR_END, NEAR_END - minute));
        assert!(!comes_near(NEAR_END + minute, NEAR_END));
        assert!(!comes_near(NEAR_END - minute, NEAR_END - minute - minute), "told before");
        assert!(!comes_near(NEAR_END, -minute), "told as the end");
    }

    #[test]
    fn a_certificate_is_read_and_says_when_it_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { cert: dir.path().join("c"), key: dir.path().join("k") };
        issue(&["monitor".into()], at(1000), at(2000), None).unwrap().write(&files).unwrap();
        let certificate = Certificate::read(&files).unwrap();
        assert_eq!(certificate.check(at(1500)), Ok(()));
        assert_eq!(certificate.check(at(999)), Err(TlsError::Early { path: files.cert.clone(), from: at(1000) }));
        let expired = Certificate::read_valid(&files).unwrap_err().to_string();
        assert!(expired.contains("expired on 1970-01-01T00:33:20Z") && expired.contains("/c\""), "{expired}");
        assert_eq!(certificate.check_issuer(&files.cert), Ok(()), "it is its own issuer");

        let other = Files { cert: dir.path().join("c2"), key: dir.path().join("k2") };
        issue(&["monitor".into()], at(1000), at(2000), None).unwrap().write(&other).unwrap();
        assert!(matches!(certificate.check_issuer(&other.cert), Err(TlsError::OtherIssuer { .. })));
        let mixed = Certificate::read(&Files { key: other.key.clone(), ..files.clone() }).unwrap_err();
        assert!(matches!(mixed, TlsError::OtherKey { .. }), "{mixed}");
        let swapped = Certificate::read(&Files { cert: files.key.clone(), key: files.cert.clone() }).unwrap_err();
        assert!(swapped.to_string().contains("/k\" holds no certificate"), "{swapped}");
        let missing = Certificate::read(&Files { cert: dir.path().join("none"), ..files }).unwrap_err();
        assert!(matches!(missing, TlsError::Unreadable { .. }), "{missing}");
    }
}
