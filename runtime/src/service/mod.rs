//! The long-running processes: the keeper of a node and the monitor. They tie core's loops to the
//! production ports, to signals and to their files.

pub mod keeper;
pub mod mirror;
pub mod monitor;
pub mod pidfile;
pub mod places;
pub mod postmaster;
pub mod signals;

pub use places::Places;
