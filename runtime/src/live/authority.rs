//! The monitor's certificates in a live run over TLS. They are self-signed, all with one key, so that whoever has a
//! copy of the first trusts each of its successors.

use crate::ports::HttpLink;
use crate::tls::{Certificate, Files, Trust, issue};
use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// As short as it can be and still be taken by the monitor: times in certificates are whole seconds.
const SHORT: SignedDuration = SignedDuration::from_secs(3);
const LONG: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug)]
pub struct Authority {
    pub files: Files,
    /// What nodes and operators have.
    pub ca_file: PathBuf,
    names: Vec<String>,
}

impl Authority {
    pub fn found(dir: &Path, names: Vec<String>) -> Result<Authority> {
        let files = Files { cert: dir.join("server.crt"), key: dir.join("server.key") };
        let authority = Authority { files, ca_file: dir.join("ca.crt"), names };
        authority.issue(LONG)?;
        std::fs::copy(&authority.files.cert, &authority.ca_file)?;
        Ok(authority)
    }

    fn issue(&self, lasts: SignedDuration) -> Result<Timestamp> {
        let now = Timestamp::now();
        let until = now + lasts;
        let key = self.files.key.exists().then_some(self.files.key.as_path());
        issue(&self.names, now - LONG, until, key)?.write(&self.files)?;
        Ok(Certificate::read(&self.files)?.until())
    }

    /// One that is still good when the monitor reads it; tells when it no longer is.
    pub fn issue_short(&self) -> Result<Timestamp> {
        self.issue(SHORT)
    }

    pub fn issue_long(&self) -> Result<()> {
        self.issue(LONG).map(drop)
    }

    /// Of one who must see everything: any certificate of ours is good, whatever the time is.
    pub fn observers_link(&self, url: &str) -> Result<HttpLink> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&std::fs::read(&self.ca_file)?)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let timeless =
            Timeless { web, at: UnixTime::since_unix_epoch(Duration::from_secs(within_all(Timestamp::now()))) };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(timeless))
            .with_no_client_auth();
        Ok(HttpLink::trusting(url, Trust::as_configured(Arc::new(config))))
    }
}

/// Each certificate is backdated by more than a run takes, and none ends before the run began.
fn within_all(began: Timestamp) -> u64 {
    u64::try_from(began.as_second()).unwrap_or_default()
}

#[derive(Debug)]
struct Timeless {
    web: Arc<WebPkiServerVerifier>,
    /// The time that it takes it to be.
    at: UnixTime,
}

impl ServerCertVerifier for Timeless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.web.verify_server_cert(end_entity, intermediates, name, ocsp, self.at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.web.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web.supported_verify_schemes()
    }
}
