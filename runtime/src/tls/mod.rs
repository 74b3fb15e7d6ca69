//! TLS on the links to the monitor: what the monitor shows of itself, and whom its callers trust.

mod certificate;
mod issue;
mod trust;

pub use certificate::{Certificate, Files, Shown};
pub use issue::{Issued, issue};
pub use trust::{Trust, Untrusted};

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("can't read \"{path}\": {reason}")]
    Unreadable { path: PathBuf, reason: String },
    #[error("can't write \"{path}\": {reason}")]
    Unwritable { path: PathBuf, reason: String },
    #[error("\"{path}\" holds no {what} in PEM form")]
    Lacks { path: PathBuf, what: &'static str },
    #[error("\"{path}\" can't be used: {reason}")]
    Unusable { path: PathBuf, reason: String },
    #[error("the key in \"{key}\" is not that of the certificate in \"{cert}\"")]
    OtherKey { cert: PathBuf, key: PathBuf },
    #[error("the certificate in \"{path}\" expired on {since}")]
    Expired { path: PathBuf, since: Timestamp },
    #[error("the certificate in \"{path}\" is not valid before {from}")]
    Early { path: PathBuf, from: Timestamp },
    #[error("the certificate in \"{cert}\" was not issued by anyone in \"{ca}\"")]
    OtherIssuer { cert: PathBuf, ca: PathBuf },
}

impl TlsError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            TlsError::Unreadable { .. } | TlsError::Unwritable { .. } => {
                "check the path, and that the user who runs pgbaton may use it"
            }
            TlsError::Lacks { .. } | TlsError::Unusable { .. } => "put a file of the right kind there, in PEM form",
            TlsError::OtherKey { .. } => "name a certificate and its own key",
            TlsError::Expired { .. } => {
                "put a new one in its place (a self-signed one: pgbaton enable ssl --ssl-self-signed) and run pgbaton reload"
            }
            TlsError::Early { .. } => "compare the clock of this machine, or put another certificate in its place",
            TlsError::OtherIssuer { .. } => "name the file with the certificate of its issuer",
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
