//! Core's ports in this world.

pub mod clock;
pub mod door;
pub mod link;
pub mod postgres;
pub mod store;
pub mod trouble;
pub mod watched;

pub use clock::SimClock;
pub use door::SimDoor;
pub use link::SimLink;
pub use postgres::SimPostgres;
pub use store::SimStore;
pub use trouble::Troubled;
pub use watched::Watched;

/// Where the monitor listens.
pub const MONITOR_PORT: u16 = 5431;
