//! Settings of a running server change some time after they were written. When any line of them is wrong at the moment of
//! the signal, none does, and none will before the next signal.

use super::host::{PgHost, until_either};
use super::sync::SyncNames;
use pgbaton_core::model::Position;
use pgbaton_core::mutant;
use std::sync::Arc;

impl PgHost {
    /// Backends see new names when they next look: until then some commits wait as before.
    pub fn reload_names(self: &Arc<Self>) {
        let broken = self.config_is_broken();
        let asked = match self.pg().server.as_mut() {
            None => return,
            Some(server) => {
                server.names_asked += 1;
                server.names_asked
            }
        };
        if broken {
            return;
        }
        let host = self.clone();
        self.spawn(async move {
            host.fate.sleep(host.fate.draw_ms(1..50)).await;
            if let Some((_, server)) = host.pg().running() {
                server.names_shown = server.names_shown.max(asked).min(server.names_asked);
            }
            host.bells.state.ring();
            host.until_checkpointer_reads_names().await;
            if let Some((dir, server)) = host.pg().running() {
                // What can't be read is said in the log, and all stays as it is.
                if let Ok(names) = SyncNames::read(&dir.names) {
                    server.use_names(names);
                }
                server.names_done = server.names_done.max(asked).min(server.names_asked);
            }
            host.note_names();
            host.bells.acks.ring();
            host.bells.state.ring();
        });
    }

    /// Between no names and some nothing changes for a commit before the checkpointer says so, and amid a checkpoint that
    /// doesn't pause it reads nothing.
    async fn until_checkpointer_reads_names(&self) {
        let now = self.fate.now();
        let wait = self.pg().running().and_then(|(dir, server)| {
            let begins_or_ends = dir.names.is_empty() != server.names.is_empty();
            server.checkpoints.ends(now).filter(|_| begins_or_ends)
        });
        if let Some(ends) = wait {
            self.fate.sleep_until(ends).await;
        }
    }

    /// The receiver goes on with its old upstream until the startup process has noticed.
    pub fn reload_conninfo(self: &Arc<Self>) {
        if self.pg().server.is_none() || self.config_is_broken() {
            return;
        }
        let host = self.clone();
        self.spawn(async move {
            host.fate.sleep(host.fate.draw_ms(0..300)).await;
            if let Some((dir, server)) = host.pg().running()
                && server.conninfo != dir.conninfo
            {
                server.conninfo.clone_from(&dir.conninfo);
                server.sealed = false;
                server.conninfo_changes += 1;
            }
            host.bells.state.ring();
        });
    }

    pub fn config_is_broken(&self) -> bool {
        self.pg().knobs.config_broken
    }

    /// Ends when there is no receiver, none can come, and all WAL held is replayed.
    pub async fn sealed(&self) -> Result<Position, String> {
        let sealed = || {
            let mut pg = self.pg();
            let Some((dir, server)) = pg.running() else {
                return Some(Err("the server is down".to_string()));
            };
            if !server.in_recovery {
                return Some(Err("the server is not in recovery".to_string()));
            }
            if dir.conninfo.is_some() {
                return Some(Err("the server is told to follow another".to_string()));
            }
            let gone = (server.conninfo.is_none() && server.receiver.is_none()) || mutant!(ReloadIsProof);
            server.sealed = gone && server.replayed == dir.wal.len() && dir.flushed == dir.wal.len();
            server.sealed.then(|| Ok(dir.end()))
        };
        until_either(&self.bells.replay, &self.bells.state, sealed).await
    }
}
