//! A model of Postgres after spec/postgres.md. A data directory and a running server are different
//! things: a kill destroys the second only. Where a duration isn't known it is drawn from a range.

pub mod archive;
pub mod commit;
pub mod directory;
pub mod host;
pub mod knobs;
pub mod look;
pub mod names;
pub mod promotion;
pub mod receiver;
pub mod reload;
pub mod replay;
pub mod rewind;
pub mod sender;
pub mod server;
pub mod session;
pub mod settings;
pub mod shutdown;
pub mod slots;
pub mod start;
pub mod sync;
pub mod tools;
pub mod wal;

#[cfg(test)]
mod facts;

pub use archive::Archive;
pub use directory::{Conninfo, DataDir};
pub use host::PgHost;
pub use knobs::PgDisk;
pub use server::{Phase, ServerState};
pub use settings::Settings;
pub use sync::SyncCommit;
