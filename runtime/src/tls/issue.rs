//! Certificates made here: a monitor without an authority signs its own. One that is made again with the key of the
//! one before is trusted by whoever has a copy of that, so it can be renewed without a word to the nodes.

use super::{Files, TlsError};
use crate::disk;
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use std::path::Path;
use std::time::Duration;

/// In PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    cert: String,
    key: String,
}

/// `names` are host names and addresses under which it is good. `key` is a file with the key to use, if there is one.
pub fn issue(names: &[String], from: Timestamp, until: Timestamp, key: Option<&Path>) -> Result<Issued, TlsError> {
    let unmade = |e: rcgen::Error| TlsError::Unusable {
        path: key.unwrap_or(Path::new("a new certificate")).to_path_buf(),
        reason: e.to_string(),
    };
    let key = match key {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| TlsError::Unreadable { path: path.to_path_buf(), reason: e.to_string() })?;
            KeyPair::from_pem(&text)
        }
        None => KeyPair::generate(),
    };
    let key = key.map_err(unmade)?;
    let mut params = CertificateParams::new(names).map_err(unmade)?;
    // By this name and the key a copy of it vouches for its successor.
    params.distinguished_name.push(DnType::CommonName, "pgbaton monitor");
    let moment = |t: Timestamp| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(t.as_second()).expect("not before 1970"))
    };
    (params.not_before, params.not_after) = (moment(from), moment(until));
    let cert = params.self_signed(&key).map_err(unmade)?;
    Ok(Issued { cert: cert.pem(), key: key.serialize_pem() })
}

impl Issued {
    /// The key is for its owner only. Each file is the old or the new one at any moment; the key comes first, and
    /// stays the same when a certificate is renewed.
    pub fn write(&self, files: &Files) -> Result<(), TlsError> {
        for (path, text, mode) in [(&files.key, &self.key, 0o600), (&files.cert, &self.cert, 0o644)] {
            disk::replace(path, text.as_bytes(), mode)
                .map_err(|e| TlsError::Unwritable { path: path.clone(), reason: e.to_string() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Certificate;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_renewed_certificate_is_vouched_for_by_the_one_before_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let files = |name: &str| Files { cert: dir.path().join(name), key: dir.path().join("key") };
        let names = ["monitor".to_string(), "127.0.0.1".to_string()];
        issue(&names, at(0), at(1000), None).unwrap().write(&files("old")).unwrap();
        let key = files("old").key;
        issue(&names, at(2000), at(3000), Some(&key)).unwrap().write(&files("new")).unwrap();
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let new = Certificate::read(&files("new")).unwrap();
        assert_eq!(new.check_issuer(&files("old").cert), Ok(()));
        assert_eq!(new.until(), at(3000));
    }
}
