//! Plain servers for the facts: `version` what is installed, `lab` the place of one story, `server` one server as
//! processes and files, `session` one client, `proxy` a network between two, `disk` a disk that can fill, stall or turn read-only,
//! `program` the tools of Postgres,
//! `ported` a server in the hands of pgbaton's port.

mod disk;
mod lab;
#[path = "../../support/port.rs"]
mod port;
mod ported;
mod program;
mod proxy;
mod server;
mod session;
mod version;

pub use disk::{AbortingDisk, SmallDisk, Stalled, StallingDisk, may_mount};
pub use lab::{Lab, fact};
pub use ported::Ported;
pub use program::give_away;
pub use proxy::Proxy;
pub use server::{Server, freeze, is_alive};
pub use session::{Pending, Session, refusal};
pub use version::{Version, versions};

use pgbaton_core::model::Lsn;
use std::time::{Duration, Instant};

/// For what must happen. Nothing takes as long, unless it never happens.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

pub fn lsn(text: &str) -> Lsn {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no LSN"))
}

/// Looks until it holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}
