//! The seams of core on tokio: a clock of the machine, a store on disk, HTTP between nodes.

mod clock;
mod door;
mod link;
mod store;

pub use clock::BootClock;
pub use door::HttpDoor;
pub use link::HttpLink;
pub use store::RedbStore;

/// Where a call is posted.
const CALL_PATH: &str = "/v1/call";
