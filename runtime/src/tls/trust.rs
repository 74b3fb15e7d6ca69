//! Whose certificates a caller takes, and what it says of one that it doesn't take.

use super::{TlsError, provider};
use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a monitor's certificate was not taken, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error(
        "the certificate of {of} has expired{}: put a new one in its place on the monitor's machine, \
         and run pgbaton reload there",
        since.map_or(String::new(), |since| format!(" on {since}"))
    )]
    Expired { of: String, since: Option<Timestamp> },
    #[error("the certificate of {of} is not valid yet: compare the clocks of both machines")]
    Early { of: String },
    #[error(
        "nobody in {anchors} has issued the certificate of {of}: name the file with its issuer with \
             --ssl-ca-file; or put that into this one, and run pgbaton reload on a node"
    )]
    OtherIssuer { of: String, anchors: String },
    #[error("the certificate of {of} is for other names than that: {reason}")]
    OtherName { of: String, reason: String },
    #[error("{of} speaks no TLS; was it created with --no-ssl? then write http:// instead of https://")]
    Plain { of: String },
    #[error("no secure connection to {of}: {reason}")]
    Other { of: String, reason: String },
}

#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    file: Option<PathBuf>,
}

impl Trust {
    /// Those whose certificates are in this file.
    pub fn of(file: &Path) -> Result<Trust, TlsError> {
        Ok(Trust { config: config(roots(file)?), file: Some(file.to_path_buf()) })
    }

    /// Those the operating system trusts; what can't be read of its store isn't trusted.
    pub fn of_this_system() -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Trust { config: config(roots), file: None }
    }

    /// For links that need none.
    pub fn nobody() -> Trust {
        Trust { config: config(RootCertStore::empty()), file: None }
    }

    /// For whoever has another idea of what to trust.
    pub fn as_configured(config: Arc<ClientConfig>) -> Trust {
        Trust { config, file: None }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig::clone(&self.config)
    }

    pub(crate) fn explain(&self, of: &str, e: &rustls::Error) -> Untrusted {
        let of = of.to_string();
        match e {
            rustls::Error::InvalidCertificate(e) => self.explain_certificate(of, e),
            rustls::Error::InvalidMessage(_) => Untrusted::Plain { of },
            e => Untrusted::Other { of, reason: e.to_string() },
        }
    }

    fn explain_certificate(&self, of: String, e: &CertificateError) -> Untrusted {
        match e {
            CertificateError::Expired => Untrusted::Expired { of, since: None },
            CertificateError::ExpiredContext { not_after, .. } => {
                Untrusted::Expired { of, since: timestamp(*not_after) }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Untrusted::Early { of },
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let anchors = match &self.file {
                    Some(file) => format!("\"{}\"", file.display()),
                    None => "this system's store".to_string(),
                };
                Untrusted::OtherIssuer { of, anchors }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Untrusted::OtherName { of, reason: text(e) }
            }
            e => Untrusted::Other { of, reason: text(e) },
        }
    }
}

fn text(e: &impl Display) -> String {
    e.to_string()
}

fn timestamp(t: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(t.as_secs()).ok()?).ok()
}

fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A resumed session would be trusted on what was seen when it began.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

pub(super) fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in super::certificate::certificates(file)? {
        roots.add(certificate).map_err(|e| TlsError::Unusable { path: file.to_path_buf(), reason: e.to_string() })?;
    }
    Ok(roots)
}
