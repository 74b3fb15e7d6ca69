//! The facts of sim/src/postgres/facts.toml, each shown under its own name on real servers of every installed
//! version. The model keeps to the same list. A fact is shown by what the server itself reports or does; where
//! something must not happen, something else that comes after it is waited for.
//!
//! The servers are plain ones, made and ended by `harness`; pgbaton's own port is used only by facts about it.

mod archive;
mod commits;
mod harness;
mod last_words;
mod list;
mod promotion;
mod replication;
mod shutdown;
mod start;
mod tools;
mod trouble;
