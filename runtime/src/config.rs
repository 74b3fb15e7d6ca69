//! The configuration files: `config.toml` of a node and of a monitor. They are written whole or not at
//! all, and readable by their owner only, since a node's holds the password of the replication role.

use crate::disk;
use crate::tls::Files;
use pgbaton_core::model::{KeeperSettings, MonitorSettings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub name: String,
    pub hostname: String,
    pub formation: String,
    pub group: u32,
    pub candidate_priority: u8,
    pub replication_quorum: bool,
    /// Where the monitor listens, as `http://host:port` or `https://host:port`.
    pub monitor: String,
    pub postgresql: PostgresqlConfig,
    #[serde(default)]
    pub ssl: NodeSsl,
    #[serde(default)]
    pub settings: KeeperSettings,
}

/// For a monitor at `https://`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSsl {
    /// Who may issue the monitor's certificate; empty: whom the operating system trusts.
    pub ca_file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresqlConfig {
    pub pgdata: PathBuf,
    pub bin_dir: PathBuf,
    pub port: u16,
    pub listen: String,
    pub dbname: String,
    pub auth: String,
    /// Whom Postgres runs as when the keeper is root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    pub replication_password: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorConfig {
    /// `host:port`.
    pub listen: String,
    #[serde(default)]
    pub ssl: MonitorSsl,
    #[serde(default)]
    pub settings: MonitorSettings,
}

/// How the monitor is spoken to: over TLS, or in the clear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSsl {
    pub active: bool,
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Its issuer, for the nodes; the certificate's own file when it is self-signed.
    pub ca_file: PathBuf,
}

impl MonitorSsl {
    /// The certificate and its key, when connections are made over TLS.
    pub fn files(&self) -> Option<Files> {
        self.active.then(|| Files { cert: self.cert_file.clone(), key: self.key_file.clone() })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no configuration file \"{0}\"")]
    Missing(PathBuf),
    #[error("can't read \"{path}\": {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {what}")]
    Malformed { path: PathBuf, line: usize, what: String },
    #[error("can't write \"{path}\": {source}")]
    Unwritable { path: PathBuf, source: io::Error },
}

impl ConfigError {
    pub fn is_missing(&self) -> bool {
        matches!(self, ConfigError::Missing(_))
    }
}

/// Reads any of the TOML files above, or a file of settings.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ConfigError::Missing(path.into())),
        Err(source) => {
            return Err(ConfigError::Unreadable { path: path.into(), source });
        }
    };
    toml::from_str(&text).map_err(|e| ConfigError::Malformed {
        path: path.into(),
        line: e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1),
        what: e.message().to_string(),
    })
}

pub fn write<T: Serialize>(path: &Path, config: &T) -> Result<(), ConfigError> {
    let text = toml::to_string(config).expect("a configuration is plain data");
    disk::replace(path, text.as_bytes(), 0o600).map_err(|source| ConfigError::Unwritable { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn node() -> NodeConfig {
        NodeConfig {
            name: "mdw".into(),
            hostname: "failoverprimary".into(),
            formation: "fotest".into(),
            group: 0,
            candidate_priority: 50,
            replication_quorum: true,
            monitor: "http://monitor:7432".into(),
            postgresql: PostgresqlConfig {
                pgdata: "/data/mdw".into(),
                bin_dir: "/usr/lib/postgresql/15/bin".into(),
                port: 5432,
                listen: "*".into(),
                dbname: "postgres".into(),
                auth: "trust".into(),
                run_as: None,
                replication_password: "secret".into(),
            },
            ssl: NodeSsl { ca_file: "/etc/pgbaton/monitor.crt".into() },
            settings: KeeperSettings::default(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        write(&path, &node()).unwrap();
        assert_eq!(read::<NodeConfig>(&path).unwrap(), node());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "listen = \"h:1\"\n[settings]\nholld = \"3s\"\n").unwrap();
        let error = read::<MonitorConfig>(&path).unwrap_err().to_string();
        assert!(error.contains("config.toml:3: unknown field `holld`"), "{error}");
        let error = read::<MonitorConfig>(&dir.path().join("none")).unwrap_err();
        assert!(error.is_missing(), "{error}");
    }
}
