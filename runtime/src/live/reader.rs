//! A client that reads back what others have written, now and then, on the node they write to. What it has seen
//! must stay, whether or not the writer was told of its success.

use super::clients::{Session, Target, connect_standby, connect_writable};
use super::ledger::Ledger;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PERIOD: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);

pub async fn run(targets: &[Target], ledger: &Ledger) {
    loop {
        let session = connect_writable(targets).await;
        while let Some(ids) = latest(&session).await {
            ledger.note_read(&session.node, ids);
            sleep(PERIOD).await;
        }
        sleep(PERIOD).await;
    }
}

/// On a node that takes no writes, as applications do to spare the primary.
pub async fn run_on_standby(targets: &[Target], ledger: &Ledger, period: Duration) {
    loop {
        let session = connect_standby(targets).await;
        while let Some(ids) = latest(&session).await {
            ledger.note_standby_read(&session.node, ids);
            sleep(period).await;
        }
        sleep(period).await;
    }
}

/// Ids of the latest rows this session sees; older ones were in the looks before.
async fn latest(session: &Session) -> Option<BTreeSet<u64>> {
    let query = "select id from pgbaton_writes order by at desc limit 30";
    let rows = timeout(PATIENCE, session.client.query(query, &[])).await.ok()?.ok()?;
    Some(rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect())
}
