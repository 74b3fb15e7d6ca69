//! Where the files of a node or a monitor lie. A node's state is beside its data directory, never in
//! it: a clone replaces the data directory, and the state must survive that.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// PGDATA of a node; for a monitor the directory itself.
    pub data: PathBuf,
    pub state_dir: PathBuf,
    store: &'static str,
}

impl Places {
    pub fn node(pgdata: &Path) -> Places {
        let pgdata = absolute(pgdata);
        let mut state_dir = pgdata.clone().into_os_string();
        state_dir.push(".pgbaton");
        Places { data: pgdata, state_dir: state_dir.into(), store: "keeper.redb" }
    }

    pub fn monitor(dir: &Path) -> Places {
        let dir = absolute(dir);
        Places { data: dir.clone(), state_dir: dir, store: "monitor.redb" }
    }

    pub fn config(&self) -> PathBuf {
        self.state_dir.join("config.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.state_dir.join(self.store)
    }

    /// A readable copy of the store's records, for people: the store itself is locked while in use.
    pub fn mirror(&self) -> PathBuf {
        self.state_dir.join("state.json")
    }

    /// WAL that was set aside before a rewind or a clone.
    pub fn set_aside(&self) -> PathBuf {
        self.state_dir.join("diverged")
    }

    pub fn pid(&self) -> PathBuf {
        self.state_dir.join("pgbaton.pid")
    }
}

/// Services change their directory and units name paths, so no path is kept relative; `a/` and `a` are the same.
pub fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    path.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_node_lies_beside_its_data_directory() {
        for pgdata in ["/data/mdw", "/data/mdw/", "/data/./mdw"] {
            let places = Places::node(Path::new(pgdata));
            assert_eq!(places.config(), Path::new("/data/mdw.pgbaton/config.toml"), "{pgdata}");
        }
    }
}
