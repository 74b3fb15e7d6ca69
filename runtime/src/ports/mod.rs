//! The seams of core on tokio: a clock of the machine, a store on disk, HTTP between nodes, over TLS where it is asked for.

mod clock;
mod door;
mod link;
mod secure;
mod store;

pub use clock::BootClock;
pub use door::HttpDoor;
pub use link::{HttpLink, monitor_url, split_address};
pub use store::RedbStore;

/// Where a call is posted.
const CALL_PATH: &str = "/v1/call";
