//! A model of Postgres after spec/postgres.md. A data directory and a running server are different
//! things: a kill destroys the second only. Where a duration isn't known it is drawn from a range.

pub mod directory;
pub mod host;
pub mod knobs;
pub mod lifecycle;
pub mod receiver;
pub mod reload;
pub mod sender;
pub mod session;
pub mod sync;
pub mod tools;
pub mod wal;

#[cfg(test)]
mod facts;

pub use directory::{Conninfo, DataDir};
pub use host::{PgHost, Phase, ServerState};
pub use knobs::PgDisk;
