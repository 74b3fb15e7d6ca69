//! The failover logic of pgbaton, written against ports so that it runs the same in a seeded
//! simulation and on real servers.
//!
//! One direction: `Postgres --look--> Facts --> Report ==link==> monitor::step --> Assignment
//! ==link==> keeper::plan --> Step --> Postgres`. Deciding and planning are pure; only the two loops
//! in `shell` and the step performer wait for anything.

#![forbid(unsafe_code)]

pub mod check;
pub mod keeper;
pub mod model;
pub mod monitor;
pub mod mutants;
pub mod ports;
pub mod scenario;
pub mod shell;
pub mod stored;
pub mod swarm;
pub mod view;
pub mod wire;
