//! The production world of pgbaton: its services, its commands, and the live player of scenarios.

pub mod cli;
pub mod config;
pub mod live;
pub mod ports;
pub mod postgres;
pub mod service;
pub mod tls;
