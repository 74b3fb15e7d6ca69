//! A client that reads back what others have written, now and then, on the node they write to. What it has seen
//! must stay, whether or not the writer was told of its success.

use super::Client;
use crate::net::{End, Packet};
use pgbaton_core::check::Kind;
use std::collections::BTreeSet;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows in one look; older ones were in the looks before.
const MOST: usize = 30;

impl Client {
    pub(super) async fn run_reading(self) {
        let mut connection = None;
        loop {
            self.fate.sleep(PERIOD).await;
            if self.all.0.lock().unwrap().stopped {
                return;
            }
            if connection.is_none() {
                connection = self.seek().await;
            }
            if let Some(end) = &connection
                && !self.read(end).await
            {
                connection = None;
            }
        }
    }

    /// One look; false when the connection is of no more use.
    async fn read(&self, end: &End) -> bool {
        let Some(ids) = self.latest_rows(end).await else { return false };
        self.chronicle.note(Kind::Read { node: end.peer().to_string(), ids });
        true
    }

    pub(super) async fn latest_rows(&self, end: &End) -> Option<BTreeSet<u64>> {
        end.send(Packet::Select { most: MOST });
        match self.fate.timeout(PATIENCE, end.recv()).await {
            Some(Some(Packet::Rows(ids))) => Some(ids),
            _ => None,
        }
    }
}
