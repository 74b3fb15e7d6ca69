//! The simulated world: machines, a network, disks and Postgres servers that follow a seed, on which
//! the loops of pgbaton-core run as they do in production.
//!
//! - `world/`    time, randomness, machines and their processes; one run on one fresh thread
//! - `net/`      our own links: latency per direction, cuts, half-open connections
//! - `disk`      a disk with a cache that a power loss takes away
//! - `postgres/` a model of a data directory and of the server on it
//! - `ports/`    core's ports on all of that
//! - `clients/`  writers with unique ids that seek the writable node
//! - `ink`       colours for a terminal
//! - `story/`    plays a scenario file and collects its trace
//! - `sweep/`    plays one again and again, with a harm at each of its points
//! - `shrink/`   makes a failing story smaller
//! - `soak`      many drawn stories, and what they came to
//! - `hunt`      plays with planted bugs, in a build that takes them
//! - `bench/`    what a simulated second costs

#[cfg(not(madsim))]
compile_error!(
    "pgbaton-sim needs --cfg madsim; RUSTFLAGS in the environment overrides .cargo/config.toml: use RUSTFLAGS=\"$RUSTFLAGS --cfg madsim\" or unset it"
);

pub mod bench;
pub mod clients;
pub mod disk;
#[cfg(feature = "mutants")]
pub mod hunt;
pub mod ink;
pub mod net;
pub mod ports;
pub mod postgres;
pub mod report;
pub mod shrink;
pub mod soak;
pub mod story;
pub mod sweep;
pub mod world;
