//! The seams. Everything that waits, remembers or touches the outside is behind one of these, and
//! each world brings its own: sim/ on a seeded executor, runtime/ on tokio and real servers.

pub mod clock;
pub mod link;
pub mod postgres;
pub mod store;

pub use clock::Clock;
pub use link::{CallId, Door, DoorEvent, Link, LinkError, Probe};
pub use postgres::{Names, PgError, Postgres, Source, StartAs, StopMode};
pub use store::{Change, Snapshot, Store, StoreError};
