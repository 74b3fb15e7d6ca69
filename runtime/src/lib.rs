//! The production world of pgbaton: its services, its commands, and the live player of scenarios.

pub mod cli;
pub mod config;
mod disk;
pub mod live;
pub mod ports;
pub mod postgres;
pub mod service;
pub mod tls;

const _: () = assert!(
    !pgbaton_core::mutants::PLANTED,
    "pgbaton-core has planted bugs in it (feature `mutants`); build pgbaton-sim with that feature alone, by --package pgbaton-sim"
);
