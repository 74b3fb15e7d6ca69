//! A client that reads on a node that takes no writes, as applications do to spare the primary.

use super::Client;
use pgbaton_core::check::Kind;

impl Client {
    pub(super) async fn run_reading_on_standby(self) {
        let mut connection = None;
        loop {
            self.fate.sleep(self.period).await;
            if self.all.0.lock().unwrap().stopped {
                return;
            }
            if connection.is_none() {
                connection = self.seek_one(true).await;
            }
            let Some(end) = &connection else { continue };
            match self.latest_rows(end).await {
                Some(ids) => self.chronicle.note(Kind::StandbyRead { node: end.peer().to_string(), ids }),
                None => connection = None,
            }
        }
    }
}
